"""Bits-back coding as interpreters of a program: encoding and decoding on a stack, of tensors or of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Union

import numpy as np
import numpy.typing as npt

from bbcodec.coder.ans import AnsStack
from bbcodec.model.program import Coded, Latent, Observed, Programmed, Shaped, pixels_of, run

A = TypeVar("A", bound=Shaped)
D = TypeVar("D", bound=Coded[Any])

Account = dict[str, list[npt.NDArray[np.int64]]]  # by site, the cost of each image of some batches
# Called for each coded site: its name, its prior or likelihood, its posterior (None for pixels), its value, and what
# pushing it cost each image, (B,) in 2**-24 bits.
Visit = Callable[[str, D, Union[D, None], A, npt.NDArray[np.int64]], None]

UNITS_PER_BIT = 2**24


def encode(
    model: Programmed[D, A],
    stack: AnsStack,
    images: A,
    account: Account | None = None,
    visit: Visit[D, A] | None = None,
) -> None:
    """Put images on the stack by bits-back coding (Townsend et al. 2019, section 2.2).

    Latents are popped under their posteriors on the way down; then every site is pushed under its prior or likelihood,
    last first. Nowhere else is the order reversed. images: (B, C, H, W), whole numbers, as the program takes them.
    account, if given, collects the net cost of each image per site, in 2**-24 bits; visit, if given, is called for
    each site once it is pushed. Raises StackUnderflow if the stack holds too little to pop from.
    """
    pushes: list[tuple[str, Callable[[], D], D | None, A]] = []

    def latent(site: Latent[D]) -> A:
        q = site.posterior()
        z: A = q.pop(stack)
        pushes.append((site.name, site.prior, q, z))
        return z

    def observed(site: Observed[D, A]) -> A:
        value = pixels_of(site)
        pushes.append((site.name, site.likelihood, None, value))
        return value

    with model.exactly():
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


def decode(model: Programmed[D, A], stack: AnsStack, shape: Any) -> A:
    """Take images of this shape (B, C, H, W) off the stack, which is then as it was before they were encoded.

    Latents are popped under their priors and pixels under their likelihoods; then the program runs again with the
    pixels, and the latents are pushed under their posteriors, last first.
    """
    known: dict[str, A] = {}

    def latent(site: Latent[D]) -> A:
        known[site.name] = site.prior().pop(stack)
        return known[site.name]

    def observed(site: Observed[D, A]) -> A:
        images: A = site.likelihood().pop(stack)
        return images

    with model.exactly():
        images = run(model.program(shape), latent, observed)
        back: list[tuple[D, A]] = []

        def answer(site: Latent[D]) -> A:
            back.append((site.posterior(), known[site.name]))
            return known[site.name]

        run(model.program(shape, images), answer, pixels_of)
        for posterior, z in reversed(back):
            posterior.push(stack, z)
    return images


def account(model: Programmed[D, A], stack: AnsStack, images: A) -> dict[str, npt.NDArray[np.int64]]:
    """Encode images on the stack; the net cost of each at every site, (B,) int64, in 2**-24 bits.

    The stack grows by the sum over sites and images, whose expectation is close to the negative ELBO.
    """
    rows: Account = {}
    encode(model, stack, images, rows)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def bits_of(rows: Account) -> npt.NDArray[np.float64]:
    """The bits that each image of a batch costs, (B,), from its account."""
    units: npt.NDArray[np.int64] = sum(np.concatenate(parts) for parts in rows.values())  # type: ignore[assignment]
    return units / UNITS_PER_BIT
