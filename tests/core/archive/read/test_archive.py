"""Files through archives and back: every one, exactly, or one clear error and nothing half written."""

import io
import itertools
import json
import os
import stat
import zipfile
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from fake_codec import fake_codec, fake_content, familiar, load_fake, load_hasty, load_lying, squeeze
from folders import (
    ALL,
    BITS,
    COLOUR,
    FAKE,
    GREY,
    N_FILES,
    check_same_file,
    check_same_tree,
    contents,
    damage,
    hows,
    make_folder,
    noise,
    quick_webp,
    read_all,
    restore,
    save,
    smooth,
    write_archive,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import bbcodec
from bbcodec import options as settings_of_work
from bbcodec.archive.format import container
from bbcodec.archive.format import index as directories
from bbcodec.archive.format.container import BYTES, LEARNED, SHEET, CodecRecord, Entry, Place, pack_bytes
from bbcodec.archive.read import archive as archives
from bbcodec.archive.read import contents as contents_of_archives
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import candidates as encoding
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write import writer as assembling
from bbcodec.codec import pool as workers
from bbcodec.codec.pool import CodecSource
from bbcodec.errors import (
    BBCodecError,
    DamagedArchive,
    InputError,
    MissingCodec,
    NoSuchName,
    NotAnArchive,
    OutputError,
    TargetExists,
    UnsafePath,
    UnsupportedVersion,
)
from bbcodec.options import RunOptions


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with quick_webp():
        yield


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


# --- everything comes back


@pytest.mark.parametrize("exact", [False, True], ids=["pictures", "exact"])
@pytest.mark.parametrize("codecs", [(), ALL], ids=["classical", "learned"])
def test_a_folder_comes_back(folder, tmp_path, codecs, exact):
    summary = squeeze(folder, tmp_path / "a.bb", codecs, exact=exact)
    restored = restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out", exact)
    assert (summary.files, summary.folders, summary.copies) == (N_FILES, 4, 1)
    assert (restored.files, restored.folders, restored.copies) == (N_FILES, 4, 1)
    assert ("learned" in summary.how) == bool(codecs)
    assert summary.archive_bytes == (tmp_path / "a.bb").stat().st_size
    assert summary.file_bytes == sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    assert restored.how == summary.how


def test_each_way_of_storing_is_used(folder, tmp_path, careful_webp):
    np.save(folder / "smooth.npy", np.stack([smooth(40, 40, seed=n)[..., 0] for n in range(10)]))
    for number in range(8):
        save(folder / "few" / f"{number}.png", np.tile(noise(2, 8, 1, seed=number % 2), (4, 4, 1)))
    squeeze(folder, tmp_path / "a.bb", (GREY, BITS))
    how = hows(tmp_path / "a.bb")
    assert how["grey/0.png"] == how["stack.npy"] == how["both.npz"] == "learned"
    assert how["few/0.png"] == how["smooth.npy"] == "sheet"
    assert how["colour/same.bmp"] in ("webp", "png", "sheet")
    assert how["deep.png"] in ("webp", "png")
    assert how["photo.jpg"] == how["notes.txt"] == how["grey/link.png"] == how["empty.txt"] == "original"


def test_folders_come_back_with_times_and_permissions(tmp_path):
    """Empty ones, nested ones, those that may not be written, and those whose parents may not."""
    top = tmp_path / "in"
    for number, name in enumerate(["a", "a/b", "a/b/c", "d", "d/e", ".hidden", "z"]):
        (top / name).mkdir(parents=True)
        if number % 2:
            (top / name / "file").write_text(name)
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        path.chmod([0o555, 0o755, 0o500, 0o700][number % 4] if path.is_dir() else 0o400)
        os.utime(path, ns=(1, 10**18 + number * 1_000_000_007))
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")


def test_folders_get_their_permissions_from_the_inside_out(folder, tmp_path, monkeypatch):
    """One that may not be entered would else hide those in it (but not from root, as whom tests may run)."""
    order = []
    monkeypatch.setattr(archives, "finish_folder", lambda top, file: order.append(file.name))
    squeeze(folder, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert order == [b"hollow/inner", b"hollow", b"grey", b"colour"]


def test_folders_that_are_there_already_are_filled(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "out" / "grey").mkdir(parents=True)
    (tmp_path / "out" / "grey" / "mine").write_text("mine")
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert (tmp_path / "out" / "grey" / "mine").read_text() == "mine"
    (tmp_path / "out" / "grey" / "mine").unlink()
    os.utime(tmp_path / "out" / "grey", ns=(1, (folder / "grey").stat().st_mtime_ns))
    check_same_tree(folder, tmp_path / "out")


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(-(2**33), 2**33), st.integers(0, 10**9 - 1), st.integers(0, 0o777)), max_size=4))
def test_any_time_and_permissions_come_back(tmp_path_factory, abouts):
    tmp_path = tmp_path_factory.mktemp("times")
    for number, (seconds, nanoseconds, permissions) in enumerate([(0, 0, 0o644), *abouts]):
        path = tmp_path / "in" / str(number)
        path.mkdir(parents=True) if number % 2 else (path.parent.mkdir(exist_ok=True), path.touch())
        os.utime(path, ns=(0, seconds * 10**9 + nanoseconds))
        path.chmod(permissions)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


