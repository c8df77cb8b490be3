"""Files through archives and back: every one, exactly, or one clear error and nothing half written."""

import json
import multiprocessing
import os
import signal
import stat
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_codec import fake_codec, fake_content, load_fake, load_hasty, load_lying, squeeze
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import bbcodec
from bbcodec import archive as archives
from bbcodec import coding, container, planning, targets
from bbcodec.archive import Archive, Setting
from bbcodec.container import BYTES, LEARNED, File, LearnedBody, Writer, digest64, pack_bytes
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
    VerificationFailed,
)

GREY = fake_codec("grey-1")
COLOUR = fake_codec("colour-1", channels=3)
BITS = fake_codec("bits-1", levels=2)
ALL = (GREY, COLOUR, BITS)
FAKE = Setting(1, "cpu", None, load_fake)


def smooth(height=24, width=24, channels=1, seed=0, count=None) -> np.ndarray:
    """Pixels that the fake codec codes well."""
    generator = np.random.default_rng(seed)
    shape = (*([count] if count else []), height, width, channels)
    return np.cumsum(generator.integers(0, 2, shape), axis=-2).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(path, **options)


@pytest.fixture
def folder(tmp_path) -> Path:
    """One of everything."""
    top = tmp_path / "in"
    for number in range(6):
        save(top / "grey" / f"{number}.png", smooth(seed=number), dpi=(300, 300))
    for number in range(3):
        save(top / "colour" / f"{number}.png", smooth(channels=3, seed=number))
    save(top / "colour" / "same.bmp", smooth(channels=3, seed=9))
    bits = np.random.default_rng(0).integers(0, 2, (20, 20)).astype(bool)
    Image.fromarray(bits).save(top / "bits.png")
    Image.fromarray(smooth(channels=3, seed=5)).save(top / "photo.jpg")
    Image.fromarray(smooth(channels=3)).convert("RGBA").save(top / "alpha.png")
    (top / "notes.txt").write_text("hello\n" * 50)
    (top / "empty.txt").touch()
    (top / "hollow" / "inner").mkdir(parents=True)
    np.save(top / "stack.npy", smooth(count=10)[..., 0])
    np.save(top / "mask.npy", smooth(count=4)[..., 0] % 2 == 1)
    np.save(top / "labels.npy", np.arange(10))
    np.savez(top / "both.npz", images=smooth(count=5, seed=3)[..., 0], labels=np.arange(5))
    (top / "grey" / "link.png").symlink_to("../photo.jpg")
    os.utime(top / "notes.txt", ns=(1, 1234567890_123456789))
    (top / "notes.txt").chmod(0o640)
    (top / "grey" / "0.png").chmod(0o444)
    return top


def check_same_file(before: Path, after: Path):
    """The same bytes, or for a PNG the same picture; the same time and permissions."""
    first, second = before.lstat(), after.lstat()
    assert first.st_mtime_ns == second.st_mtime_ns, before
    assert stat.S_IFMT(first.st_mode) == stat.S_IFMT(second.st_mode)
    if before.is_symlink():
        assert os.readlink(before) == os.readlink(after)
        return
    assert stat.S_IMODE(first.st_mode) == stat.S_IMODE(second.st_mode), before
    if before.suffix == ".npz":
        with np.load(before) as one, np.load(after) as two:
            assert one.files == two.files
            assert all(np.array_equal(one[key], two[key]) and one[key].dtype == two[key].dtype for key in one.files)
    elif before.suffix == ".png":
        with Image.open(before) as one, Image.open(after) as two:
            one.load()
            two.load()
            assert (one.mode, one.size, one.info) == (two.mode, two.size, two.info)
            assert one.tobytes() == two.tobytes()
    elif before.is_file():
        assert before.read_bytes() == after.read_bytes(), before


