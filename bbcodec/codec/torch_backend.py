"""Codecs on PyTorch: any model family, on any device, on a fast path or a safe one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbcodec.codec.stored import StoredCodec, Tensors
from bbcodec.errors import BadCodecFile, CoderError, InputError
from bbcodec.exact.layers import exact_parts, set_safe, weights_allowed
from bbcodec.model.coding import Account, bits_of, decode, encode
from bbcodec.model.drawing import generate, infer
from bbcodec.model.latent_model import LatentModel

if TYPE_CHECKING:
    from bbcodec.codec.backend import Bits, Images, Latents
    from bbcodec.codec.codec import Codec
    from bbcodec.coder.ans import AnsStack

FAMILIES = "bbcodec.families"  # entry points: each loads one object, a family
MIXED_ON_CPU = "mixed messages are coded on the CPU only"
ALLOWED_WEIGHTS = 2**22  # that a model may have beyond four for each number in its file, as closed taps are not stored


class ModelFamily(Protocol):
    """What loading a codec needs of a model family; training needs more (`bbcodec.models.families.Family`)."""

    def build(self, config: Mapping[str, Any], /) -> LatentModel:
        """A model from the config in a codec file. Raises TypeError or ValueError for what cannot be."""


class TorchBackend:
    """Codes with a network."""

    concurrent = mixes = False

    def __init__(self, model: LatentModel, device: torch.device) -> None:
        """model: with frozen layers, on `device`."""
        self.model, self.place = model.eval(), device
        self.image_size, self.lanes, self.device = model.image_size, model.lanes, str(device)
        self.safe = False

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one."""
        self.safe = safe
        set_safe(self.model, safe)

    def encode(self, stack: AnsStack, images: Images, bits: Bits | None = None) -> None:
        """Put a batch of images (N, H, W, C) on the stack. bits, (N,), receives what each image adds to it."""
        rows: Account | None = None if bits is None else {}
        encode(self.model, stack, self.tensor(images), rows)
        if bits is not None and rows is not None:
            bits[:] = bits_of(rows)

    def decode(self, stack: AnsStack, shape: tuple[int, int, int, int]) -> Images:
        """Take a batch of images (N, H, W, C) off the stack. Raises CoderError if that cannot be."""
        return pixels(decode(self.model, stack, channels_first(shape)))

    def encode_mixed(self, batches: Iterable[Images], bits: Bits | None = None) -> bytes:
        """Raises CoderError: compiled code alone mixes."""
        raise CoderError(MIXED_ON_CPU)

    def decode_mixed(self, data: bytes, shapes: Iterable[tuple[int, int, int, int]]) -> list[Images]:
        """Raises CoderError: compiled code alone mixes."""
        raise CoderError(MIXED_ON_CPU)

    def infer(self, stack: AnsStack, images: Images) -> dict[str, NDArray[np.int16]]:
        """Latents of a batch of images (N, H, W, C), drawn with the words of a stack (`bbcodec.model.drawing`)."""
        drawn = infer(self.model, stack, self.tensor(images))
        return {name: z.to(torch.int16).cpu().numpy() for name, z in drawn.items()}

    def generate(self, stack: AnsStack, shape: tuple[int, int, int, int], latents: Latents) -> Images:
        """Images (N, H, W, C) drawn given latents. Raises CoderError for values that they cannot have."""
        given = {name: torch.tensor(z, device=self.place).float() for name, z in latents.items()}
        return pixels(generate(self.model, stack, channels_first(shape), given))

    def tensor(self, images: Images) -> Tensor:
        """(N, H, W, C) uint8 to (N, C, H, W) float32 on the device, channels last in memory."""
        return torch.tensor(images, device=self.place).permute(0, 3, 1, 2).float()  # a copy: images may be read-only


def channels_first(shape: tuple[int, int, int, int]) -> torch.Size:
    """(N, H, W, C) as PyTorch orders it."""
    count, height, width, channels = shape
    return torch.Size((count, channels, height, width))


def pixels(x: Tensor) -> Images:
    """(N, C, H, W) whole numbers to (N, H, W, C) uint8."""
    images: Images = x.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
    return images


def torch_of(codec: Codec) -> TorchBackend:
    """The network of a codec. Raises InputError for one that the engine codes: load it with `engine=False`."""
    if not isinstance(codec.backend, TorchBackend):
        raise InputError(f"codec {codec.name} was loaded without its network")
    return codec.backend


@cache  # finding entry points reads files of every package that is installed
def find_family(name: str) -> ModelFamily:
    """The installed family of this name. Raises BadCodecFile if there is none."""
    for entry in entry_points(group=FAMILIES, name=name):
        family: ModelFamily = entry.load()
        return family
    raise BadCodecFile(f"the codec is of family {name!r}, which is not installed")


def torch_backend(stored: StoredCodec, device: str) -> TorchBackend:
    """The network of a stored codec, on a device. Raises BadCodecFile for one that cannot be."""
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    family = find_family(stored.family)
    tensors = dict(stored.tensors)
    try:
        with weights_allowed(ALLOWED_WEIGHTS + 4 * sum(tensor.size for tensor in tensors.values())):
            model = family.build(stored.config).to(place)
        for name, part in exact_parts(model).items():
            arrays = {key: tensors.pop(f"{name}.{key}") for key in part.stored_names}
            part.load_stored(**{key: torch.from_numpy(array.copy()) for key, array in arrays.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise BadCodecFile(f"{stored.name} is not a valid codec file: {type(error).__name__}, {error}") from None
    if tensors:
        raise BadCodecFile(f"{stored.name} holds tensors that its model does not have, such as {min(tensors)}")
    return TorchBackend(model, place)


def frozen_tensors(model: LatentModel) -> Tensors:
    """Freeze a model's layers; the whole numbers of its codec file. Raises BadCodecFile if a bound is broken."""
    for part in exact_parts(model).values():
        part.freeze()
    return tensors_now(model)


def tensors_now(model: LatentModel) -> Tensors:
    """The whole numbers that a model's codec file would hold."""
    tensors: Tensors = {}
    for name, part in exact_parts(model).items():
        tensors.update({f"{name}.{key}": value.contiguous().numpy() for key, value in part.stored().items()})
    return tensors
