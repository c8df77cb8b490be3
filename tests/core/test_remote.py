"""Files at URLs: the archives and files that there would be on this machine, read by ranges, and errors in one line."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from fake_codec import familiar
from folders import check_same_tree, damage, make_folder
from hypothesis import given
from hypothesis import strategies as st

import bbcodec
from bbcodec.archive.recovery_blocks import damaged_blocks, repair
from bbcodec.codec.catalogue import find_codec, shipped_codecs
from bbcodec.errors import (
    BBCodecError,
    DamagedArchive,
    InputError,
    MissingCodec,
    MissingPackage,
    NotAnArchive,
    OutputError,
    TargetExists,
)
from bbcodec.remote import LEAST_BYTES, MOST_AHEAD, check_output, local_folder, local_inputs, open_readable
from bbcodec.report.evaluate import inspect

MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def store() -> Iterator[str]:
    """The URL of a folder in memory."""
    name = f"/{uuid4().hex}"
    yield f"memory:/{name}"
    for path in MEMORY.find(name):
        MEMORY.rm(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """One of everything but links, with the times and permissions that files at URLs have."""
    top = tmp_path / "in"
    make_folder(top)
    for path in sorted(top.rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_dir() and not any(path.iterdir())):
            path.unlink() if path.is_symlink() else path.rmdir()
        else:
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, ns=(0, 0))
    return top


def put(local: Path, url: str) -> None:
    """Copy a file, or all files in a folder, to a URL; their store knows no times."""
    for path in [local] if local.is_file() else sorted(local.rglob("*")):
        if path.is_file():
            there = url if path == local else f"{url}/{path.relative_to(local).as_posix()}"
            MEMORY.pipe_file(there, path.read_bytes())


@pytest.fixture
def without_times(monkeypatch):
    """The memory says when files were made, unlike some stores: here it does not."""
    monkeypatch.setattr("bbcodec.remote._time_ns", lambda info: 0)


def content(url: str) -> bytes:
    with open_readable(url, anew=True) as stream:
        return stream.read()


# --- the same as on this machine -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_times")
def test_archives_of_urls_and_at_urls_are_those_of_this_machine(folder, store, tmp_path):
    put(folder, f"{store}/in")
    put(folder, f"{store}/in2")  # whose name begins alike
    bbcodec.compress(folder, tmp_path / "out.bb", codec="none")
    summary = bbcodec.compress(f"{store}/in", f"{store}/out.bb", codec="none")
    assert content(f"{store}/out.bb") == (tmp_path / "out.bb").read_bytes()
    assert summary.archive_bytes == (tmp_path / "out.bb").stat().st_size
    bbcodec.decompress(f"{store}/out.bb", tmp_path / "back")
    check_same_tree(folder, tmp_path / "back")
    with bbcodec.open(f"{store}/out.bb") as remote, bbcodec.open(tmp_path / "out.bb") as local:
        assert remote.listing() == local.listing()
        assert remote.read_bytes("notes.txt") == local.read_bytes("notes.txt")
        assert np.array_equal(remote["stack.npy"], local["stack.npy"])
    assert bbcodec.verify(f"{store}/out.bb", jobs=2) == bbcodec.verify(tmp_path / "out.bb")
    assert inspect(f"{store}/out.bb").archive_bytes == summary.archive_bytes


@pytest.mark.usefixtures("without_times")
def test_one_file_keeps_its_name(folder, store, tmp_path):
    put(folder / "notes.txt", f"{store}/deep/notes.txt")
    bbcodec.compress(f"{store}/deep/notes.txt", tmp_path / "a.bb", codec="none")
    bbcodec.compress([f"{store}/deep/notes.txt", folder / "colour"], tmp_path / "b.bb", codec="none")
    with bbcodec.open(tmp_path / "a.bb") as a, bbcodec.open(tmp_path / "b.bb") as b:
        assert list(a) == ["notes.txt"]
        assert {"notes.txt", "colour/0.png"} < set(b)


def test_times_are_those_of_the_store(folder, store, tmp_path):
    put(folder / "notes.txt", f"{store}/notes.txt")
    made = MEMORY.info(f"{store}/notes.txt")["created"].timestamp()
    with local_inputs(f"{store}/notes.txt") as local:
        assert Path(local.paths[0]).stat().st_mtime == pytest.approx(made, abs=1e-3)


def test_files_are_restored_to_urls(folder, store, tmp_path):
    os.symlink("notes.txt", folder / "link")
    bbcodec.compress(folder, tmp_path / "out.bb", codec="none", exact_files=True)
    summary = bbcodec.decompress(tmp_path / "out.bb", f"{store}/back")
    assert "links" in summary.skipped[-1]
    wanted = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del wanted["link"]
    root = MEMORY._strip_protocol(f"{store}/back")
    assert {path.removeprefix(f"{root}/") for path in MEMORY.find(root)} == set(wanted)
    for name, path in wanted.items():
        assert MEMORY.cat_file(f"{root}/{name}") == path.read_bytes()
    MEMORY.pipe_file(f"{root}/notes.txt", b"mine")
    with pytest.raises(TargetExists, match="--force"):
        bbcodec.decompress(tmp_path / "out.bb", f"{store}/back", ["notes.txt"])
    assert MEMORY.cat_file(f"{root}/notes.txt") == b"mine"
    bbcodec.decompress(tmp_path / "out.bb", f"{store}/back", ["notes.txt"], force=True)
    assert MEMORY.cat_file(f"{root}/notes.txt") == wanted["notes.txt"].read_bytes()


def test_whole_files_of_a_damaged_archive_are_restored_to_urls(folder, store, tmp_path):
    bbcodec.compress(folder, tmp_path / "out.bb", codec="none")
    damage(tmp_path / "out.bb", "photo.jpg")
    put(tmp_path / "out.bb", f"{store}/out.bb")
    with pytest.raises(DamagedArchive, match=r"out\.bb: 1 of"):
        bbcodec.decompress(f"{store}/out.bb", f"{store}/back")
    assert MEMORY.exists(f"{store}/back/notes.txt")
    assert not MEMORY.exists(f"{store}/back/photo.jpg")


def test_an_archive_at_a_url_is_repaired(store, tmp_path):
    pytest.importorskip("zfec", reason="recovery data are optional")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, 200_000, np.uint8))
    bbcodec.compress(tmp_path / "a.npy", f"{store}/a.bb", recovery=10)
    good = content(f"{store}/a.bb")
    for options in ({}, {"output": f"{store}/b.bb"}):
        MEMORY.pipe_file(f"{store}/a.bb", good[:1000] + bytes(10_000) + good[11_000:])
        assert repair(f"{store}/a.bb", **options).mended == 4
        assert content(options.get("output", f"{store}/a.bb")) == good
    assert damaged_blocks(f"{store}/b.bb") == 0
    with pytest.raises(TargetExists):
        repair(f"{store}/a.bb", f"{store}/b.bb")


def test_codecs_are_read_from_urls(store, tmp_path):
    two_level = next(codec for codec in shipped_codecs() if codec.name == "mnist-binary-fast-1")
    MEMORY.pipe_file(f"{store}/mine.bbc", two_level.content)
    found = find_codec(f"{store}/mine.bbc")
    assert (found.name, found.digest) == ("mine", two_level.digest)
    with pytest.raises(MissingCodec, match="there is no codec file"):
        bbcodec.load_codec(f"{store}/other.bbc")


# --- ranges ----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_stream_reads_what_a_file_does(data):
    url = "memory://ranges/a"
    MEMORY.pipe_file(url, np.arange(3 * LEAST_BYTES, dtype=np.uint32).tobytes())
    whole = MEMORY.cat_file(url)
    stream = open_readable(url, anew=True)
    places = st.integers(0, len(whole) + 10)
    for start, length in data.draw(st.lists(st.tuples(places, places), max_size=8)):
        stream.seek(start)
        assert stream.read(length) == whole[start : start + length]
        assert stream.tell() == start + len(whole[start : start + length])
    assert stream.seek(-4, 2) == len(whole) - 4
    assert stream.read() == whole[-4:]
    MEMORY.rm(url)


class Served(ThreadingHTTPServer):
    """A server of bytes by name, with ranges. sent: the length of each answer."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[int] = []
        self.says_sizes = True
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Served
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        data = self.server.files.get(self.path.lstrip("/"))
        if data is None or not self.server.says_sizes:
            self.send_response(404 if data is None else 200)
            self.send_header("Connection", "close")
            if data is None:
                self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True
            return
        wanted = self.headers.get("Range", "")
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1] if wanted else data
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.server.sent.append(len(part))
            self.wfile.write(part)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Served]:
    pytest.importorskip("aiohttp", reason="fsspec's https needs it")
    server = Served()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(server: Served, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> bytes:
    """An archive of 60 images of noise, a chunk each."""
    folder = tmp_path_factory.mktemp("noisy")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 256, 256), np.uint8)
    for number, one in enumerate(pixels):
        np.save(folder / f"{number:02}.npy", one)
    bbcodec.compress(sorted(folder.glob("*.npy")), folder / "out.bb", codec="none", verify=False)
    return (folder / "out.bb").read_bytes()


