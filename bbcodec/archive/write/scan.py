"""What is found to be archived: entries sorted by name, which of them are copies, and their bytes."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.names import check_names, printable
from bbcodec.errors import BBCodecError, InputError, TargetExists
from bbcodec.options import PathLike
from bbcodec.remote import FILE_MODE, FOLDER_MODE, is_url, list_url

BLOCK_BYTES: Final = 512  # of what the system counts of a file on the disk
HOLE_BYTES: Final = 2**16  # from which holes are told
TOLD_NAMES: Final = 3  # in a line


@dataclass(frozen=True)
class ScannedEntry:
    """A file, a link or a folder to be archived. path: or the URL, of a file that workers open. target: of a link.

    signature: what tells whether a file has changed since (`changes`).
    """

    name: bytes
    path: str
    file_type: Literal["file", "link", "folder"]
    size: int
    modified_ns: int
    permissions: int
    target: bytes = b""
    signature: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scan:
    """Entries sorted by name; `skipped` says, a line each, what was left out and why.

    lost: the names of those among them that were there at first, but could not be read.
    """

    entries: list[ScannedEntry]
    skipped: list[str] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)

    def without(self, reasons: Mapping[int, str]) -> Scan:
        """The scan without files that cannot be read any more. reasons: why, by number."""
        entries = [entry for number, entry in enumerate(self.entries) if number not in reasons]
        lines = [f"{self.entries[number].path}: {why}: left out" for number, why in sorted(reasons.items())]
        names = [self.entries[number].name for number in sorted(reasons)]
        return Scan(entries, self.skipped + lines, self.lost + names)


def signature_of(about: os.stat_result) -> tuple[int, ...]:
    """What another file in the same place, or another content, changes."""
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def without_known(found: Scan, known: Iterable[Entry], archive: str) -> tuple[Scan, str]:
    """What an archive does not hold yet, and a line on what it does: files of the same name, size and time.

    Raises TargetExists for other files of names that it holds, and InputError where names exclude each other.
    """
    held = {entry.name: entry for entry in known}
    new = [entry for entry in found.entries if not _is_known(entry, held.get(entry.name), archive)]
    folders = {entry.name: entry.form == "folder" for entry in held.values()}
    folders |= {entry.name: entry.file_type == "folder" for entry in new}
    try:
        check_names(sorted(folders.items()))
    except BBCodecError as error:
        raise InputError(f"these files cannot be in {archive}: {error}") from None
    count = sum(entry.file_type != "folder" for entry in found.entries) - sum(
        entry.file_type != "folder" for entry in new
    )
    are = "file is" if count == 1 else "files are"
    return Scan(new, found.skipped), f"{count:,} {are} in {archive} already" if count else ""


def _is_known(entry: ScannedEntry, held: Entry | None, archive: str) -> bool:
    """Whether an archive holds an entry, whose name it gives to `held`. Raises TargetExists for another one."""
    if held is None:
        return False
    if entry.file_type == "folder" and held.form == "folder":
        return True
    same_type = (entry.file_type == "folder", entry.file_type == "link") == (held.form == "folder", held.form == "link")
    size = len(entry.target) if entry.file_type == "link" else entry.size
    if same_type and (size, entry.modified_ns) == (held.size, held.modified_ns):
        return True
    raise TargetExists(
        f"{archive} holds another {printable(entry.name)}, of {held.size} bytes: give the new one another name, "
        "exclude it, or compress into another archive"
    )


# --- finding files ---------------------------------------------------------------------------------------------------


def scan(inputs: Sequence[PathLike], output: Path | None = None, exclude: Sequence[str] = ()) -> Scan:
    """Everything under `inputs`, sorted by name. Names are relative to a single folder; several inputs keep theirs.

    exclude: shell patterns. An entry is left out where its name, or the last part of it, matches one; with a folder
    goes all that is in it. Links are not followed, except an input itself. Raises InputError for inputs that are
    missing, unreadable or empty.
    """
    if not inputs:
        raise InputError("nothing to compress: no input was given")
    found: dict[bytes, ScannedEntry] = {}
    skipped: list[str] = []
    odd = Oddities()
    alone = len(inputs) == 1 and os.path.isdir(inputs[0])
    for source in inputs:
        if is_url(source):
            _add(found, _listed(str(source), exclude, alone=len(inputs) == 1))
            continue
        top = os.path.realpath(source)
        name = b"" if alone else os.fsencode(os.path.basename(os.path.abspath(source)))
        if not os.path.exists(top):
            raise InputError(f"there is no file or folder {str(source)!r}")
        if not name and not alone:
            raise InputError(f"{str(source)!r} has no name of its own: compress it alone, or name the folders in it")
        walked = _walk(top, name, skipped, odd, exclude)
        _add(found, (one for one in walked if output is None or not _same_file(one.path, output)))
    entries = [found[name] for name in sorted(found)]
    _refuse_clashes(entries)
    if not entries:
        why = "is empty, or all of it is excluded" if exclude else "is empty"
        raise InputError(f"nothing to compress: {', '.join(repr(str(source)) for source in inputs)} {why}")
    return Scan(entries, [*skipped, *odd.lines()])


def _add(found: dict[bytes, ScannedEntry], entries: Iterable[ScannedEntry]) -> None:
    for entry in entries:
        if entry.name in found:
            raise InputError(f"two inputs would both be called {printable(entry.name)} in the archive: rename one")
        found[entry.name] = entry


def _listed(url: str, exclude: Sequence[str], *, alone: bool) -> Iterator[ScannedEntry]:
    """The files at a URL, which workers open, and the folders that they lie in: as if copied here and found then."""
    own, listed = list_url(url)
    folders: set[str] = set()
    for name, entry in listed.items():
        if entry.size is None:
            raise InputError(f"{url}: its server does not say how long it is: copy it here first")
        if "::" in name:
            raise InputError(f"{url} holds {name!r}, which no URL can name: copy it here first")
        parts = name.split("/") if name and alone else [own, *filter(None, name.split("/"))]
        above = ["/".join(parts[: depth + 1]) for depth in range(len(parts) - 1)]
        whole = "/".join(parts)
        if any(_excluded(os.fsencode(one), exclude) for one in (*above, whole)):
            continue
        folders.update(above)
        place = f"{url.rstrip('/')}/{name}" if name else url
        yield ScannedEntry(os.fsencode(whole), place, "file", entry.size, entry.modified_ns, FILE_MODE)
    for folder in sorted(folders):
        yield ScannedEntry(os.fsencode(folder), url, "folder", 0, 0, FOLDER_MODE)


class Oddities:
    """What archives do not keep of files, to be told: special permissions, hard links, holes."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._special: list[str] = []
        self._linked: list[str] = []
        self._sparse: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def note(self, path: str, about: os.stat_result) -> None:
        """Note what is odd about a file or a folder."""
        if stat.S_IMODE(about.st_mode) & 0o7000:
            self._special.append(path)
        if stat.S_ISREG(about.st_mode):
            place = about.st_dev, about.st_ino
            if about.st_nlink > 1 and place in self._seen:
                self._linked.append(path)
            if about.st_nlink > 1:
                self._seen.add(place)
            if about.st_size - BLOCK_BYTES * getattr(about, "st_blocks", about.st_size) > HOLE_BYTES:
                self._sparse.append(path)

    def lines(self) -> Iterator[str]:
        """A line for each kind."""
        yield from _told(self._special, "setuid, setgid and sticky bits are not kept")
        yield from _told(self._linked, "hard links are restored as files of their own")
        yield from _told(self._sparse, "holes of sparse files are restored as zeros")