ODD = [b"new\nline", b"\xff\xfe no text", "äöü ☃".encode(), b"back\\slash", b" space ", b"-o", b"...", b"\x1b[31m",
       b".hidden", b"a:b", b"tab\t", b"\x01\x7f"]  # fmt: skip


def test_odd_names_come_back(tmp_path):
    top = tmp_path / "in"
    for name in ODD:
        inner = os.path.join(os.fsencode(top), name)
        os.makedirs(inner)
        with open(os.path.join(inner, name), "wb") as stream:
            stream.write(name)
        os.symlink(name, os.path.join(inner, b"link to " + name))
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")
    with Archive(tmp_path / "a.bb") as archive:
        json.dumps(archive.listing())
        for name in ODD:
            assert archive.read_bytes(os.fsdecode(name + b"/" + name)) == name


def test_equal_files_are_stored_once(tmp_path):
    """Copies, hard links, and files of any kind: one content each, and an entry of a few bytes."""
    (tmp_path / "one").mkdir()
    content = noise(3000).tobytes()
    save(tmp_path / "one" / "0.png", noise(40, 40, 3))
    np.save(tmp_path / "one" / "0.npy", noise(5, 20, 20))
    (tmp_path / "one" / "0.bin").write_bytes(content)
    alone = squeeze(tmp_path / "one", tmp_path / "one.bb").archive_bytes
    for source in sorted((tmp_path / "one").iterdir()):
        os.link(source, source.with_name(f"link{source.suffix}"))
        for number in range(1, 100):
            source.with_name(f"{number}{source.suffix}").write_bytes(source.read_bytes())
    summary = squeeze(tmp_path / "one", tmp_path / "many.bb")
    assert (summary.files, summary.copies) == (303, 300)
    assert summary.archive_bytes < alone + 300 * 20
    restore(tmp_path / "many.bb", tmp_path / "out")
    check_same_tree(tmp_path / "one", tmp_path / "out")


def test_many_small_files_over_several_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(assembling, "SEGMENT_FILES", 1000)
    monkeypatch.setattr(planning, "SHARED_BYTES", 500)
    for number in range(3000):
        path = tmp_path / "in" / f"{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert sum(chunk.type == "D" for chunk in archive._directory.chunks) == 3
        assert len(archive) == 3000
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")
    data = (tmp_path / "a.bb").read_bytes()
    (tmp_path / "a.bb").write_bytes(data[:-1])
    restore(tmp_path / "a.bb", tmp_path / "again")
    check_same_tree(tmp_path / "in", tmp_path / "again")


def test_large_files_are_cut_into_pieces(tmp_path, monkeypatch):
    for module in (planning, encoding):
        monkeypatch.setattr(module, "PIECE_BYTES", 1000)
    monkeypatch.setattr(planning, "SHARED_BYTES", 500)
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1500)
    (tmp_path / "in").mkdir()
    pieces = noise(3500).tobytes()
    (tmp_path / "in" / "large.bin").write_bytes(pieces)
    (tmp_path / "in" / "small.bin").write_bytes(pieces[:300])
    (tmp_path / "in" / "zero.bin").write_bytes(bytes(4000))
    save(tmp_path / "in" / "noise.png", noise(40, 40, 1))
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert len(archive.files[0].places) == 4
        assert archive.read_bytes("large.bin") == pieces
        assert archive.summary().files == 4
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


# --- arrays


def test_arrays_are_cut_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24)
    pixels = familiar(count=10)[..., 0]
    other = noise(3, 24, 24)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.concatenate([pixels, other]))
    np.savez(tmp_path / "in" / "b.npz", one=pixels, two=np.arange(7.0), three=other[:, :, :, None])
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        kinds = [[archive._directory.chunks[place.chunk].type for place in file.content] for file in archive.files]
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
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
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
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        for file in archive.files:
            kinds |= {archive._directory.chunks[place.chunk].type for place in file.content}
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
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
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
    with Archive(tmp_path / "a.bb", setting=setting) as archive:
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
        with Archive(tmp_path / f"{name}.bb", setting=FAKE) as archive:
            assert archive.read_bytes(f"{name}.npz") == (tmp_path / f"{name}.npz").read_bytes()
            assert archive.listing()["files"][0]["how"] == "original"


def test_an_npz_that_is_shorter_by_itself_is_kept(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{f"array {n}": noise(9, 20, 20, seed=n) for n in range(9)})
    summary = squeeze(tmp_path / "a.npz", tmp_path / "a.bb")
    assert hows(tmp_path / "a.bb") == {"a.npz": "original"}
    assert summary.archive_bytes <= summary.file_bytes + 250


# --- tiles


def known_tiles(height, width, channels=1, seed=0):
    """Pixels whose every tile the fake codecs know."""
    pixels = np.zeros((height, width, channels), np.uint8)
    for number, (top, bottom, left, right) in enumerate(directories.tile_bounds(width, height)):
        pixels[top:bottom, left:right] = familiar(bottom - top, right - left, channels, seed=100 * seed + number)
    return pixels


