"""Data sets: which images are held out, levels of pixels, and what fits the settings of a run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_images import BINARY, GREY, RGB, noise, save, sizes, some

from bbcodec.errors import InputError
from bbcodec.models.training.data import Dataset, check_codec, fit, load_dataset, split
from bbcodec.models.training.recipes import TrainingSettings

# --- held out


@given(st.integers(2, 300), st.integers(1, 20), st.integers(0, 5))
def test_some_images_are_held_out_by_seed_and_number_alone(count, valid_images, seed):
    one = split(noise(count, 1, 1, 1), valid_images, seed)
    numbers = np.arange(count, dtype=np.uint16).view(np.uint8).reshape(count, 1, 2, 1)
    train, valid = split(numbers, valid_images, seed)
    assert len(valid) == max(1, min(valid_images, round(0.05 * count)))
    assert [len(part) for part in one] == [len(train), len(valid)]
    found = np.concatenate([train, valid]).reshape(count, 2).view(np.uint16)[:, 0]
    assert sorted(found) == list(range(count))
    assert list(found[: len(train)]) == sorted(found[: len(train)])
    listed = split(list(numbers), valid_images, seed)
    assert all(np.array_equal(a, b) for a, b in zip(listed, (train, valid), strict=True))


def test_another_seed_holds_out_other_images(tmp_path):
    np.save(tmp_path / "x.npy", noise(200, 4, 4))
    chosen = [load_dataset([tmp_path], seed=seed).valid.tobytes() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len(load_dataset([tmp_path], valid_images=number).valid) for number in (3, 99)] == [3, 10]


def test_held_out_images_can_be_given(tmp_path):
    np.save(tmp_path / "train.npy", noise(9, 3, 4))
    np.save(tmp_path / "valid.npy", noise(30, 3, 4, seed=1))
    dataset = load_dataset([tmp_path / "train.npy"], [tmp_path / "valid.npy"], valid_images=4)
    assert np.array_equal(dataset.train[..., 0], noise(9, 3, 4))
    assert dataset.valid.shape == (4, 3, 4, 1)
    there = {image.tobytes() for image in noise(30, 3, 4, seed=1)}
    assert all(image.tobytes() in there for image in dataset.valid)


def test_one_image_is_enough_where_others_are_held_out(tmp_path):
    path = save(tmp_path, "a.png", noise(4, 4))
    assert len(load_dataset([path], [path]).train) == 1


def test_held_out_images_are_of_the_pixel_format_that_is_trained_on(tmp_path):
    for number in range(3):
        save(tmp_path / "rgb", f"{number}.png", noise(4, 4, 3, seed=number))
        save(tmp_path / "grey", f"{number}.png", noise(4, 4, seed=number))
    with pytest.raises(InputError, match=r"^no images in .*grey are RGB like the training images: they are grey$"):
        load_dataset([tmp_path / "rgb"], [tmp_path / "grey"])
    dataset = load_dataset([tmp_path / "rgb"], [tmp_path])
    assert dataset.notes == (
        "held out: skipped 3 grey images: most pixels are RGB",
        "3 held-out images are also training images: expect new images to take more bits",
    )


# --- levels


def test_two_levels_are_drawn_of_grey_images(tmp_path):
    np.save(tmp_path / "x.npy", noise(9, 3, 4))
    dataset = load_dataset([tmp_path], levels=2)
    assert (dataset.pixels, dataset.binarise) == (BINARY, True)
    assert dataset.train.max() > 1
    np.save(tmp_path / "x.npy", noise(9, 3, 4, top=2))
    dataset = load_dataset([tmp_path], levels=2)
    assert (dataset.pixels, dataset.binarise) == (BINARY, False)
    np.save(tmp_path / "x.npy", noise(9, 3, 4, 3))
    with pytest.raises(InputError, match="the images are RGB: only grey images can be binarised"):
        load_dataset([tmp_path], levels=2)


# --- sizes


def test_sizes():
    dataset = Dataset(sizes((30, 20), (9, 40)), sizes((20, 8)), RGB)
    assert dataset.size is None
    assert dataset.smallest() == (9, 8)
    alike = some(5)
    assert (alike.size, alike.smallest(), alike.max_crop_side()) == ((6, 5), (6, 5), 5)
    assert replace(alike, valid=noise(2, 6, 6, 1)).size is None


def test_the_largest_crop_ignores_the_few_small_images():
    """32 x 32 each, and one pixel."""
    assert Dataset(sizes(*[(32, 32)] * 9, (1, 1)), sizes((32, 32)), RGB).max_crop_side() == 32
    assert Dataset(sizes((100, 100), (40, 50)), sizes((32, 32)), RGB).max_crop_side() == 40
    assert Dataset(sizes((100, 100), (30, 30)), sizes((32, 32)), RGB).max_crop_side() == 100


def test_images_smaller_than_a_crop_are_left_out():
    dataset = Dataset(sizes((30, 20), (9, 40), (16, 16)), sizes((20, 8), (16, 40)), RGB, ("before",))
    fitted = fit(dataset, TrainingSettings(crop=16))
    assert [image.shape[:2] for image in fitted.train] == [(30, 20), (16, 16)]
    assert fitted.valid.shape == (1, 16, 40, 3)
    assert fitted.notes == ("before", "skipped 2 images smaller than crops of 16 x 16 pixels")
    assert fit(fitted, TrainingSettings(crop=16)) is fitted


def test_held_out_images_are_chosen_from_those_that_are_large_enough():
    """Nine of ten are icons: chosen before, the held-out ones would nearly all be such."""
    images = sizes(*[(8, 8)] * 36, *[(32 + n, 40) for n in range(4)])
    for seed in range(5):
        settings = TrainingSettings(crop=16, seed=seed)
        train, valid = split(images, settings.valid_images, seed)
        fitted = fit(Dataset(train, valid, RGB, chosen=True), settings)
        assert (len(fitted.train), len(fitted.valid)) == (3, 1)
        assert fitted.notes == ("skipped 36 images smaller than crops of 16 x 16 pixels",)
        heights = sorted(image.shape[0] for image in [*fitted.train, *fitted.valid])
        assert heights == [32, 33, 34, 35]
    few = Dataset(*split(images[:37], 1000, 0), RGB, ("before",), chosen=True)
    with pytest.raises(InputError, match=r"^expected at least 2 images as large as crops of 16 x 16 .*1; .*crop=8$"):
        fit(few, TrainingSettings(crop=16))
    with pytest.raises(InputError, match="no image is as large as crops of 99 x 99 pixels: the smallest is 8 x 8;"):
        fit(few, TrainingSettings(crop=99))


def test_given_images_stay_held_out_and_others_are_chosen_anew(tmp_path):
    for number, side in enumerate([8] * 20 + [32] * 4):
        save(tmp_path / "all", f"{number}.png", noise(side, side, 3, seed=number))
    for number, side in enumerate((8, 40, 40)):
        save(tmp_path / "given", f"{number}.png", noise(side, side, 3, seed=100 + number))
    settings = TrainingSettings(crop=16)
    chosen = fit(load_dataset([tmp_path / "all"]), settings)
    assert (len(chosen.train), len(chosen.valid)) == (3, 1)
    given = fit(load_dataset([tmp_path / "all"], [tmp_path / "given"]), settings)
    assert (len(given.train), [image.shape for image in given.valid]) == (4, [(40, 40, 3)] * 2)


def test_held_out_images_that_are_trained_on_are_noted(tmp_path):
    np.save(tmp_path / "all.npy", noise(20, 8, 8, 1))
    np.save(tmp_path / "other.npy", np.concatenate([noise(3, 8, 8, 1), 255 - noise(1, 8, 8, 1)]))
    dataset = load_dataset([tmp_path / "all.npy"], [tmp_path / "other.npy"])
    assert dataset.notes == ("3 held-out images are also training images: expect new images to take more bits",)
    assert not load_dataset([tmp_path / "all.npy"]).notes


def test_what_does_not_fit_is_told():
    several = Dataset(sizes((30, 20), (9, 40)), sizes((20, 12)), RGB)
    for dataset, changes, message in (
        (several, {}, "images of several sizes need crops: set crop"),
        (
            several,
            {"crop": 21},
            r"no training image is as large as crops of 21 x 21 pixels: .* 12 x 9; .*crop=9$",
        ),
        (several, {"crop": 13}, "no held-out image is as large as crops of 13 x 13 pixels"),
        (some(3), {"crop": 7}, "no training image is as large as crops of 7 x 7 pixels: the smallest is 5 x 6;"),
        (some(3), {"binarise": True}, "binarise is true, but the images have 256 levels"),
    ):
        with pytest.raises(InputError, match=message):
            fit(dataset, TrainingSettings(**changes))


def test_a_codec_to_start_from_takes_the_same_pixels():
    check_codec(some(3), "mine", GREY)
    with pytest.raises(InputError, match=r"^codec mine takes RGB images, got grey ones$"):
        check_codec(some(3), "mine", RGB)
    with pytest.raises(InputError, match="takes two-level images, got grey ones: --set binarise=true"):
        check_codec(some(3), "mine", BINARY)


def test_the_digest_tells_images_and_which_are_held_out():
    dataset = some(4)
    others = [
        replace(dataset, train=dataset.train[::-1]),
        replace(dataset, train=dataset.train[:3]),
        replace(dataset, valid=dataset.valid[:1]),
        replace(dataset, train=dataset.train.reshape(4, 5, 6, 1)),
    ]
    assert len({one.digest() for one in (dataset, *others)}) == 5
    assert dataset.digest() == some(4).digest()
