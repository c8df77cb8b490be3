"""Archives as file systems of fsspec: the files that `decompress` restores, for whatever reads through fsspec."""

import os
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from folders import make_folder
from fsspec.implementations.memory import MemoryFileSystem

import bbcodec
from bbcodec.archive import file_system
from bbcodec.errors import InputError, NotAnArchive


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of one of everything as it is restored, and its archive."""
    top = tmp_path_factory.mktemp("packed")
    make_folder(top / "in")
    for path in (top / "in").rglob("*"):
        if path.is_symlink():
            path.unlink()
    os.symlink("notes.txt", top / "in" / "near")
    os.symlink("../notes.txt", top / "in" / "colour" / "up")
    os.symlink("nowhere", top / "in" / "broken")
    os.symlink("colour", top / "in" / "folder link")
    bbcodec.compress(top / "in", top / "out.bb", codec="none")
    bbcodec.decompress(top / "out.bb", top / "back")
    return top / "back", top / "out.bb"


@pytest.fixture
def system(packed):
    return fsspec.filesystem("bb", fo=str(packed[1]))


def test_files_are_those_that_are_restored(system, packed):
    folder, _ = packed
    wanted = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(system.find("")) == set(wanted)
    assert {"near", "colour/up"} < set(wanted)
    for name, path in wanted.items():
        assert system.cat_file(name) == path.read_bytes()
        assert system.isfile(name)
        assert system.info(name)["mtime"] == pytest.approx((folder / name).resolve().stat().st_mtime, abs=1)
    assert system.cat_file("notes.txt", start=2, end=-1) == wanted["notes.txt"].read_bytes()[2:-1]
    assert not system.exists("broken")
    assert not system.exists("folder link")


def test_folders_are_those_that_are_restored(system, packed):
    folder, _ = packed
    assert system.isdir("")
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            name = path.relative_to(folder).as_posix()
            assert system.isdir(name)
            assert {Path(one).name for one in system.ls(name, detail=False)} == set(os.listdir(path))
    assert system.glob("grey/*.png") == [f"grey/{n}.png" for n in range(6)]
    assert {name for _, _, files in system.walk("") for name in files} >= {"notes.txt", "0.png", "up"}


def test_urls_lead_into_archives(packed):
    folder, archive = packed
    url = f"memory://{uuid4().hex}/out.bb"
    fsspec.filesystem("memory").pipe_file(url, archive.read_bytes())
    for chained in (f"bb://notes.txt::{url}", f"bb://notes.txt::file://{archive}", f"bb://notes.txt::{archive}"):
        with fsspec.open(chained, "rt") as stream:
            assert stream.read() == (folder / "notes.txt").read_text()
    with fsspec.open(f"bb://stack.npy::{url}") as stream:
        assert np.array_equal(np.load(stream), np.load(folder / "stack.npy"))
    bbcodec.compress(f"bb://grey::{url}", folder.parent / "again.bb", codec="none", exact_files=True)
    with bbcodec.open(folder.parent / "again.bb") as again:
        assert again.read_bytes("3.png") == (folder / "grey" / "3.png").read_bytes()


def test_options_reach_the_file_system_of_the_archive(packed):
    asked = []

    class Asking(MemoryFileSystem):
        protocol = "asking"
        cachable = False

        def __init__(self, **options):
            asked.append(options.get("key"))
            super().__init__(**options)

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("asking:/"))

    fsspec.register_implementation("asking", Asking, clobber=True)
    fsspec.filesystem("memory").pipe_file("memory://asked/out.bb", packed[1].read_bytes())
    system = fsspec.filesystem("bb", fo="asking://asked/out.bb", target_options={"key": "secret"})
    assert system.cat_file("notes.txt").startswith(b"hello")
    assert set(asked) == {"secret"}


def test_large_files_do_not_fill_the_memory(system, packed, monkeypatch):
    monkeypatch.setattr(file_system, "IN_MEMORY", 10)
    with system.open("notes.txt") as stream:
        assert stream.fileno() > 0
        assert stream.read() == (packed[0] / "notes.txt").read_bytes()


def test_what_is_not_there_or_not_to_be_written_is_refused(system, packed):
    for name in ("none", "grey/none", "notes.txt/none"):
        with pytest.raises(FileNotFoundError):
            system.open(name)
    with pytest.raises(IsADirectoryError):
        system.open("grey")
    with pytest.raises(OSError, match="for reading alone"):
        system.open("new", "wb")
    with pytest.raises(NotAnArchive):
        fsspec.filesystem("bb", fo=str(packed[0] / "notes.txt"))
    with pytest.raises(InputError):
        fsspec.filesystem("bb", fo=str(packed[0] / "none.bb"))