TILED = {
    "rgb.png": lambda: smooth(100, 140, 3),
    "rgba.png": lambda: smooth(100, 140, 4),
    "grey.png": lambda: smooth(140, 100),
    "deep.png": lambda: smooth(100, 140).astype(np.uint16) * 255,
    "rgb.bmp": lambda: smooth(100, 140, 3, seed=1),
    "high.bmp": lambda: smooth(5000, 3),
    "wide.png": lambda: smooth(3, 3000, 3),
    "known.png": lambda: known_tiles(100, 140, 3),
    "rgb.webp": lambda: known_tiles(100, 140, 3, seed=2),
    "rgba.webp": lambda: np.concatenate([known_tiles(100, 140, 3, seed=3), known_tiles(100, 140, seed=4)], axis=2),
}


def make_tiled(top):
    """Images of all kinds, larger than tiles are in these tests, and longer as files than in tiles."""
    for name, pixels in TILED.items():
        save(top / name, pixels(), **({"lossless": True, "exact": True} if "webp" in name else {"compress_level": 0}))
    bits = Image.fromarray(np.tile(noise(2, 14, 1, seed=1)[..., 0] > 128, (50, 10)))
    bits.save(top / "bits.png", compress_level=0)
    colours = Image.fromarray(smooth(100, 140, 3))
    colours.quantize(200).save(top / "palette.png", compress_level=0)
    colours.quantize(4).save(top / "few.png", bits=2, compress_level=0)
    colours.quantize(20).save(top / "clear.png", transparency=bytes(range(20)), compress_level=0)
    return top


@pytest.fixture
def small_tiles(monkeypatch):
    for module in (directories, planning):
        monkeypatch.setattr(module, "TILE_PIXELS", 4000)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_tiles_come_back(tmp_path, small_tiles, monkeypatch, large, exact):
    if large:
        monkeypatch.setattr(planning, "LARGE_PIXELS", 4000)
    top = make_tiled(tmp_path / "in")
    squeeze(top, tmp_path / "a.bb", ALL, exact=exact)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out", exact)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        forms = {os.fsdecode(file.name): file.form for file in archive.files}
        tiled = {os.fsdecode(file.name) for file in archive.files if len(file.content) > file.n_planes}
        for name in archive:
            with Image.open(top / name) as before:
                assert archive[name].tobytes() == before.tobytes()
    assert forms["high.bmp"] == "raw"
    if not exact:
        kept = {name for name in forms if name.endswith(".webp")} if large else set()
        assert tiled == forms.keys() - kept


def test_tiles_go_the_way_that_is_shortest_for_all(tmp_path, small_tiles, careful_webp):
    """Colours and alpha that the fake codecs know, apart; the colours of a palette; all else as it is."""
    save(tmp_path / "in" / "rgba.png", np.concatenate([known_tiles(100, 140, 3), known_tiles(100, 140)], axis=2))
    opaque = np.full((100, 140, 1), 255, np.uint8)
    save(tmp_path / "in" / "plain.png", np.concatenate([smooth(100, 140, 3), opaque], axis=2))
    shuffled = np.random.default_rng(0).permutation(256)
    image = Image.fromarray(shuffled[smooth(100, 140)[..., 0]].astype(np.uint8)).convert("P")
    image.putpalette(np.repeat(np.argsort(shuffled), 3).astype(np.uint8).tobytes())
    image.save(tmp_path / "in" / "palette.png")
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        ways = {os.fsdecode(file.name): file.way for file in archive.files}
        assert ways == {"rgba.png": 1, "plain.png": 0, "palette.png": 2}
        assert hows(tmp_path / "a.bb")["rgba.png"] == "learned"
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("which", [0, 2, -1])
def test_damage_in_a_tile_costs_that_file_only(tmp_path, small_tiles, which):
    top = tmp_path / "in"
    save(top / "a.png", known_tiles(100, 140, 3))
    save(top / "b.png", known_tiles(100, 140, 3, seed=1))
    squeeze(top, tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "a.png", which)
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'a.png'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"b.png"}
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'a.png'"):
        restore(tmp_path / "a.bb", tmp_path / "again", setting=RunOptions(2, "cpu", None, load_fake))
    found = read_all(tmp_path / "a.bb")
    assert found["a.png"] is None
    assert found["b.png"] is not None


# --- links


def make_links(top):
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("x")
    links = {"abs": "/etc/passwd", "up": "../x", "sub/far": "../../x", "dots": "sub/../file", "top": ".."}
    links |= {"sub/near": "../file", "dangling": "nothing", "folder": "sub", "sub/self": "self"}
    for name, target in links.items():
        (top / name).symlink_to(target)
    return ["abs", "dots", "sub/far", "top", "up"]


