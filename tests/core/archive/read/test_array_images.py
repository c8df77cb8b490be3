"""Arrays in chunks, and their images by number."""

import itertools
import zipfile

import numpy as np
import pytest
from fake_codec import familiar, squeeze
from folders import (
    ALL,
    FAKE,
    check_same_tree,
    counting,
    hows,
    noise,
    restore,
    smooth,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bbcodec.archive.format.chunks import BYTES, LEARNED, SHEET
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import tasks as planning
from bbcodec.errors import (
    InputError,
    NoSuchName,
)


def test_arrays_are_cut_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24)
    pixels = familiar(count=10)[..., 0]
    other = noise(3, 24, 24)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.concatenate([pixels, other]))
    np.savez(tmp_path / "in" / "b.npz", one=pixels, two=np.arange(7.0), three=other[:, :, :, None])
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        kinds = [[archive._file.directory.chunks[place.chunk].type for place in file.content] for file in archive.files]
        assert kinds == [[LEARNED] * 3 + [LEARNED, BYTES], [LEARNED] * 4 + [BYTES, BYTES]]
        assert np.array_equal(archive["a.npy"], np.concatenate([pixels, other]))
        assert list(archive["b.npz"]) == ["one", "two", "three"]
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)


@settings(max_examples=25)
@example(array=np.ones((2, 3, 4), np.uint8), fortran=False, tail=b"tail")
@example(array=np.ones((2, 3, 4), np.uint8), fortran=True, tail=b"")
@example(array=np.zeros((2, 3, 4), bool), fortran=False, tail=b"")
@example(array=np.zeros((2, 3, 3), bool), fortran=False, tail=b"")
@example(array=np.ones((2, 4, 4, 3), np.uint8), fortran=False, tail=b"")
@given(
    array=hnp.arrays(st.sampled_from([np.uint8, np.bool_, np.int16]), shapes),
    fortran=st.booleans(),
    tail=st.sampled_from([b"", b"tail"]),
)
def test_any_npy_comes_back_byte_for_byte(tmp_path_factory, array, fortran, tail):
    tmp_path = tmp_path_factory.mktemp("npy")
    np.save(tmp_path / "a.npy", np.asfortranarray(array) if fortran else array)
    with open(tmp_path / "a.npy", "ab") as stream:
        stream.write(tail)
    squeeze(tmp_path / "a.npy", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert archive.read_bytes("a.npy") == (tmp_path / "a.npy").read_bytes()


def test_two_level_arrays_go_to_two_level_codecs(tmp_path):
    """uint8 with values up to 1, and bool; a value of 2 makes it grey."""
    bits = familiar(100, 100, levels=2, count=1)
    for name, array in {"bool": bits == 1, "bits": bits}.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert squeeze(tmp_path / f"{name}.npy", tmp_path / "a.bb", ALL, force=True).codecs == ["bits-1"]
    np.save(tmp_path / "grey.npy", familiar(count=9)[..., 0])
    assert squeeze(tmp_path / "grey.npy", tmp_path / "a.bb", ALL, force=True).codecs == ["grey-1"]


def test_images_of_an_array_are_had_by_number(tmp_path, monkeypatch):
    """Random access gives what slices give, and decodes no other chunk."""
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24 * 3)
    stacks = {
        "learned": familiar(channels=3, count=10),
        "sheets": np.stack([smooth(24, 24, seed=n)[..., 0] for n in range(11)]),
        "bytes": noise(7, 24, 24),
        "mixed": np.concatenate([familiar(count=9)[..., 0], noise(8, 24, 24), familiar(count=3, seed=7)[..., 0]]),
        "bits": familiar(count=9, levels=2)[..., 0] == 1,
        "one": noise(24, 24),
    }
    (tmp_path / "in").mkdir()
    for name, stack in stacks.items():
        np.save(tmp_path / "in" / f"{name}.npy", stack)
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    kinds = set()
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        for file in archive.files:
            kinds |= {archive._file.directory.chunks[place.chunk].type for place in file.content}
        for name, stack in stacks.items():
            whole = (stack if stack.ndim > 2 else stack[None]).reshape(-1, 24, 24, 3 if name == "learned" else 1)
            count = archive.count(f"{name}.npy")
            assert count == len(whole)
            for start, stop in itertools.combinations(range(count + 1), 2):
                found = archive.images(f"{name}.npy", start, stop)
                assert found.dtype == np.uint8
                assert np.array_equal(found, whole[start:stop]), (name, start, stop)
            for start, stop in ((0, count + 1), (-1, 1), (1, 1), (2, 1), (count, count + 1)):
                with pytest.raises(InputError, match=f"has {count} images"):
                    archive.images(f"{name}.npy", start, stop)
    assert kinds == {LEARNED, SHEET, BYTES}


def test_what_has_images_and_what_has_none(folder, tmp_path):
    np.save(folder / "text.npy", np.array(["a", "b"]))
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        counts = {name: archive.count(name) for name in archive}
        assert counts["stack.npy"] == 10
        assert counts["mask.npy"] == 4
        assert {counts[name] for name in ("bits.png", "photo.jpg", "deep.png", "colour/same.bmp")} == {1}
        none = "labels.npy", "text.npy", "both.npz", "notes.txt", "empty.txt", "grey/link.png"
        assert {counts[name] for name in none} == {0}
        for name in ("notes.txt", "both.npz", "bits.png", "labels.npy"):
            with pytest.raises(InputError):
                archive.images(name, 0, 1)
        with pytest.raises(NoSuchName):
            archive.count("nope")
        with pytest.raises(NoSuchName):
            archive.images("grey", 0, 1)


def test_one_image_of_an_array_costs_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24)
    stack = familiar(count=12)
    np.save(tmp_path / "a.npy", stack)
    squeeze(tmp_path / "a.npy", tmp_path / "a.bb", ALL)
    calls, setting = counting()
    with Archive(tmp_path / "a.bb", run=setting) as archive:
        assert np.array_equal(archive.images("a.npy", 4, 5), stack[4:5])
        assert np.array_equal(archive.images("a.npy", 3, 6), stack[3:6])
        assert calls == [3]
        assert np.array_equal(archive.images("a.npy", 2, 4), stack[2:4])
        assert calls == [3, 3]


def test_an_npz_that_cannot_be_written_again_is_kept(tmp_path):
    np.savez(tmp_path / "a.npz", one=familiar(count=5))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.comment = b"a comment"
    np.savez(tmp_path / "b.npz", one=familiar(count=5))
    data = bytearray((tmp_path / "b.npz").read_bytes())
    data[200] ^= 1  # within the array: the CRC of the zip is wrong
    (tmp_path / "b.npz").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        file.writestr(nameless, familiar(count=5).tobytes())
        file.writestr("two", familiar(count=5, seed=9).tobytes())
    (tmp_path / "d.npz").write_bytes(b"no zip at all")
    for name in ("a", "b", "c", "d"):
        squeeze(tmp_path / f"{name}.npz", tmp_path / f"{name}.bb", ALL)
        with Archive(tmp_path / f"{name}.bb", run=FAKE) as archive:
            assert archive.read_bytes(f"{name}.npz") == (tmp_path / f"{name}.npz").read_bytes()
            assert archive.listing()["files"][0]["how"] == "original"


def test_an_npz_that_is_shorter_by_itself_is_kept(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{f"array {n}": noise(9, 20, 20, seed=n) for n in range(9)})
    summary = squeeze(tmp_path / "a.npz", tmp_path / "a.bb")
    assert hows(tmp_path / "a.bb") == {"a.npz": "original"}
    assert summary.archive_bytes <= summary.file_bytes + 250
