"""A model is a program: a generator that names its random variables, from the top of the hierarchy down to the pixels.

Interpreters (`coding`, `interpreters`) run the generator and answer its yields. Priors, posteriors and likelihoods are
thunks, so that an interpreter evaluates only what it needs. The top of a hierarchy is yielded first, the pixels last.

Programs are generic: of PyTorch's models, distributions are `Distribution` and values tensors; of the engine's,
distributions are `Coded` and values numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Union

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bbcodec.coder.ans import AnsStack

A = TypeVar("A")  # values: tensors or arrays
D = TypeVar("D")  # distributions over them


class Shaped(Protocol):
    """What has a shape: tensors and arrays."""

    @property
    def shape(self) -> Any:
        """The length of each axis."""


class Coded(Protocol[A]):
    """What coding needs of a distribution (`bbcodec.distributions.base.Distribution` has all promises)."""

    def push(self, stack: AnsStack, value: A, /) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""

    def push_measured(self, stack: AnsStack, value: A, /) -> npt.NDArray[np.int64]:
        """`push`, and what it costs each image: the `information` of the value."""

    def pop(self, stack: AnsStack, /) -> A:
        """Take a value off the stack. Raises StackUnderflow."""

    def information(self, value: A, /) -> npt.NDArray[np.int64]:
        """What `push` costs each image: (B,), in whole units of 2**-24 bits."""


@dataclass(frozen=True)
class Latent(Generic[D]):
    """A latent variable: its prior given what was yielded before it, and its posterior given the images too."""

    name: str
    prior: Callable[[], D]
    posterior: Callable[[], D]


@dataclass(frozen=True)
class Observed(Generic[D, A]):
    """The pixels: their likelihood given the latents, and their value (None when there is none to observe)."""

    name: str
    likelihood: Callable[[], D]
    value: A | None


Program = Generator[Union[Latent[D], Observed[D, A]], A, A]


class Programmed(Protocol[D, A]):
    """What has a program and can code: a network, or compiled code."""

    def program(self, shape: Any, images: A | None = None) -> Program[D, A]:
        """Yield the sites, top first; return the images. shape: (B, C, H, W)."""

    def exactly(self) -> AbstractContextManager[None]:
        """Within, all that the program evaluates is exact."""


def run(program: Program[D, A], latent: Callable[[Latent[D]], A], observed: Callable[[Observed[D, A]], A]) -> A:
    """Run a program to its end, answering each yield; returns the images that it returns."""
    try:
        site = next(program)
        while True:
            site = program.send(latent(site) if isinstance(site, Latent) else observed(site))
    except StopIteration as end:
        images: A = end.value
        return images


def pixels_of(site: Observed[D, A]) -> A:
    """The value of an observed site. Raises ValueError if the program was run without images."""
    if site.value is None:
        raise ValueError(f"the program observes {site.name} but was given no images")
    return site.value
