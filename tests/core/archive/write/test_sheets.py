"""Groups of images in sheets, and those that no WebP sheet can hold."""

import numpy as np
import pytest
from PIL import Image

import bbcodec
from bbcodec.images.formats.webp import encode_webp


@pytest.mark.parametrize("size", [(16384, 2), (2, 16384)])
def test_images_longer_than_webp_takes_come_back(tmp_path, size):
    (tmp_path / "in").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    bbcodec.compress(tmp_path / "in", tmp_path / "out.bb", codec="none")
    with bbcodec.open(tmp_path / "out.bb") as archive:
        for name in archive:
            with Image.open(tmp_path / "in" / name) as image:
                assert np.array_equal(np.asarray(image), np.asarray(archive[name]))


def smooth(*shape: int) -> np.ndarray:
    steps = np.random.default_rng(0).integers(-2, 3, shape)
    return (np.cumsum(np.cumsum(steps, 1), 2) % 256).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 60, 70, 3), (1, 60, 70, 1), (3, 300, 280, 1), (2, 270, 300, 3)])
def test_an_array_of_few_or_large_images_is_not_longer_than_webp(tmp_path, shape):
    """Without a codec that fits, WebP is all that knows images."""
    images = smooth(*shape)
    np.save(tmp_path / "a.npy", images)
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none")
    webp = sum(len(encode_webp(image)) for image in images)
    assert (tmp_path / "a.bb").stat().st_size < webp + 320
    with bbcodec.open(tmp_path / "a.bb") as archive:
        assert np.array_equal(archive["a.npy"], images)


def test_images_of_an_array_share_a_sheet_only_where_that_is_shorter(tmp_path):
    """Noise of few colours, others in each image: together they are too many for a palette."""
    colours = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    places = np.random.default_rng(1).integers(0, 16, (20, 64, 64))
    own = np.stack([some[place] for some, place in zip(colours, places, strict=True)])
    shared = np.tile(smooth(1, 6, 6, 1), (300, 1, 1, 1))
    for images, chunks in ((own, 20), (shared, 1)):
        np.save(tmp_path / "a.npy", images)
        bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none", force=True)
        alone = sum(len(encode_webp(image)) + 40 for image in images)
        assert (tmp_path / "a.bb").stat().st_size < alone + 200
        with bbcodec.open(tmp_path / "a.bb") as archive:
            assert np.array_equal(archive["a.npy"], images)
            assert len({archive.chunk_of("a.npy", number) for number in range(len(images))}) == chunks


@pytest.mark.parametrize("shape", [(1, 16384, 20, 1), (1, 3000, 2900, 1)])
def test_arrays_of_images_that_no_sheet_takes_come_back(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.tile(smooth(1, 4, shape[2], 1), (1, shape[1] // 4, 1, 1)))
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none")
    bbcodec.decompress(tmp_path / "a.bb", tmp_path / "out")
    assert (tmp_path / "out" / "a.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()
