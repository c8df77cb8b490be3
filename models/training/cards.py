"""Measurements of a trained codec, and its card: what it is made from, and what it achieves."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bbcodec.archive.compress import compress
from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.stored import with_card
from bbcodec.errors import OutputError
from bbcodec.images.codings import coding_named
from bbcodec.models.families import Family, TrainableModel
from bbcodec.report.byte_counts import Purpose, count_bytes

MEASURED_PIXELS = 2**20  # of held-out images coded to measure a codec: takes a few seconds


def packed(model: TrainableModel, family: Family, config: Any, pixels: PixelFormat, card: dict[str, Any]) -> bytes:
    """The codec file of a copy of a model, which may be trained further."""
    return save_codec(deepcopy(model), family.name, config, pixels, card)


def with_measured_card(content: bytes, held_out: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """The codec file with the bits/dim of its messages of held-out images (H, W, C) in its card."""
    codec = load_codec(content, device="cpu")
    some = measured_images(held_out)
    described = f"{len(some)} held-out images, whole" if len(some) > 1 else "one held-out image, whole"
    card = {**codec.card, "validation": described, "bits_per_dim": round(coded_bits_per_dim(codec, some), 4)}
    return with_card(content, card)


def measured_images(images: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """The first images with at most `MEASURED_PIXELS` in all, at least one image."""
    some: list[np.ndarray[Any, Any]] = []
    pixels = 0
    for image in images:
        pixels += image.shape[0] * image.shape[1]
        if some and pixels > MEASURED_PIXELS:
            break
        some.append(image)
    return some


def coded_bits_per_dim(codec: Codec, images: Sequence[np.ndarray[Any, Any]]) -> float:
    """Bits/dim of the messages of images: a single one if all have one size, otherwise one for each."""
    one_size = len({image.shape for image in images}) == 1
    batches = [np.stack(images)] if one_size else [image[None] for image in images]
    return sum(8 * len(codec.encode_message(one)) for one in batches) / sum(one.size for one in batches)


def file_bits_per_dim(images: Sequence[np.ndarray[Any, Any]], levels: int, coding: str) -> float:
    """Bits/dim of the images (H, W, C) as `webp` or `png` files. Images too large for WebP count as PNG."""
    total = 0
    for image in images:
        try:
            total += len(coding_named(coding).encode(image, levels))
        except ValueError:
            total += len(coding_named("png").encode(image, levels))
    return 8 * total / sum(image.size for image in images)


def archive_bits_per_dim(images: Sequence[np.ndarray[Any, Any]]) -> float | None:
    """Bits/dim of the images (H, W, C) in an archive without a codec; its container is not counted, as with messages.

    Images of one size are one array; large ones are PNG files, which `compress` cuts into tiles. None if no temporary
    file can be written.
    """
    large = [image for image in images if image.shape[0] * image.shape[1] > MEASURED_PIXELS]
    stacks: dict[tuple[int, ...], list[np.ndarray[Any, Any]]] = defaultdict(list)
    for image in images:
        if image.shape[0] * image.shape[1] <= MEASURED_PIXELS:
            stacks[image.shape].append(image)
    try:
        with tempfile.TemporaryDirectory(prefix="bbcodec-") as name:
            folder = Path(name)
            for number, stack in enumerate(stacks.values()):
                np.save(folder / f"{number}.npy", np.stack(stack))
            for number, image in enumerate(large):
                Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).save(folder / f"{number}.png")
            compress(sorted(folder.iterdir()), folder / "images.bb", codec="none", verify=False)
            counts = count_bytes(folder / "images.bb")
    except (OSError, OutputError):
        return None
    container = sum(counts.by_purpose[part] for part in (Purpose.HEADS, Purpose.DIRECTORIES, Purpose.SKELETONS))
    return 8 * (counts.archive_bytes - container) / sum(image.size for image in images)


def card_page(name: str, card: Mapping[str, Any], family: Family, config: Any, n_bytes: int, recipe: str) -> str:
    """The card as Markdown. recipe: the command that trained the codec."""
    about = {**card, "file": f"{n_bytes:,} bytes"}
    rows = "".join(f"| {key} | {value} |\n" for key, value in about.items())
    sizes = "".join(f"| {key} | {value} |\n" for key, value in asdict(config).items())
    return (
        f"# {name}\n\n| | |\n| --- | --- |\n{rows}\nBits/dim are those of coded messages, without a container. "
        f"Made by {recipe}.\n\n| model | {family.name} |\n| --- | --- |\n{sizes}"
    )
