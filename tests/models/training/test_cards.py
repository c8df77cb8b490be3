"""Measurements of images without a codec, as summaries and cards have them."""

import numpy as np
from PIL import Image
from tiny_models import pictures

from bbcodec import compress
from bbcodec.models.training.cards import archive_bits_per_dim, file_bits_per_dim


def test_without_a_codec_images_take_what_an_archive_of_their_files_takes(tmp_path, monkeypatch):
    """Of two sizes, each of which has sheets; but for the container, which messages do not have either."""
    images = [*pictures("RGB", 30, 12, 10), *pictures("RGB", 20, 9, 16, 1)]
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{number:03}.png")
    compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    dims = sum(image.size for image in images)
    whole = 8 * (tmp_path / "a.bb").stat().st_size / dims
    assert 0.8 * whole < archive_bits_per_dim(images) < whole
    assert archive_bits_per_dim(images) < file_bits_per_dim(images, 256, "webp")
    large = np.zeros((1100, 1000, 3), np.uint8)
    assert 0 < archive_bits_per_dim([large]) < 0.01
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000, 1), dtype=np.uint8)
    assert archive_bits_per_dim([noise, noise[::-1]]) > 7  # none is left out
    long = np.zeros((17000, 2, 1), np.uint8)
    assert file_bits_per_dim([long], 256, "webp") == file_bits_per_dim([long], 256, "png")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert archive_bits_per_dim(images) is None
