"""Archives as data sets: every image once, as Pillow shows it, from any process and thread."""

import io
import itertools
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, pairwise

import numpy as np
import pytest
import torch
from fake_codec import fake_content, familiar, load_fake
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

import bbcodec
from bbcodec.archive import dataset
from bbcodec.archive.dataset import ArchiveDataset, ChunkBatches
from bbcodec.archive.write.tasks import FINE_TILE_PIXELS
from bbcodec.codec import pool as workers
from bbcodec.errors import DamagedArchive, InputError, NoSuchName
from bbcodec.images.display import image_shown

pytestmark = pytest.mark.usefixtures("unpredicted")
RANDOM = np.random.default_rng(0)


def smooth(height, width, channels=3) -> np.ndarray:
    """A picture that no coding stores as noise."""
    steps = RANDOM.integers(-2, 3, (height, width, channels)).cumsum(axis=0).cumsum(axis=1)
    return (128 + steps).clip(0, 255).astype(np.uint8)


def as_float(image):
    """A transform that spawned workers can have."""
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def write_images(folder):
    """One image of each sort, by name."""
    images = {
        "grey.png": Image.fromarray(smooth(30, 40, 1)[:, :, 0]),
        "rgb.png": Image.fromarray(smooth(30, 40)),
        "rgba.png": Image.fromarray(smooth(30, 40, 4)),
        "two.png": Image.fromarray(smooth(30, 40, 1)[:, :, 0] > 128),
        "la.png": Image.fromarray(smooth(30, 40, 2), "LA"),
        "deep.png": Image.fromarray(smooth(30, 40, 1)[:, :, 0].astype(np.uint16) * 250),
        "palette.png": Image.fromarray(smooth(30, 40)).quantize(20),
        "bmp.bmp": Image.fromarray(smooth(30, 40)),
        "palette.bmp": Image.fromarray(smooth(30, 40)).quantize(20),
        "large.png": Image.fromarray(smooth(2, FINE_TILE_PIXELS // 2 + 1)),
        "sub/lossy.jpg": Image.fromarray(smooth(30, 40)),
        "sub/cmyk.tiff": Image.fromarray(smooth(30, 40, 4), "CMYK"),
        "sub/webp.webp": Image.fromarray(smooth(30, 40, 4)),
    }
    (folder / "sub").mkdir(parents=True)
    for name, image in images.items():
        image.save(folder / name, **({"lossless": True, "method": 0, "quality": 0} if name.endswith("webp") else {}))
    (folder / "notes.txt").write_text("no image")
    np.save(folder / "noise.npy", RANDOM.normal(size=(3, 4)))
    return sorted(images)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder and its archive, with all sorts of images and an array of many."""
    top = tmp_path_factory.mktemp("dataset")
    names = write_images(top / "in")
    digits = RANDOM.integers(0, 2, (300, 28, 28), np.uint8)
    np.save(top / "in" / "digits.npy", digits)
    bbcodec.compress(top / "in", top / "a.bb", codec="none")
    return top, names, digits


def test_every_image_is_an_item(shared):
    top, names, digits = shared
    images = ArchiveDataset(top / "a.bb")
    assert len(images) == len(names) + len(digits)
    items = [images.item(index) for index in range(len(images))]
    assert Counter(name for name, _ in items) == {"digits.npy": 300, **dict.fromkeys(names, 1)}
    first = items.index(("digits.npy", 0))
    for number in (0, 1, 150, 299):
        assert images.item(first + number) == ("digits.npy", number)
        np.testing.assert_array_equal(images[first + number], digits[number][:, :, None])
    assert images.item(-1) == items[-1]
    for index in (len(images), -len(images) - 1):
        with pytest.raises(IndexError):
            images[index]


def test_items_are_what_pillow_shows(shared):
    top, names, _ = shared
    images = ArchiveDataset(top / "a.bb", names=names)
    with bbcodec.open(top / "a.bb") as archive:
        assert {file.form for file in archive.files} >= {"png", "raw", "webp", "bytes", "arrays"}
    for index, name in enumerate(names):
        pixels = images[index]
        with Image.open(top / "in" / name) as image:
            assert (pixels.dtype, pixels.shape[:2]) == (np.uint8, image.size[::-1])
            np.testing.assert_array_equal(pixels, image_shown(image), name)
            if image.mode in ("L", "RGB", "RGBA", "LA"):
                np.testing.assert_array_equal(pixels.squeeze(), np.asarray(image), name)
            elif image.mode == "P":
                np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")), name)
        pixels[:] = 7  # items are the caller's own
        assert (images[index] != 7).any()


def test_images_are_shown_by_value():
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    assert image_shown(deep)[0, :, 0].tolist() == [0, 0, 1, 255]
    assert image_shown(Image.fromarray(np.array([[False, True]])))[0, :, 0].tolist() == [0, 255]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putpixel((1, 0), 1)
    assert image_shown(palette).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    palette.info["transparency"] = 1
    assert image_shown(palette).tolist() == [[[1, 2, 3, 255], [4, 5, 6, 0]]]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_a_mode_makes_all_items_alike(shared, mode, channels):
    top, names, _ = shared
    images = ArchiveDataset(top / "a.bb", mode=mode, names=[*names, "digits.npy"])
    assert {images[index].shape[2] for index in range(0, len(images), 17)} == {channels}
    assert {images[index].shape[2] for index in range(len(names))} == {channels}


def test_a_transform_is_applied(shared):
    images = ArchiveDataset(shared[0] / "a.bb", as_float, mode="RGB", names=["sub/"])
    assert {image.shape for image in images} == {(3, 30, 40)}
    assert {image.dtype for image in images} == {torch.float32}


def test_what_is_no_image_is_refused(shared, tmp_path):
    top, _, _ = shared
    with pytest.raises(InputError, match="holds no images of these names"):
        ArchiveDataset(top / "a.bb", names=["notes.txt"])
    with pytest.raises(NoSuchName):
        ArchiveDataset(top / "a.bb", names=["nope"])
    with pytest.raises(InputError, match="cannot be read"):
        ArchiveDataset(tmp_path / "nope.bb")
    with bbcodec.open(top / "a.bb") as archive:
        for name, number in (("notes.txt", 0), ("rgb.png", 1), ("digits.npy", 300), ("noise.npy", 0)):
            with pytest.raises(InputError):
                archive.pixels(name, number)
        for name, number in (("rgb.png", 1), ("digits.npy", -1), ("notes.txt", 0)):
            with pytest.raises(InputError):
                archive.chunk_of(name, number)
        with pytest.raises(InputError, match=r"expected a mode.*got 'CMYK'"):
            archive.pixels("rgb.png", mode="CMYK")


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_loaders_give_every_image_once(shared, context):
    """In this process, and from forked and spawned workers, after an image was decoded here."""
    top, _, digits = shared
    images = ArchiveDataset(top / "a.bb", as_float, names=["digits.npy"])
    np.testing.assert_array_equal(images[3] * 255, digits[3][None])
    workers_and_how = {} if context is None else {"num_workers": 2, "multiprocessing_context": context}
    batches = list(DataLoader(images, batch_size=50, **workers_and_how))
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in batches])[:, 0] * 255, digits)


def test_threads_share_a_data_set(shared):
    top, names, _ = shared
    images = ArchiveDataset(top / "a.bb", names=[*names, "digits.npy"])
    alone = [images[index] for index in range(0, len(images), 5)]
    with ThreadPoolExecutor(4) as pool:
        fresh = ArchiveDataset(top / "a.bb", names=[*names, "digits.npy"])
        together = list(pool.map(fresh.__getitem__, range(0, len(images), 5)))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_pickle_holds_no_archive(shared):
    images = ArchiveDataset(shared[0] / "a.bb")
    images[0]
    data = pickle.dumps(images)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data)[0], images[0])


def test_chunks_hold_every_item_once(shared):
    images = ArchiveDataset(shared[0] / "a.bb")
    (chunks,) = images.chunks()
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(images)))
    assert len(chunks) > 3


@pytest.fixture(scope="module")
def learned_archive(tmp_path_factory):
    """An archive of many learned chunks."""
    top = tmp_path_factory.mktemp("learned")
    (top / "in").mkdir()
    (top / "mine.bbc").write_bytes(fake_content())
    np.save(top / "in" / "many.npy", familiar(64, 64, count=320)[:, :, :, 0])
    for number in range(4):
        Image.fromarray(familiar(300, 400, seed=number)[:, :, 0]).save(top / "in" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "load_content", load_fake)
        bbcodec.compress(top / "in", top / "a.bb", codec=top / "mine.bbc")
    return top / "a.bb"


@pytest.fixture
def learned(learned_archive, tmp_path, monkeypatch):
    """A copy of it, and a list of all that are decoded."""
    monkeypatch.setattr(workers, "load_content", load_fake)
    shutil.copy(learned_archive, tmp_path / "a.bb")
    decoded = []
    plain = workers.CodecPool.decode
    monkeypatch.setattr(
        workers.CodecPool, "decode", lambda pool, body: decoded.append(body.digest) or plain(pool, body)
    )
    return tmp_path / "a.bb", decoded


def test_batches_by_chunks_decode_each_chunk_once(learned):
    path, decoded = learned
    images = ArchiveDataset(path)
    assert decoded == []
    batches = ChunkBatches(images, 32, pool=4, seed=1)
    indices = [index for batch in batches for index in batch]
    assert sorted(indices) == list(range(324))
    assert indices != sorted(indices)
    for batch in DataLoader(images, batch_sampler=batches, collate_fn=list):
        assert len(batch) <= 32
    assert len(decoded) == len(set(decoded)) > 8


def test_batches_by_chunks_are_dealt_to_workers(learned):
    """With two workers that take batches in turn, no chunk goes to both but by the rest of a hand."""
    images = ArchiveDataset(learned[0])
    chunk_of = {index: number for number, chunk in enumerate(images.chunks()[0]) for index in chunk}
    batches = list(ChunkBatches(images, 32, workers=2))
    assert sorted(index for batch in batches for index in batch) == list(range(324))
    seen = [{chunk_of[index] for batch in batches[worker::2] for index in batch} for worker in (0, 1)]
    assert len(seen[0] & seen[1]) <= 4
    whole = list(ChunkBatches(images, 32, workers=2, drop_last=True))
    assert {len(batch) for batch in whole} == {32}
    assert len(whole) >= 8


def test_batches_depend_on_seed_and_epoch(learned):
    images = ArchiveDataset(learned[0])
    one, two, three = (ChunkBatches(images, 50, seed=seed) for seed in (5, 5, 6))
    first = list(one)
    assert first == list(two) != list(three)
    assert len(one) == len(first)
    assert list(one) != first
    one.epoch = 0
    assert list(one) == first
    with pytest.raises(InputError):
        ChunkBatches(images, 0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[str]:
    """Twelve archives of 40 small images in several chunks, one of them at a URL; the images say which they are."""
    top, paths = tmp_path_factory.mktemp("shards"), []
    for shard in range(12):
        folder = top / f"in{shard}"
        folder.mkdir()
        for part in range(5):
            images = np.zeros((8, 16 + part, 16), np.uint8)  # of a size of its own: a chunk
            images[:, 0, 0], images[:, 0, 1] = shard, 8 * part + np.arange(8)
            np.save(folder / f"{part}.npy", images)
        paths.append("memory://dataset/7.bb" if shard == 7 else str(top / f"{shard}.bb"))
        bbcodec.compress(folder, paths[-1], codec="none", force=True)
    return paths


def test_many_archives_are_one_data_set(shards, monkeypatch):
    opened = []
    plain = dataset.open_archive
    monkeypatch.setattr(dataset, "open_archive", lambda path, **how: opened.append(path) or plain(path, **how))
    images = ArchiveDataset(shards)
    assert len(images) == 12 * 40
    for index in range(0, len(images), 7):
        shard, number = divmod(index, 40)
        assert images[index][0, :2, 0].tolist() == [shard, number]
        assert images.archive_of(index) == shards[shard]
        assert images.item(index) == (f"{number // 8}.npy", number % 8)
    assert len(opened) <= 24  # once to be counted, once to be read
    assert len(images._open) == dataset.OPEN_ARCHIVES
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[300], images[300])
    with pytest.raises(InputError, match="no archive"):
        ArchiveDataset([])


def test_batches_use_few_archives_at_a_time(shards):
    images = ArchiveDataset(shards)
    indices = [index for batch in ChunkBatches(images, 16, pool=2) for index in batch]
    assert sorted(indices) == list(range(480))
    first = {index // 40 for index in indices[: 8 * 40]}
    assert len(first) == 8
    assert first != set(range(8))


class Chunks:
    """A data set of archives with chunks of some sizes."""

    def __init__(self, archives):
        numbers = itertools.count()
        self._chunks = [[list(islice(numbers, size)) for size in sizes] for sizes in archives]

    def __len__(self):
        return len(list(chain(*chain(*self._chunks))))

    def chunks(self):
        return self._chunks


@settings(max_examples=300)
@given(
    archives=st.lists(st.lists(st.integers(1, 3) | st.integers(1, 20), min_size=1, max_size=8), min_size=1, max_size=4),
    ranks=st.integers(1, 20), workers=st.integers(0, 4), size=st.integers(1, 5) | st.integers(1, 300),
    pool=st.integers(1, 20), epoch=st.integers(0, 3),
)  # fmt: skip
def test_ranks_share_all_images_in_as_many_batches(archives, ranks, workers, size, pool, epoch):
    images = Chunks(archives)
    ranks = min(ranks, len(images))
    samplers = [ChunkBatches(images, size, workers=workers, rank=rank, ranks=ranks, pool=pool) for rank in range(ranks)]
    for sampler in samplers:
        sampler.epoch = epoch
    batches = len(samplers[0])
    each = [list(sampler) for sampler in samplers]
    assert {len(one) for one in each} == {batches}
    sizes = [len(batch) for one in each for batch in one]
    assert min(sizes) >= 1
    assert max(sizes) <= size
    seen = [index for one in each for batch in one for index in batch]
    assert len(seen) == len(set(seen)) >= len(images) - len(images) % ranks  # each at most once
    if size > 1:
        assert len(seen) == len(images)  # and none is left out


def test_a_chunk_is_cut_where_ranks_share_it(shards):
    """Ranks decode their own chunks, and share no more than one with each neighbour."""
    images = ArchiveDataset(shards[:5])
    chunk_of = {n: number for number, chunk in enumerate(chain(*images.chunks())) for n in chunk}
    each = [list(ChunkBatches(images, 6, rank=rank, ranks=3)) for rank in range(3)]
    chunks = [{chunk_of[index] for batch in batches for index in batch} for batches in each]
    assert [len(one & other) <= 1 for one, other in pairwise(chunks)] == [True, True]
    assert not chunks[0] & chunks[2]


def test_what_ranks_are_refused(shards):
    images = ArchiveDataset(shards[:1])
    for rank, count in ((3, 3), (-1, 3), (0, 0), (0, 41)):
        with pytest.raises(InputError, match=r"rank|processes"):
            ChunkBatches(images, 6, rank=rank, ranks=count)
    whole = [list(ChunkBatches(images, 6, rank=rank, ranks=3, drop_last=True)) for rank in range(3)]
    assert [[len(batch) for batch in batches] for batches in whole] == [[6, 6]] * 3


def test_batches_go_on_where_they_stopped(shards):
    images = ArchiveDataset(shards[:3])
    whole, again = ChunkBatches(images, 10, seed=4), ChunkBatches(images, 10, seed=4)
    epochs = [list(whole), list(whole)]
    again.epoch, again.first = 1, 5
    assert len(again) == len(epochs[1]) - 5
    assert list(again) == epochs[1][5:]
    assert (again.epoch, again.first) == (2, 0)


def test_damage_is_told(learned):
    path, _ = learned
    data = bytearray(path.read_bytes())
    for place in range(9, len(data) // 2, 50):
        data[place] ^= 1
    path.write_bytes(data)
    images = ArchiveDataset(path, names=["0.png", "1.png", "2.png", "3.png"])
    with pytest.raises(DamagedArchive, match=r"a\.bb: .* is damaged"):
        [images[index] for index in range(4)]


def test_two_codecs_stay_loaded(tmp_path, monkeypatch):
    """Images of two codecs asked for in turn load each codec once."""
    loads = []

    def counting(content, device, engine=True, check=None):
        loads.append(device)
        return load_fake(content, device)

    monkeypatch.setattr(workers, "load_content", counting)
    from fake_codec import fake_codec

    from bbcodec.archive.compress import CompressRequest, compress_with
    from bbcodec.options import RunOptions

    (tmp_path / "in").mkdir()
    Image.fromarray(familiar(90, 90)[:, :, 0]).save(tmp_path / "in" / "grey.png")
    Image.fromarray(familiar(90, 90, 3)).save(tmp_path / "in" / "rgb.png")
    codecs = [fake_codec("grey"), fake_codec("rgb", channels=3)]
    compress_with(CompressRequest(tmp_path / "in", tmp_path / "a.bb", codecs, run=RunOptions(1, "cpu")))
    loads.clear()
    images = ArchiveDataset(tmp_path / "a.bb")
    for index in (0, 1, 0, 1):
        assert images[index].shape == (90, 90, 1 + 2 * index)
    assert len(loads) == 2


def test_bbcodec_imports_no_torch():
    code = "import sys, bbcodec; dir(bbcodec); assert not {'torch', 'numba', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=60).returncode == 0


def test_read_bytes_and_extract_agree(shared):
    with bbcodec.open(shared[0] / "a.bb") as archive:
        for name in archive.names:
            stream = io.BytesIO()
            archive.extract(name, stream)
            assert stream.getvalue() == archive.read_bytes(name)
