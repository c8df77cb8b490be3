"""Writing single files: they appear under their final names when they are whole, and only where they may."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bbcodec.errors import OutputError, TargetExists


def refuse_existing(target: Path, force: bool) -> None:
    """Raise TargetExists unless `target` may be written, OutputError where it is a folder."""
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file")
    if os.path.lexists(target) and not force:
        raise TargetExists(f"{target} exists; use --force to overwrite it")


def check_new_file(target: Path, force: bool) -> None:
    """What can be told of `new_file` before long work: raises TargetExists or OutputError."""
    refuse_existing(target, force)
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {target.parent}")


@contextmanager
def new_file(target: Path, force: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """Path and stream of a temporary file beside `target`; it gets that name when all went well, else it is removed."""
    refuse_existing(target, force)
    path: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
        path = Path(name)
        with open(handle, "w+b") as stream:
            yield path, stream
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)
        refuse_existing(target, force)
        os.replace(path, target)
        path = None
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()
