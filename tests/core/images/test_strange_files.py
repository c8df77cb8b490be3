"""Several hundred strange files: each comes back as it was, or is not split."""

import warnings
from collections import Counter

import numpy as np
import pytest
from strange import check_same, make, seen

from bbcodec.images.image_files import join_image, palette, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.planes import from_planes, plane_layouts, plane_shapes, to_planes
from bbcodec.images.probe import probe


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strange")
    assert make(folder) >= 500
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_comes_back(files, tmp_path):
    forms = Counter()
    for path in files:
        picture = split_image(path.read_bytes())
        if picture is not None:
            assert probe(path).may_split, path
            forms[picture.form, picture.sample_format] += 1
            joined = tmp_path / path.name
            joined.write_bytes(join_image(picture))
            check_same(path, joined)
    assert {sample_format for form, sample_format in forms if form == "png"} == {
        "L1", "L2", "L4", "L8", "L16", "LA8", "RGB8", "RGBA8", "P1", "P2", "P4", "P8", "RGB16", "RGBA16",
    }  # fmt: skip
    assert {sample_format for form, sample_format in forms if form == "webp"} == {"RGB8", "RGBA8"}
    assert {sample_format for form, sample_format in forms if form == "raw"} >= {
        "L1",
        "L8",
        "L16",
        "LA8",
        "RGB8",
        "RGBA8",
        "P1",
        "P4",
        "P8",
    }


def test_exact_files_come_back_byte_for_byte(files):
    found = 0
    for path in files:
        data = path.read_bytes()
        picture = split_image(data, exact=True)
        if picture is not None:
            found += 1
            assert join_image(picture) == data, path
    assert found > 100


def test_sound_pngs_are_split(files):
    """A PNG that is kept though Pillow reads it has a reason: 16-bit colour, an animation, damage."""
    kept = [path for path in files if path.suffix == ".png" and not split_image(path.read_bytes()) and seen(path)]
    reasons = ("type-2-16", "type-4-16", "type-6-16", "animated", "bad-exif", "cut", "misnamed", "iend", "ihdr-twice")
    assert [path.name for path in kept if not any(reason in path.name for reason in reasons)] == []


def test_planes_of_every_file(files):
    for path in files:
        picture = split_image(path.read_bytes())
        if picture is None:
            continue
        colours = palette(picture.form, picture.sample_format, picture.skeleton)
        for way in plane_layouts(picture.sample_format, colours):
            planes = to_planes(picture.samples, picture.sample_format, way, colours)
            if planes is not None:
                shapes = plane_shapes(picture.sample_format, way, 0 if colours is None else colours.shape[1])
                assert [plane.shape[2] for plane in planes] == [channels for channels, _ in shapes]
                assert np.array_equal(from_planes(planes, picture.sample_format, way, colours), picture.samples), path


def test_as_large_images(files, tmp_path):
    """The other path to the same end: also there nothing may be lost, and nothing raised."""
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            large, small = split_large(path, tmp_path / "spool"), split_image(path.read_bytes())
        if large is not None:
            assert small is not None, path
            assert large.outline == small.outline
            assert np.array_equal(large.samples, small.samples)
            large.samples._mmap.close()
