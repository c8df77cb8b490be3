"""Writing files that appear under their final names only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bbcodec.errors import OutputError, TargetExists


def refuse_existing(target: Path, force: bool) -> None:
    """Raise OutputError if `target` is a folder, TargetExists if it exists and `force` is not set."""
    if target.is_dir():
        raise OutputError(f"{target} is a folder; expected the name of a file")
    if os.path.lexists(target) and not force:
        raise TargetExists(f"{target} exists; use --force to overwrite it")


def check_new_file(target: Path, force: bool) -> None:
    """Raise TargetExists or OutputError if `new_file` would: a check before long work."""
    refuse_existing(target, force)
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {target.parent}")


@contextmanager
def new_file(target: Path, force: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """Path and stream of a temporary file beside `target`, renamed to it on success, else removed.

    Raises TargetExists or OutputError.
    """
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
