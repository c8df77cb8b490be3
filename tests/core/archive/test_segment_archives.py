"""TIFF and DICOM files in archives: what comes back, and what they show."""

import numpy as np
import pytest
from dicom_examples import dicom
from image_examples import random_samples
from tiff_examples import page, tiff

import bbcodec
from bbcodec.archive.format.index import FORMS

PLAIN = random_samples("L8", 40, 30)
COLOUR = random_samples("RGB8", 40, 30)
WIDE = random_samples("L16", 40, 30)
SOFT = (np.cumsum(WIDE % 64, axis=0) + random_samples("RGB8", 40, 30)).astype(np.uint16)
FILES = {
    "plain.tif": tiff([page(PLAIN, rows=7)], ">"),
    "pages.tif": tiff([page(COLOUR, tile=(16, 32)), page(COLOUR[::-1], tile=(16, 32))], big=True),
    "planar.tif": tiff([page(COLOUR, planar=True)]),
    "rgb16.tif": tiff([page(SOFT)]),
    "frames.dcm": dicom(np.stack([COLOUR, COLOUR[::-1]])),
    "scan.dcm": dicom(WIDE[None]),
    "bands.tif": tiff([page(np.repeat(PLAIN, 5, axis=2))]),
}
SHOWN = {
    "plain.tif": PLAIN, "pages.tif": COLOUR, "planar.tif": COLOUR,
    "rgb16.tif": (SOFT >> 8).astype(np.uint8), "frames.dcm": COLOUR,
    "scan.dcm": (WIDE >> 8).astype(np.uint8),
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiffs")
    (folder / "in").mkdir()
    for name, data in FILES.items():
        (folder / "in" / name).write_bytes(data)
    bbcodec.compress(folder / "in", folder / "a.bb", codec="none", exact_files=True)
    with bbcodec.open(folder / "a.bb") as opened:
        yield opened


def test_files_come_back(archive):
    forms = {entry.name.decode(): entry.form for entry in archive.files}
    assert set(forms.values()) == {FORMS[8]} == {"segments"}
    for name, data in FILES.items():
        assert archive.read_bytes(name) == data


@pytest.mark.parametrize("name", SHOWN)
def test_the_first_page_is_shown(archive, name):
    assert archive.count(name) == 1
    assert np.array_equal(archive.pixels(name), SHOWN[name])
