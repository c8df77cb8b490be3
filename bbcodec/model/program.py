"""A model is a program: a generator that names its random variables, from the top of the hierarchy down to the pixels.

Interpreters (`bbcodec.model.interpreters`) run the generator and answer its yields. Priors, posteriors and likelihoods
are thunks, so that an interpreter evaluates only what it needs. The top of a hierarchy is yielded first, the pixels
last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Union

import torch
from torch import Tensor, nn

from bbcodec.distributions.base import Distribution

Thunk = Callable[[], Distribution]


@dataclass(frozen=True)
class Latent:
    """A latent variable: its prior given what was yielded before it, and its posterior given the images too."""

    name: str
    prior: Thunk
    posterior: Thunk


@dataclass(frozen=True)
class Observed:
    """The pixels: their likelihood given the latents, and their value (None when there is none to observe)."""

    name: str
    likelihood: Thunk
    value: Tensor | None


Site = Union[Latent, Observed]
Program = Generator[Site, Tensor, Tensor]


class LatentModel(nn.Module, ABC):
    """A network with a program: `program(shape)` to sample or decode, `program(shape, images)` to encode or train."""

    image_size: tuple[int, int] | None = None  # height and width of the only images it takes; None: any size
    has_engine: bool = False  # whether the compiled engine can code its pixels
    engine: bool = False  # whether it does, where nets are frozen and on the CPU

    @abstractmethod
    def program(self, shape: torch.Size, images: Tensor | None = None) -> Program:
        """Yield the sites, top first; return the images. shape: (B, C, H, W); images: float32 whole numbers."""
