"""Codecs for grey images of 16 bits: a network of 8 bits that codes tokens of prediction errors."""

import numpy as np
import pytest
from PIL import Image
from tiny_models import deep_codec_file, edited_codec_file, tiny_codec_file

import bbcodec
from bbcodec.archive.write import candidates, image_storage
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import load_codec
from bbcodec.errors import BadCodecFile, DamagedArchive, InputError
from bbcodec.images.planes import WHOLE
from bbcodec.models.training.data import load_dataset
from bbcodec.models.training.run import train

DEEP = PixelFormat(1, 65536)


def scans(count, height, width, seed=0):
    """Images (N, H, W, 1) of 12 bits in 16."""
    random = np.random.default_rng(seed)
    i, j = np.mgrid[:height, :width] / 16
    waves = [1800 + 1200 * np.sin(i + n) * np.cos(j * 0.7 - n) + random.normal(0, 20, i.shape) for n in range(count)]
    return np.stack(waves).clip(0, 4095).astype(np.uint16)[..., None]


@pytest.fixture(scope="module")
def content():
    return deep_codec_file()


@pytest.mark.parametrize(("engine", "shape"), [(True, (1, 1, 1)), (False, (3, 9, 14)), (True, (1, 260, 256))])
def test_images_come_back_and_messages_are_the_same_by_any_path(content, engine, shape):
    codec, images = load_codec(content, "cpu", engine=engine), scans(*shape)
    bits = np.zeros(len(images))
    message = codec.encode_message(images, bits)
    assert message == load_codec(content, "cpu").encode_message(images)
    assert bits.sum() <= 8 * len(message) <= bits.sum() + 8 * 60 + 64 * codec.lanes(images.shape)
    again = codec.decode(codec.encode(images))
    assert again.dtype == np.uint16
    assert np.array_equal(again, images)


def test_only_grey_images_of_16_bits_are_taken(content):
    codec = load_codec(content, "cpu")
    images = scans(2, 8, 9)
    for bad in (images.astype(np.uint8), images.astype(np.int32), images.repeat(3, 3), images[..., 0]):
        with pytest.raises(InputError, match=r"takes uint16 images \(N, H, W, 1\)"):
            codec.encode(bad)
    with pytest.raises(InputError, match="draws no images"):
        codec.draw((1, 8, 8))
    assert codec.latents(images) == {}
    with pytest.raises(BadCodecFile, match="not those of its model"):
        load_codec(edited_codec_file(tiny_codec_file("binary"), pixels={"channels": 1, "levels": 65536}))


def test_damaged_messages_are_found(content):
    codec, images = load_codec(content, "cpu"), scans(2, 8, 9)
    message = codec.encode_message(images)
    for bad in (b"", message[:1], message[:40], message[:-4], b"\xff\xff\xff\xff\x0f" + message, b"\0" + message[1:]):
        with pytest.raises(DamagedArchive):
            codec.decode_message(bad, 2, 8, 9)


def test_pngs_of_16_bits_are_learned(content, tmp_path, monkeypatch):
    """The codec of the test knows nothing, and so it is taken even where it is longer."""
    learned = lambda some: next((one for one in some if "learned" in one.tried), some[0])  # noqa: E731
    monkeypatch.setattr(candidates, "cheapest", learned)
    monkeypatch.setattr(image_storage, "evict", lambda group: image_storage.Eviction([], []))
    monkeypatch.setattr(image_storage, "layouts_of", lambda *_: (WHOLE,))
    folder, codec = tmp_path / "in", tmp_path / "deep.bbc"
    folder.mkdir()
    codec.write_bytes(content)
    for number, image in enumerate(scans(3, 20, 30)):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    bbcodec.compress(folder, tmp_path / "a.bb", codec=codec, embed_codec=False)
    with bbcodec.open(tmp_path / "a.bb", codec=codec) as archive:
        assert [file["how"] for file in archive.listing()["files"]] == 3 * ["learned"]
    bbcodec.decompress(tmp_path / "a.bb", tmp_path / "out", codec=codec)
    for number, image in enumerate(scans(3, 20, 30)):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / f"{number}.png")), image[..., 0])


def test_training_sees_tokens_and_measures_pixels(tmp_path):
    np.save(tmp_path / "scans.npy", scans(12, 40, 44)[..., 0].astype(">i2") - 300)
    Image.fromarray(scans(1, 40, 44, seed=9)[0, ..., 0]).save(tmp_path / "one.png")
    dataset = load_dataset([tmp_path])
    assert dataset.pixels == DEEP
    assert (len(dataset.train) + len(dataset.valid), dataset.train[0].dtype) == (13, np.uint16)
    seen = dataset.seen()
    assert (seen.pixels, seen.train[0].dtype) == (PixelFormat(1, 256), np.uint8)
    assert abs(float(np.median(seen.train[0])) - 128) < 3
    tiny = {"epochs": 0.3, "batch": 2, "crop": 16, "hidden": 8, "inner": 8, "layers": 1, "components": 2}
    summary = train([tmp_path], tmp_path / "my.bbc", family="vlae", overrides=tiny | {"latent_channels": 0}, threads=1)
    codec = load_codec(tmp_path / "my.bbc", "cpu")
    assert codec.pixels == DEEP
    held_out = np.stack(list(dataset.valid))
    assert codec.card["bits_per_dim"] == round(8 * len(codec.encode_message(held_out)) / held_out.size, 4)
    assert 0 < summary.archive_bits_per_dim < summary.png_bits_per_dim
