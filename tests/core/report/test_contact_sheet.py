"""Contact sheets: every image in its place, whatever its kind."""

import os

import numpy as np
import pytest
from PIL import Image

import bbcodec
from bbcodec.archive.format.names import escaped
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.cli.main import main
from bbcodec.errors import DamagedArchive, InputError
from bbcodec.report.contact_sheet import CAPTION, MARGIN, SIDE, contact_sheet


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (300, 100), "red").save(folder / "a.png")
    Image.new("L", (10, 40), 128).save(folder / "b.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(folder / "c \u00e9\u4e2d.png")
    np.save(folder / "d.npy", np.stack([np.zeros((16, 16)), np.ones((16, 16))]).astype(np.uint8))
    (folder / "e.txt").write_text("no image")
    bbcodec.compress(folder, tmp_path / "a.bb", codec="none")
    return tmp_path / "a.bb"


def middle(sheet, column, row):
    left, top = MARGIN + column * (SIDE + MARGIN), MARGIN + row * (SIDE + CAPTION + MARGIN)
    return sheet.getpixel((left + SIDE // 2, top + SIDE // 2))


def test_each_image_is_in_its_place(archive):
    with bbcodec.open(archive) as opened:
        sheet, count, failed = contact_sheet(opened)
    assert (count, sheet.size) == (5, (3 * (SIDE + MARGIN) + MARGIN, 2 * (SIDE + CAPTION + MARGIN) + MARGIN))
    colours = [(255, 0, 0), (128, 128, 128), (200, 200, 200), (0, 0, 0), (255, 255, 255)]
    assert [middle(sheet, place % 3, place // 3) for place in range(5)] == colours
    assert failed == {}
    captions = np.asarray(sheet)[MARGIN + SIDE : MARGIN + SIDE + CAPTION]
    assert (captions < 200).any()


def test_many_images_are_sampled_evenly(archive):
    with bbcodec.open(archive) as opened:
        sheet, count, failed = contact_sheet(opened, 2)
    assert failed == {}
    assert (count, sheet.width) == (5, 2 * (SIDE + MARGIN) + MARGIN)
    assert [middle(sheet, 0, 0), middle(sheet, 1, 0)] == [(255, 0, 0), (255, 255, 255)]


def test_the_command_writes_a_sheet(archive, tmp_path, capsys):
    target = tmp_path / "sheet.png"
    assert main(["list", str(archive), "--sheet", str(target)]) == 0
    assert capsys.readouterr().err.splitlines() == [f"{target}: 5 images of {archive}"]
    with Image.open(target) as sheet:
        assert middle(sheet, 0, 0) == (255, 0, 0)
    assert main(["list", str(archive), "--sheet", str(target)]) == 4
    assert main(["list", str(archive), "--sheet", str(target), "-f"]) == 0
    assert main(["list", str(archive), "--sheet", str(tmp_path / "sheet.txt")]) == 3
    assert "such as sheet.png" in capsys.readouterr().err


def test_damaged_images_cost_no_other_ones(archive, tmp_path, capsys):
    """They leave frames, and are named."""
    target, data, file = tmp_path / "sheet.png", bytearray(archive.read_bytes()), ArchiveFile(archive)
    chunk = file.chunk(file.entries[1].places[-1])
    damaged = [os.fsdecode(one.name) for one in file.entries if chunk in map(file.chunk, one.places)]
    damaged.remove("e.txt")  # which shares the chunk
    assert "b.png" in damaged
    data[chunk.offset + chunk.length // 2] ^= 255
    archive.write_bytes(data)
    assert main(["list", str(archive), "--sheet", str(target)]) == DamagedArchive.exit_code
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{target}: 5 images of {archive}"
    names = ", ".join(map(escaped, damaged))
    assert said[1].startswith(f"bbcodec: {target} lacks {len(damaged)} image")
    assert f": {names} ({damaged[0]!r} is damaged: the chunk at byte " in said[1]
    assert len(said) == 2
    with Image.open(target) as sheet:
        assert middle(sheet, 1, 0) == (255, 255, 255)
        assert [middle(sheet, 0, 1), middle(sheet, 1, 1)] == [(0, 0, 0), (255, 255, 255)]
        assert sheet.getpixel((MARGIN + SIDE + MARGIN, MARGIN)) == (225, 225, 225)


def test_an_archive_without_images_has_no_sheet(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    bbcodec.compress(tmp_path / "a.txt", tmp_path / "a.bb")
    with bbcodec.open(tmp_path / "a.bb") as opened, pytest.raises(InputError, match="holds no images"):
        contact_sheet(opened)
