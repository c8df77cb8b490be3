"""Images in folders, image files and arrays: what is used, and what is skipped with a note."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_images import BINARY, GREY, RGB, noise, save

from bbcodec.errors import InputError
from bbcodec.models.training import image_sources
from bbcodec.models.training.data import Dataset, load_dataset


def everything(dataset: Dataset) -> list[bytes]:
    return sorted(image.tobytes() for images in (dataset.train, dataset.valid) for image in images)


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
        "skipped 3 grey images: most pixels are RGB", "skipped 1 file: not images",
    )  # fmt: skip


def test_a_group_is_large_by_its_pixels_not_its_images(tmp_path):
    for number in range(5):
        save(tmp_path, f"s{number}.png", noise(2, 2, 3, seed=number))
    for number in range(2):
        save(tmp_path, f"l{number}.png", noise(20, 20, seed=number))
    assert load_dataset([tmp_path]).pixels == GREY


def test_one_large_image_alone_is_no_group(tmp_path):
    for number in range(12):
        save(tmp_path, f"g{number}.png", noise(8, 8, seed=number))
    Image.fromarray(noise(99, 99) > 99).save(tmp_path / "mask.png")
    dataset = load_dataset([tmp_path])
    assert (dataset.pixels, len(dataset.train) + len(dataset.valid)) == (GREY, 12)
    assert dataset.notes == ("skipped 1 two-level image: too few to train on",)
    assert load_dataset([tmp_path], [tmp_path / "mask.png"]).pixels == BINARY


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
    alpha = [note for note in dataset.notes if "alpha" in note]
    assert bool(alpha) == mode.endswith("A")


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


def test_what_cannot_be_used_is_named_and_skipped(tmp_path):
    for number in range(3):
        save(tmp_path, f"{number}.png", noise(4, 4, 3, seed=number))
    Image.fromarray(noise(4, 4).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(noise(4, 4).astype(np.int32) * 99999).save(tmp_path / "deeper.tif")
    frames = [Image.fromarray(noise(4, 4, seed=n)) for n in range(2)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(noise(4, 4, 4)).convert("CMYK").save(tmp_path / "print.tif")
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "lossy.jpg")
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    dataset = load_dataset([tmp_path])
    assert len(dataset.train) + len(dataset.valid) == 4
    assert dataset.notes == (
        "skipped 1 16-bit grey image: most pixels are RGB",
        "skipped 1 image: mode CMYK",
        "skipped 1 image: more than 16 bits",
        "skipped 1 image: several frames",
        f"skipped files that cannot be read: {tmp_path / 'cut.png'}",
        "1 image from JPEG, which `compress` stores as the files are",
    )


def test_many_broken_files_are_counted(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    for number in range(2):
        save(tmp_path, f"good{number}.png", noise(4, 4, seed=number))
    (note,) = load_dataset([tmp_path]).notes
    assert note.endswith("2.png and 2 more")


def test_no_more_is_read_than_memory_is_meant_for(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sources, "MAX_VALUES", 40)
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
    assert dataset.notes == ("using 5 images of train in x.npz", "using 3 images of test in x.npz")


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).normal(size=(5, 14, 16)),
        noise(5, 14, 16).astype(np.uint32) * 300 + np.arange(16, dtype=np.uint32) * 70000,
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
        with pytest.raises(InputError, match=rf"{what} {said} .*, expected \(N, H, W\), .*"):
            load_dataset([tmp_path / name])
    save(tmp_path, "0.png", noise(4, 4))
    save(tmp_path, "1.png", noise(4, 4, seed=1))
    (note,) = load_dataset([tmp_path]).notes
    said = re.escape(str(array.shape)) if not array.size else rf"{array.dtype} {re.escape(str(array.shape))}"
    assert re.fullmatch(rf"skipped arrays that are no images: .*x.npy is .*{said}, a in .*y.npz is .*{said}", note)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_arrays_that_cannot_be_read(name, tmp_path):
    np.save(tmp_path / "good.npy", noise(5, 4, 4))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / name).write_bytes(whole[:-7] if name == "x.npy" else b"PK\3\4 and no more")
    with pytest.raises(InputError, match="cannot be read as an array: "):
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
        with pytest.raises(InputError, match="cannot be read as an array: "):
            load_dataset([tmp_path / name])
    assert not (tmp_path / "made").exists()


# --- errors


def test_bad_data_get_a_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no")
    save(tmp_path / "one", "a.png", noise(4, 4))
    for path, message in (
        (tmp_path / "none", r"none does not exist: expected a folder, an image file, or an array"),
        (tmp_path / "empty", r"^no images in .*empty$"),
        (tmp_path / "broken", r"^no images in .*broken \(skipped files that cannot be read: .*a\.png\)$"),
        (tmp_path / "broken" / "a.png", r"^no images in .*a\.png \(skipped files that cannot be read"),
        (tmp_path / "one", r"^expected at least 2 images, one of them to hold out, got 1$"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_dataset([path])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda images: images.transpose(0, 3, 1, 2), 9), (np.asfortranarray, 9), (lambda images: images / 255, 9),
        (lambda images: images.astype(">u2"), 9), (lambda images: np.pad(images, [(0, 0)] * 3 + [(0, 1)]), 9),
    ],
)  # fmt: skip
def test_arrays_of_any_layout_are_the_same_images(tmp_path, change, count):
    images = noise(9, 8, 6, 3)
    np.save(tmp_path / "x.npy", change(images))
    dataset = load_dataset([tmp_path / "x.npy"])
    found = np.concatenate([dataset.train, dataset.valid])
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in images)
    assert len(found) == count


def test_masks_of_any_two_values_have_two_levels(tmp_path):
    mask = noise(9, 8, 6) > 99
    for values in (mask, mask * np.uint8(255), mask * 3.5):
        np.save(tmp_path / "x.npy", values)
        dataset = load_dataset([tmp_path / "x.npy"])
        assert dataset.pixels.levels == 2
        assert int(dataset.train.max()) == 1
