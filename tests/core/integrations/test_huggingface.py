"""Archives as data sets of Hugging Face: the images that were compressed, decoded when they are asked for."""

import os

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

import bbcodec
from bbcodec.archive.read.archive import Archive
from bbcodec.errors import InputError, NoSuchName

datasets = pytest.importorskip("datasets", reason="datasets is optional")

from datasets.distributed import split_dataset_by_node  # noqa: E402

from bbcodec.integrations.huggingface import FEATURES, load_archives  # noqa: E402

COUNT = 40  # of images in the array


@pytest.fixture(autouse=True, scope="module")
def quiet():
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[list[str], dict[tuple[str, int], np.ndarray]]:
    """Two archives, and the pixels of their images, by name and number."""
    top = tmp_path_factory.mktemp("archives")
    random = np.random.default_rng(0)
    for folder in ("a", "b/cats", "b/dogs"):
        (top / folder).mkdir(parents=True)
    for folder in ("b/cats", "b/dogs"):
        for number in range(3):
            pixels = random.integers(0, 256, (9, 10 + number, 3), np.uint8)
            Image.fromarray(pixels).save(top / folder / f"{number}.png")
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(top / "b" / "grey.jpg")
    Image.fromarray(random.integers(0, 65536, (8, 8), np.uint16)).save(top / "b" / "deep.png")
    (top / "b" / "notes.txt").write_text("no image")
    np.save(top / "a" / "stack.npy", random.integers(0, 256, (COUNT, 8, 8), np.uint8))
    expected = {("stack.npy", n): image for n, image in enumerate(np.load(top / "a" / "stack.npy"))}
    for path in [*(top / "b").rglob("*.png"), *(top / "b").rglob("*.jpg")]:
        expected[path.relative_to(top / "b").as_posix(), 0] = np.asarray(Image.open(path))
    for folder in "ab":
        bbcodec.compress(top / folder, top / f"{folder}.bb", codec="none")
    return [str(top / "a.bb"), str(top / "b.bb")], expected


def check_rows(rows, expected):
    """Each image once, and as it was."""
    found = {}
    for row in rows:
        key = row["name"], row["number"]
        assert key not in found
        found[key] = np.asarray(row["image"])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(pixels, expected[key]) for key, pixels in found.items())


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_the_images(archives, streaming):
    paths, expected = archives
    rows = load_archives(paths, streaming=streaming)
    check_rows(rows, expected)
    check_rows(rows.shuffle(seed=3), expected)
    assert {row["archive"] for row in rows} == set(paths)
    assert next(iter(rows)).keys() == FEATURES.keys()
    if streaming:
        assert rows.features == FEATURES


def test_only_what_is_asked_for_is_decoded(archives, monkeypatch):
    paths, expected = archives
    decoded = []

    def counted(name, plain):
        def read(archive, file, *arguments):
            decoded.append(file)
            return plain(archive, file, *arguments)

        monkeypatch.setattr(Archive, name, read)

    counted("read_bytes", Archive.read_bytes)
    counted("pixels", Archive.pixels)
    rows = load_archives(paths)
    cats = rows.filter(lambda name: name.startswith("cats/"), input_columns=["name"])
    assert (len(cats), decoded) == (3, [])
    assert np.array_equal(cats[1]["image"], expected["cats/1.png", 0])
    assert decoded == ["cats/1.png"]
    widths = [image.width for image in cats[:]["image"]]
    assert widths == [10, 11, 12]
    assert cats.map(lambda row: {"width": row["image"].width}).with_format(None)["width"][:] == widths


def test_images_keep_their_depth_and_files_their_bytes(archives):
    rows = load_archives(archives[0], names=[], streaming=True)
    deep = next(row for row in rows if row["name"] == "deep.png")
    assert deep["image"].mode == "I;16"
    jpeg = next(row for row in rows if row["name"] == "grey.jpg")
    assert jpeg["image"].format == "JPEG"


def test_workers_and_ranks_share_the_chunks(archives):
    paths, expected = archives
    stream = load_archives(paths, streaming=True)
    assert stream.num_shards >= 3
    check_rows(DataLoader(stream, batch_size=None, num_workers=2), expected)
    ranks = [list(split_dataset_by_node(stream, rank=rank, world_size=2)) for rank in range(2)]
    assert all(ranks)
    check_rows([row for rows in ranks for row in rows], expected)
    rows = load_archives(paths)
    loader = DataLoader(rows, batch_size=7, num_workers=2, collate_fn=list)
    check_rows([row for batch in loader for row in batch], expected)


def test_names_that_are_not_utf_8(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"in")
    os.mkdir(folder)
    Image.new("L", (8, 8), 7).save(os.path.join(folder, b"odd\xff.png"))
    bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    for streaming in (False, True):
        row = next(iter(load_archives(tmp_path / "a.bb", streaming=streaming)))
        assert row["name"] == "odd\\udcff.png"
        assert row["image"].getpixel((0, 0)) == 7


def test_what_is_refused(archives, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    bbcodec.compress(tmp_path / "a.txt", tmp_path / "a.bb")
    with pytest.raises(InputError, match="holds no images"):
        load_archives(tmp_path / "a.bb")
    with pytest.raises(NoSuchName):
        load_archives(archives[0], names=["nothing"])
