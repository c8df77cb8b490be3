"""JPEG files in archives: shorter, byte for byte, shown as images; and what happens where their package is missing."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from folders import contents, hows, restore
from jpeg_examples import jpeg, slope
from PIL import Image

import bbcodec
from bbcodec.archive.read.archive import Archive
from bbcodec.errors import DamagedArchive, LimitExceeded, MissingPackage
from bbcodec.options import Limits, RunOptions

pytest.importorskip("lepton_jpeg_python", reason="lepton has no wheel here")

LEPTON = ("grey.jpg", "plain.jpg", "progressive.jpg", "phone.jpg", "tail.jpg", "cut.jpg", "restarts.jpeg", "two.jpg")
KEPT = ("cmyk.jpg", "broken.jpg", "header.jpg", "notes.txt")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder of JPEGs as cameras, phones and editors write them, and some other files."""
    top = tmp_path_factory.mktemp("photos")
    colour = slope(90, 120, "RGB")
    plain = jpeg(colour, quality=85)
    another = io.BytesIO()
    Image.fromarray(colour).save(another, "MPO", save_all=True, append_images=[Image.fromarray(colour[::-1])])
    for name, data in {
        "grey.jpg": jpeg(slope(70, 80, "L")),
        "plain.jpg": plain,
        "progressive.jpg": jpeg(colour, progressive=True, quality=92, subsampling=0),
        "phone.jpg": jpeg(colour, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", icc_profile=bytes(range(200)) * 3),
        "tail.jpg": plain + b"what an editor leaves behind" * 3,
        "cut.jpg": plain[: len(plain) * 2 // 3],
        "restarts.jpeg": jpeg(colour, restart_marker_rows=1),
        "two.jpg": another.getvalue(),
        "cmyk.jpg": jpeg(slope(40, 48, "CMYK")),
        "broken.jpg": bytes(300) + plain,
        "header.jpg": plain[:300],
        "notes.txt": b"notes",
    }.items():
        (top / name).write_bytes(data)
    Image.fromarray(slope(40, 48, "RGB")).save(top / "other.png")
    return top


@pytest.fixture(scope="module")
def archive(photos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("made") / "photos.bb"
    bbcodec.compress(photos, path, codec="none", verify=False)
    return path


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if the package was not installed."""
    monkeypatch.setitem(sys.modules, package, None)


def test_every_byte_comes_back_from_fewer(photos, archive, tmp_path):
    how = hows(archive)
    assert {name for name in how if how[name] == "lepton"} == set(LEPTON)
    assert {how[name] for name in KEPT} == {"original"}
    restore(archive, tmp_path / "out")
    before, after = contents(photos), contents(tmp_path / "out")
    assert [name for name in before if before[name] != after[name]] == ["other.png"]
    with Archive(archive) as opened:
        rows = {row["name"]: row for row in opened.listing()["files"]}
        assert opened.listing()["needs"] == ["lepton"]
        assert opened.verify().how["lepton"] == len(LEPTON)
    assert (rows["phone.jpg"]["width"], rows["phone.jpg"]["height"], rows["phone.jpg"]["mode"]) == (120, 90, "RGB")
    stored = sum(rows[name]["stored_bytes"] for name in LEPTON)
    assert stored < 0.9 * sum(len(before[name]) for name in LEPTON)


def test_they_are_images_to_those_who_ask(photos, archive):
    with bbcodec.open(archive) as opened:
        for name in ("plain.jpg", "grey.jpg", "two.jpg"):
            with Image.open(photos / name) as image:
                assert np.array_equal(np.asarray(opened[name]), np.asarray(image))
            assert opened.read_bytes(name) == (photos / name).read_bytes()
        assert opened.pixels("grey.jpg").shape == (70, 80, 1)
    images = bbcodec.ArchiveDataset(archive, names=["grey.jpg", "plain.jpg"], mode="RGB")
    assert [image.shape for image in images] == [(70, 80, 3), (90, 120, 3)]


def test_any_number_of_workers_gives_the_same_archive(photos, archive, tmp_path):
    for jobs in (1, 3):
        bbcodec.compress(photos, tmp_path / f"{jobs}.bb", codec="none", jobs=jobs)
        assert (tmp_path / f"{jobs}.bb").read_bytes() == archive.read_bytes()


def test_copies_are_stored_once(photos, tmp_path):
    top = tmp_path / "in"
    top.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (top / name).write_bytes((photos / "plain.jpg").read_bytes())
    summary = bbcodec.compress(top, tmp_path / "a.bb", codec="none")
    assert (summary.copies, summary.how, summary.rewritten) == (1, {"lepton": 2}, 0)
    assert (tmp_path / "a.bb").stat().st_size < (photos / "plain.jpg").stat().st_size


def test_without_the_package_all_other_files_are_restored(photos, archive, tmp_path, monkeypatch):
    without(monkeypatch, "lepton_jpeg_python")
    with pytest.raises(
        MissingPackage, match=r"8 of 13 files are not to be read here: .*cut.jpg.*pip install lepton_jpeg"
    ):
        restore(archive, tmp_path / "out")
    restored = contents(tmp_path / "out")
    assert set(restored) == {*KEPT, "other.png"}
    assert all(restored[name] == (photos / name).read_bytes() for name in KEPT)
    with Archive(archive) as opened:
        with pytest.raises(MissingPackage, match=r"plain.jpg'? is not to be read here: JPEG stored as lepton needs"):
            opened.read_bytes("plain.jpg")
        with pytest.raises(MissingPackage):
            opened.pixels("plain.jpg")
        with pytest.raises(MissingPackage):
            opened.verify()
        assert opened.listing()["needs"] == ["lepton"]


def test_without_the_package_files_are_kept_and_that_is_said(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("bbcodec.images.codings.base.find_spec", lambda package: None)
    summary = bbcodec.compress(photos, tmp_path / "a.bb", codec="none")
    assert "lepton" not in summary.how
    assert (
        "JPEG files would be shorter with the package lepton_jpeg_python: pip install lepton_jpeg_python"
        in summary.skipped
    )
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out")["plain.jpg"] == (photos / "plain.jpg").read_bytes()


def test_a_missing_package_hides_no_damage(archive, tmp_path, monkeypatch):
    data = bytearray(archive.read_bytes())
    with Archive(archive) as opened:
        entry = next(one for one in opened.files if one.name == b"cmyk.jpg")
        data[opened._file.chunk(entry.places[0]).offset + 50] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    without(monkeypatch, "lepton_jpeg_python")
    with pytest.raises(DamagedArchive, match="files are damaged"):
        restore(tmp_path / "a.bb", tmp_path / "out")


def test_memory_is_limited(archive):
    with Archive(archive, run=RunOptions(limits=Limits(memory=2**17))) as opened:
        assert opened.read_bytes("notes.txt") == b"notes"
        with pytest.raises(LimitExceeded, match="--max-memory"):
            opened.read_bytes("plain.jpg")


def test_a_file_that_deflate_shortens_more_is_kept_as_it_is(tmp_path):
    top = tmp_path / "in"
    top.mkdir()
    flat = jpeg(np.full((800, 800, 3), 90, np.uint8))
    (top / "flat.jpg").write_bytes(flat)
    bbcodec.compress(top, tmp_path / "a.bb", codec="none")
    assert hows(tmp_path / "a.bb") == {"flat.jpg": "original"}
    assert (tmp_path / "a.bb").stat().st_size < len(flat) / 5
