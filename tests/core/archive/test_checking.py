"""Workers decode what they coded, and compare it with what they read; the driver compares digests alone."""

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fake_codec import familiar
from folders import ALL, FAKE, make_folder, noise, save, smooth
from PIL import Image

import bbcodec
from bbcodec.archive import checking, compress
from bbcodec.archive.checking import Sealed, encode_checked
from bbcodec.archive.compress import CompressRequest, append_with, compress_with
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write.encode import encode_task
from bbcodec.archive.write.parts import Parts
from bbcodec.archive.write.scan import find_copies, scan
from bbcodec.archive.write.tasks import ImageTask, opened, plan
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import VerificationFailed
from bbcodec.images.formats import form_named
from bbcodec.options import StorageOptions
from bbcodec.parallel import Workers

POOL = CodecPool([CodecSource.of(one) for one in ALL], "cpu", FAKE.load)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Everything that is coded in some way of its own."""
    top = make_folder(tmp_path / "in")
    save(top / "large.png", familiar(90, 70, 3))
    save(top / "large smooth.png", smooth(90, 70, 4))
    Image.fromarray(np.arange(90 * 70).reshape(90, 70).astype(np.uint8) // 3).convert("P").save(top / "palette.png")
    save(top / "palette small.png", smooth(20, 20))
    np.save(top / "alpha.npy", smooth(4 * 30, 24, 4).reshape(4, 30, 24, 4))
    np.save(top / "deep.npy", noise(2, 30, 24).astype(np.uint16) * 20)
    (top / "noise").write_bytes(noise(5000).tobytes())
    return top


def tasks_of(folder: Path) -> Iterator:
    entries = scan([folder]).entries
    return opened(plan(entries, find_copies(entries), StorageOptions(), lambda mode: 3000))


def request_of(folder: Path, output: Path, executor: ThreadPoolExecutor | None, **options) -> CompressRequest:
    workers = executor and Workers(2, executor=executor)
    return CompressRequest([folder], output, codecs=ALL, run=FAKE, workers=workers, **options)


def payloads(value) -> int:
    """How many bytes objects of some length a result holds."""
    return len(list(_payloads(value)))


def _payloads(value) -> Iterator[bytes]:
    if isinstance(value, bytes) and len(value) > 1:
        yield value
    elif isinstance(value, dict):
        yield from (found for one in value.values() for found in _payloads(one))
    elif isinstance(value, list | tuple):
        yield from (found for one in value for found in _payloads(one))
    elif is_dataclass(value):
        yield from (found for field in fields(value) for found in _payloads(getattr(value, field.name)))


def spoiled(value, counter: list[int]):
    """A result in which payload number counter[0] is another."""
    if isinstance(value, bytes) and len(value) > 1:
        counter[0] -= 1
        middle = len(value) // 2
        return value if counter[0] != -1 else value[:middle] + bytes([value[middle] ^ 85]) + value[middle + 1 :]
    if isinstance(value, dict):
        return {key: spoiled(one, counter) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(spoiled(one, counter) for one in value))
    if isinstance(value, list | tuple):
        return type(value)(spoiled(one, counter) for one in value)
    if is_dataclass(value):
        return replace(value, **{one.name: spoiled(getattr(value, one.name), counter) for one in fields(value)})
    return value


def check_refused(task, wrong) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "encode_or_take", lambda pool, task: wrong)
        with pytest.raises(VerificationFailed, match="does not decode to what was read, nothing was kept"):
            encode_checked(POOL, task)


def test_whatever_is_wrong_with_a_result_is_found(folder):
    checked = set()
    for task in tasks_of(folder):
        coded = encode_task(POOL, task)
        assert pickle.dumps(encode_checked(POOL, task).opened()) == pickle.dumps(coded)
        for number in range(payloads(coded)):
            check_refused(task, spoiled(coded, [number]))
            checked.add(type(task).__name__)
    assert checked == {"ImageTask", "FileTask", "TileTask", "BytesTask", "ArrayTask"}


def test_files_that_are_promised_byte_for_byte_are_made_again(tmp_path):
    save(tmp_path / "in" / "photo.png", noise(150, 300, 3) // 4)
    entries = scan([tmp_path / "in"]).entries
    (task,) = opened(plan(entries, find_copies(entries), StorageOptions(), lambda mode: 10**6))
    coded = encode_task(POOL, task)
    assert form_named("png").keeps_bytes(coded.files[0].skeleton)
    assert pickle.dumps(encode_checked(POOL, task).opened()) == pickle.dumps(coded)
    for number in range(payloads(coded)):
        check_refused(task, spoiled(coded, [number]))


def test_images_that_changed_places_are_found(folder):
    """Whose chunk is as it should be."""
    task = next(one for one in tasks_of(folder) if isinstance(one, ImageTask) and len(one.files) > 4)
    coded = encode_task(POOL, task)
    first, second = coded.files[:2]
    swapped = [replace(first, pieces=second.pieces), replace(second, pieces=first.pieces)]
    check_refused(task, replace(coded, files=[*swapped, *coded.files[2:]]))


def test_what_changed_on_its_way_is_found(folder):
    sealed = encode_checked(POOL, next(tasks_of(folder)))
    with pytest.raises(VerificationFailed, match="what a worker sent is not what came here"):
        replace(sealed, content=sealed.content[:-9] + b"\0" + sealed.content[-8:]).opened()


# --- the driver


@pytest.fixture
def few(tmp_path) -> Path:
    """Files in learned chunks, sheets, and chunks of their own and shared ones."""
    for number in range(3):
        save(tmp_path / "in" / "grey" / f"{number}.png", familiar(seed=number), dpi=(300, 300))
    Image.fromarray(np.arange(400).reshape(20, 20).astype(np.uint8) // 2).convert("P").save(tmp_path / "in" / "p.png")
    (tmp_path / "in" / "notes.txt").write_text("hello\n" * 50)
    (tmp_path / "in" / "copy.txt").write_text("hello\n" * 50)
    (tmp_path / "in" / "noise").write_bytes(noise(5000).tobytes())
    return tmp_path / "in"


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_the_driver_decodes_nothing(folder, tmp_path, executor, monkeypatch):
    def fail(*_):
        raise AssertionError("it decodes")

    monkeypatch.setattr(compress, "FINE_TILE_PIXELS", 3000)
    compress_with(request_of(folder, tmp_path / "here.bb", None))
    bbcodec.compress(folder / "notes.txt", tmp_path / "more.bb", codec="none")
    with monkeypatch.context() as patch:
        patch.setattr("bbcodec.archive.read.decode.decode_task", fail)
        compress_with(request_of(folder, tmp_path / "there.bb", executor))
        compress_with(request_of(folder / "grey", tmp_path / "protected.bb", executor, recovery=10))
        append_with(request_of(folder / "grey", tmp_path / "more.bb", executor))
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()
    for name in ("protected.bb", "more.bb"):
        with Archive(tmp_path / name, POOL.sources, FAKE) as archive:
            archive.verify()


@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_chunk_that_was_written_otherwise_is_found(which, few, tmp_path, executor, monkeypatch):
    add, numbers = ContainerWriter.add, []

    def wrong(writer, kind, body):
        numbers.append(kind)
        return add(writer, kind, body[:-1] + bytes([body[-1] ^ 1]) if len(numbers) - 1 == at else body)

    monkeypatch.setattr(ContainerWriter, "add", wrong)
    at = -1
    compress_with(request_of(few, tmp_path / "whole.bb", executor))
    at, numbers = range(len(numbers))[which], []
    with pytest.raises(VerificationFailed, match=r"what was written is not what was read, nothing was kept: .*out\.bb"):
        compress_with(request_of(few, tmp_path / "out.bb", executor))
    assert sorted(os.listdir(tmp_path)) == ["in", "whole.bb"]


@pytest.mark.parametrize("what", ["places", "names", "sizes", "layouts"])
def test_a_directory_that_says_otherwise_is_found(what, few, tmp_path, executor, monkeypatch):
    add_files = ContainerWriter.add_files

    def wrong(writer, files):
        for file in files:
            if what == "places" and file.name == b"grey/1.png":
                first = file.places[-1]
                file = replace(file, places=(*file.places[:-1], first._replace(position=first.position - 1)))
            elif what == "names" and file.name == b"grey/1.png":
                file = replace(file, name=b"grey/7.png")
            elif what == "sizes" and file.form == "png":
                file = replace(file, size=file.size + 1)
            elif what == "layouts" and file.name == b"p.png":
                file = replace(file, plane_layout=2 - file.plane_layout)
            add_files(writer, [file])

    monkeypatch.setattr(ContainerWriter, "add_files", wrong)
    with pytest.raises(VerificationFailed, match="what was written is not what was read, nothing was kept"):
        compress_with(request_of(few, tmp_path / "out.bb", executor))
    assert os.listdir(tmp_path) == ["in"]


def test_parts_of_an_earlier_run_are_checked_too(few, tmp_path, executor, monkeypatch):
    """Which may have been made without a check, or by somebody else."""
    monkeypatch.setattr(Parts, "get", lambda parts, key: None)
    (tmp_path / "parts").mkdir()
    kept = {}
    monkeypatch.setattr(Parts, "put", lambda parts, key, content: kept.update({key: content}))
    request = request_of(few / "grey", tmp_path / "out.bb", executor, parts=Parts(str(tmp_path / "parts")))
    compress_with(request)
    (content,) = kept.values()
    monkeypatch.setattr(Parts, "get", lambda parts, key: spoiled(content, [0]))
    with pytest.raises(VerificationFailed, match="does not decode"):
        compress_with(replace(request, force=True))


def test_nobody_checks_where_that_is_not_wanted(few, tmp_path, executor, monkeypatch):
    monkeypatch.setattr(Sealed, "of", None)
    monkeypatch.setattr(compress, "check_written", None)
    compress_with(request_of(few, tmp_path / "out.bb", executor, verify=False))
    bbcodec.open(tmp_path / "out.bb").close()