def check_same_tree(before: Path, after: Path):
    inside = sorted(path.relative_to(before) for path in before.rglob("*"))
    assert inside == sorted(path.relative_to(after) for path in after.rglob("*"))
    for path in inside:
        if not (before / path).is_dir() or not any((before / path).iterdir()):
            check_same_file(before / path, after / path)


def restore(path: Path, target: Path, names=(), *, force=False, setting=FAKE, known=()):
    with Archive(path, known, setting) as archive:
        return archive.restore(target, names, force=force)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- everything comes back


@pytest.mark.parametrize("codecs", [(), ALL], ids=["classical", "learned"])
def test_a_folder_comes_back(folder, tmp_path, codecs):
    summary = squeeze(folder, tmp_path / "a.bb", codecs)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    assert summary.files == 20
    assert ("learned" in summary.how) == bool(codecs)


def test_each_way_of_storing_is_used(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", (GREY, BITS))
    with Archive(tmp_path / "a.bb") as archive:
        hows = {file["name"]: file["how"] for file in archive.listing()["files"]}
    assert hows["grey/0.png"] == hows["stack.npy"] == hows["both.npz"] == "learned"
    assert hows["colour/same.bmp"] in ("webp", "png")
    assert hows["photo.jpg"] == hows["notes.txt"] == hows["labels.npy"] == hows["alpha.png"] == "original"


def test_the_archive_is_the_same_whatever_the_jobs(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "POOL_VALUES", 0)
    monkeypatch.setattr(planning, "CHUNK_VALUES", 2000)
    for jobs in (1, 2):
        squeeze(folder, tmp_path / f"{jobs}.bb", ALL, jobs=jobs)
    assert (tmp_path / "1.bb").read_bytes() == (tmp_path / "2.bb").read_bytes()
    restore(tmp_path / "1.bb", tmp_path / "out", setting=Setting(2, "cpu", None, load_fake))
    check_same_tree(folder, tmp_path / "out")


def test_names_are_relative_to_a_single_folder_only(folder, tmp_path):
    squeeze([folder / "colour", folder / "notes.txt"], tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.names == ["colour/0.png", "colour/1.png", "colour/2.png", "colour/same.bmp", "notes.txt"]
    squeeze(folder / "colour", tmp_path / "b.bb")
    with Archive(tmp_path / "b.bb") as archive:
        assert archive.names == ["0.png", "1.png", "2.png", "same.bmp"]
    with pytest.raises(InputError, match=r"both be called 'notes.txt'"):
        squeeze([folder / "notes.txt", folder / "notes.txt"], tmp_path / "c.bb")


def test_large_files_are_cut_into_pieces(tmp_path, monkeypatch):
    for module in (planning, archives):
        monkeypatch.setattr(module, "PIECE_BYTES", 1000)
    monkeypatch.setattr(planning, "SHARED_BYTES", 500)
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).bytes(3500)
    (tmp_path / "in" / "large.bin").write_bytes(noise)
    (tmp_path / "in" / "small.bin").write_bytes(noise[:300])
    save(tmp_path / "in" / "noise.png", np.random.default_rng(0).integers(0, 256, (40, 40, 1)).astype(np.uint8))
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.files[0].n_chunks == 4
        assert archive.read_bytes("large.bin") == noise
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


def test_arrays_are_cut_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "CHUNK_VALUES", 3 * 24 * 24)
    pixels = smooth(count=10)[..., 0]
    noise = np.random.default_rng(0).integers(0, 256, (3, 24, 24)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.concatenate([pixels, noise]))
    np.savez(tmp_path / "in" / "b.npz", one=pixels, two=np.arange(7.0), three=noise[:, :, :, None])
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert [file.n_chunks for file in archive.files] == [5, 6]
        kinds = [archive._reader.index.chunks[number].type for number in archive.files[0].chunk_numbers]
        assert kinds == [LEARNED] * 4 + [BYTES]
        assert np.array_equal(archive["a.npy"], np.concatenate([pixels, noise]))
        assert list(archive["b.npz"]) == ["one", "two", "three"]
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


