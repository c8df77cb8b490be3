"""Archives of codecs that run without PyTorch: threads write the same bytes, and a photo is one chunk."""

import multiprocessing
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from folders import quick_webp
from PIL import Image
from tiny_models import CONFIGS, pictures, pixel_format

import bbcodec
from bbcodec.archive.write import candidates, image_storage
from bbcodec.archive.write.tasks import FINE_TILE_PIXELS
from bbcodec.codec.file import save_codec
from bbcodec.models.vlae import Vlae


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Quick WebP: sizes do not matter here."""
    with quick_webp():
        yield


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """A codec of RGB that does not know much, in a file."""
    torch.manual_seed(0)
    config = replace(CONFIGS["RGB"], inner=6, layers=2, between=1, latent_channels=0)
    path = tmp_path_factory.mktemp("codec") / "tiny.bbc"
    path.write_bytes(save_codec(Vlae(config).eval(), "vlae", config, pixel_format("RGB"), {}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo, so to speak, of more than a fine tile; many small ones; and an array."""
    top = tmp_path_factory.mktemp("in")
    for number, pixels in enumerate([*pictures("RGB", 1, 300, 500), *pictures("RGB", 9, 40, 30, seed=1)]):
        Image.fromarray(pixels).save(top / f"{number}.png")
    np.save(top / "array.npy", pictures("RGB", 20, 16, 16, seed=2))
    return top


def learned_always(monkeypatch):
    """Let images be coded by the learned codec even where that is longer."""
    learned = lambda some: next((one for one in some if "learned" in one.tried), some[0])  # noqa: E731
    monkeypatch.setattr(candidates, "cheapest", learned)
    monkeypatch.setattr(image_storage, "evict", lambda group: image_storage.Eviction([], []))


@pytest.mark.parametrize("verify", [False, True])
def test_threads_write_the_same_archive(codec, folder, tmp_path, monkeypatch, verify):
    learned_always(monkeypatch)
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: started.append(self) or start(self))
    contents = []
    for jobs in (1, 2, 3):
        options = {"codec": codec, "embed_codec": False, "jobs": jobs, "force": True, "verify": verify}
        bbcodec.compress(folder, tmp_path / "out.bb", **options)
        contents.append((tmp_path / "out.bb").read_bytes())
    with bbcodec.open(tmp_path / "out.bb", codec=codec) as archive:
        hows = [file["how"] for file in archive.listing()["files"]]
    assert hows.count("learned") == 10
    assert contents[0] == contents[1] == contents[2]
    assert len(started) == (2 + 3) * (1 + verify)
    assert not multiprocessing.active_children()
    bbcodec.decompress(tmp_path / "out.bb", tmp_path / "back", codec=codec, jobs=2)
    for name in os.listdir(folder):
        one, two = (
            np.load(top / name) if name.endswith("npy") else np.asarray(Image.open(top / name))
            for top in (folder, tmp_path / "back")
        )
        assert np.array_equal(one, two)


def test_a_photo_is_one_tile_in_one_chunk(codec, folder, tmp_path, monkeypatch):
    learned_always(monkeypatch)
    bbcodec.compress(folder / "0.png", tmp_path / "out.bb", codec=codec, embed_codec=False)
    with bbcodec.open(tmp_path / "out.bb", codec=codec) as archive:
        (entry,) = archive.files
        assert entry.width * entry.height > FINE_TILE_PIXELS
        assert (entry.n_tiles, archive.listing()["files"][0]["how"]) == (1, "learned")
        assert np.array_equal(archive.pixels("0.png"), np.asarray(Image.open(folder / "0.png")))
