"""What computes a codec's messages: the contract of `TorchBackend` and `EngineBackend`, which write the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bbcodec.coder.ans import AnsStack

Images = NDArray[Any]  # (N, H, W, C) uint8; of codecs for images of 16 bits, outside their backends, uint16
Bits = NDArray[np.float64]  # (N,)
Latents = Mapping[str, NDArray[np.int16]]  # by name, axis 0 counts images


class Backend(Protocol):
    """Codes batches of images on a stack, in exact arithmetic.

    image_size: height and width of the only images that it takes; None: any size. lanes: heads of the stack of large
    messages. concurrent: several threads may code at once. safe: whether it computes on a path that no kernel can make
    inexact. mixes: whether it codes mixed batches, too. device: where it computes, as `cpu`.
    """

    image_size: tuple[int, int] | None
    lanes: int
    concurrent: bool
    safe: bool
    mixes: bool
    device: str

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one, where there are two."""

    def encode(self, stack: AnsStack, images: Images, bits: Bits | None = None) -> None:
        """Put a batch of images (N, H, W, C) on the stack. bits, (N,), receives what each image adds to it."""

    def decode(self, stack: AnsStack, shape: tuple[int, int, int, int]) -> Images:
        """Take a batch of images (N, H, W, C) off the stack. Raises CoderError if that cannot be."""

    def encode_mixed(self, batches: Iterable[Images], bits: Bits | None = None) -> bytes:
        """Messages of batches of images, one after another, mixed with contexts that learn from all of them.

        bits: as for `encode`, of all images. Raises CoderError unless it `mixes`, as `decode_mixed`.
        """

    def decode_mixed(self, data: bytes, shapes: Iterable[tuple[int, int, int, int]]) -> list[Images]:
        """The batches of `encode_mixed`, given their shapes. Raises CoderError for data that cannot be."""

    def infer(self, stack: AnsStack, images: Images) -> dict[str, NDArray[np.int16]]:
        """Latents of a batch of images (N, H, W, C), drawn with the words of a stack (`bbcodec.model.drawing`)."""

    def generate(self, stack: AnsStack, shape: tuple[int, int, int, int], latents: Latents) -> Images:
        """Images (N, H, W, C) drawn given latents. Raises CoderError for values that they cannot have."""