@settings(max_examples=25)
@example(array=np.ones((2, 3, 4), np.uint8), fortran=False, tail=b"tail")
@example(array=np.ones((2, 3, 4), np.uint8), fortran=True, tail=b"")
@given(
    array=hnp.arrays(
        st.sampled_from([np.uint8, np.bool_, np.int16]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    ),
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
    for name, array in {"bool": smooth(count=9)[..., 0] < 9, "bits": smooth(count=9)[..., 0] // 9 & 1}.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert squeeze(tmp_path / f"{name}.npy", tmp_path / "a.bb", ALL, force=True).codecs == ["bits-1"]
    np.save(tmp_path / "grey.npy", smooth(count=9)[..., 0])
    assert squeeze(tmp_path / "grey.npy", tmp_path / "a.bb", ALL, force=True).codecs == ["grey-1"]


def test_an_npz_that_cannot_be_written_again_is_kept(tmp_path):
    np.savez(tmp_path / "a.npz", one=smooth(count=5))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.comment = b"a comment"
    squeeze(tmp_path / "a.npz", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert archive.read_bytes("a.npz") == (tmp_path / "a.npz").read_bytes()
        assert archive.listing()["files"][0]["how"] == "original"
    np.savez(tmp_path / "b.npz", one=smooth(count=5))
    data = bytearray((tmp_path / "b.npz").read_bytes())
    data[200] ^= 1  # within the array: the CRC of the zip is wrong
    (tmp_path / "b.npz").write_bytes(data)
    squeeze(tmp_path / "b.npz", tmp_path / "b.bb", ALL)
    with Archive(tmp_path / "b.bb", setting=FAKE) as archive:
        assert archive.read_bytes("b.npz") == data


def test_an_npz_that_is_shorter_by_itself_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(coding, "pack_bytes", lambda content: pack_bytes(content, compress=False))
    np.savez_compressed(tmp_path / "a.npz", one=np.zeros((9, 20, 20), np.uint8))
    summary = squeeze(tmp_path / "a.npz", tmp_path / "a.bb", [])
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.read_bytes("a.npz") == (tmp_path / "a.npz").read_bytes()
    assert summary.archive_bytes <= summary.file_bytes + 110


def test_odd_names_come_back(tmp_path):
    top = tmp_path / "in"
    top.mkdir()
    for name in (b"new\nline", b"\xff\xfe no text", "äöü ☃".encode(), b"back\\slash", b" space ", b"-o", b"..."):
        with open(os.path.join(os.fsencode(top), name), "wb") as stream:
            stream.write(name)
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")
    with Archive(tmp_path / "a.bb") as archive:
        json.dumps(archive.listing())


def test_links_that_lead_outside_are_left_out_and_named(tmp_path):
    top = tmp_path / "in"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("x")
    for name, target in {"abs": "/etc/passwd", "up": "../x", "sub/far": "../../x", "dots": "sub/../file"}.items():
        (top / name).symlink_to(target)
    (top / "sub" / "near").symlink_to("../file")
    os.mkfifo(top / "pipe")
    summary = squeeze(top, tmp_path / "a.bb")
    assert len(summary.skipped) == 5
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.names == ["file", "sub/near"]
        assert archive.listing()["folders"] == []


def test_links_to_folders_are_not_followed(tmp_path):
    top = tmp_path / "in"
    (top / "real").mkdir(parents=True)
    (top / "real" / "file").write_text("x")
    (top / "loop").symlink_to("real")
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")


# --- never worse


def test_a_poor_codec_is_not_used(folder, tmp_path):
    classical = squeeze(folder, tmp_path / "a.bb", [])
    poor = [fake_codec("poor", channels=c, levels=v, waste=10**5) for c, v in ((1, 256), (3, 256), (1, 2))]
    squeeze(folder, tmp_path / "b.bb", poor)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()
    assert classical.codecs == []


def test_the_best_of_several_codecs_is_used(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", smooth(count=10))
    codecs = [fake_codec("wasteful", waste=50), fake_codec("other-size", side=7), GREY, fake_codec("poor", waste=500)]
    assert squeeze(tmp_path / "a.npy", tmp_path / "a.bb", codecs).codecs == ["grey-1"]
    monkeypatch.setattr(coding, "SAMPLE_VALUES", 24 * 24 * 2)
    assert squeeze(tmp_path / "a.npy", tmp_path / "a.bb", codecs, force=True).codecs == ["grey-1"]


def test_noise_costs_no_more_than_its_file(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "noise.png", np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8))
    codec = fake_codec("photo-1", channels=3, shipped=True)
    summary = squeeze(tmp_path / "in", tmp_path / "a.bb", [codec], verify=False)
    assert summary.archive_bytes <= summary.file_bytes + 110


# --- codecs


def test_codecs_of_ones_own_are_embedded(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    squeeze(folder, tmp_path / "b.bb", ALL, embed=False)
    squeeze(folder, tmp_path / "c.bb", [fake_codec("grey-1", shipped=True)])
    with Archive(tmp_path / "a.bb") as one, Archive(tmp_path / "b.bb") as two, Archive(tmp_path / "c.bb") as three:
        assert [codec.chunk is None for codec in one.codecs] == [False] * len(one.codecs)
        assert [codec.chunk is None for codec in two.codecs] == [True] * len(two.codecs)
        assert [codec.chunk is None for codec in three.codecs] == [True]


def test_a_missing_codec_is_named_and_nothing_is_written(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", [GREY], embed=False)
    with pytest.raises(MissingCodec, match="grey-1.*" + GREY.digest.hex()):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    restore(tmp_path / "a.bb", tmp_path / "out", known=[archives._source(GREY)])
    check_same_tree(folder, tmp_path / "out")
    restore(tmp_path / "a.bb", tmp_path / "some", ["notes.txt"])
    assert contents(tmp_path / "some").keys() == {"notes.txt"}


def test_shipped_codecs_are_found_by_digest(folder, tmp_path, monkeypatch):
    shipped = fake_codec("grey-1", shipped=True)
    squeeze(folder, tmp_path / "a.bb", [shipped])
    monkeypatch.setattr(archives, "shipped_codecs", lambda: (fake_codec("else", shipped=True, x=1), shipped))
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")


def test_the_public_functions_take_codec_files(folder, tmp_path, monkeypatch):
    """compress, open, verify and decompress with the path of a codec; the fake replaces what needs torch."""
    monkeypatch.setattr(coding, "load_installed", load_fake)
    (tmp_path / "mine.bbc").write_bytes(fake_content())
    archive = tmp_path / "a.bb"
    summary = bbcodec.compress(folder, archive, codec=tmp_path / "mine.bbc", embed_codec=False)
    assert summary.codecs == ["mine"]
    with pytest.raises(MissingCodec):
        bbcodec.verify(archive)
    assert bbcodec.verify(archive, codec=tmp_path / "mine.bbc").files == 20
    bbcodec.decompress(archive, tmp_path / "out", codec=tmp_path / "mine.bbc")
    check_same_tree(folder, tmp_path / "out")
    with bbcodec.open(archive, codec=tmp_path / "mine.bbc") as opened:
        assert len(opened) == 20
    with pytest.raises(MissingCodec, match="neither a shipped codec"):
        bbcodec.compress(folder, tmp_path / "b.bb", codec="no-such-codec")
    assert not (tmp_path / "b.bb").exists()


# --- reading


def test_an_archive_is_a_mapping(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", setting=FAKE) as archive:
        assert list(archive) == archive.names == sorted(archive.names)
        assert "grey/0.png" in archive
        assert "grey" not in archive
        for name in archive:
            if name.endswith((".png", ".jpg", ".bmp")) and not (folder / name).is_symlink():
                with Image.open(folder / name) as before:
                    assert archive[name].tobytes() == before.tobytes()
                    assert archive[name].info == before.info
        assert np.array_equal(archive["mask.npy"], np.load(folder / "mask.npy"))
        with pytest.raises(InputError, match="not an image"):
            archive["notes.txt"]
        with pytest.raises(NoSuchName, match="no file 'nope'"):
            archive["nope"]


def test_one_image_costs_one_chunk(tmp_path, monkeypatch):
    """Random access: no other chunk is read or decoded."""
    monkeypatch.setattr(planning, "CHUNK_VALUES", 3 * 24 * 24)
    for number in range(9):
        save(tmp_path / "in" / f"{number}.png", smooth(seed=number))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    calls = []

    class Counting:
        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def decode_message(self, *message):
            calls.append(message[1])
            return self.codec.decode_message(*message)

    with Archive(tmp_path / "a.bb", setting=Setting(1, "cpu", None, Counting)) as archive:
        for name in ("4.png", "5.png", "4.png"):
            assert np.array_equal(np.asarray(archive[name]), smooth(seed=int(name[0]))[..., 0])
    assert calls == [3]


def test_names_select_files_and_folders(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    restore(tmp_path / "a.bb", tmp_path / "out", ["colour/", "grey/3.png", "hollow/inner"])
    kept = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert kept == [
        "colour", "colour/0.png", "colour/1.png", "colour/2.png", "colour/same.bmp", "grey", "grey/3.png", "hollow",
        "hollow/inner",
    ]  # fmt: skip
    with pytest.raises(NoSuchName):
        restore(tmp_path / "a.bb", tmp_path / "none", ["grey/3.png", "nope"])
    assert not (tmp_path / "none").exists()


# --- damage


def small_archive(tmp_path, codecs=ALL) -> bytes:
    save(tmp_path / "in" / "a.png", smooth(8, 8))
    save(tmp_path / "in" / "b.png", smooth(8, 8, seed=1))
    save(tmp_path / "in" / "c.png", smooth(8, 9, 3))
    (tmp_path / "in" / "d.txt").write_text("text")
    np.save(tmp_path / "in" / "e.npy", smooth(6, 6, count=3)[..., 0])
    squeeze(tmp_path / "in", tmp_path / "small.bb", codecs, embed=True, force=True)
    return (tmp_path / "small.bb").read_bytes()


def read_all(path: Path) -> dict[str, bytes | None]:
    """Every file of an archive; None for those that are refused as damaged."""
    found: dict[str, bytes | None] = {}
    with Archive(path, setting=FAKE) as archive:
        for name in archive:
            try:
                found[name] = archive.read_bytes(name)
            except DamagedArchive:
                found[name] = None
    return found


def test_every_cut_of_an_archive_is_noticed(tmp_path):
    data = small_archive(tmp_path, [GREY])
    bad = tmp_path / "bad.bb"
    for length in range(len(data)):
        bad.write_bytes(data[:length])
        with pytest.raises((NotAnArchive, DamagedArchive), match=r"bad\.bb"):
            read_all(bad)


@pytest.mark.parametrize("flip", [1, 0x80])
def test_every_changed_byte_is_noticed_or_harmless(tmp_path, flip):
    """Never wrong pixels, never an error of another kind; and some file of another chunk still comes back."""
    data = small_archive(tmp_path, [GREY])
    whole = read_all(tmp_path / "small.bb")
    bad = tmp_path / "bad.bb"
    lost = set()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= flip
        bad.write_bytes(changed)
        try:
            found = read_all(bad)
        except BBCodecError:
            continue
        damaged = {name for name, content in found.items() if content is None}
        assert all(found[name] == whole[name] for name in found.keys() - damaged), place
        assert damaged, place
        lost.add(frozenset(damaged))
        with Archive(bad, setting=FAKE) as archive, pytest.raises(DamagedArchive):
            archive.verify()
    # each chunk takes its own files along, no others; the codec's chunk takes those that need it
    assert lost == {frozenset(names) for names in (("a.png", "b.png"), ("c.png",), ("d.txt",), ("e.npy",))} | {
        frozenset(("a.png", "b.png", "e.npy"))
    }


def damage(path: Path, name: str):
    """Change the last byte of the chunk of a file: guaranteed to differ."""
    with Archive(path) as archive:
        number = next(file.first_chunk for file in archive.files if file.name == os.fsencode(name))
        chunk = archive._reader.index.chunks[number]
    data = bytearray(path.read_bytes())
    data[chunk.offset + chunk.length - 1] ^= 0x55
    path.write_bytes(data)


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_outside_a_damaged_chunk_are_restored(folder, tmp_path, jobs, monkeypatch):
    monkeypatch.setattr(archives, "POOL_VALUES", 0)
    squeeze(folder, tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "grey/0.png")
    setting = Setting(jobs, "cpu", None, load_fake)
    with pytest.raises(DamagedArchive, match=r"6 of 21 files are damaged: 'grey/0.png'.*; all others were restored"):
        restore(tmp_path / "a.bb", tmp_path / "out", setting=setting)
    for number in range(6):
        (folder / "grey" / f"{number}.png").unlink()
    check_same_tree(folder, tmp_path / "out")


def test_a_damaged_piece_costs_the_whole_array(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "CHUNK_VALUES", 3 * 24 * 24)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", smooth(count=10))
    np.save(tmp_path / "in" / "b.npy", smooth(count=10))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "a.npy")
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'a.npy'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"b.npy"}


def hostile(path: Path, files: list[File], chunks: list[tuple[str, bytes]], codecs=()) -> Path:
    with open(path, "wb") as stream:
        writer = Writer(stream)
        for chunk in chunks:
            writer.add(*chunk)
        writer.finish(files, list(codecs))
    return path


def test_chunks_that_contradict_the_index_are_damage(tmp_path):
    """Right checksums, wrong content: what only a hostile or faulty writer makes."""
    pixels = smooth(4, 4, count=2)
    message = load_fake(fake_content(), "cpu").encode_message(pixels)
    record = container.CodecRecord(GREY.digest, "grey-1", 1)
    codec = (container.CODEC, pack_bytes(GREY.content))

    def body(**changes):
        about = {"codec_id": GREY.digest[:4], "digest": digest64(pixels.tobytes()), "count": 2, "height": 4, "width": 4}
        return LEARNED, LearnedBody(**{**about, "message": message, **changes}).pack()

    def files(count=2, mode="L", width=4):
        return [File(b"%d" % n, "png", "learned", mode, width, 4, n_chunks=1) for n in range(count)]

    right = hostile(tmp_path / "right.bb", files(), [body(), codec], [record])
    assert None not in read_all(right).values()
    cases = [
        (files(1), body()),
        (files(3), body()),
        (files(mode="RGB"), body()),
        (files(mode="1"), body()),
        (files(width=2), body()),
        (files(), body(digest=bytes(8))),
        (files(), body(codec_id=b"none")),
        (files(), body(count=1, height=8)),
        (files(), body(count=3)),
        (files(), body(message=b"garbage")),
        (files(), (LEARNED, b"short")),
    ]
    for number, (entries, chunk) in enumerate(cases):
        bad = hostile(tmp_path / f"{number}.bb", entries, [chunk, codec], [record])
        assert set(read_all(bad).values()) == {None}, number
    lengths = [File(b"a", "bytes", n_chunks=1, length=2), File(b"b", "bytes", n_chunks=1, length=9)]
    bad = hostile(tmp_path / "lengths.bb", lengths, [(BYTES, pack_bytes(b"hello"))])
    assert set(read_all(bad).values()) == {None}
    other = container.CodecRecord(bytes(16), "grey-1", 1)
    with pytest.raises(DamagedArchive, match="embedded codec"):
        restore(hostile(tmp_path / "c.bb", files(), [body(codec_id=bytes(4)), codec], [other]), tmp_path / "out")


@pytest.mark.parametrize("metadata", [b"", b"junk", b"\x03\x00"])
def test_bad_metadata_of_arrays_is_damage(tmp_path, metadata):
    bad = hostile(tmp_path / "a.bb", [File(b"a", "arrays", n_chunks=1, metadata=metadata)], [(BYTES, pack_bytes(b"x"))])
    assert read_all(bad) == {"a": None}
    with pytest.raises(DamagedArchive):
        restore(bad, tmp_path / "out")


def test_a_codec_that_decodes_other_pixels_is_caught_before_the_rename(folder, tmp_path):
    with pytest.raises(VerificationFailed, match="nothing was kept"):
        squeeze(folder, tmp_path / "a.bb", ALL, load=load_lying)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    squeeze(folder, tmp_path / "a.bb", ALL, load=load_lying, verify=False)
    with pytest.raises(DamagedArchive):
        restore(tmp_path / "a.bb", tmp_path / "out", setting=Setting(1, "cpu", None, load_lying))


def test_other_pixels_are_tried_again_on_the_safe_path(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL, load=load_hasty)
    restore(tmp_path / "a.bb", tmp_path / "out", setting=Setting(1, "cpu", None, load_hasty))
    squeeze(folder, tmp_path / "b.bb", ALL)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()


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


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("new")
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    (tmp_path / "secret").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(TargetExists):
        restore(tmp_path / "a.bb", tmp_path / "out")
    restore(tmp_path / "a.bb", tmp_path / "out", force=True)
    assert (tmp_path / "secret").read_text() == "old"
    assert not (tmp_path / "out" / "a.txt").is_symlink()


@pytest.mark.parametrize("target", [b"/etc/passwd", b"..", b"../x", b"a/../../b", b"", b"a//b"])
def test_hostile_links_are_refused_and_nothing_is_written(tmp_path, target):
    files = [File(b"file", "bytes", n_chunks=1, length=2), File(b"link", "link", n_chunks=1, length=len(target))]
    bad = hostile(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"hi" + target))])
    with pytest.raises(UnsafePath, match="link"):
        restore(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_an_existing_archive_is_left_alone_without_force(folder, tmp_path):
    (tmp_path / "a.bb").write_text("mine")
    with pytest.raises(TargetExists):
        squeeze(folder, tmp_path / "a.bb")
    assert (tmp_path / "a.bb").read_text() == "mine"
    with pytest.raises(OutputError, match="is a folder"):
        squeeze(folder, folder)
    with pytest.raises(OutputError, match="cannot be written"):
        squeeze(folder, tmp_path / "no" / "such" / "a.bb")


def test_an_archive_in_its_own_input_is_left_out(folder, tmp_path):
    squeeze(folder, folder / "a.bb")
    squeeze(folder, folder / "a.bb", force=True)
    with Archive(folder / "a.bb") as archive:
        assert "a.bb" not in archive
        assert len(archive) == 20


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device"), InputError("gone")])
def test_nothing_is_left_when_compressing_stops(folder, tmp_path, monkeypatch, stop):
    def stopping(*_):
        raise stop

    monkeypatch.setattr(archives._Assembler, "_place", stopping)
    with pytest.raises(OutputError if isinstance(stop, OSError) else (KeyboardInterrupt, InputError)):
        squeeze(folder, tmp_path / "a.bb", ALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("made", [True, False])
def test_nothing_is_left_when_restoring_stops(folder, tmp_path, monkeypatch, stop, made):
    squeeze(folder, tmp_path / "a.bb", ALL)
    if made:
        (tmp_path / "deep" / "out").mkdir(parents=True)

    def stopping(*_):
        raise stop

    monkeypatch.setattr(archives.Archive, "_add_piece", stopping)
    with pytest.raises(OutputError if isinstance(stop, OSError) else KeyboardInterrupt):
        restore(tmp_path / "a.bb", tmp_path / "deep" / "out")
    assert (tmp_path / "deep").exists() == made
    assert not made or list((tmp_path / "deep" / "out").iterdir()) == []


def test_inputs_that_cannot_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    for inputs in ([], tmp_path / "nope", tmp_path / "empty"):
        with pytest.raises(InputError):
            squeeze(inputs, tmp_path / "a.bb")
    assert not (tmp_path / "a.bb").exists()


def test_a_file_that_cannot_be_read_is_named(folder, tmp_path, monkeypatch):
    """As root every file can be read, so the failure is made."""
    real = open

    def refusing(path, *options, **more):
        if str(path).endswith("notes.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *options, **more)

    monkeypatch.setattr(coding, "open", refusing, raising=False)
    with pytest.raises(InputError, match=r"notes.txt cannot be read: Permission denied"):
        squeeze(folder, tmp_path / "a.bb", ALL)
    assert not (tmp_path / "a.bb").exists()


def test_a_dead_worker_is_told(tmp_path):
    bench = coding.Bench()
    with pytest.raises(BBCodecError, match="a worker process died"):
        list(coding.run_tasks(kill_this_process, [1, 2], bench, 2))


def kill_this_process(bench, task):
    os._exit(3)


def test_workers_give_results_in_order_and_die_with_an_early_stop():
    bench = coding.Bench()
    results = coding.run_tasks(square, range(20), bench, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    workers = multiprocessing.active_children()
    assert workers
    results.close()
    assert all(is_gone(worker.pid) for worker in workers)


def is_gone(pid: int) -> bool:
    """Whether a process ends within 30 s. The pool's own thread may reap it, so `Process.is_alive` cannot tell."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_workers_are_deaf_to_ctrl_c_and_killed_at_their_work():
    """A terminal interrupts the whole group: the parent alone answers, and does not wait for tasks to end."""
    results = coding.run_tasks(sleep_if_large, [0, 100], coding.Bench(), 2)
    assert signal.SIGINT in next(results)
    workers = multiprocessing.active_children()
    results.close()
    assert all(is_gone(worker.pid) for worker in workers)


def sleep_if_large(bench, seconds):
    time.sleep(seconds)
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def square(bench, number):
    return number * number


def test_new_file_keeps_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with targets.new_file(tmp_path / "a", False) as (_, stream):
            stream.write(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_progress_runs_to_the_end(folder, tmp_path):
    seen = []
    setting = Setting(1, "cpu", lambda done, total: seen.append((done, total)), load_fake)
    archives.compress_with(ALL, folder, tmp_path / "a.bb", True, False, True, setting)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with Archive(tmp_path / "a.bb", setting=setting) as archive:
        seen.clear()
        archive.verify()
    assert seen[-1][0] == seen[-1][1]


def test_one_image_has_little_overhead(tmp_path):
    """Below 115 bytes around the message and the names; see docs/format.md."""
    save(tmp_path / "in" / "kodim01.png", smooth(100, 100, 3))

    class Wonder:
        def __init__(self, content, device):
            pass

        def encode_message(self, images):
            return b"12345678"

    codec = fake_codec("photo-1", channels=3, shipped=True)
    size = squeeze(tmp_path / "in", tmp_path / "a.bb", [codec], verify=False, load=Wonder)
    assert size.how == {"learned": 1}
    assert size.archive_bytes - len("12345678") - len("kodim01.png") - len("photo-1") <= 115


def test_streams_are_not_left_open(tmp_path):
    (tmp_path / "bad.bb").write_bytes(b"no archive at all, but long enough to look at")
    with pytest.raises(NotAnArchive):
        Archive(tmp_path / "bad.bb")  # ResourceWarnings are errors
    with pytest.raises(InputError, match="cannot be read"):
        Archive(tmp_path)
