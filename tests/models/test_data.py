"""Training data: batches, crops, binarisation, and the loaders of the data sets."""

import numpy as np
import pytest
import torch
from bbcodec.models.data import LOADERS, Images, load_grey, load_mnist_binary, load_photos, photos, random_crop
from PIL import Image

from bbcodec.errors import InputError


def numbered(count: int, height: int, width: int, channels: int = 1) -> list[np.ndarray]:
    """Images each of whose values is different, and tells the image: the hundreds are its number."""
    return [
        (n * 60 + np.arange(height * width * channels) % 60).reshape(height, width, channels).astype(np.uint8)
        for n in range(count)
    ]


def test_batches_are_images_as_tensors():
    images = Images(numbered(4, 3, 5, 2), [])
    x = images.batch(64, None, np.random.default_rng(0))
    assert x.shape == (64, 2, 3, 5)
    assert x.dtype == torch.float32
    seen = set()
    for one in x:
        n = int(one[0, 0, 0]) // 60
        assert np.array_equal(one.permute(1, 2, 0).numpy(), images.train[n])
        seen.add(n)
    assert seen == {0, 1, 2, 3}


def test_the_same_generator_gives_the_same_batches():
    images = Images(numbered(4, 9, 9), [], binarise=True)
    one, other = (images.batch(8, 4, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, images.batch(8, 4, np.random.default_rng(6)))


def test_crops_are_squares_from_everywhere_mirrored_half_of_the_time():
    image = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6, 1)
    rng = np.random.default_rng(0)
    places, mirrored = set(), 0
    for _ in range(400):
        crop = random_crop(image, 3, rng)
        assert crop.shape == (3, 3, 1)
        turned = crop[0, 0, 0] > crop[0, 1, 0]
        mirrored += turned
        plain = crop[:, ::-1] if turned else crop
        i, j = divmod(int(plain[0, 0, 0]), 6)
        assert np.array_equal(plain, image[i : i + 3, j : j + 3])
        places.add((i, j))
    assert places == {(i, j) for i in range(3) for j in range(4)}
    assert 150 < mirrored < 250


def test_a_crop_may_be_the_whole_image():
    assert random_crop(np.zeros((4, 4, 3), np.uint8), 4, np.random.default_rng(0)).shape == (4, 4, 3)


def test_validation_is_the_middles_of_the_first_images():
    images = Images([], numbered(4, 8, 10))
    x = images.validation(3, 4)
    assert x.shape == (3, 1, 4, 4)
    assert np.array_equal(x[2, 0].numpy(), images.valid[2][2:6, 3:7, 0])
    assert images.validation(9, None).shape == (4, 1, 8, 10)
    assert torch.equal(x, images.validation(3, 4))


def test_binarisation_follows_the_grey_level():
    """Afresh for each batch, the same for validation each time."""
    level = np.full((50, 50, 1), 64, np.uint8)
    images = Images([level], [level], binarise=True)
    rng = np.random.default_rng(0)
    one, other = images.batch(2, None, rng), images.batch(2, None, rng)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert one.mean().item() == pytest.approx(64 / 255, abs=0.03)
    assert not torch.equal(one, other)
    assert torch.equal(images.validation(1, None), images.validation(1, None))
    ends = np.array([0, 255], np.uint8).reshape(1, 2, 1)
    x = Images([ends], [], binarise=True).batch(5000, None, rng)
    assert x[:, 0, 0].unique(dim=0).tolist() == [[0.0, 1.0]]


@pytest.fixture
def data(tmp_path):
    """A folder of data sets, each with what its loader needs."""
    for part, count in (("train", 3), ("valid", 2)):
        folder = tmp_path / "photos" / part
        folder.mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", (100 + n, 96), (200, n, 0)).save(folder / f"{2 - n}.png")
        Image.new("RGB", (200, 95)).save(folder / "small.png")
    grey = np.arange(30, dtype=np.uint8).reshape(30, 1, 1) * np.ones((1, 8, 8), np.uint8)
    np.savez(tmp_path / "microscopy_256_grey.npz", train=grey, test=grey[:2] + 100)
    digits = np.arange(1005).reshape(-1, 1, 1) // 5 * np.ones((1, 4, 4), np.int64)
    np.savez(tmp_path / "mnist.npz", train=digits.astype(np.uint8), test=digits[:1].astype(np.uint8))
    return tmp_path


def test_photos_come_in_the_order_of_their_names_without_the_small(data):
    images = load_photos(data)
    assert [image.shape for image in images.train] == [(96, 102, 3), (96, 101, 3), (96, 100, 3)]
    assert [image.shape for image in images.valid] == [(96, 101, 3), (96, 100, 3)]
    assert images.train[2][0, 0].tolist() == [200, 0, 0]
    assert not images.binarise


def test_grey_images_are_luminance_and_microscopy_without_its_test_images(data):
    images = load_grey(data)
    assert [image.shape for image in images.train] == [(96, 102, 1), (96, 101, 1), (96, 100, 1), *[(8, 8, 1)] * 10]
    assert [image.shape for image in images.valid] == [(96, 101, 1), (96, 100, 1), *[(8, 8, 1)] * 20]
    assert images.train[2][0, 0, 0] == round(0.299 * 200)
    assert [int(image[0, 0, 0]) for image in images.valid[2:]] == list(range(10, 30))
    assert all(image.max() < 100 for image in images.train[3:] + images.valid[2:])


def test_mnist_keeps_the_last_thousand_for_validation(data):
    images = load_mnist_binary(data)
    assert (len(images.train), len(images.valid)) == (5, 1000)
    assert images.binarise
    assert images.train[0].shape == (4, 4, 1)
    assert int(images.valid[-1][0, 0, 0]) == 200


def test_a_folder_without_images_of_use(tmp_path):
    Image.new("RGB", (95, 200)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="at least 96 x 96"):
        photos(tmp_path)


def test_every_loader_has_a_name(data):
    assert all(isinstance(load(data), Images) for load in LOADERS.values())


def test_a_missing_folder_and_a_file_that_is_no_image_are_named(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        photos(tmp_path / "none")
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"a\.png is not an image"):
        photos(tmp_path)
