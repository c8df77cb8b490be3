"""A trained model as a codec: images to messages and back, `.bbc` files, and the known-answer test.

A message is one bits-back chain: a byte that says how batch widths grow, then the words of the stack, little-endian.
The caller keeps the number and the size of the images. `docs/format.md` has the details.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from bbcodec.binary import MAX_VALUES, pack_varint, take_varint
from bbcodec.codec.catalogue import CodecFile, find_codec, parse_codec
from bbcodec.codec.device import check_device, one_thread
from bbcodec.coder.ans import AnsStack, Integers, Kernel, filler
from bbcodec.errors import BadCodecFile, CoderError, DamagedArchive, InexactArithmetic, InputError
from bbcodec.exact.layers import exact_parts, set_exact, set_safe
from bbcodec.model.interpreters import decode, encode
from bbcodec.model.program import LatentModel

FORMAT = 1  # of codec files
SEED = 0  # of the filler under every chain
GROWTH_UNIT = 32  # a growth byte of g makes each batch g / 32 times as wide as all batches before it together
MAX_IMAGE_PIXELS = 2**23  # of one image: its parameters take some 300 bytes a pixel
MAX_BATCH_PIXELS = 2**18  # a coding batch is no wider, so that memory stays bounded
TRIAL = 4  # images whose popped and pushed bits choose the growth
CAUTION = 0.75  # of the widest batch that the trial says the stack affords
WRONG = "wrong pixels"  # the answer of a codec that does not give an image back
KNOWN_ANSWERS = ((1, 40, 56), (16, 16, 16), (64, 8, 8))  # count, height, width of the test's images

Images = np.ndarray[Any, np.dtype[np.uint8]]  # (N, H, W, C)
Bits = np.ndarray[Any, np.dtype[np.float64]]  # (N,)


@dataclass(frozen=True)
class PixelFormat:
    """What a codec takes: channels (1 or 3) and levels a channel (2 or 256)."""

    channels: int
    levels: int


def batch_widths(count: int, growth: int, limit: int) -> list[int]:
    """How many images each batch of a chain holds, in the order of coding: the first goes alone, later ones are wider.

    Each batch pops what the batches before it pushed, so that no more than the first one's latents are paid for.

    >>> batch_widths(10, 16, 100)
    [1, 1, 1, 1, 2, 3, 1]
    """
    widths: list[int] = []
    done = 0
    while done < count:
        widths.append(min(max(1, done * growth // GROWTH_UNIT), limit, count - done))
        done += widths[-1]
    return widths


class Recorder(AnsStack):
    """A stack that keeps a digest of all parameters and symbols that go by."""

    def __init__(self, lanes: int = 1) -> None:
        """An empty stack and an empty digest."""
        super().__init__(lanes)
        self.seen = hashlib.blake2b(digest_size=16)

    def note(self, symbols: Integers, params: tuple[Integers, ...]) -> None:
        """Take in what a kernel worked on, as little-endian int64."""
        for array in (symbols, *params):
            self.seen.update(np.ascontiguousarray(array, "<i8").tobytes())

    def push(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """As AnsStack.push."""
        self.note(symbols, params)
        super().push(kernel, symbols, params, *shared)

    def pop(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """As AnsStack.pop."""
        super().pop(kernel, symbols, params, *shared)
        self.note(symbols, params)


class Codec:
    """A trained model that codes images of one pixel format: `encode` and `decode`, or messages for archives."""

    def __init__(self, model: LatentModel, pixels: PixelFormat, about: CodecFile, device: torch.device) -> None:
        """model: with frozen layers, on `device`."""
        self.model, self.pixels, self.device = model.eval(), pixels, device
        self.name, self.family, self.digest, self.card = about.name, about.family, about.digest.hex(), about.card
        self.file_bytes = len(about.content)
        self.safe = False

    def set_safe(self, safe: bool) -> None:
        """Take the slow path that no kernel can make inexact, or the fast one."""
        self.safe = safe
        set_safe(self.model, safe)

    def encode(self, images: Images) -> bytes:
        """One self-contained message of a batch (N, H, W, C) uint8; raises InputError for what is not one."""
        self.check(images)
        return b"".join(pack_varint(n) for n in images.shape[:3]) + self.encode_message(images)

    def decode(self, data: bytes) -> Images:
        """The batch (N, H, W, C) uint8 of a message of `encode`; raises DamagedArchive if it is not whole."""
        at, shape = 0, []
        for _ in range(3):
            number, at = take_varint(data, at)
            shape.append(number)
        if not all(shape) or np.prod(shape, dtype=object) * self.pixels.channels > MAX_VALUES:
            raise DamagedArchive(f"a message of {shape[0]} images of {shape[1]} x {shape[2]} pixels cannot be")
        return self.decode_message(data[at:], shape[0], shape[1], shape[2])

    def check(self, images: object) -> None:
        """Raise InputError unless the images are a batch that this codec takes."""
        if not isinstance(images, np.ndarray):
            raise InputError(f"codec {self.name} takes images as a numpy array, not as {type(images).__name__}")
        if images.ndim != 4 or images.dtype != np.uint8 or not images.size or images.shape[3] != self.pixels.channels:
            raise InputError(
                f"codec {self.name} takes uint8 images (N, H, W, {self.pixels.channels}), "
                f"not {images.dtype} {images.shape}"
            )
        if images.shape[1] * images.shape[2] > MAX_IMAGE_PIXELS:
            raise InputError(
                f"codec {self.name} takes images of up to {MAX_IMAGE_PIXELS} pixels, not {images.shape[1:3]}"
            )
        size = self.model.image_size
        if size is not None and images.shape[1:3] != size:
            raise InputError(
                f"codec {self.name} takes images of {size[0]} x {size[1]} pixels only, "
                f"not {images.shape[1]} x {images.shape[2]}"
            )
        if images.size > MAX_VALUES:
            raise InputError(f"codec {self.name} takes at most {MAX_VALUES} values a message, not {images.size}")
        if int(images.max()) >= self.pixels.levels:
            raise InputError(f"codec {self.name} takes values below {self.pixels.levels}, not {int(images.max())}")

    def encode_message(self, images: Images, bits: Bits | None = None) -> bytes:
        """The message of (N, H, W, C) uint8: the batches are coded last to first, so that they are decoded in order.

        bits, if given, float64 (N,), is filled with what each image adds to the message; initial bits are not in it.
        """
        self.check(images)
        growth = self.growth(images)
        stack = self.chain(images, growth, bits)
        return bytes([growth]) + stack.flatten().astype("<u4").tobytes()

    def chain(self, images: Images, growth: int, bits: Bits | None = None) -> AnsStack:
        """The stack that holds all images, on seeded filler."""
        stack = AnsStack.seeded(SEED)
        end = len(images)
        for width in batch_widths(end, growth, self.widest(images.shape)):
            rows: dict[str, list[np.ndarray[Any, Any]]] | None = None if bits is None else {}
            encode(self.model, stack, self.tensor(images[end - width : end]), rows)
            if bits is not None and rows is not None:
                bits[end - width : end] = sum(sum(parts) for parts in rows.values()) / 2**24
            end -= width
        return stack

    def growth(self, images: Images) -> int:
        """The growth byte: as wide as a trial on a few images says that the stack affords, with some caution."""
        if len(images) < 3:
            return 0
        stack = AnsStack.seeded(SEED)
        before = stack.bits
        encode(self.model, stack, self.tensor(images[-min(TRIAL, self.widest(images.shape)) :]))
        affords = (stack.bits - before) / max(1, 32 * stack.initial_words)
        return int(min(255, max(1, GROWTH_UNIT * CAUTION * affords)))

    def widest(self, shape: tuple[int, ...]) -> int:
        """The widest batch of images (N, H, W, C)."""
        return max(1, MAX_BATCH_PIXELS // (shape[1] * shape[2]))

    def decode_message(self, data: bytes, count: int, height: int, width: int) -> Images:
        """The images (N, H, W, C) uint8 of a message. Raises DamagedArchive unless the chain ends where it began."""
        if len(data) < 9 or len(data) % 4 != 1:
            raise DamagedArchive(f"a message of {len(data)} bytes was cut")
        if height * width > MAX_IMAGE_PIXELS or (data[0] == 0 and count > 2):  # no encoder writes such
            raise DamagedArchive(f"a message of {count} images of {height} x {width}, growth {data[0]}, cannot be")
        if self.model.image_size not in (None, (height, width)):
            raise DamagedArchive(f"a message of images of {height} x {width} cannot be of codec {self.name}")
        try:
            stack = AnsStack.unflatten(np.frombuffer(data, "<u4", offset=1))
            parts = []
            for n in reversed(batch_widths(count, data[0], self.widest((count, height, width)))):
                x = decode(self.model, stack, torch.Size((n, self.pixels.channels, height, width)))
                parts.append(x.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy())
        except CoderError as error:
            raise DamagedArchive(f"a message does not decode: {error}") from None
        if not stack.is_seed(SEED, len(stack.flatten()) - 2):
            raise DamagedArchive("a message does not decode: its chain does not end where every chain begins")
        return np.concatenate(parts)

    def tensor(self, images: Images) -> Tensor:
        """(N, H, W, C) uint8 to (N, C, H, W) float32 on the device, channels last in memory."""
        return torch.tensor(images, device=self.device).permute(0, 3, 1, 2).float()  # a copy: images may be read-only


# --- the known-answer test -------------------------------------------------------------------------------------------


def known_images(pixels: PixelFormat, size: tuple[int, int] | None = None) -> Iterator[Images]:
    """The fixed images of the known-answer test: noise, and flat parts, which reach the ends of the tables.

    size: height and width, where a model takes no others.
    """
    for number, (count, *sides) in enumerate(KNOWN_ANSWERS):
        height, width = size or sides
        shape = count, height, width, pixels.channels
        noise = filler(number + 1, 0, int(np.prod(shape))).reshape(shape) >> np.uint32(24)
        noise[:, : height // 2, : width // 2] = noise[:, :1, :1]
        noise[:, height // 2 :, width // 2 :] >>= np.uint32(4)
        yield (noise if pixels.levels == 256 else noise >> np.uint32(7)).astype(np.uint8)


def answers(codec: Codec) -> list[str]:
    """Digests of every integer parameter and symbol when the fixed images are encoded, and when they are decoded."""
    out = []
    for images in known_images(codec.pixels, codec.model.image_size):
        x = codec.tensor(images)
        forth = Recorder.seeded(SEED)
        encode(codec.model, forth, x)
        back = Recorder.unflatten(forth.flatten())
        decoded = decode(codec.model, back, x.shape)
        equal = bool(torch.equal(decoded, x))
        out += [forth.seen.hexdigest(), back.seen.hexdigest() if equal else WRONG]
    return out


def check_answers(codec: Codec, expected: list[str]) -> None:
    """Run the known-answer test; take the safe path if the fast one fails it. Raises InexactArithmetic if both do."""
    for safe in (False, True):
        codec.set_safe(safe)
        try:
            if answers(codec) == expected:
                return
        except CoderError:
            continue  # wrong parameters may ask for more than the stack holds
    raise InexactArithmetic(
        f"codec {codec.name} fails its known-answer test on {codec.device}, also on the safe path; "
        "what it wrote here could not be read elsewhere (or its file is damaged)"
    )


# --- codec files -----------------------------------------------------------------------------------------------------


def family(name: str) -> Callable[[dict[str, Any]], LatentModel]:
    """How to build a model of a family from its config: families are entry points of the group `bbcodec.families`."""
    for entry in entry_points(group="bbcodec.families", name=name):
        build: Callable[[dict[str, Any]], LatentModel] = entry.load()
        return build
    raise BadCodecFile(f"the codec is of family {name!r}, which is not installed")


def save_codec(model: LatentModel, family_name: str, config: Any, pixels: PixelFormat, card: dict[str, Any]) -> bytes:
    """The content of a `.bbc` file: the model's layers are frozen, checked against their bounds, and tested.

    config: the family's frozen dataclass, with `channels` and `levels`. The known answers are those of the safe path.
    Raises BadCodecFile if a bound is broken, InexactArithmetic if not even the safe path gives the images back.
    """
    set_exact(model, True)
    tensors = {}
    for name, part in exact_parts(model).items():
        part.freeze()
        tensors.update({f"{name}.{key}": value.contiguous() for key, value in part.stored().items()})
    about = {"format": FORMAT, "family": family_name, "config": asdict(config), "pixels": asdict(pixels)}
    blank = CodecFile("new", b"", family_name, pixels.channels, pixels.levels, b"")
    codec = Codec(model, pixels, blank, torch.device("cpu"))
    codec.set_safe(True)
    known = answers(codec)
    codec.set_safe(False)
    if WRONG in known:
        raise InexactArithmetic("the codec does not give its test images back, not even on the safe path")
    text = json.dumps({**about, "known_answers": known, "card": card}, sort_keys=True)
    content: bytes = save_tensors(tensors, {"bbcodec": text})
    return content


def load_codec(source: str | os.PathLike[str] | bytes, device: str = "auto") -> Codec:
    """A codec by shipped name, by path, or from the bytes of its file; tested on the device before it is used.

    device: `cpu`, `cuda`, or `auto`: CUDA where there is one. Raises MissingCodec, BadCodecFile, InexactArithmetic, and
    InputError where there is no such device.
    """
    about = parse_codec(source, "codec") if isinstance(source, bytes) else find_codec(source)
    check_device(device)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    header = codec_header(about.content)
    if header.get("format") != FORMAT:
        raise BadCodecFile(f"{about.name} is a codec file of version {header.get('format')}, not {FORMAT}")
    try:
        model = family(about.family)(header["config"]).to(place)
        if (header["config"]["channels"], header["config"]["levels"]) != (about.channels, about.levels):
            raise ValueError(f"{about.channels} channels of {about.levels} levels are not those of its model")
        tensors = load_tensors(about.content)
        for name, part in exact_parts(model).items():
            part.load_stored(**{key: tensors.pop(f"{name}.{key}") for key in part.stored_names})
        expected = list(header["known_answers"])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise BadCodecFile(f"{about.name} is not a whole codec file: {type(error).__name__}, {error}") from None
    if tensors:
        raise BadCodecFile(f"{about.name} holds tensors that its model does not have, {min(tensors)} for one")
    codec = Codec(model, PixelFormat(about.channels, about.levels), about, place)
    with one_thread():
        check_answers(codec, expected)
    return codec


def codec_header(content: bytes) -> dict[str, Any]:
    """What a codec file says of itself. The file was parsed by `parse_codec` before."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["bbcodec"])
    return header