@pytest.fixture
def archive(noisy, served) -> tuple[str, bytes]:
    """The URL of that archive, and its bytes."""
    served.files["out.bb"] = noisy
    return url_of(served, "out.bb"), noisy


def test_a_list_takes_the_end_of_an_archive_and_one_file_its_chunk(archive, served):
    url, _ = archive
    with bbcodec.open(url) as opened:
        assert len(opened.listing()["files"]) == 60
        assert len(served.sent) <= 4
        assert sum(served.sent) <= 4 * LEAST_BYTES
        served.sent.clear()
        assert opened["07.npy"].shape == (256, 256)
        assert len(served.sent) == 1
        assert sum(served.sent) < 3 * 2**16


def test_whole_archives_are_read_ahead(archive, served):
    url, data = archive
    with bbcodec.open(url) as opened:
        served.sent.clear()
        opened.verify()
    assert len(served.sent) <= 12  # for 60 chunks, as each range is twice as long as the one before
    assert sum(served.sent) < 1.3 * len(data)
    assert max(served.sent) <= MOST_AHEAD + 2**17


def test_damage_behind_a_url_is_found(archive, served):
    url, data = archive
    served.files["out.bb"] = data[:50_000] + bytes([data[50_000] ^ 1]) + data[50_001:]
    with pytest.raises(DamagedArchive, match=r"http://.*: 1 of 60 files are damaged"):
        bbcodec.verify(url)
    served.files["out.bb"] = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
    with bbcodec.open(url) as opened:
        assert opened.rebuilt