def _told(paths: list[str], what: str) -> Iterator[str]:
    more = f" and {len(paths) - TOLD_NAMES} more" if len(paths) > TOLD_NAMES else ""
    if paths:
        yield f"{', '.join(sorted(paths)[:TOLD_NAMES])}{more}: {what}"


def _walk(path: str, name: bytes, skipped: list[str], odd: Oddities, exclude: Sequence[str]) -> Iterator[ScannedEntry]:
    """The entry at `path`, and those below it; `name` is its name in the archive, empty at the top."""
    waiting = [(path, name)]  # no recursion: folders may be nested deeper than Python calls
    while waiting:
        path, name = waiting.pop()
        if not _excluded(name, exclude):
            for found in _look(path, name, skipped, odd):
                if isinstance(found, ScannedEntry):
                    yield found
                else:
                    waiting.append(found)


def _look(path: str, name: bytes, skipped: list[str], odd: Oddities) -> Iterator[ScannedEntry | tuple[str, bytes]]:
    """The entry at `path`, and path and name of each that lies in it, the last one first."""
    try:
        about = os.lstat(path)
        permissions, signature = stat.S_IMODE(about.st_mode) & 0o777, signature_of(about)
        entry = ScannedEntry(name, path, "file", about.st_size, about.st_mtime_ns, permissions, signature=signature)
        if name and not stat.S_ISLNK(about.st_mode):
            odd.note(path, about)
        if stat.S_ISREG(about.st_mode):
            yield entry
        elif stat.S_ISLNK(about.st_mode):
            target = os.fsencode(os.readlink(path))
            yield replace(entry, file_type="link", size=len(target), target=target)
        elif stat.S_ISDIR(about.st_mode):
            children = sorted(os.listdir(path))
            if name:
                yield replace(entry, file_type="folder", size=0)
            for child in reversed(children):
                below = os.fsencode(child)
                yield os.path.join(path, child), name + b"/" + below if name else below
        else:
            skipped.append(f"{path}: neither file, folder nor link: left out")
    except FileNotFoundError:
        return  # it went before it was found
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def _excluded(name: bytes, exclude: Sequence[str]) -> bool:
    """Whether a name, or its last part, matches a pattern."""
    whole = os.fsdecode(name)
    last = whole.rpartition("/")[2]
    return any(fnmatchcase(whole, pattern.rstrip("/")) or fnmatchcase(last, pattern.rstrip("/")) for pattern in exclude)