def test_links_that_lead_outside_are_left_out_and_named(tmp_path):
    outside = make_links(tmp_path / "in")
    summary = squeeze(tmp_path / "in", tmp_path / "a.bb")
    assert (summary.files, summary.skipped) == (10, [])
    summary = restore(tmp_path / "a.bb", tmp_path / "out")
    assert [line.split("'")[1] for line in summary.skipped] == outside
    assert "--unsafe-links" in summary.skipped[0]
    assert summary.files == 5
    restore(tmp_path / "a.bb", tmp_path / "all", unsafe_links=True)
    check_same_tree(tmp_path / "in", tmp_path / "all")
    for name in outside:
        (tmp_path / "in" / name).unlink()
    os.utime(tmp_path / "in" / "sub", ns=(1, (tmp_path / "out" / "sub").stat().st_mtime_ns))
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("target", [b"", b"a\0b", b"\0"])
def test_what_is_no_target_of_a_link_is_never_made(tmp_path, target):
    files = [text(b"file", b"hi"), Entry(b"link", "link", places=(Place(0, 1, len(target)),))]
    bad = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"hi" + target))])
    for unsafe in (False, True):
        summary = restore(bad, tmp_path / str(unsafe), unsafe_links=unsafe)
        assert len(summary.skipped) == 1
        assert contents(tmp_path / str(unsafe)) == {"file": b"hi"}


def test_nothing_is_written_through_a_link_of_the_archive(tmp_path):
    """Links come last, and none is the folder of another entry; so not even a hostile order helps."""
    files = [Entry(b"d", "link", places=(Place(0, 0, 4),)), text(b"d/file", b"hi", 1)]
    with pytest.raises(DamagedArchive, match="both as a file and as a folder"):
        write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"/tmphi"))])
    files = [Entry(b"a", "link", places=(Place(0, 0, 2),)), text(b"b/file", b"hi", 1), Entry(b"b", "folder")]
    good = write_archive(tmp_path / "b.bb", files, [(BYTES, pack_bytes(b"..hi"))])
    restore(good, tmp_path / "deep" / "out", unsafe_links=True)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]


# --- codecs


