"""The folder of a training run: checkpoint, log, plots and best codec, and a lock against a second process."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from bbcodec.atomic_files import new_file
from bbcodec.codec.file import load_codec
from bbcodec.errors import BadCodecFile, InexactArithmetic, InputError, MissingCodec, OutputError, TargetExists

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs in one folder are not detected
    fcntl = None  # type: ignore[assignment]

FILES = (
    *("checkpoint.pt", "checkpoint.part", "log.jsonl", "log.part"),
    *("curves.png", "samples.png", "model.png", "best.bbc", "card.md"),
)


class WorkFolder:
    """The files of a run, and a lock that one process at a time can hold."""

    def __init__(self, output: Path) -> None:
        """output: the codec; the folder of my.bbc is my.training beside it."""
        self.path = output.with_suffix(".training")
        self._lock: IO[bytes] | None = None

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint, all that a run needs to be resumed."""
        return self.path / "checkpoint.pt"

    @property
    def log(self) -> Path:
        """Path of the log: a JSON object a line, each with `kind` and `step`."""
        return self.path / "log.jsonl"

    @property
    def best(self) -> Path:
        """Path of the best codec so far."""
        return self.path / "best.bbc"

    def open(self, resume: bool, force: bool) -> bool:
        """Create or take over the folder, and lock it; whether there is a run to resume.

        Raises TargetExists for a run that is to be neither resumed nor replaced, or if another process trains there,
        and OutputError if the folder cannot be written.
        """
        try:
            return self._open(resume, force)
        except OSError as error:
            self.close()
            raise OutputError(f"the folder {self.path} cannot be written: {error.strerror}") from None
        except TargetExists:
            self.close()
            raise

    def _open(self, resume: bool, force: bool) -> bool:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / "lock", "wb")  # noqa: SIM115  # held for as long as the process lives
        self._take_lock()
        if self.checkpoint.exists() and not resume:
            if not force:
                raise TargetExists(
                    f"{self.path} holds a run: --resume continues it, --force discards it and starts over"
                )
            for path in self.path.iterdir():
                if path.name in FILES:
                    path.unlink()
        return self.checkpoint.exists()

    def _take_lock(self) -> None:
        if fcntl is None or self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TargetExists(f"another process is training in {self.path}: wait, or choose another output") from None

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()  # the file stays: if it were removed, two processes could hold locks of that name
            self._lock = None

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint beside the old one, then replace that. Raises OutputError."""
        part = self.checkpoint.with_suffix(".part")
        try:
            with open(part, "wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
            with suppress(OSError):
                part.unlink()
            reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["no reason given"])[0]
            raise OutputError(f"{self.checkpoint} cannot be written: {reason}") from None

    def holds_codec(self) -> bool:
        """Whether the best codec so far is there and undamaged."""
        try:
            load_codec(self.best, device="cpu")
        except (MissingCodec, BadCodecFile, InexactArithmetic, InputError):
            return False
        return True

    def load(self) -> dict[str, Any]:
        """The state in the checkpoint, on the CPU. Raises InputError for anything else."""
        try:
            with warnings.catch_warnings(action="ignore"):  # advice that is for trusted files
                state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        except Exception as error:  # damaged pickles raise exceptions of any type
            raise InputError(
                f"the checkpoint {self.checkpoint} cannot be read ({type(error).__name__}); --force starts over"
            ) from None
        if not isinstance(state, dict):
            raise InputError(f"{self.checkpoint} is not a checkpoint; --force starts over")
        return state

    def append(self, line: dict[str, Any]) -> None:
        """Append a line to the log. Raises OutputError."""
        try:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"{self.log} cannot be written: {error.strerror}") from None

    def lines(self) -> list[dict[str, Any]]:
        """The log, without damaged lines."""
        if not self.log.is_file():
            return []
        found = []
        for text in self.log.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(text))
        return [line for line in found if isinstance(line, dict) and {"kind", "step"} <= line.keys()]

    def forget_after(self, step: int) -> None:
        """Drop the lines of later steps, which will be repeated. Raises OutputError."""
        kept = [line for line in self.lines() if line.get("step", 0) <= step]
        part = self.log.with_suffix(".part")
        try:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            part.replace(self.log)
        except OSError as error:
            raise OutputError(f"{self.log} cannot be written: {error.strerror}") from None


def write_whole(path: Path, content: bytes, force: bool = True) -> None:
    """Write a file that appears only when it is complete. Raises OutputError, or TargetExists without `force`."""
    with new_file(path, force) as (_, stream):
        stream.write(content)
