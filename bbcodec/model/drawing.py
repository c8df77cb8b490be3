"""Drawing as interpreters of a program: latents of images, and images of latents, popped from a stack of random words.

What pops a value from random words draws it from its distribution, exactly as it is coded: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from bbcodec.coder.ans import AnsStack
from bbcodec.model.program import Coded, Latent, Observed, Programmed, Shaped, pixels_of, run

A = TypeVar("A", bound=Shaped)
D = TypeVar("D", bound=Coded[Any])


def infer(model: Programmed[D, A], stack: AnsStack, images: A) -> dict[str, A]:
    """Latents of images (B, C, H, W), drawn from their posteriors; by name, the top of the hierarchy first.

    Whole numbers, indices on the grid of each latent. Raises StackUnderflow if the stack ends.
    """
    drawn: dict[str, A] = {}

    def latent(site: Latent[D]) -> A:
        drawn[site.name] = site.posterior().pop(stack)
        return drawn[site.name]

    with model.exactly():
        run(model.program(images.shape, images), latent, pixels_of)
    return drawn


def generate(model: Programmed[D, A], stack: AnsStack, shape: Any, latents: Mapping[str, A]) -> A:
    """Images of a shape (B, C, H, W), drawn given latents; latents that are not given are drawn from their priors.

    Raises CoderError for values that a latent cannot have, and StackUnderflow if the stack ends.
    """

    def latent(site: Latent[D]) -> A:
        prior = site.prior()
        if site.name not in latents:
            value: A = prior.pop(stack)
            return value
        prior.push(AnsStack.seeded(), latents[site.name])  # refuses what is no value of this latent
        return latents[site.name]

    def observed(site: Observed[D, A]) -> A:
        images: A = site.likelihood().pop(stack)
        return images

    with model.exactly():
        return run(model.program(shape), latent, observed)
