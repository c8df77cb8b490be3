"""Large images in tiles."""

import os

import numpy as np
import pytest
from fake_codec import familiar, load_fake, squeeze
from folders import (
    ALL,
    FAKE,
    check_same_tree,
    contents,
    damage,
    hows,
    noise,
    read_all,
    restore,
    save,
    smooth,
)
from PIL import Image
from pins import without_predicted

from bbcodec.archive.format.tiles import tile_bounds, tile_count
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import tasks as planning
from bbcodec.errors import (
    DamagedArchive,
)
from bbcodec.options import RunOptions

TILE_PIXELS = 4000  # in these tests


def known_tiles(height, width, channels=1, seed=0):
    """Pixels whose every tile the fake codecs know."""
    pixels = np.zeros((height, width, channels), np.uint8)
    bounds = tile_bounds(width, height, tile_count(width, height, TILE_PIXELS))
    for number, (top, bottom, left, right) in enumerate(bounds):
        pixels[top:bottom, left:right] = familiar(bottom - top, right - left, channels, seed=100 * seed + number)
    return pixels


TILED = {
    "rgb.png": lambda: smooth(100, 140, 3),
    "rgba.png": lambda: smooth(100, 140, 4),
    "grey.png": lambda: smooth(140, 100),
    "deep.png": lambda: smooth(100, 140).astype(np.uint16) * 255,
    "rgb.bmp": lambda: smooth(100, 140, 3, seed=1),
    "high.bmp": lambda: smooth(5000, 3),
    "wide.png": lambda: smooth(3, 3000, 3),
    "known.png": lambda: known_tiles(100, 140, 3),
    "rgb.webp": lambda: known_tiles(100, 140, 3, seed=2),
    "rgba.webp": lambda: np.concatenate([known_tiles(100, 140, 3, seed=3), known_tiles(100, 140, seed=4)], axis=2),
}


def make_tiled(top):
    """Images of all kinds, larger than tiles are in these tests, and longer as files than in tiles."""
    for name, pixels in TILED.items():
        save(top / name, pixels(), **({"lossless": True, "exact": True} if "webp" in name else {"compress_level": 0}))
    bits = Image.fromarray(np.tile(noise(2, 14, 1, seed=1)[..., 0] > 128, (50, 10)))
    bits.save(top / "bits.png", compress_level=0)
    colours = Image.fromarray(smooth(100, 140, 3))
    colours.quantize(200).save(top / "palette.png", compress_level=0)
    colours.quantize(4).save(top / "few.png", bits=2, compress_level=0)
    colours.quantize(20).save(top / "clear.png", transparency=bytes(range(20)), compress_level=0)
    return top


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr("bbcodec.archive.compress.FINE_TILE_PIXELS", TILE_PIXELS)
    monkeypatch.setattr("bbcodec.archive.write.image_tiles.MAX_WHOLE_PIXELS", 0)
    monkeypatch.setattr("bbcodec.archive.write.image_tiles.packed_file_size", lambda file, bar: file.length)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_tiles_come_back(tmp_path, small_tiles, monkeypatch, large, exact):
    if large:
        monkeypatch.setattr(planning, "LARGE_PIXELS", 4000)
    top = make_tiled(tmp_path / "in")
    squeeze(top, tmp_path / "a.bb", ALL, exact=exact)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out", exact)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        forms = {os.fsdecode(file.name): file.form for file in archive.files}
        tiled = {os.fsdecode(file.name) for file in archive.files if len(file.content) > file.n_planes}
        for name in archive:
            with Image.open(top / name) as before:
                assert archive[name].tobytes() == before.tobytes()
    assert forms["high.bmp"] == "raw"
    if not exact:
        kept = {name for name in forms if name.endswith(".webp")} if large else set()
        assert tiled == forms.keys() - kept


def test_tiles_go_the_way_that_is_shortest_for_all(tmp_path, small_tiles, careful_webp):
    """Colours and alpha that the fake codecs know, apart; the colours of a palette; all else as it is."""
    save(tmp_path / "in" / "rgba.png", np.concatenate([known_tiles(100, 140, 3), known_tiles(100, 140)], axis=2))
    opaque = np.full((100, 140, 1), 255, np.uint8)
    save(tmp_path / "in" / "plain.png", np.concatenate([smooth(100, 140, 3), opaque], axis=2))
    shuffled = np.random.default_rng(0).permutation(256)
    image = Image.fromarray(shuffled[smooth(100, 140)[..., 0]].astype(np.uint8)).convert("P")
    image.putpalette(np.repeat(np.argsort(shuffled), 3).astype(np.uint8).tobytes())
    image.save(tmp_path / "in" / "palette.png")
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        layouts = {os.fsdecode(file.name): file.plane_layout for file in archive.files}
        assert layouts == {"rgba.png": 1, "plain.png": 0, "palette.png": 2}
        assert hows(tmp_path / "a.bb")["rgba.png"] == "learned"
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("large", [False, True])
def test_an_image_is_one_webp_where_that_is_shorter_than_tiles(tmp_path, small_tiles, monkeypatch, large):
    """What comes again in other tiles, and is flat; not what the codec knows."""
    monkeypatch.setattr("bbcodec.archive.write.image_tiles.MAX_WHOLE_PIXELS", 2**20)
    if large:
        monkeypatch.setattr(planning, "LARGE_PIXELS", 4000)
    flat = np.zeros((100, 140, 3), np.uint8)
    flat[20:50, 10:120] = 9, 99, 200
    again = np.tile(noise(25, 35, 3), (4, 4, 1))
    few = Image.fromarray(again).quantize(20)
    images = {"flat": flat, "again": again, "known": known_tiles(100, 140, 3), "grey": flat[..., 2:]}
    for name, pixels in images.items():
        save(tmp_path / "in" / f"{name}.png", pixels, compress_level=0, dpi=(300, 300))
    few.save(tmp_path / "in" / "few.png", compress_level=0)
    with without_predicted():
        squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        counts = {os.fsdecode(file.name): file.n_tiles for file in archive.files}
        assert {name for name in counts if counts[name] == 1} == {"flat.png", "again.png", "grey.png", "few.png"}
        assert {hows(tmp_path / "a.bb")[name] for name in ("flat.png", "grey.png")} <= {"webp", "png"}
        assert np.array_equal(archive.pixels("again.png"), again)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("which", [0, 2, -1])
def test_damage_in_a_tile_costs_that_file_only(tmp_path, small_tiles, which):
    top = tmp_path / "in"
    save(top / "a.png", known_tiles(100, 140, 3))
    save(top / "b.png", known_tiles(100, 140, 3, seed=1))
    squeeze(top, tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "a.png", which)
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'a.png'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"b.png"}
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'a.png'"):
        restore(tmp_path / "a.bb", tmp_path / "again", run=RunOptions(2, "cpu", None, load_fake))
    found = read_all(tmp_path / "a.bb")
    assert found["a.png"] is None
    assert found["b.png"] is not None
