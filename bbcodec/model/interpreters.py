"""Interpreters of a network's program: what training and sampling do at each random variable (`coding`: coding)."""

from __future__ import annotations

import torch
from torch import Tensor

from bbcodec.distributions.base import Distribution
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Latent, Observed, pixels_of, run


def elbo(
    model: LatentModel,
    images: Tensor,
    generator: torch.Generator | None = None,
    drawn: dict[str, Tensor] | None = None,
    rates: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The evidence lower bound in parts, from one draw of the latents: nats of each image, (B,), per site.

    Latents give log p(z) - log q(z | x), which is minus the rate; the pixels log p(x | z), minus the distortion. The
    sum over the sites is the bound (Kingma & Welling 2014, eq. 3). Differentiable. images: (B, C, H, W), whole numbers.
    drawn, if given, collects the latents of each site; rates, what each latent costs each image, log q - log p, in nats
    and in the latents' shape, of sites whose distributions tell that.
    """
    terms: dict[str, Tensor] = {}

    def latent(site: Latent[Distribution]) -> Tensor:
        q, p = site.posterior(), site.prior()
        z = q.rsample(generator)
        likely, given = (p.log_probs(z), q.log_probs(z)) if rates is not None else (None, None)
        if rates is None or likely is None or given is None:
            terms[site.name] = p.log_prob(z) - q.log_prob(z)
        else:
            rates[site.name] = given - likely
            terms[site.name] = -rates[site.name].flatten(1).sum(1)
        if drawn is not None:
            drawn[site.name] = z
        return z

    def observed(site: Observed[Distribution, Tensor]) -> Tensor:
        value = pixels_of(site)
        terms[site.name] = site.likelihood().log_prob(value)
        return value

    run(model.program(images.shape, images), latent, observed)
    return terms


def sample(model: LatentModel, shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Images (B, C, H, W) drawn from the model, float32 whole numbers."""
    with model.exactly():
        return run(
            model.program(shape),
            lambda site: site.prior().rsample(generator),
            lambda site: site.likelihood().rsample(generator),
        )