def test_an_archive_that_is_replaced_is_read_anew_when_it_is_opened_again(store, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        bbcodec.compress(tmp_path / name, f"{store}/a.bb", force=True)
        with bbcodec.open(f"{store}/a.bb") as opened:
            assert opened.read_bytes(name) == name.encode()


# --- errors ----------------------------------------------------------------------------------------------------------


@contextmanager
def one_line(kind: type[BBCodecError], *words: str) -> Iterator[None]:
    with pytest.raises(kind) as raised:
        yield
    message = str(raised.value)
    assert "\n" not in message
    assert type(raised.value) is kind
    for word in words:
        assert word in message


def test_errors_name_urls(folder, store, tmp_path, served):
    MEMORY.pipe_file(f"{store}/text", b"hello")
    served.files["text"], unsized = b"hello", url_of(served, "text")
    with one_line(InputError, f"{store}/none"):
        bbcodec.compress(f"{store}/none", tmp_path / "a.bb")
    with one_line(InputError, f"{store}/none cannot be read: No such file"):
        bbcodec.open(f"{store}/none")
    with one_line(NotAnArchive, f"{store}/text"):
        bbcodec.open(f"{store}/text")
    with one_line(InputError, "nix://a.bb", "Protocol not known"):
        bbcodec.open("nix://a.bb")
    with one_line(InputError, "grow in place"):
        bbcodec.compress(folder, f"{store}/a.bb", append=True)
    with one_line(TargetExists, f"{store}/text exists"):
        bbcodec.compress(folder, f"{store}/text")
    with one_line(TargetExists, f"{store}/text exists"):
        check_output(f"{store}/text", force=False)
    with one_line(OutputError, "cannot be written"):
        bbcodec.compress(folder / "notes.txt", url_of(served, "new.bb"), codec="none")
    served.says_sizes = False
    with one_line(InputError, unsized, "does not say how long it is"):
        bbcodec.open(unsized)
    assert not MEMORY.exists(f"{store}/a.bb")


def test_a_package_that_is_missing_is_told(monkeypatch, tmp_path):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with one_line(MissingPackage, "s3://", "needs the package", "Install s3fs"):
        bbcodec.open("s3://bucket/a.bb")
    with one_line(MissingPackage, "Install s3fs"):
        bbcodec.compress(tmp_path, "s3://bucket/a.bb")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "./a", "a\0b"])
def test_names_that_lead_out_are_refused(name, store, monkeypatch, tmp_path):
    MEMORY.pipe_file(f"{store}/in/a", b"")
    root = MEMORY._strip_protocol(f"{store}/in")
    found = {f"{root}/{name}": {"type": "file", "size": 0}}
    monkeypatch.setattr(type(MEMORY), "find", lambda self, path, detail=False: found)
    with one_line(InputError, "which is no name of a file here"):
        bbcodec.compress(f"{store}/in", tmp_path / "a.bb")


def stopped_restoring(url: str) -> None:
    with local_folder(url) as place:
        place.mkdir()
        (place / "half").write_bytes(b"")
        raise KeyboardInterrupt


def test_nothing_appears_at_a_url_where_work_fails(store, tmp_path):
    with pytest.raises(InputError):
        bbcodec.compress(tmp_path / "none", f"{store}/a.bb")
    with pytest.raises(KeyboardInterrupt):
        stopped_restoring(f"{store}/back")
    assert MEMORY.find(store) == []


def test_errors_of_copies_name_their_urls(store, tmp_path):
    np.save(tmp_path / "a.npy", familiar(count=2)[..., 0])
    put(tmp_path / "a.npy", f"{store}/in/a.npy")
    with one_line(InputError, f"{store}/in"):
        bbcodec.compress(f"{store}/in", tmp_path / "out.bb", exclude=["*"])