def test_codecs_of_ones_own_are_embedded(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    squeeze(folder, tmp_path / "b.bb", ALL, embed=False)
    squeeze(folder, tmp_path / "c.bb", [fake_codec("grey-1", shipped=True)])
    with Archive(tmp_path / "a.bb") as one, Archive(tmp_path / "b.bb") as two, Archive(tmp_path / "c.bb") as three:
        assert [codec.chunk is None for codec in one.codecs] == [False] * 3
        assert [codec.chunk is None for codec in two.codecs] == [True] * 3
        assert [codec.chunk is None for codec in three.codecs] == [True]
        listed = {codec["name"]: codec["embedded"] for codec in one.listing()["codecs"]}
        assert listed == {"grey-1": True, "colour-1": True, "bits-1": True}


def test_a_missing_codec_is_named_and_nothing_is_written(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [GREY], embed=False)
    with pytest.raises(MissingCodec, match="grey-1.*" + GREY.digest.hex()):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    restore(tmp_path / "a.bb", tmp_path / "out", known=[CodecSource.of(GREY)])
    check_same_tree(folder, tmp_path / "out")
    restore(tmp_path / "a.bb", tmp_path / "some", ["notes.txt"])
    assert contents(tmp_path / "some").keys() == {"notes.txt"}


def test_a_codec_is_only_needed_for_what_needs_it(folder, tmp_path):
    """Of several codecs, too: a file of one is read without the others."""
    squeeze(folder, tmp_path / "a.bb", ALL, embed=False)
    with Archive(tmp_path / "a.bb", [CodecSource.of(GREY)], FAKE) as archive:
        assert np.array_equal(np.asarray(archive["grey/1.png"]), familiar(seed=1)[..., 0])
        with pytest.raises(MissingCodec, match="colour-1"):
            archive["colour/1.png"]
        assert np.array_equal(archive["stack.npy"], familiar(count=10)[..., 0])


def test_shipped_codecs_are_found_by_digest(folder, tmp_path, monkeypatch):
    shipped = fake_codec("grey-1", shipped=True)
    squeeze(folder, tmp_path / "a.bb", [shipped])
    known = fake_codec("else", shipped=True, x=1), shipped
    monkeypatch.setattr(contents_of_archives, "shipped_codecs", lambda: known)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


def test_an_embedded_codec_that_is_another_is_damage(tmp_path):
    source = CodecSource.of(GREY)
    body = workers.CodecPool([source], "cpu", load_fake).encode(source, familiar(4, 4, count=1))[0]
    files = [Entry(b"a", "raw", "L", "L8", 0, 4, 4, places=(Place(1, 0),)), text(b"b", b"hi", chunk=2)]
    chunks = [(LEARNED, replace(body, codec_id=bytes(4)).pack()), (BYTES, pack_bytes(b"hi"))]
    bad = write_archive(tmp_path / "a.bb", files, chunks, [(bytes(16), "grey-1", GREY.content)])
    with pytest.raises(DamagedArchive, match="1 of 2 files are damaged: 'a'"):
        restore(bad, tmp_path / "out")
    assert contents(tmp_path / "out") == {"b": b"hi"}
    unused = write_archive(tmp_path / "b.bb", [], [], [(bytes(16), "grey-1", GREY.content)])
    with Archive(unused) as archive, pytest.raises(DamagedArchive, match="embedded codec 'grey-1' is not the one"):
        archive.verify()


def test_the_public_functions_take_codec_files(folder, tmp_path, monkeypatch):
    """compress, open, verify and decompress with the path of a codec; the fake replaces what needs torch."""
    monkeypatch.setattr(workers, "load_installed", load_fake)
    (tmp_path / "mine.bbc").write_bytes(fake_content())
    archive = tmp_path / "a.bb"
    summary = bbcodec.compress(folder, archive, codec=tmp_path / "mine.bbc", embed_codec=False)
    assert summary.codecs == ["mine"]
    with pytest.raises(MissingCodec):
        bbcodec.verify(archive)
    assert bbcodec.verify(archive, codec=tmp_path / "mine.bbc").files == N_FILES
    bbcodec.decompress(archive, tmp_path / "out", codec=tmp_path / "mine.bbc")
    check_same_tree(folder, tmp_path / "out")
    with bbcodec.open(archive, codec=tmp_path / "mine.bbc") as opened:
        assert len(opened) == N_FILES
    with pytest.raises(MissingCodec, match="neither a shipped codec"):
        bbcodec.compress(folder, tmp_path / "b.bb", codec="no-such-codec")
    assert not (tmp_path / "b.bb").exists()


# --- reading


def counting():
    """Counts of images of each message that is decoded, and a setting that sees to it."""
    calls = []

    class Counting:
        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def decode_message(self, *message):
            calls.append(message[1])
            return self.codec.decode_message(*message)

    return calls, RunOptions(1, "cpu", None, Counting)


def test_an_archive_is_a_mapping(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert list(archive) == archive.names == sorted(archive.names)
        assert len(archive) == len(archive.names) == N_FILES
        assert "grey/0.png" in archive
        assert "grey" not in archive
        assert 5 not in archive
        for name in archive:
            if name.endswith((".png", ".jpg", ".bmp", ".webp")) and not (folder / name).is_symlink():
                with Image.open(folder / name) as before:
                    assert archive[name].tobytes() == before.tobytes()
                    assert archive[name].info == before.info
        assert np.array_equal(archive["mask.npy"], np.load(folder / "mask.npy"))
        assert archive.read_bytes("empty.txt") == b""
        assert archive.read_bytes("grey/link.png") == b"../photo.jpg"
        with pytest.raises(InputError, match="not an image"):
            archive["notes.txt"]
        for name in ("nope", "grey", "", "grey/0.png/"):
            with pytest.raises(NoSuchName, match=f"no file '{name}'"):
                archive[name]


def test_one_image_costs_one_chunk(tmp_path, monkeypatch):
    """Random access: no other chunk is read or decoded."""
    monkeypatch.setitem(encoding.CHUNK_PIXELS, (1, 256), 3 * 24 * 24)
    for number in range(9):
        save(tmp_path / "in" / f"{number}.png", familiar(seed=number))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    calls, setting = counting()
    with Archive(tmp_path / "a.bb", setting=setting) as archive:
        for name in ("4.png", "5.png", "4.png"):
            assert np.array_equal(np.asarray(archive[name]), familiar(seed=int(name[0]))[..., 0])
    assert calls == [3]


def test_names_select_files_and_folders(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    restore(tmp_path / "a.bb", tmp_path / "out", ["colour/", "grey/3.png", "hollow/inner"])
    kept = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert kept == [
        "colour", "colour/0.png", "colour/1.png", "colour/2.png", "colour/same.bmp", "grey", "grey/3.png", "hollow",
        "hollow/inner",
    ]  # fmt: skip
    for name in ("colour", "grey/3.png", "hollow/inner"):
        check_same_file(folder / name, tmp_path / "out" / name)
    for names in (["grey/3.png", "nope"], ["/"], [""], ["gre"], ["grey/3.pn"], ["./grey"]):
        with pytest.raises(NoSuchName):
            restore(tmp_path / "a.bb", tmp_path / "none", names)
    assert not (tmp_path / "none").exists()


def test_a_listing_says_how_each_file_is_stored(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb") as archive:
        listing = archive.listing()
        whole = sum(chunk.length for chunk in archive._directory.chunks if chunk.type in "LSB")
    json.dumps(listing)
    files = {file["name"]: file for file in listing["files"]}
    assert list(files) == sorted(files)
    assert listing["folders"] == ["colour", "grey", "hollow", "hollow/inner"]
    assert (listing["needs"], listing["rebuilt"]) == ([], "")
    assert (files["deep.png"]["width"], files["deep.png"]["height"], files["deep.png"]["mode"]) == (20, 20, "I;16")
    assert (files["photo.jpg"]["mode"], files["photo.jpg"]["bytes"]) == ("RGB", (folder / "photo.jpg").stat().st_size)
    assert files["notes.txt"]["mode"] is None
    assert (files["copy of notes.txt"]["copy_of"], files["notes.txt"]["copy_of"]) == (None, "copy of notes.txt")
    assert abs(sum(file["stored_bytes"] for file in files.values()) - whole) < 3 * len(files)


# --- damage


def make_small(tmp_path):
    """A little of everything, in several chunks and two segments."""
    top = tmp_path / "in"
    save(top / "a.png", familiar())
    save(top / "b.png", familiar(seed=1), dpi=(50, 50))
    save(top / "c.png", smooth(8, 9, 3))
    (top / "d.txt").write_text("text")
    (top / "d copy.txt").write_text("text")
    np.save(top / "e.npy", familiar(12, 12, count=5)[..., 0])
    (top / "f").symlink_to("d.txt")
    (top / "g").mkdir()
    for number in range(3):
        save(top / "h" / f"{number}.bmp", np.tile(noise(2, 8, 1, seed=number % 2), (8, 2, 1)))
    squeeze(top, tmp_path / "small.bb", [GREY], embed=True, force=True)
    return (tmp_path / "small.bb").read_bytes()


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1)
    # Every fake codec pays for itself: its file is long, and these archives are small.
    monkeypatch.setattr(assembling.Assembler, "embedded", property(lambda self: 0, lambda self, value: None), False)


def check_right_or_refused(path, whole):
    """What an archive gives is right, or refused; the names of what is refused, or None if it was not opened."""
    try:
        found = read_all(path)
    except BBCodecError:
        return None
    lost = {name for name, content in found.items() if content is None}
    for name in found.keys() - lost:
        assert found[name] == whole[name], name
    return lost | (whole.keys() - found.keys())


def test_every_cut_of_an_archive_is_noticed(tmp_path, small_segments):
    data = make_small(tmp_path)
    whole = read_all(tmp_path / "small.bb")
    bad = tmp_path / "bad.bb"
    seen = set()
    for length in range(len(data) - 1, -1, -1):
        bad.write_bytes(data[:length])
        try:
            with Archive(bad, setting=FAKE) as archive:
                lost = whole.keys() - archive.keys()
        except (DamagedArchive, NotAnArchive):
            continue
        if frozenset(lost) not in seen or length % 9 == 0:
            assert check_right_or_refused(bad, whole) == lost
            with Archive(bad, setting=FAKE) as archive, pytest.raises(DamagedArchive):
                archive.verify()
        seen.add(frozenset(lost))
    # The more is cut, the more is lost, by whole segments.
    steps = sorted(seen, key=len)
    assert len(steps) >= 3
    assert steps[0] == set()
    assert all(one < two for one, two in itertools.pairwise(steps))


def test_every_changed_byte_is_noticed_or_harmless(tmp_path, small_segments):
    """Never wrong pixels, never an error of another kind; and files of other chunks still come back."""
    data = make_small(tmp_path)
    whole = read_all(tmp_path / "small.bb")
    bad = tmp_path / "bad.bb"
    seen = set()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= (1, 0x80, 0xFF)[place % 3]
        bad.write_bytes(changed)
        lost = check_right_or_refused(bad, whole)
        if lost is None:
            assert place < 9
            continue
        seen.add(frozenset(lost))
        if place % 5 == 0:
            with Archive(bad, setting=FAKE) as archive, pytest.raises(DamagedArchive, match=r"bad\.bb"):
                archive.verify()
    # Each chunk takes its own files along, no others; the codec's takes those that need it.
    learned = {"a.png", "b.png", "e.npy"}
    texts = {"d.txt", "d copy.txt"}
    for some in ({"a.png", "b.png"}, {"e.npy"}, learned, texts, set()):
        assert frozenset(some) in seen, some
    assert all(len(some) <= 6 for some in seen)


@pytest.mark.parametrize("place", ["footer", "index", "both", "cut"])
@pytest.mark.parametrize("segment_bytes", [1, 1000, 2**24])
def test_without_index_all_comes_back(folder, tmp_path, monkeypatch, place, segment_bytes):
    """Names, times, permissions, folders, links, codecs."""
    monkeypatch.setattr(container, "SEGMENT_BYTES", segment_bytes)
    squeeze(folder, tmp_path / "a.bb", ALL)
    data = bytearray((tmp_path / "a.bb").read_bytes())
    with Archive(tmp_path / "a.bb") as archive:
        start = max(chunk.end for chunk in archive._directory.chunks)
        segments = sum(chunk.type == "D" for chunk in archive._directory.chunks)
    assert (segments == 1) == (segment_bytes == 2**24)
    if place in ("footer", "both"):
        data[-16:] = bytes(16)
    if place in ("index", "both"):
        data[start : start + 20] = bytes(20)
    if place == "cut":
        del data[start:]
    (tmp_path / "a.bb").write_bytes(data)
    summary = restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    assert "a.bb" in summary.skipped[-1]
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert archive.listing()["rebuilt"]
        with pytest.raises(DamagedArchive, match=f"the {N_FILES} files"):
            archive.verify()


def test_a_cut_archive_gives_the_files_of_whole_segments(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1)
    squeeze(folder, tmp_path / "a.bb", ALL)
    whole = read_all(tmp_path / "a.bb")
    data = (tmp_path / "a.bb").read_bytes()
    (tmp_path / "a.bb").write_bytes(data[: len(data) // 2])
    found = read_all(tmp_path / "a.bb")
    assert 3 < len(found) < N_FILES
    assert all(whole[name] == content for name, content in found.items())
    restore(tmp_path / "a.bb", tmp_path / "out")
    for name in found:
        check_same_file(folder / name, tmp_path / "out" / name)


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_outside_a_damaged_chunk_are_restored(folder, tmp_path, jobs, monkeypatch):
    monkeypatch.setattr(settings_of_work, "POOL_VALUES", 0)
    squeeze(folder, tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "grey/0.png")
    setting = RunOptions(jobs, "cpu", None, load_fake)
    with pytest.raises(DamagedArchive, match=rf"6 of {N_FILES} files are damaged: 'grey/0.png'.*others were restored"):
        restore(tmp_path / "a.bb", tmp_path / "out", setting=setting)
    with Archive(tmp_path / "a.bb", setting=setting) as archive, pytest.raises(DamagedArchive, match="6 of"):
        archive.verify()
    times = (folder / "grey").stat().st_mtime_ns
    for number in range(6):
        (folder / "grey" / f"{number}.png").unlink()
    os.utime(folder / "grey", ns=(times, times))
    check_same_tree(folder, tmp_path / "out")


def test_a_damaged_codec_costs_the_files_that_need_it(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb") as archive:
        record = next(codec for codec in archive.codecs if codec.name == "grey-1")
        chunk = archive._directory.chunks[record.chunk]
    data = bytearray((tmp_path / "a.bb").read_bytes())
    data[chunk.offset + 30] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    with pytest.raises(DamagedArchive, match=rf"8 of {N_FILES} files are damaged: 'both.npz', 'grey/0.png'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert len([path for path in (tmp_path / "out").rglob("*") if not path.is_dir()]) == N_FILES - 8
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        with pytest.raises(DamagedArchive, match="8 of"):
            archive.verify()
        with pytest.raises(DamagedArchive, match="codec"):
            archive["grey/0.png"]
    restore(tmp_path / "a.bb", tmp_path / "all", known=[CodecSource.of(GREY)])
    check_same_tree(folder, tmp_path / "all")


def test_a_damaged_piece_costs_the_whole_array(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", familiar(count=10))
    np.save(tmp_path / "in" / "b.npy", familiar(count=10, seed=1))
    np.savez(tmp_path / "in" / "c.npz", one=familiar(count=5, seed=2), two=familiar(count=5, seed=3))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "a.npy", 2)
    damage(tmp_path / "a.bb", "c.npz", 2)
    with pytest.raises(DamagedArchive, match=r"2 of 3 files are damaged: 'a.npy', 'c.npz'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"b.npy"}
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert np.array_equal(archive.images("b.npy", 0, 3), familiar(count=10, seed=1)[:3])
        with pytest.raises(DamagedArchive, match=r"a\.bb"):
            archive.images("a.npy", 0, 10)


def test_a_damaged_directory_is_told_where_it_costs_nothing(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        chunk = next(chunk for chunk in archive._directory.chunks if chunk.type == "D")
    data = bytearray((tmp_path / "a.bb").read_bytes())
    data[chunk.offset + 5] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    with Archive(tmp_path / "a.bb") as archive, pytest.raises(DamagedArchive, match=r"a\.bb.*CRC-32"):
        archive.verify()


def text(name, content, position=0, chunk=0):
    return Entry(name, "bytes", size=len(content), places=(Place(chunk, position, len(content)),))


@pytest.mark.parametrize(
    "skeleton",
    [b"", b"junk", b"\x03\x00", b"\xc1", b"\x92\xc2\x90", b"\x92\xc2\x91\x90",
     # [zip, [[name, method, date, header, n]]]
     b"\x92\xc2\x91\x95\xa0\x00\x90\xc4\x00\x02", b"\x92\xc2\x91\x95\xa0\x00\x90\xc4\x00\x00",
     b"\x92\xc2\x92" + b"\x95\xa0\x00\x90\xc4\x00\x01" * 2, b"\x92\xc3\x91\x95\xa1a\x00\x90\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xa1a\x01\x96\xcd\x07\xd0\x01\x01\x00\x00\x00\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xa1a\x00\x96\xcd\x07\xd0\x0d\x01\x00\x00\x00\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xda\xff\xff" + b"a" * 65535 + b"\x00\x96\xcd\x07\xd0\x01\x01\x00\x00\x00\xc4\x00\x02"],
)  # fmt: skip
def test_bad_skeletons_of_arrays_are_damage(tmp_path, skeleton):
    places = (Place(0, 0, len(skeleton)), Place(0, 1, 1))
    file = Entry(b"a", "arrays", skeleton=True, places=places)
    bad = write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))])
    assert read_all(bad) == {"a": None}
    with pytest.raises(DamagedArchive):
        restore(bad, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def packed_array(names, header=b"", zipped=True):
    """A hostile npz: members of these names, each of one part of a byte."""
    members = [[name, 0, [2000, 1, 1, 0, 0, 0] if zipped else [], header, 1] for name in names]
    return msgpack.packb([zipped, members])


@pytest.mark.parametrize(
    "names", [["a", "a"], ["\0"], ["a" * 65536], ["ä" * 40000], ["/a"], [""], ["a" * 70000, "b"], ["../x"]]
)
def test_odd_members_of_an_npz_are_damage_or_members(tmp_path, names):
    skeleton = packed_array(names)
    places = (Place(0, 0, len(skeleton)), *(Place(0, 1, 1) for _ in names))
    file = Entry(b"a", "arrays", skeleton=True, places=places)
    bad = write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))])
    found = read_all(bad)["a"]
    if found is not None:
        with zipfile.ZipFile(io.BytesIO(found)) as archive:
            assert [archive.read(info) for info in archive.infolist()] == [b"x"] * len(names)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_random_skeletons_of_arrays_raise_nothing_unforeseen(tmp_path_factory, junk):
    tmp_path = tmp_path_factory.mktemp("skeleton")
    good = packed_array(["a"])
    for skeleton in (junk, good[: len(junk)] + junk, good[:-1] + junk):
        file = Entry(b"a", "arrays", skeleton=True, places=(Place(0, 0, len(skeleton)), Place(0, 1, 1)))
        read_all(write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))]))


