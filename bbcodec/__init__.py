"""Lossless image compression with latent variable models, bits-back ANS and exact arithmetic.

>>> import bbcodec
>>> bbcodec.compress("images/", "out.bb")                 # doctest: +SKIP
>>> with bbcodec.open("out.bb") as archive:               # doctest: +SKIP
...     image = archive["cats/01.png"]
>>> codec = bbcodec.load_codec("my.bbc")                  # doctest: +SKIP

Importing bbcodec imports neither torch nor numba: these come with the first codec that is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bbcodec.archive.compress import compress
    from bbcodec.archive.dataset import ArchiveDataset, ChunkBatches
    from bbcodec.archive.read.archive import Archive, decompress, verify
    from bbcodec.archive.read.archive import open_archive as open
    from bbcodec.archive.recovery_blocks import repair
    from bbcodec.archive.sharding import join_archives as join
    from bbcodec.codec.codec import Codec
    from bbcodec.codec.file import load_codec
    from bbcodec.options import Limits

__version__ = "0.1.0"

__all__ = [
    "Archive", "ArchiveDataset", "ChunkBatches", "Codec", "Limits", "__version__", "compress", "decompress",
    "join", "load_codec", "open", "repair", "verify",
]  # fmt: skip

_HOMES = {
    "Archive": ("bbcodec.archive.read.archive", "Archive"),
    "ArchiveDataset": ("bbcodec.archive.dataset", "ArchiveDataset"),
    "ChunkBatches": ("bbcodec.archive.dataset", "ChunkBatches"),
    "Codec": ("bbcodec.codec.codec", "Codec"),
    "Limits": ("bbcodec.options", "Limits"),
    "compress": ("bbcodec.archive.compress", "compress"),
    "decompress": ("bbcodec.archive.read.archive", "decompress"),
    "join": ("bbcodec.archive.sharding", "join_archives"),
    "load_codec": ("bbcodec.codec.file", "load_codec"),
    "open": ("bbcodec.archive.read.archive", "open_archive"),
    "repair": ("bbcodec.archive.recovery_blocks", "repair"),
    "verify": ("bbcodec.archive.read.archive", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bbcodec' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
