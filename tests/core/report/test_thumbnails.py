"""Small pictures on pages: of the archive's images, few and small, whatever the archive holds and is called."""

import base64
import io
import os
import re

import numpy as np
import pytest
from folders import noise
from PIL import Image
from report_examples import make_report

import bbcodec
from bbcodec.cli.main import main
from bbcodec.report import thumbnails as thumbnails_module
from bbcodec.report.evaluate import inspect
from bbcodec.report.render_html import render_html
from bbcodec.report.thumbnails import SIDE, Thumbnail, spread_images, thumbnails


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (300, 100), "red").save(folder / "a.png")
    np.save(folder / "b.npy", np.stack([np.zeros((16, 16)), np.ones((16, 16))]).astype(np.uint8))
    Image.new("L", (10, 40), 128).save(folder / "c.png")
    (folder / "d.txt").write_text("no image")
    bbcodec.compress(folder, tmp_path / "a.bb", codec="none")
    return tmp_path / "a.bb"


def pictures(page):
    """The decoded pictures of a page, by their names as they are written there."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/(\w+);base64,([^"]*)"', page)
    return {name: (kind, Image.open(io.BytesIO(base64.b64decode(data)))) for name, kind, data in found}


def test_each_image_has_its_picture(archive):
    with bbcodec.open(archive) as opened:
        found = thumbnails(opened, 10)
    assert [one.caption for one in found] == ["a.png", "b.npy[0]", "b.npy[1]", "c.png"]
    assert [one.picture.size for one in found] == [(SIDE, 43), (SIDE, SIDE), (SIDE, SIDE), (30, 120)]
    middles = [one.picture.getpixel((one.picture.width // 2, one.picture.height // 2)) for one in found]
    assert middles == [(255, 0, 0), (0, 0, 0), (255, 255, 255), (128, 128, 128)]
    assert [one.note for one in found] == [
        "300 x 100, predicted",
        "16 x 16, original",
        "16 x 16, original",
        "10 x 40, predicted",
    ]


def test_images_are_spread_evenly(archive):
    with bbcodec.open(archive) as opened:
        shown, count = spread_images(opened, 2)
        assert ([one.caption for one in shown], count) == (["a.png", "c.png"], 4)
        assert spread_images(opened, 0) == ([], 4)


def test_the_page_has_them(archive):
    report = inspect(archive, most_thumbnails=3)
    page = render_html(report)
    found = pictures(page)
    assert list(found) == ["a.png", "b.npy[1]", "c.png"]
    assert found["c.png"][1].size == (30, 120)
    assert "3 images, evenly spread over the archive." in page
    assert "<h2>Images</h2>" not in render_html(inspect(archive))


def test_a_page_stays_small(tmp_path):
    """However many images there are, and however hard they are to compress."""
    np.save(tmp_path / "a.npy", noise(200, 8, 8))
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none")
    assert main(["report", str(tmp_path / "a.bb"), "--html", str(tmp_path / "a.html"), "-q"]) == 0
    assert len(pictures((tmp_path / "a.html").read_text())) == 60
    hard = [Thumbnail(f"{n}", Image.fromarray(noise(SIDE, SIDE, 3, seed=n)), "") for n in range(60)]
    assert len(render_html(make_report(thumbnails=hard))) < 1_200_000


def test_large_images_are_not_decoded(archive, monkeypatch):
    monkeypatch.setattr(thumbnails_module, "MOST_PIXELS", 300 * 100 - 1)
    with bbcodec.open(archive) as opened:
        found = thumbnails(opened, 9)
    assert [one.picture is None for one in found] == [True, False, False, False]
    assert found[0].note == "300 x 100, too large to be made small here"


def test_names_of_any_bytes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate((b'"><script>x.png', b"\xff\n.png", "\u202egnp.png".encode(), b"'&lt;.png")):
        Image.new("L", (8, 8), number).save(os.path.join(os.fsencode(folder), name))
    bbcodec.compress(folder, tmp_path / "a.bb", codec="none")
    assert main(["report", str(tmp_path / "a.bb"), "--html", str(tmp_path / "a.html"), "-q"]) == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    names = {"&quot;&gt;&lt;script&gt;x.png", "\\udcff\\n.png", "\\u202egnp.png", "&#x27;&amp;lt;.png"}
    assert set(pictures(page)) == names
    assert "<script>" not in page


def test_damaged_images_leave_the_others(archive):
    with bbcodec.open(archive) as opened:
        chunk = opened._file.chunk(opened.files[1].content[0])
    data = bytearray(archive.read_bytes())
    data[chunk.offset + chunk.length // 2] ^= 1
    archive.write_bytes(data)
    page = render_html(inspect(archive, most_thumbnails=9))
    assert list(pictures(page)) == ["a.png", "c.png"]
    assert page.count('<div class="blank">no picture</div>') == 2
    assert page.count("damaged: its CRC-32 differs</small>") == 2
