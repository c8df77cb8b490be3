"""Every byte of an archive has a purpose, and every learned image an owner."""

import numpy as np
import pytest
from fake_codec import familiar, squeeze
from folders import ALL, COLOUR, GREY, make_folder, quick_webp, save, smooth

from bbcodec.archive.format.chunks import DIRECTORY, LEARNED, SHEET, read_chunk
from bbcodec.archive.format.container import ContainerReader
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import DamagedArchive, InputError, NotAnArchive
from bbcodec.report.byte_counts import (
    UNKNOWN_SOURCE,
    Purpose,
    count_bytes,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    top = tmp_path_factory.mktemp("counts")
    with quick_webp():
        squeeze(make_folder(top / "in"), top / "a.bb", ALL)
    return top / "a.bb"


@pytest.fixture(scope="module")
def counts(archive):
    return count_bytes(archive)


def test_bytes_by_purpose_add_up_to_the_file(archive, counts):
    assert list(counts.by_purpose) == list(Purpose)
    assert sum(counts.by_purpose.values()) == counts.archive_bytes == archive.stat().st_size
    assert all(size > 0 for size in counts.by_purpose.values())


def test_messages_are_those_of_learned_chunks(archive, counts):
    with open(archive, "rb") as stream:
        chunks = ContainerReader(stream).directory.chunks
    bodies = [LearnedMessage.unpack(read_chunk(str(archive), one)) for one in chunks if one.type == LEARNED]
    assert counts.by_purpose[Purpose.MESSAGES] == sum(len(body.stream) for body in bodies)
    assert sum(map(len, counts.sources.values())) == sum(body.count for body in bodies)


def test_files_and_copies_are_counted(counts):
    assert counts.n_copies == 1
    assert counts.n_files == sum(file.form != "folder" for file in counts.directory.files)


def test_images_and_values_are_counted(tmp_path):
    """Grey and colours, an array, a photo that keeps its bytes, and one image twice."""
    top = tmp_path / "in"
    for number in range(4):
        save(top / f"grey{number}.png", familiar(seed=number))
    save(top / "colour.png", familiar(channels=3))
    save(top / "photo.jpg", familiar(channels=3))
    (top / "copy.png").write_bytes((top / "grey0.png").read_bytes())
    np.save(top / "stack.npy", familiar(count=9))
    np.save(top / "labels.npy", np.arange(5.0))
    squeeze(top, tmp_path / "a.bb", (GREY, COLOUR))
    found = count_bytes(tmp_path / "a.bb")
    assert found.n_images == 4 + 1 + 1 + 9
    assert found.dims == (4 + 3 + 3 + 9) * 576
    assert found.n_copies == 1
    learned = {image for sources in found.sources.values() for image in sources}
    assert found.classical_images == found.n_images - len(learned)
    assert found.input_bytes == sum(path.stat().st_size for path in top.iterdir())


def test_learned_images_have_sources(tmp_path):
    top = tmp_path / "in"
    for number in range(5):
        save(top / f"{number}.png", familiar(seed=number))
    np.save(top / "stack.npy", familiar(count=12, seed=9))
    squeeze(top, tmp_path / "a.bb", (GREY,))
    found = count_bytes(tmp_path / "a.bb")
    names = sorted(found.name(image) for sources in found.sources.values() for image in sources)
    assert names == sorted([f"{number}.png" for number in range(5)] + [f"stack.npy[{number}]" for number in range(12)])
    assert UNKNOWN_SOURCE not in {image for sources in found.sources.values() for image in sources}
    assert found.by_purpose[Purpose.SKELETONS] == 0
    assert found.by_purpose[Purpose.OTHER] == found.by_purpose[Purpose.CLASSICAL] == 0
    assert found.by_purpose[Purpose.CODECS] > 0


def test_images_of_sheets_are_stored_classically(tmp_path):
    np.save(tmp_path / "smooth.npy", np.array([smooth(24, 24, seed=seed)[..., 0] for seed in range(20)]))
    squeeze(tmp_path / "smooth.npy", tmp_path / "a.bb")
    found = count_bytes(tmp_path / "a.bb")
    assert [chunk.type for chunk in found.directory.chunks if chunk.type != DIRECTORY] == [SHEET]
    assert found.by_purpose[Purpose.CLASSICAL] == found.directory.chunks[1].length + FRAME_BYTES
    assert (found.n_images, found.classical_images, found.dims) == (20, 20, 20 * 576)


def test_an_array_that_is_shorter_as_bytes_still_holds_images(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((30, 16, 16), np.uint8))
    np.save(tmp_path / "numbers.npy", np.zeros(1000))
    (tmp_path / "wrong.npy").write_bytes(b"no array" * 100)
    squeeze([tmp_path / name for name in ("flat.npy", "numbers.npy", "wrong.npy")], tmp_path / "a.bb")
    found = count_bytes(tmp_path / "a.bb")
    assert (found.n_images, found.dims, found.classical_images) == (30, 30 * 256, 30)
    assert found.by_purpose[Purpose.CLASSICAL] > 0
    assert found.by_purpose[Purpose.OTHER] > 0
    assert sum(found.by_purpose.values()) == found.archive_bytes


def test_an_empty_archive_is_all_container(tmp_path):
    (tmp_path / "empty.txt").touch()
    squeeze(tmp_path / "empty.txt", tmp_path / "a.bb")
    found = count_bytes(tmp_path / "a.bb")
    assert found.archive_bytes == found.by_purpose[Purpose.HEADS] + found.by_purpose[Purpose.DIRECTORIES]
    assert (found.n_files, found.n_images) == (1, 0)


def test_a_damaged_end_is_told_and_adds_up_all_the_same(archive, tmp_path):
    data = archive.read_bytes()
    (tmp_path / "cut.bb").write_bytes(data[:-20])
    found = count_bytes(tmp_path / "cut.bb")
    assert found.rebuilt
    assert sum(found.by_purpose.values()) == len(data) - 20


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a").write_text("nothing of the kind, and long enough to be looked at")
    with pytest.raises(NotAnArchive, match=r"a: "):
        count_bytes(tmp_path / "a")
    with pytest.raises(InputError, match="cannot be read"):
        count_bytes(tmp_path / "nowhere")


def test_a_damaged_chunk_is_named(archive, counts, tmp_path):
    data = bytearray(archive.read_bytes())
    chunk = counts.directory.chunks[min(counts.sources)]
    data[chunk.offset + 1] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    with pytest.raises(DamagedArchive, match=r"a\.bb"):
        count_bytes(tmp_path / "a.bb")
