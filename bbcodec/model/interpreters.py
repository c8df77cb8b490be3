"""The interpreters of a model's program: what training, coding, sampling and accounting do at each random variable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.base import Distribution
from bbcodec.exact.arithmetic import guard
from bbcodec.model.program import Latent, LatentModel, Observed, Program, Thunk

# Called for each coded site: its name, its prior or likelihood, its posterior (None for pixels), its value, and what
# pushing it cost each image, (B,) in 2**-24 bits.
Visit = Callable[[str, Distribution, Distribution | None, Tensor, np.ndarray], None]


def run(program: Program, latent: Callable[[Latent], Tensor], observed: Callable[[Observed], Tensor]) -> Tensor:
    """Run a program to its end, answering each yield; returns the images that it returns."""
    try:
        site = next(program)
        while True:
            site = program.send(latent(site) if isinstance(site, Latent) else observed(site))
    except StopIteration as end:
        images: Tensor = end.value
        return images


def pixels_of(site: Observed) -> Tensor:
    """The value of an observed site. Raises ValueError if the program was run without images."""
    if site.value is None:
        raise ValueError(f"the program observes {site.name} but was given no images")
    return site.value


def elbo(
    model: LatentModel,
    images: Tensor,
    generator: torch.Generator | None = None,
    drawn: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The evidence lower bound in parts, from one draw of the latents: nats of each image, (B,), per site.

    Latents give log p(z) - log q(z | x), which is minus the rate; the pixels log p(x | z), minus the distortion. The
    sum over the sites is the bound (Kingma & Welling 2014, eq. 3). Differentiable. images: (B, C, H, W), whole numbers.
    drawn, if given, collects the latents of each site.
    """
    terms: dict[str, Tensor] = {}

    def latent(site: Latent) -> Tensor:
        q = site.posterior()
        z = q.rsample(generator)
        terms[site.name] = site.prior().log_prob(z) - q.log_prob(z)
        if drawn is not None:
            drawn[site.name] = z
        return z

    def observed(site: Observed) -> Tensor:
        value = pixels_of(site)
        terms[site.name] = site.likelihood().log_prob(value)
        return value

    run(model.program(images.shape, images), latent, observed)
    return terms


@torch.no_grad()
def encode(
    model: LatentModel,
    stack: AnsStack,
    images: Tensor,
    account: dict[str, list[np.ndarray]] | None = None,
    visit: Visit | None = None,
) -> None:
    """Put images on the stack by bits-back coding (Townsend et al. 2019, section 2.2).

    Latents are popped under their posteriors on the way down; then every site is pushed under its prior or likelihood,
    last first. Nowhere else is the order reversed. images: (B, C, H, W), float32 whole numbers.
    account, if given, collects the net cost of each image per site, in 2**-24 bits; visit, if given, is called for
    each site once it is pushed. Raises StackUnderflow if the stack holds too little to pop from.
    """
    pushes: list[tuple[str, Thunk, Distribution | None, Tensor]] = []

    def latent(site: Latent) -> Tensor:
        q = site.posterior()
        z = q.pop(stack)
        pushes.append((site.name, site.prior, q, z))
        return z

    def observed(site: Observed) -> Tensor:
        value = pixels_of(site)
        pushes.append((site.name, site.likelihood, None, value))
        return value

    with guard():
        run(model.program(images.shape, images), latent, observed)
        for name, thunk, q, value in reversed(pushes):
            p = thunk()
            if account is None and visit is None:
                p.push(stack, value)
                continue
            cost = p.push_measured(stack, value)
            if account is not None:
                net = cost - (q.information(value) if q is not None else 0)
                account.setdefault(name, []).append(net)
            if visit is not None:
                visit(name, p, q, value, cost)


@torch.no_grad()
def decode(model: LatentModel, stack: AnsStack, shape: torch.Size) -> Tensor:
    """Take images (B, C, H, W) off the stack, which is then as it was before they were encoded.

    Latents are popped under their priors and pixels under their likelihoods; then the program runs again with the
    pixels, and the latents are pushed under their posteriors, last first.
    """
    known: dict[str, Tensor] = {}

    def latent(site: Latent) -> Tensor:
        known[site.name] = site.prior().pop(stack)
        return known[site.name]

    def observed(site: Observed) -> Tensor:
        return site.likelihood().pop(stack)

    with guard():
        images = run(model.program(shape), latent, observed)
        back: list[tuple[Distribution, Tensor]] = []

        def answer(site: Latent) -> Tensor:
            back.append((site.posterior(), known[site.name]))
            return known[site.name]

        run(model.program(shape, images), answer, pixels_of)
        for posterior, z in reversed(back):
            posterior.push(stack, z)
    return images


@torch.no_grad()
def sample(model: LatentModel, shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Images (B, C, H, W) drawn from the model, float32 whole numbers."""
    with guard():
        return run(
            model.program(shape),
            lambda site: site.prior().rsample(generator),
            lambda site: site.likelihood().rsample(generator),
        )


def account(model: LatentModel, stack: AnsStack, images: Tensor) -> dict[str, np.ndarray]:
    """Encode images on the stack; the net cost of each at every site, (B,) int64, in 2**-24 bits.

    The stack grows by the sum over sites and images, whose expectation is close to the negative ELBO.
    """
    rows: dict[str, list[np.ndarray]] = {}
    encode(model, stack, images, rows)
    return {name: np.concatenate(parts) for name, parts in rows.items()}
