"""Distributions that can be learned with floats and coded with integers."""

from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture

__all__ = ["Bernoulli", "Distribution", "Gaussian", "LogisticMixture", "activation"]
