"""Finished parts of a job in a folder of their own, so that a job that is killed and started again goes on.

A part is the result of one task, under a name made of all that it follows from: the bytes of the files, how they may be
stored, the codecs, and the versions of what codes. So a part is never that of other input, wherever it comes from.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL

from bbcodec.archive.write.carried import carried
from bbcodec.archive.write.coded import CodedFiles
from bbcodec.archive.write.encode import CodedPart, encode_task
from bbcodec.archive.write.tasks import BytesTask, ImageTask, Task
from bbcodec.codec.pool import CodecPool
from bbcodec.errors import InputError, OutputError
from bbcodec.images.codings import CODINGS
from bbcodec.images.codings.base import FileCoding
from bbcodec.options import PathLike
from bbcodec.remote import file_system, is_url, one_line

MARK: Final = "about.txt"  # in a folder of parts, and nowhere else
ABOUT: Final = b"Finished parts of a job of bbcodec compress --parts, which removes them when its archive is whole.\n"
PART: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{38}\.part")
DIGEST_BYTES: Final = 20  # of a name, and of what is in a part
# What a part may hold. Whoever can write parts cannot make this process call anything else.
CLASSES: Final = {
    ("bbcodec.archive.write.array_parts", "CodedArrayPart"), ("bbcodec.archive.write.array_parts", "SizedChunk"),
    ("bbcodec.archive.write.array_parts", "StoredImages"), ("bbcodec.archive.write.candidates", "Candidate"),
    ("bbcodec.archive.write.coded", "ChunkPiece"), ("bbcodec.archive.write.coded", "CodedFiles"),
    ("bbcodec.archive.write.coded", "DraftChunk"), ("bbcodec.archive.write.coded", "SharedPiece"),
    ("bbcodec.archive.write.coded", "StoredFile"), ("bbcodec.archive.write.image_tiles", "CodedTile"),
    ("bbcodec.archive.write.tasks", "ImageDescription"), ("bbcodec.images.array_views", "ArrayView"),
    ("bbcodec.images.formats.base", "Outline"), ("bbcodec.images.npy", "MemberLayout"),
    ("bbcodec.options", "StorageOptions"), ("numpy", "dtype"), ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """A folder of parts, a path or a URL, that all workers see."""

    folder: str

    def path(self, key: str) -> str:
        """Where the part of this name lies."""
        return f"{self.folder}/{key[:2]}/{key[2:]}.part"

    def get(self, key: str) -> Any:
        """What is in a part; None where it is not there, or damaged. Raises OutputError."""
        system, path = file_system(self.path(key))
        try:
            data = system.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.failed(error) from None
        if data[:DIGEST_BYTES] != _digest(key.encode() + data[DIGEST_BYTES:]):
            return None
        try:
            return _Reader(io.BytesIO(data[DIGEST_BYTES:])).load()
        except Exception:  # made by somebody else, as its digest holds
            return None

    def put(self, key: str, content: Any) -> None:
        """Write a part. Raises OutputError, also where the folder is not there: workers do not make it."""
        payload = pickle.dumps(content, protocol=4)
        system, path = file_system(self.path(key))
        try:
            system.invalidate_cache()
            if not system.exists(file_system(f"{self.folder}/{MARK}")[1]):
                raise OutputError(f"there is no folder of parts {self.folder}: all workers must see the same")
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, _digest(key.encode() + payload) + payload)
        except OutputError:
            raise
        except Exception as error:
            raise self.failed(error) from None

    def failed(self, error: Exception) -> OutputError:
        """What to raise where the folder cannot be used."""
        return OutputError(f"the folder of parts {self.folder} cannot be used: {one_line(error)}")


@contextmanager
def parts_in(folder: PathLike | None, inputs: PathLike | Sequence[PathLike]) -> Iterator[Parts | None]:
    """A folder of parts, new or of a job that did not end; they go when the body is done, but stay where it fails.

    None is none. Raises InputError for a folder that holds something else, or lies in an input, or OutputError.
    """
    if folder is None:
        yield None
        return
    parts = Parts(os.fspath(folder).rstrip("/") if is_url(folder) else os.path.abspath(folder))
    _refuse_inside(parts.folder, [inputs] if isinstance(inputs, str | os.PathLike) else inputs)
    system, root = file_system(parts.folder)
    mark = f"{root}/{MARK}"
    try:
        system.invalidate_cache()
        if not system.exists(mark):
            if system.exists(root) and system.ls(root):
                raise InputError(f"{folder} is no folder of parts: expected a new one, or that of an earlier run")
            system.makedirs(root, exist_ok=True)
            system.pipe_file(mark, ABOUT)
    except InputError:
        raise
    except Exception as error:
        raise parts.failed(error) from None
    yield parts
    with suppress(Exception):  # the archive is whole
        system.invalidate_cache()
        found = [path for path in system.find(root) if PART.fullmatch(path.removeprefix(f"{root}/"))]
        for path in [*found, mark]:
            system.rm_file(path)
        for place in [*sorted({path.rpartition("/")[0] for path in found}), root]:
            system.rmdir(place)


def _refuse_inside(folder: str, inputs: Sequence[PathLike]) -> None:
    """Raise InputError for a folder of parts in a folder that is compressed."""
    for one in inputs:
        if is_url(folder) or is_url(one):
            inside = f"{folder}/".startswith(f"{os.fspath(one)}/")
        else:
            inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(one))
        if inside:
            raise InputError(f"the folder of parts {folder} lies in {os.fspath(one)}, which is compressed")


@dataclass(frozen=True)
class KeepingPool:
    """The codecs of a worker, and where it keeps what is done."""

    pool: CodecPool
    parts: Parts


def encode_or_take(keeping: CodecPool | KeepingPool, task: Task) -> CodedFiles | CodedPart:
    """A task, coded now, or by an earlier run whose parts were kept. Raises as `encode_task`, or OutputError."""
    if isinstance(keeping, CodecPool):
        return encode_task(keeping, task)
    task = carried(task, always=True)  # so that what is coded is what has the digest
    key = _key(task, [source.digest for source in keeping.pool.sources])
    entries = entries_of(task)
    found = keeping.parts.get(key)
    with suppress(KeyError, TypeError, ValueError):  # what is none, or made by somebody else
        before, coded = found
        return _renumbered(coded, dict(zip(before, entries, strict=True)))
    coded = encode_task(keeping.pool, task)
    keeping.parts.put(key, (entries, coded))
    return coded


def _key(task: Task, codecs: Sequence[bytes]) -> str:
    """The name of a part: of what its task is made of, codecs, and whatever else codes."""
    state = blake2b(digest_size=DIGEST_BYTES)
    for word in _words((_versions(), list(codecs), task)):
        state.update(word)
    return state.hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    codings = [coding.name for coding in CODINGS if isinstance(coding, FileCoding) and coding.installed()]
    return version("bbcodec"), PIL.__version__, np.__version__, platform.python_version(), *codings


def entries_of(task: Task) -> Sequence[int]:
    """The numbers of the entries of a task, which depend on what else is compressed."""
    if isinstance(task, ImageTask):
        return [file.entry for file in task.files]
    return [part.entry for part in task.parts] if isinstance(task, BytesTask) else [task.entry]


def _renumbered(coded: CodedFiles | CodedPart, numbers: dict[int, int]) -> CodedFiles | CodedPart:
    if isinstance(coded, CodedFiles):
        return replace(coded, files=[replace(file, entry=numbers[file.entry]) for file in coded.files])
    if isinstance(coded, CodedPart):
        return replace(coded, entry=numbers[coded.entry])
    raise TypeError("a part holds no result")


def _words(value: Any) -> Iterator[bytes]:
    """Bytes that differ where values do, but for the numbers of entries."""
    if isinstance(value, np.ndarray):
        yield from _words((value.dtype.str, value.shape, value.tobytes()))
    elif isinstance(value, bytes | str | int | float | None):
        data = value if isinstance(value, bytes) else repr(value).encode()
        yield b"%s %d:%s" % (type(value).__name__.encode(), len(data), data)
    else:
        items = _items(value)
        yield b"%s %d(" % (type(value).__name__.encode(), len(items))
        for item in items:
            yield from _words(item)


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for pair in value.items() for item in pair]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value) if field.name != "entry"]
    names = getattr(value, "_fields", None)
    if names is not None:
        return [getattr(value, name) for name in names if name != "entry"]
    if isinstance(value, list | tuple):
        return list(value)
    raise TypeError(f"a task holds a {type(value).__name__}, which has no digest")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


class _Reader(pickle.Unpickler):
    """Reads what results of tasks are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class that a part may hold. Raises UnpicklingError for others."""
        if (module, name) not in CLASSES:
            raise pickle.UnpicklingError(f"a part holds {module}.{name}")
        return super().find_class(module, name)
