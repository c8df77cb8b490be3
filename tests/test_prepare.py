"""benchmarks/prepare.py: the same splits from the same data, nothing in two parts, names as recipes have them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbcodec.models.training.recipes import read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = [*(ROOT / "models" / "zoo").glob("*.toml"), *(ROOT / "benchmarks" / "codecs").glob("*.toml")]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of data sets, small ones of the same kinds."""
    folder = tmp_path_factory.mktemp("data")
    for name, shape in (
        ("cifar10", (5, 32, 32, 3)), ("mnist", (5, 28, 28)), ("omniglot28", (5, 28, 28)), ("microscopy", (25, 8, 8)),
    ):  # fmt: skip
        for seed, part in enumerate(("train", "test")):
            np.save(folder / f"{name}_{part}.npy", noise(*shape, seed=seed))
    for part in ("train", "val", "test"):
        np.save(folder / f"caltech101_{part}.npy", np.asfortranarray(noise(5, 28, 28) % 2))
    np.save(folder / "freyfaces.npy", noise(1965, 3, 2))
    for part in ("train", "train2", "valid"):
        (folder / "photos" / part).mkdir(parents=True)
        Image.fromarray(noise(9, 7, 3, seed=len(part))).save(folder / "photos" / part / f"{part}.webp", lossless=True)
    (folder / "sprites").mkdir()
    for number in range(20):
        Image.fromarray(noise(32, 32, 4, seed=number)).save(folder / "sprites" / f"{number:02}.png")
    Image.fromarray(noise(32, 32, 4, seed=3)).save(folder / "sprites" / "again.png")
    Image.fromarray(noise(32, 32, 3, seed=90)).convert("P").save(folder / "sprites" / "palette.png")
    Image.fromarray(noise(32, 32)).save(folder / "sprites" / "grey.png")
    Image.fromarray(noise(16, 32, 4)).save(folder / "sprites" / "half.png")
    return folder


def prepare(data: Path, out: Path, *names: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "benchmarks" / "prepare.py"), "--data", str(data), "--out", str(out), *names]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    for _ in range(2):  # a second time is no harm
        done = prepare(data, out)
        assert (done.returncode, done.stderr) == (0, "")
    assert "mnist_binary_test.npy: uint8 (5, 28, 28)" in done.stdout
    return out


def test_arrays_in_the_order_of_fortran_are_turned(prepared):
    array = np.load(prepared / "caltech101_test.npy")
    assert array.flags.c_contiguous
    assert np.array_equal(array, noise(5, 28, 28) % 2)


@pytest.mark.parametrize("recipe", sorted(RECIPES), ids=lambda path: path.stem)
def test_what_recipes_name_is_there(recipe, prepared):
    said = read_recipe(recipe)
    assert said.prepare
    assert [name for name in (*said.prepare, *said.valid) if not (prepared / name).exists()] == []


def test_faces_are_in_one_part_each(data, prepared):
    parts = [np.load(prepared / f"freyfaces_{part}.npy") for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [1565, 200, 200]
    assert np.array_equal(np.sort(np.concatenate(parts), axis=0), np.sort(np.load(data / "freyfaces.npy"), axis=0))
    expected = np.load(data / "freyfaces.npy")[np.random.default_rng(0).permutation(1965)]
    assert np.array_equal(np.concatenate(parts), expected)


def test_two_levels_are_drawn_once_and_for_all(data, prepared):
    grey = np.load(data / "mnist_test.npy")
    expected = np.random.default_rng(0).random(grey.shape) < grey / 255
    assert np.array_equal(np.load(prepared / "mnist_binary_test.npy"), expected)


def test_sprites_are_the_largest_group_each_picture_once(prepared):
    """20 RGBA and a palette; neither the copy, nor grey, nor those of another size."""
    test, train = (sorted(path.name for path in (prepared / f"sprites_{part}").iterdir()) for part in ("test", "train"))
    assert len(test) == 2
    expected = [*(f"{number:02}.png" for number in range(20)), "palette.png"]
    assert sorted(test + train) == expected


def test_cell_images_are_held_out_from_the_end(data, prepared):
    cells = np.load(data / "microscopy_train.npy")
    assert np.array_equal(np.load(prepared / "microscopy_train_part.npy"), cells[:5])
    assert np.array_equal(np.load(prepared / "microscopy_valid_part.npy"), cells[5:])


def test_grey_is_luminance(data, prepared):
    with Image.open(data / "photos/train/train.webp") as photo, Image.open(prepared / "grey_train/train.png") as grey:
        assert grey.mode == "L"
        assert np.array_equal(np.asarray(grey), np.asarray(photo.convert("L")))


def test_what_is_missing_or_unknown_is_told(tmp_path):
    for names, message in ((["mnist"], "mnist_train.npy is missing"), (["mnits"], "there is no data set 'mnits'")):
        done = prepare(tmp_path, tmp_path / "out", *names)
        assert done.returncode == 1
        assert message in done.stderr
    assert prepare(tmp_path, tmp_path / "out").stdout == ""