def _same_file(path: str, output: Path) -> bool:
    return output.exists() and os.path.exists(path) and os.path.samefile(path, output)


def _refuse_clashes(entries: list[ScannedEntry]) -> None:
    """Two inputs may not give the same name to a file and to a folder."""
    names = {entry.name for entry in entries if entry.file_type != "folder"}
    for name in names:
        parts = name.split(b"/")
        for depth in range(1, len(parts)):
            if b"/".join(parts[:depth]) in names:
                raise InputError(f"two inputs would both be called {printable(parts[0])} in the archive: rename one")


# --- equal files -----------------------------------------------------------------------------------------------------


def of_one_size(entries: Sequence[ScannedEntry]) -> list[list[int]]:
    """The numbers of files that may be equal: two or more of one size.

    An array file is a copy of another array file only: its name says how it is stored and restored.
    """
    alike: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.file_type == "file" and entry.size > 0:
            alike[entry.size, array_suffix(entry.path)].append(number)
    return [numbers for numbers in alike.values() if len(numbers) > 1]


def find_copies(entries: Sequence[ScannedEntry], digest_of: Callable[[str], bytes] | None = None) -> dict[int, int]:
    """Files whose bytes are those of an earlier one: their number, and that of the first with these bytes.

    digest_of: `file_digest` of a path, by default.
    """
    copies: dict[int, int] = {}
    for numbers in of_one_size(entries):
        first: dict[bytes, int] = {}
        for number in numbers:
            digest = (digest_of or file_digest)(entries[number].path)
            if first.setdefault(digest, number) != number:
                copies[number] = first[digest]
    return copies


def array_suffix(path: str) -> str:
    """How the name of an array file ends; empty for other files."""
    suffix = path[-4:].lower()
    return suffix if suffix in (".npy", ".npz") else ""


def file_digest(path: str) -> bytes:
    """BLAKE2b of a file's bytes, 32 bytes. Raises InputError."""
    state = blake2b(digest_size=32)
    try:
        with open(path, "rb") as stream:
            while piece := stream.read(2**20):
                state.update(piece)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return state.digest()
