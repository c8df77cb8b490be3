"""Training data: what is found in files, what is held out, and batches that depend on seed and step alone."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.models.training import data as datasets
from bbcodec.models.training.data import (
    Dataset,
    batch,
    check_codec,
    fit,
    held_out,
    indices,
    load_dataset,
    order,
    split,
    steps_per_epoch,
    validation_batches,
)
from bbcodec.models.training.recipes import TrainingSettings

RGB, GREY, BINARY = PixelFormat(3, 256), PixelFormat(1, 256), PixelFormat(1, 2)


def noise(*shape: int, seed: int = 0, top: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray, mode: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def some(count: int, height: int = 6, width: int = 5, channels: int = 1, **changes) -> Dataset:
    """`count` training images, each of whose first values tells its number."""
    images = noise(count, height, width, channels)
    images[:, 0, 0, 0] = np.arange(count) % 256
    images[:, 0, 1, 0] = np.arange(count) // 256
    pixels = {1: GREY, 3: RGB}[channels]
    return Dataset(images, noise(4, height, width, channels, seed=1), pixels, **changes)


def everything(dataset: Dataset) -> list[bytes]:
    return sorted(image.tobytes() for images in (dataset.train, dataset.valid) for image in images)


# --- what is found


def test_folders_are_searched_and_the_largest_group_is_taken(tmp_path):
    colour = [noise(4, 5, 3, seed=n) for n in range(4)]
    for number, pixels in enumerate(colour):
        save(tmp_path / ("a" if number % 2 else "b/c"), f"{number}.png", pixels)
    for number in range(3):
        save(tmp_path, f"{number}.png", noise(4, 5, seed=number))
    (tmp_path / "notes.txt").write_text("hello")
    dataset = load_dataset([tmp_path])
    assert dataset.pixels == RGB
    assert everything(dataset) == sorted(pixels.tobytes() for pixels in colour)
    assert (len(dataset.train), len(dataset.valid)) == (3, 1)
    assert dataset.train.shape == (3, 4, 5, 3)
    assert dataset.notes == (
        "3 images left out that are grey: most pixels are RGB", "1 file left out: no images",
    )  # fmt: skip


def test_a_group_is_large_by_its_pixels_not_its_images(tmp_path):
    for number in range(5):
        save(tmp_path, f"s{number}.png", noise(2, 2, 3, seed=number))
    for number in range(2):
        save(tmp_path, f"l{number}.png", noise(20, 20, seed=number))
    assert load_dataset([tmp_path]).pixels == GREY


def test_files_are_taken_once_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a", "d", "c"):
        save(tmp_path, f"{name}.png", np.full((2, 2), ord(name), np.uint8))
    (tmp_path / "again.png").symlink_to("a.png")
    dataset = load_dataset([tmp_path / "d.png", tmp_path, tmp_path / "a.png"], [tmp_path / "a.png"])
    assert [chr(image[0, 0, 0]) for image in dataset.train] == ["d", "a", "b", "c"]


ALPHA = np.dstack([noise(3, 4, 3, seed=7), np.zeros((3, 4, 1), np.uint8)])


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        ("L", noise(3, 4), GREY),
        ("RGB", noise(3, 4, 3), RGB),
        ("RGBA", ALPHA, RGB),
        ("LA", ALPHA[..., 2:], GREY),
    ],
)
def test_plain_modes_are_taken_without_alpha(mode, pixels, expected, tmp_path):
    """Colours under transparent pixels, too, are what is coded."""
    path = save(tmp_path, "x.png", pixels)
    with Image.open(path) as image:
        assert image.mode == mode
    dataset = load_dataset([path], [path])
    assert dataset.pixels == expected
    shaped = pixels.reshape(3, 4, -1)
    assert np.array_equal(dataset.train[0], shaped[..., : expected.channels])
    told = [note for note in dataset.notes if "alpha" in note]
    assert bool(told) == mode.endswith("A")


def test_palettes_are_taken_as_they_look(tmp_path):
    indices_ = noise(4, 4, top=3)
    for name, palette in (("grey", [9, 9, 9, 70, 70, 70, 255, 255, 255]), ("rgb", [9, 9, 9, 70, 71, 70, 0, 0, 0])):
        image = Image.fromarray(indices_, "P")
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
        dataset = load_dataset([tmp_path / f"{name}.png"], [tmp_path / f"{name}.png"])
        looked_up = np.array(palette, np.uint8).reshape(3, 3)[indices_]
        assert dataset.pixels == (GREY if name == "grey" else RGB)
        assert np.array_equal(dataset.train[0], looked_up[..., : dataset.pixels.channels])


def test_images_of_one_bit_have_two_levels(tmp_path):
    bits = noise(4, 9, top=2)
    path = save(tmp_path, "x.png", bits * 255, "1")
    dataset = load_dataset([path], [path])
    assert dataset.pixels == BINARY
    assert np.array_equal(dataset.train[0, :, :, 0], bits)
    grey = load_dataset([path], [path], levels=256)
    assert grey.pixels == GREY
    assert np.array_equal(grey.train[0, :, :, 0], bits * 255)


def test_what_cannot_be_used_is_named_and_left_out(tmp_path):
    for number in range(3):
        save(tmp_path, f"{number}.png", noise(4, 4, 3, seed=number))
    Image.fromarray(noise(4, 4).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    frames = [Image.fromarray(noise(4, 4, seed=n)) for n in range(2)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(noise(4, 4, 4)).convert("CMYK").save(tmp_path / "print.tif")
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "lossy.jpg")
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    dataset = load_dataset([tmp_path])
    assert len(dataset.train) + len(dataset.valid) == 4
    assert dataset.notes == (
        "1 image left out: mode CMYK",
        "1 image left out: more than 8 bits",
        "1 image left out: of several frames",
        f"left out, as they cannot be read: {tmp_path / 'cut.png'}",
        "1 image from JPEG, files that `compress` keeps as they are",
    )


def test_many_broken_files_are_counted(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    for number in range(2):
        save(tmp_path, f"good{number}.png", noise(4, 4, seed=number))
    (note,) = load_dataset([tmp_path]).notes
    assert note.endswith("2.png and 2 more")


def test_no_more_is_read_than_memory_is_meant_for(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_VALUES", 40)
    for number in range(5):
        save(tmp_path, f"{number}.png", noise(4, 4, seed=number))
    dataset = load_dataset([tmp_path])
    assert len(dataset.train) + len(dataset.valid) == 2
    assert "held in memory" in dataset.notes[-1]


# --- arrays


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (noise(5, 4, 6), GREY), (noise(5, 4, 6, 1), GREY), (noise(5, 4, 6, 3), RGB), (noise(5, 4, 6, top=2), BINARY),
        (noise(5, 4, 6, top=2).astype(bool), BINARY), (noise(5, 4, 6, 3, top=2), RGB),
        (np.asfortranarray(noise(5, 4, 6)), GREY), (noise(5, 4, 6, top=3), GREY),
    ],
)  # fmt: skip
def test_arrays_are_collections_of_images(array, expected, tmp_path):
    np.save(tmp_path / "x.npy", array)
    dataset = load_dataset([tmp_path / "x.npy"])
    assert dataset.pixels == expected
    assert (len(dataset.train), len(dataset.valid), dataset.size) == (4, 1, (4, 6))
    assert dataset.train.dtype == np.uint8
    assert everything(dataset) == sorted(image.tobytes() for image in array.astype(np.uint8))


def test_an_npz_gives_all_arrays_that_are_images(tmp_path):
    np.savez(tmp_path / "x.npz", train=noise(5, 4, 4), labels=np.arange(5), test=noise(3, 4, 4, seed=1))
    dataset = load_dataset([tmp_path])
    assert len(dataset.train) + len(dataset.valid) == 8
    assert dataset.notes == ("x.npz: train, 5 images, used", "x.npz: test, 3 images, used")


@pytest.mark.parametrize(
    "array",
    [
        noise(5, 4, 6).astype(np.float32),
        noise(5, 4, 6, 4),
        np.arange(9, dtype=np.uint8),
        noise(0, 4, 6),
        noise(5, 0, 6),
    ],
)
def test_arrays_that_are_no_images(array, tmp_path):
    """An error where one was named; in a folder it is one of the files that are no images."""
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "y.npz", a=array)
    for name, what in (("x.npy", "x.npy is"), ("y.npz", r"a in .*y.npz is")):
        said = array.dtype if array.size else "empty, of shape"
        with pytest.raises(InputError, match=rf"{what} {said} .*; uint8 \(N, H, W\).* was expected$"):
            load_dataset([tmp_path / name])
    save(tmp_path, "0.png", noise(4, 4))
    save(tmp_path, "1.png", noise(4, 4, seed=1))
    assert load_dataset([tmp_path]).notes == ("2 files left out: no images",)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_arrays_that_cannot_be_read(name, tmp_path):
    np.save(tmp_path / "good.npy", noise(5, 4, 4))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / name).write_bytes(whole[:-7] if name == "x.npy" else b"PK\3\4 and no more")
    with pytest.raises(InputError, match="is not an array that can be read"):
        load_dataset([tmp_path / name])
    assert f"cannot be read: {tmp_path / name}" in load_dataset([tmp_path]).notes[0]


class Opens:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_nothing_is_unpickled(name, tmp_path):
    for content in (pickle.dumps(Opens(tmp_path / "made")), np.array([Opens(tmp_path / "made")], object)):
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            (np.save if name == "x.npy" else np.savez)(tmp_path / name, content)
        with pytest.raises(InputError, match="is not an array that can be read"):
            load_dataset([tmp_path / name])
    assert not (tmp_path / "made").exists()


# --- errors


def test_bad_data_get_a_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no")
    save(tmp_path / "one", "a.png", noise(4, 4))
    for path, message in (
        (tmp_path / "none", r"^there is no .*none: a folder, an image file, or an array"),
        (tmp_path / "empty", r"^no images in .*empty$"),
        (tmp_path / "broken", r"^no images in .*broken \(left out, as they cannot be read: .*a\.png\)$"),
        (tmp_path / "broken" / "a.png", r"^no images in .*a\.png \(left out, as they cannot be read"),
        (tmp_path / "one", r"^there is 1 image: at least 2 are needed"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_dataset([path])
        assert "\n" not in str(caught.value)


# --- held out


@given(st.integers(2, 300), st.integers(1, 20), st.integers(0, 5))
def test_some_images_are_held_out_by_seed_and_number_alone(count, valid_images, seed):
    one = datasets.split(noise(count, 1, 1, 1), valid_images, seed)
    numbers = np.arange(count, dtype=np.uint16).view(np.uint8).reshape(count, 1, 2, 1)
    train, valid = datasets.split(numbers, valid_images, seed)
    assert len(valid) == max(1, min(valid_images, round(0.05 * count)))
    assert [len(part) for part in one] == [len(train), len(valid)]
    found = np.concatenate([train, valid]).reshape(count, 2).view(np.uint16)[:, 0]
    assert sorted(found) == list(range(count))
    assert list(found[: len(train)]) == sorted(found[: len(train)])
    listed = datasets.split(list(numbers), valid_images, seed)
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
    with pytest.raises(InputError, match=r"^no RGB images, as those to train on are, in .*grey: they are grey$"):
        load_dataset([tmp_path / "rgb"], [tmp_path / "grey"])
    dataset = load_dataset([tmp_path / "rgb"], [tmp_path])
    assert dataset.notes == (
        "held out: 3 images left out that are grey: most pixels are RGB",
        "3 images held out are learnt from, too: expect new images to take more than these",
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
    with pytest.raises(InputError, match="two levels are drawn of grey images only"):
        load_dataset([tmp_path], levels=2)


def test_binarisation_follows_the_grey_level():
    """Afresh for each step, the same for held-out images each time."""
    level = np.full((2, 60, 60, 1), 64, np.uint8)
    dataset = Dataset(level, level[:1], BINARY, binarise=True)
    settings = TrainingSettings(batch=2, binarise=True)
    one, other = batch(dataset, settings, 0), batch(dataset, settings, 1)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert one.mean().item() == pytest.approx(64 / 255, abs=0.03)
    assert not torch.equal(one, other)
    assert torch.equal(one, batch(dataset, settings, 0))
    (valid,) = validation_batches(dataset, settings)
    assert torch.equal(valid, validation_batches(dataset, settings)[0])
    assert np.array_equal(valid[0, 0].numpy(), held_out(dataset)[0][..., 0])
    assert valid.mean().item() == pytest.approx(64 / 255, abs=0.03)
    ends = np.tile(np.array([0, 255], np.uint8), 5000).reshape(1, 100, 100, 1)
    assert np.array_equal(datasets.binarised(ends, np.random.default_rng(0)) * 255, ends)


# --- sizes


def sizes(*pairs: tuple[int, int]) -> list[np.ndarray]:
    return [noise(height, width, 3, seed=n) for n, (height, width) in enumerate(pairs)]


def test_sizes():
    dataset = Dataset(sizes((30, 20), (9, 40)), sizes((20, 8)), RGB)
    assert dataset.size is None
    assert dataset.smallest() == (9, 8)
    alike = some(5)
    assert (alike.size, alike.smallest(), alike.roomy_side()) == ((6, 5), (6, 5), 5)
    assert replace(alike, valid=noise(2, 6, 6, 1)).size is None


def test_the_roomy_side_looks_over_the_few_small_ones():
    """32 x 32 each, and one pixel."""
    assert Dataset(sizes(*[(32, 32)] * 9, (1, 1)), sizes((32, 32)), RGB).roomy_side() == 32
    assert Dataset(sizes((100, 100), (40, 50)), sizes((32, 32)), RGB).roomy_side() == 40
    assert Dataset(sizes((100, 100), (30, 30)), sizes((32, 32)), RGB).roomy_side() == 100


def test_images_smaller_than_a_crop_are_left_out():
    dataset = Dataset(sizes((30, 20), (9, 40), (16, 16)), sizes((20, 8), (16, 40)), RGB, ("before",))
    fitted = fit(dataset, TrainingSettings(crop=16))
    assert [image.shape[:2] for image in fitted.train] == [(30, 20), (16, 16)]
    assert fitted.valid.shape == (1, 16, 40, 3)
    assert fitted.notes == ("before", "2 images left out: smaller than crops of 16 x 16 pixels")
    assert fit(fitted, TrainingSettings(crop=16)) is fitted


def test_held_out_images_are_chosen_from_those_that_are_large_enough():
    """Nine of ten are icons: chosen before, the held-out ones would nearly all be such."""
    images = sizes(*[(8, 8)] * 36, *[(32 + n, 40) for n in range(4)])
    for seed in range(5):
        settings = TrainingSettings(crop=16, seed=seed)
        train, valid = split(images, settings.valid_images, seed)
        fitted = fit(Dataset(train, valid, RGB, chosen=True), settings)
        assert (len(fitted.train), len(fitted.valid)) == (3, 1)
        assert fitted.notes == ("36 images left out: smaller than crops of 16 x 16 pixels",)
        heights = sorted(image.shape[0] for image in [*fitted.train, *fitted.valid])
        assert heights == [32, 33, 34, 35]
    few = Dataset(*split(images[:37], 1000, 0), RGB, ("before",), chosen=True)
    with pytest.raises(InputError, match=r"^1 image alone is as large as crops of 16 x 16 .*; set .* --set crop=8$"):
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


def test_held_out_images_that_are_learnt_from_are_told(tmp_path):
    np.save(tmp_path / "all.npy", noise(20, 8, 8, 1))
    np.save(tmp_path / "other.npy", np.concatenate([noise(3, 8, 8, 1), 255 - noise(1, 8, 8, 1)]))
    dataset = load_dataset([tmp_path / "all.npy"], [tmp_path / "other.npy"])
    assert dataset.notes == (
        "3 images held out are learnt from, too: expect new images to take more than these",
    )
    assert not load_dataset([tmp_path / "all.npy"]).notes


def test_what_does_not_fit_is_told():
    several = Dataset(sizes((30, 20), (9, 40)), sizes((20, 12)), RGB)
    for dataset, changes, message in (
        (several, {}, "images of several sizes are trained on crops: set crop"),
        (
            several,
            {"crop": 21},
            r"no image to train on is as large as crops of 21 x 21 pixels: .* 12 x 9; .*crop=9$",
        ),
        (several, {"crop": 13}, "no image held out is as large as crops of 13 x 13 pixels"),
        (some(3), {"crop": 7}, "no image to train on is as large as crops of 7 x 7 pixels: the smallest is 5 x 6;"),
        (some(3), {"binarise": True}, "binarise is true, but the images have 256 levels"),
    ):
        with pytest.raises(InputError, match=message):
            fit(dataset, TrainingSettings(**changes))


def test_a_codec_to_start_from_takes_the_same_pixels():
    check_codec(some(3), "mine", GREY)
    with pytest.raises(InputError, match=r"^codec mine takes RGB images, and these are grey$"):
        check_codec(some(3), "mine", RGB)
    with pytest.raises(InputError, match="takes two-level images, and these are grey; --set binarise=true"):
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


# --- batches


def number(x: torch.Tensor) -> list[int]:
    """Which image of `some` each of a batch is."""
    return [int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) for image in x]


def test_batches_are_images_as_tensors():
    dataset, settings = some(7, channels=3), TrainingSettings(batch=5)
    x = batch(dataset, settings, 3)
    assert (x.shape, x.dtype, x.is_contiguous()) == ((5, 3, 6, 5), torch.float32, True)
    for image, n in zip(x, number(x), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), dataset.train[n])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(count, size, seed):
    """Also where a batch reaches over the end of one, or holds several."""
    settings = TrainingSettings(batch=size, seed=seed)
    steps = -(-3 * count // size)
    stream = np.concatenate([indices(count, settings, step) for step in range(steps)])[: 3 * count]
    epochs = stream.reshape(3, count)
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs.tolist())
    assert steps_per_epoch(some(count), settings) == -(-count // size)
    if count > 20:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3


def test_a_step_needs_no_steps_before_it():
    dataset = Dataset(sizes((30, 20), (9, 40), (16, 16), (8, 8)), sizes((8, 8)), RGB)
    settings = TrainingSettings(batch=6, crop=8, flips=True)
    forth = [batch(dataset, settings, step) for step in range(5)]
    order.cache_clear()
    back = [batch(dataset, settings, step) for step in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forth, back, strict=True))
    other = batch(dataset, replace(settings, seed=1), 0)
    assert not torch.equal(forth[0], other)
    assert len({x.numpy().tobytes() for x in forth}) == 5


def test_draws_for_different_purposes_are_different():
    first = {
        datasets.generator(seed, purpose, number).random()
        for seed in (0, 1)
        for purpose in (datasets.ORDER, datasets.STEP, datasets.HELD_OUT, datasets.LEVELS)
        for number in (0, 1)
    }
    assert len(first) == 16


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_ranks_share_one_batch(ranks):
    dataset = replace(some(9, 12, 12), pixels=BINARY, binarise=True)
    settings = TrainingSettings(batch=6, crop=8, flips=True)
    parts = [batch(dataset, settings, 4, rank, ranks) for rank in range(ranks)]
    assert torch.equal(torch.cat(parts), batch(dataset, settings, 4))
    with pytest.raises(InputError, match="a multiple of 4, the number of processes"):
        batch(dataset, settings, 0, 0, 4)


def test_crops_are_squares_from_everywhere_mirrored_half_of_the_time():
    image = np.arange(5 * 6, dtype=np.uint8).reshape(1, 5, 6, 1)
    dataset = Dataset(image, image, GREY)
    for flips in (False, True):
        x = batch(dataset, TrainingSettings(batch=400, crop=3, flips=flips), 0).numpy()[:, 0]
        turned = x[:, 0, 0] > x[:, 0, 1]
        assert 150 < turned.sum() < 250 if flips else not turned.any()
        places = set()
        for crop, mirrored in zip(x, turned, strict=True):
            plain = crop[:, ::-1] if mirrored else crop
            i, j = divmod(int(plain[0, 0]), 6)
            assert np.array_equal(plain, image[0, i : i + 3, j : j + 3, 0])
            places.add((i, j))
        assert places == {(i, j) for i in range(3) for j in range(4)}


def test_whole_images_are_mirrored_too():
    dataset = some(1)
    x = batch(dataset, TrainingSettings(batch=100, flips=True), 0).numpy()[:, 0]
    plain = dataset.train[0, :, :, 0]
    turned = np.array([np.array_equal(image, plain[:, ::-1]) for image in x])
    assert 25 < turned.sum() < 75
    assert all(np.array_equal(image, plain) for image in x[~turned])


def test_validation_is_the_middles_of_all_held_out_images():
    dataset = Dataset(sizes((8, 8)), sizes((8, 10), (20, 9), (8, 8)), RGB)
    x, y = validation_batches(dataset, TrainingSettings(batch=2, crop=8))
    assert (x.shape, y.shape) == ((2, 3, 8, 8), (1, 3, 8, 8))
    assert np.array_equal(x[0].permute(1, 2, 0).numpy(), dataset.valid[0][:, 1:9])
    assert np.array_equal(x[1].permute(1, 2, 0).numpy(), dataset.valid[1][6:14, :8])
    whole = validation_batches(some(3), TrainingSettings(batch=3))
    assert [part.shape[0] for part in whole] == [3, 1]
    assert np.array_equal(torch.cat(whole).permute(0, 2, 3, 1).numpy(), some(3).valid)
