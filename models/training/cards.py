"""What a trained codec is worth and what it was made from: the measured codec file, and its card as a page."""

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
from bbcodec.errors import OutputError
from bbcodec.images.codings import coding_named
from bbcodec.models.families import Family, TrainableModel
from bbcodec.report.byte_counts import Purpose, count_bytes

MEASURED_PIXELS = 2**20  # of held-out images that are coded to measure a codec: a few seconds of work


def packed(model: TrainableModel, family: Family, config: Any, pixels: PixelFormat, card: dict[str, Any]) -> bytes:
    """The codec file of a model that goes on learning: a copy is frozen."""
    return save_codec(deepcopy(model), family.name, config, pixels, card)


def with_measured_card(content: bytes, family: Family, config: Any, held_out: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """The codec file again, with what its messages of held-out images (H, W, C) take, in bits/dim, in its card."""
    codec = load_codec(content, device="cpu")
    some = measured_images(held_out)
    told = f"{len(some)} held-out images, whole" if len(some) > 1 else "one held-out image, whole"
    card = {**codec.card, "validation": told, "bits_per_dim": round(coded_bits_per_dim(codec, some), 4)}
    return save_codec(codec.model, family.name, config, codec.pixels, card)


def measured_images(images: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """As many of the images as have `MEASURED_PIXELS` together, at least one."""
    some: list[np.ndarray[Any, Any]] = []
    pixels = 0
    for image in images:
        pixels += image.shape[0] * image.shape[1]
        if some and pixels > MEASURED_PIXELS:
            break
        some.append(image)
    return some


def coded_bits_per_dim(codec: Codec, images: Sequence[np.ndarray[Any, Any]]) -> float:
    """Bits/dim of messages: one for images of one size, else one for each."""
    alike = len({image.shape for image in images}) == 1
    batches = [np.stack(images)] if alike else [image[None] for image in images]
    return sum(8 * len(codec.encode_message(one)) for one in batches) / sum(one.size for one in batches)


def file_bits_per_dim(images: Sequence[np.ndarray[Any, Any]], levels: int, coding: str) -> float:
    """Bits/dim of the images (H, W, C) as files, `webp` or `png`, one each. What WebP does not take counts as PNG."""
    total = 0
    for image in images:
        try:
            total += len(coding_named(coding).encode(image, levels))
        except ValueError:
            total += len(coding_named("png").encode(image, levels))
    return 8 * total / sum(image.size for image in images)


def archive_bits_per_dim(images: Sequence[np.ndarray[Any, Any]]) -> float | None:
    """Bits/dim of the images (H, W, C) in an archive without a codec, without its container, as messages have none.

    Images of one size are one array, large ones PNG files, of which `compress` makes tiles. None where no temporary
    file can be written.
    """
    large = [image for image in images if image.shape[0] * image.shape[1] > MEASURED_PIXELS]
    stacks: dict[tuple[int, ...], list[np.ndarray[Any, Any]]] = defaultdict(list)
    for image in images:
        if image.shape[0] * image.shape[1] <= MEASURED_PIXELS:
            stacks[image.shape].append(image)
    try:
        with tempfile.TemporaryDirectory(prefix="bbcodec-") as place:
            folder = Path(place)
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
    """The card as a page of Markdown."""
    about = {**card, "file": f"{n_bytes:,} bytes"}
    rows = "".join(f"| {key} | {value} |\n" for key, value in about.items())
    sizes = "".join(f"| {key} | {value} |\n" for key, value in asdict(config).items())
    return (
        f"# {name}\n\n| | |\n| --- | --- |\n{rows}\nBits/dim are those of coded messages, without a container. "
        f"Made by {recipe}.\n\n| model | {family.name} |\n| --- | --- |\n{sizes}"
    )
