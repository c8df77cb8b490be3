"""The base of all networks that are codecs: a PyTorch module with a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bbcodec.distributions.base import Distribution
from bbcodec.exact.arithmetic import guard
from bbcodec.model.program import Program

TorchProgram = Program[Distribution, Tensor]


class LatentModel(nn.Module, ABC):
    """A network with a program: `program(shape)` to sample or decode, `program(shape, images)` to encode or train."""

    image_size: tuple[int, int] | None = None  # height and width of the only images it takes; None: any size
    lanes: int = 1  # heads of the stack of large messages

    @abstractmethod
    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
        """Yield the sites, top first; return the images. shape: (B, C, H, W); images: float32 whole numbers."""

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Within, no gradients, and no kernel that is known to be inexact."""
        with torch.no_grad(), guard():
            yield
