"""Groups of images that no WebP sheet can hold."""

import numpy as np
import pytest
from PIL import Image

import bbcodec


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
