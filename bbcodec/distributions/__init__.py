"""Distributions that can be learned with floats and coded with integers."""

from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.categorical import Categorical
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.mixture import Mixture
from bbcodec.distributions.uniform import Uniform

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Gaussian",
    "LogisticMixture",
    "Mixture",
    "Uniform",
    "activation",
]