def test_streams_are_not_left_open(tmp_path):
    (tmp_path / "bad.bb").write_bytes(b"no archive at all, but long enough to look at")
    with pytest.raises(NotAnArchive):
        Archive(tmp_path / "bad.bb")  # ResourceWarnings are errors
    with pytest.raises(InputError, match="cannot be read"):
        Archive(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        Archive(tmp_path / "nope.bb")


def test_other_versions_are_refused_by_name(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    for version, name in ((1, "0.1"), (2, "0.2"), (16, "1.0")):
        data = bytearray((tmp_path / "a.bb").read_bytes())
        data[8] = version
        (tmp_path / "b.bb").write_bytes(data)
        with pytest.raises(UnsupportedVersion, match=rf"b\.bb: the archive is of format {name}; this .* 0\.3"):
            Archive(tmp_path / "b.bb")


def test_an_archive_that_goes_away_is_an_input_error(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        (tmp_path / "a.bb").unlink()
        for name in ("notes.txt", "grey/0.png", "stack.npy", "both.npz"):
            with pytest.raises(InputError, match=r"a\.bb cannot be read"):
                archive.read_bytes(name)
        with pytest.raises(InputError, match=r"a\.bb cannot be read"):
            archive.images("stack.npy", 0, 1)
        with pytest.raises(InputError, match=r"a\.bb cannot be read"):
            archive.verify()


# --- where files may be written


def test_links_in_the_target_are_not_written_through(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "colour").symlink_to(tmp_path / "elsewhere")
    for force in (False, True):
        with pytest.raises(UnsafePath, match="colour is a link"):
            restore(tmp_path / "a.bb", tmp_path / "out", force=force)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["colour"]


def test_existing_files_are_left_alone_without_force(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(TargetExists, match=r"notes.txt exists"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}
    restore(tmp_path / "a.bb", tmp_path / "out", force=True)
    check_same_tree(folder, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").unlink()
    (tmp_path / "out" / "notes.txt").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        restore(tmp_path / "a.bb", tmp_path / "out", force=True)


def test_a_name_too_long_for_the_file_system_is_told(tmp_path):
    long = write_archive(tmp_path / "a.bb", [text(b"n" * 300, b"hi")], [(BYTES, pack_bytes(b"hi"))])
    with pytest.raises(OutputError, match="nnn cannot be written"):
        restore(long, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", [2**61, -(2**61), 2**40])
def test_times_that_no_file_system_has_raise_nothing_unforeseen(tmp_path, seconds):
    file = Entry(b"a", "bytes", size=2, modified_ns=seconds * 10**9, places=(Place(0, 0, 2),))
    odd = write_archive(tmp_path / "a.bb", [file, Entry(b"b", "folder", modified_ns=seconds * 10**9)],
                        [(BYTES, pack_bytes(b"hi"))])  # fmt: skip
    try:
        restore(odd, tmp_path / "out")
    except OutputError:
        return
    assert (tmp_path / "out" / "a").read_bytes() == b"hi"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("made", [True, False])
def test_nothing_is_left_when_restoring_stops(folder, tmp_path, monkeypatch, stop, made):
    squeeze(folder, tmp_path / "a.bb", ALL)
    if made:
        (tmp_path / "deep" / "out").mkdir(parents=True)

    def stopping(*_):
        raise stop

    monkeypatch.setattr(archives.Archive, "_write_unit", stopping)
    with pytest.raises(OutputError if isinstance(stop, OSError) else KeyboardInterrupt):
        restore(tmp_path / "a.bb", tmp_path / "deep" / "out")
    assert (tmp_path / "deep").exists() == made
    assert not made or list((tmp_path / "deep" / "out").iterdir()) == []


def test_permissions_are_kept_from_the_umask(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a").write_text("x")
    (tmp_path / "in" / "a").chmod(0o666)
    (tmp_path / "in" / "sub").chmod(0o777)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    old = os.umask(0o077)
    try:
        restore(tmp_path / "a.bb", tmp_path / "out")
    finally:
        os.umask(old)
    check_same_tree(tmp_path / "in", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_codec_records_are_looked_up_by_whole_digests():
    assert CodecRecord(b"x" * 16, "a") != CodecRecord(b"x" * 15 + b"y", "a")
    assert {COLOUR.digest, GREY.digest, BITS.digest} == {codec.digest for codec in ALL}
    assert load_hasty is not load_lying
