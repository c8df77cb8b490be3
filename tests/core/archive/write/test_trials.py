"""Quick trials: what they say is true of images of many kinds, and they settle what they are for."""

import lzma

import numpy as np
import pytest
from folders import noise, smooth
from pinned_inputs import natural, strokes

from bbcodec.archive.write.trials import (
    FEW_ALIKE,
    OF_ENTROPY,
    PictureTrials,
    drawn,
    least_lzma,
    least_sheet,
    middle_strips,
    repeated_share,
    residuals,
)
from bbcodec.images.codings import coding_named

RANDOM = np.random.default_rng(0)


def rectangles(side, colours):
    """Rectangles in a few colours."""
    image = np.zeros((side, side, 3), np.uint8)
    for _ in range(30):
        (top, left), size = RANDOM.integers(0, side, 2), RANDOM.integers(2, side // 2)
        image[top : top + size, left : left + size] = RANDOM.integers(0, colours, 3) * (255 // colours)
    return image


IMAGES = {
    "natural": (natural(1, 90, 120, 3)[0], 256),
    "natural grey": (natural(1, 90, 120, 1)[0], 256),
    "smooth": (smooth(90, 120, 3), 256),
    "smooth RGBA": (smooth(90, 120, 4), 256),
    "noise": (noise(50, 60, 3), 256),
    "little noise": (noise(6, 10, 3), 256),
    "drawn": (rectangles(200, 3), 256),
    "drawn grey": (rectangles(200, 8)[..., :1], 256),
    "tiny": (natural(1, 9, 7, 3)[0], 256),
    "one pixel": (noise(1, 1, 1), 256),
    "flat": (np.full((60, 60, 3), 9, np.uint8), 256),
    "repeated": (np.tile(noise(40, 40, 3), (4, 4, 1)), 256),
    "strokes": (strokes(1)[0], 2),
    "two levels": (rectangles(100, 2)[..., :1] & 1, 2),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("coding", ["webp", "png"])
def test_an_image_takes_at_least_what_its_trials_say(name, coding):
    image, levels = IMAGES[name]
    size = len(coding_named(coding).encode(image, levels))
    for bar in (1, size / 3, 0.8 * size, 0.97 * size, size, 1.1 * size):
        least = PictureTrials(image, levels).least(coding, bar)
        assert least is None or bar < least <= size
    assert PictureTrials(image, levels).least(coding, 2 * size) is None
    assert PictureTrials(image, levels).least(coding, np.inf) is None


def test_photos_are_settled_by_a_tenth():
    image, levels = IMAGES["natural"]
    size = len(coding_named("webp").encode(image, levels))
    assert PictureTrials(image, levels).least("webp", size / 1.1) > size / 1.1
    assert PictureTrials(image, levels).least("png", size / 1.1) > size / 1.1


def test_photos_are_settled_without_a_webp(monkeypatch):
    image, levels = IMAGES["natural"]
    size = len(coding_named("webp").encode(image, levels))
    monkeypatch.setattr(PictureTrials, "_size", None)
    for coding in ("webp", "png"):
        assert PictureTrials(image, levels).least(coding, size / 1.25) > size / 1.25


def test_what_others_code_in_next_to_nothing_is_not_predicted():
    """A million flat samples would take a second."""
    image = np.zeros((300, 300, 1), np.uint8)
    trials = PictureTrials(image, 256)
    assert trials.ordered(["predicted", "webp", "png"]) == ["webp", "png", "predicted"]
    assert trials.least("predicted", 20) > 20
    assert trials.least("predicted", 40) is None
    assert PictureTrials(image[:150], 256).least("predicted", 5) > 5
    assert PictureTrials(image[:50], 256).least("predicted", 5) is None
    assert PictureTrials(IMAGES["natural"][0], 256).ordered(["predicted", "webp"]) == ["predicted", "webp"]


def test_noise_of_few_colours_is_not_settled_by_its_residuals():
    """A palette of WebP is far shorter than they say."""
    image = noise(16, 1, 3)[noise(90, 90) % 16, 0]
    size = len(coding_named("webp").encode(image, 256))
    assert residuals(image) == (1.0, 0.0)
    assert PictureTrials(image, 256).least("webp", 1.05 * size) is None


@pytest.mark.parametrize("name", ["natural", "natural grey", "smooth", "smooth RGBA", "noise"])
def test_residuals_have_about_the_entropy_that_a_webp_makes_of_them(name):
    image, levels = IMAGES[name]
    alike, size = residuals(image)
    webp, png = (len(coding_named(coding).encode(image, levels)) for coding in ("webp", "png"))
    assert OF_ENTROPY["webp"] * size <= webp < 1.35 * size or alike > FEW_ALIKE
    assert OF_ENTROPY["png"] * size <= png or alike > FEW_ALIKE


def test_what_cannot_be_a_webp_is_never_settled():
    for image, levels in ((noise(1, 16384, 1), 256), (noise(4, 4, 1).astype(np.uint16), 65536)):
        assert PictureTrials(image, levels).least("png", 1) is None
    assert PictureTrials(noise(9, 9, 3), 256).least("jpegxl", 1) is None
    assert least_sheet("jpegxl", noise(2, 9, 9, 3), 1) == 0


@pytest.mark.parametrize("coding", ["webp", "lzma", "lzma-planar"])
@pytest.mark.parametrize(
    "images",
    [natural(40, 20, 20, 3), noise(9, 20, 20, 3), np.tile(noise(9, 20, 20, 3), (9, 1, 1, 1)), strokes(50)],
    ids=["natural", "noise", "repeated", "strokes"],
)
def test_a_sheet_takes_at_least_what_is_said(coding, images):
    size = len(coding_named(coding).encode_sheet(images))
    assert all(least_sheet(coding, images, bar) <= size for bar in (0, size / 1.2, size))


@pytest.mark.parametrize(
    "images",
    [natural(300, 28, 28, 1), strokes(400), np.tile(natural(30, 28, 28, 3), (9, 1, 1, 1)), np.zeros((1, 9, 9, 1), "B")],
    ids=["natural", "strokes", "repeated", "flat"],
)
def test_lzma_takes_at_least_what_is_said(images):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**24}]
    assert least_lzma(images) <= len(lzma.compress(images.tobytes(), lzma.FORMAT_RAW, filters=filters))


def test_repeats_are_found_at_any_distance_and_shift():
    fresh = noise(64, 64, 3)
    assert repeated_share(fresh) < 0.01
    far = np.concatenate([fresh.reshape(-1), noise(200, 200, 3, seed=1).reshape(-1), fresh.reshape(-1)])
    assert repeated_share(far) == pytest.approx(64 * 64 / (2 * 64 * 64 + 200 * 200), abs=0.01)
    crops = np.stack([fresh[top : top + 50, 3 * top % 13 :][:, :50] for top in range(14)])
    assert repeated_share(crops) > 0.8
    assert repeated_share(np.zeros((9, 9), np.uint8)) == 0
    assert repeated_share(np.zeros(3, np.uint8)) == 0


@pytest.mark.parametrize(
    ("shape", "strips", "rows"),
    [
        ((1, 512, 768, 3), (1, 64, 768, 3), slice(224, 288)),
        ((3, 180, 250, 3), (3, 22, 250, 3), slice(79, 101)),
        ((17, 256, 256, 1), (6, 64, 256, 1), slice(96, 160)),
    ],
)
def test_strips_are_the_middle_of_photos(shape, strips, rows):
    images = noise(*shape)
    found = middle_strips(images)
    assert found.shape == strips
    assert np.array_equal(found, images[:: -(-len(images) // 8), rows])


@pytest.mark.parametrize(
    "images", [natural(2, 80, 60, 3), rectangles(300, 9)[None], np.full((1, 200, 200, 3), 7, np.uint8)]
)
def test_small_images_and_drawings_have_no_strips(images):
    assert middle_strips(images) is None


@pytest.mark.parametrize("name", IMAGES)
def test_what_repeats_pixels_or_has_few_colours_is_drawn(name):
    photos = ("natural", "natural grey", "smooth", "smooth RGBA", "noise", "repeated")
    assert drawn(IMAGES[name][0][None]) == (name not in photos)
