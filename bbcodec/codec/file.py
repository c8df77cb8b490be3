"""Codecs saved and loaded: on the engine, or else with PyTorch, whichever passes the known-answer test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bbcodec.codec.backend import Backend
from bbcodec.codec.catalogue import find_codec, parse_codec
from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.device import check_device, one_thread
from bbcodec.codec.engine_backend import engine_backend
from bbcodec.codec.known_answers import Difference, answers, difference
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import BadCodecFile, CoderError, InexactArithmetic

if TYPE_CHECKING:
    from bbcodec.model.latent_model import LatentModel


def save_codec(model: LatentModel, family_name: str, config: Any, pixels: PixelFormat, card: dict[str, Any]) -> bytes:
    """The content of a `.bbc` file; freezes the model's layers, checks them against their bounds, and tests them.

    config: the family's frozen dataclass, with the `channels` and `levels` that a network sees of the pixels. The known
    answers are those of the safe path; the engine restores the images from them, where there is one, else that path.
    Raises BadCodecFile if a bound is broken, InexactArithmetic if neither restores the images.
    """
    import torch

    from bbcodec.codec.torch_backend import TorchBackend, frozen_tensors

    tensors = frozen_tensors(model)
    network = TorchBackend(model, torch.device("cpu"))
    network.set_safe(True)
    try:
        with one_thread():
            known = answers(network, pixels.seen)
            stored = StoredCodec("new", family_name, asdict(config), pixels, known, card, tensors)
            ways = (one for one in (engine_backend(stored, "cpu"), network) if one is not None)
            restored = any(difference(one, pixels.seen, known) is None for one in ways)
    except CoderError:
        restored = False
    finally:
        network.set_safe(False)
    if not restored:
        raise InexactArithmetic("not even the safe path restores the codec's test images")
    return stored.pack()


def load_codec(
    source: str | os.PathLike[str] | bytes,
    device: str = "auto",
    engine: bool = True,
    check: Callable[[StoredCodec], None] | None = None,
) -> Codec:
    """A codec by shipped name, by path, or from the bytes of its file, after a known-answer test.

    device: `cpu`, `cuda`, or `auto`: the CPU for codecs that have an engine, for others CUDA where there is one.
    engine: take the engine where there is one; else the network, which more can be asked of than messages.
    check: sees what the file holds before anything is built of it, and may raise (`bbcodec.codec.cost`).

    Raises MissingCodec, BadCodecFile, InexactArithmetic, and InputError where there is no such device.
    """
    about = parse_codec(source, "codec") if isinstance(source, bytes) else find_codec(source)
    check_device(device)
    stored = StoredCodec.read(about)
    if check:
        check(stored)
    before: Difference | None = None
    for backend in _backends(stored, device, engine):
        with one_thread():
            found = difference(backend, stored.pixels.seen, stored.known_answers, before)
        if found is None:
            return Codec(backend, stored.pixels, about, lambda: load_codec(about.content, "cpu", check=check).backend)
        if found == before:  # a third would agree: a stranger's file could cost three tests for nothing
            if not found.found:
                break
            raise BadCodecFile(
                f"codec {about.name} fails its known-answer test: two ways of computing agree on another answer, "
                "so its file is damaged, or its answers were never computed"
            )
        before = found
    raise InexactArithmetic(
        f"codec {about.name} fails its known-answer test on {backend.device}, also on the safe path; "
        "messages from this machine could not be decoded elsewhere (or the codec file is damaged)"
    )


def _backends(stored: StoredCodec, device: str, engine: bool) -> Iterator[Backend]:
    """What can compute a codec, fastest first; each is asked for once those before it have failed the test."""
    compiled = engine_backend(stored, device) if engine else None
    if compiled is not None:
        yield compiled
    from bbcodec.codec.torch_backend import torch_backend

    network = torch_backend(stored, device)
    for safe in (False, True):
        network.set_safe(safe)
        yield network
