"""Bounds on log p(x) that are measured, not coded: of latents off their grid, and of several draws (IWAE)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bbcodec.distributions.base import Distribution
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Latent, Observed, pixels_of, run

Draw = Callable[[str, Distribution], Tensor]  # the name of a site and its posterior -> a value, not rounded to a grid


def continuous_elbo(model: LatentModel, images: Tensor, draw: Draw) -> dict[str, Tensor]:
    """The evidence lower bound in parts, as `elbo`, but of latents off their grid: (B,) nats, float64, per site.

    draw: values of the latents from their posteriors. Densities take the place of probabilities of grid points.
    """
    terms: dict[str, Tensor] = {}

    def latent(site: Latent[Distribution]) -> Tensor:
        q = site.posterior()
        z = draw(site.name, q)
        terms[site.name] = site.prior().log_density(z).double() - q.log_density(z).double()
        return z

    def observed(site: Observed[Distribution, Tensor]) -> Tensor:
        value = pixels_of(site)
        terms[site.name] = site.likelihood().log_prob(value).double()
        return value

    with model.exactly():
        run(model.program(images.shape, images), latent, observed)
    return terms


def drawn_between(generator: torch.Generator | None = None) -> Draw:
    """A `Draw` from the posteriors; normal latents fall between the points of their grid."""

    def draw(_: str, q: Distribution) -> Tensor:
        if not isinstance(q, Gaussian):
            return q.rsample(generator)
        noise = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        return q.between(noise.to(q.mean.device))

    return draw


def importance_weights(
    model: LatentModel, images: Tensor, draws: int, generator: torch.Generator | None = None
) -> np.ndarray:
    """log p(x, z) - log q(z | x) of `draws` draws of the latents: (draws, B) float64, nats; see `iwae`."""
    between = drawn_between(generator)
    latents: set[str] = set()

    def draw(name: str, q: Distribution) -> Tensor:
        latents.add(name)
        return between(name, q)

    def weights() -> np.ndarray:
        terms = [one.cpu().numpy() for one in continuous_elbo(model, images, draw).values()]
        result: np.ndarray = np.sum(terms, axis=0)
        return result

    first = weights()
    return np.stack([first, *(weights() if latents else first for _ in range(draws - 1))])


def iwae(log_weights: np.ndarray, k: int) -> np.ndarray:
    """The importance-weighted bound on log p(x) with k draws (Burda et al. 2016, eq. 8): (B,) nats.

    log_weights: (draws, B) of `importance_weights`, k <= draws. The bound is averaged over as many groups of k draws
    as there are. The largest weight is subtracted before the exponential, so that no sum overflows or vanishes.

    >>> iwae(np.log([[1.0], [3.0]]), 2).round(6) == np.log(2).round(6)
    array([ True])
    """
    groups = len(log_weights) // k
    if groups < 1:
        raise ValueError(f"k is {k}, but there are {len(log_weights)} draws")
    weights = log_weights[: groups * k].reshape(groups, k, -1)
    largest = weights.max(1, keepdims=True)
    bounds = np.log(np.exp(weights - largest).mean(1)) + largest[:, 0]
    result: np.ndarray = bounds.mean(0)
    return result
