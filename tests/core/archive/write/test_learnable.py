"""The images to learn from are the planes that will be coded, or a sample of them."""

import numpy as np
import pytest
from fake_codec import squeeze
from folders import BITS, COLOUR, GREY, make_folder, noise, save
from PIL import Image

from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write.learnable import learnable_images
from bbcodec.archive.write.scan import find_copies, scan
from bbcodec.archive.write.tasks import plan
from bbcodec.codec import pool as pools
from bbcodec.options import StorageOptions


def tasks_of(folder, tile_pixels=10**6):
    entries = scan([folder], folder / "none").entries
    return plan(entries, find_copies(entries), StorageOptions(), lambda mode: tile_pixels)


def as_set(images):
    return {(image.shape, image.tobytes()) for image in images}


def test_the_images_are_those_that_codecs_are_asked_to_code(tmp_path, monkeypatch):
    """Of all kinds of files: RGBA in two planes, palettes as colours, arrays, tiles."""
    folder, coded = make_folder(tmp_path / "in"), []
    save(folder / "rgba.png", noise(40, 30, 4))
    Image.fromarray(noise(30, 40, 3)).quantize(9).save(folder / "palette.png")
    choose = pools.CodecPool.choose

    def watched(pool, images, levels):
        coded.extend(((images.shape[3], levels), image.shape, image.tobytes()) for image in images)
        return choose(pool, images, levels)

    monkeypatch.setattr(pools.CodecPool, "choose", watched)
    squeeze(folder, tmp_path / "a.bb", [GREY, COLOUR, BITS], verify=False)
    found = learnable_images(tasks_of(folder))
    assert set(found) == {(1, 256), (3, 256), (1, 2)}
    for key, one in found.items():
        assert as_set(one.images) <= {about[1:] for about in coded if about[0] == key}
        assert one.total == one.values
    assert {(40, 30, 3), (30, 40, 3)} <= {image.shape for image in found[3, 256].images}
    assert (40, 30, 1) in {image.shape for image in found[1, 256].images}


def test_large_images_give_tiles(tmp_path):
    pixels = noise(90, 80, 3)
    save(tmp_path / "in" / "large.png", pixels)
    images = learnable_images(tasks_of(tmp_path / "in", 2000))[3, 256].images
    assert len(images) > 3
    assert sum(image.size for image in images) == pixels.size


def test_of_much_a_sample_stands_for_the_rest(tmp_path):
    for n in range(40):
        save(tmp_path / "in" / f"{n}.png", noise(300, 300 + n, 3, seed=n))
    all_of_it = learnable_images(tasks_of(tmp_path / "in"))[3, 256]
    some = learnable_images(tasks_of(tmp_path / "in"), 10**6)[3, 256]
    assert len(all_of_it.images) == 40
    assert 10**6 <= some.values < 1.4e6
    assert some.total == pytest.approx(all_of_it.values, rel=0.15)
    again = learnable_images(tasks_of(tmp_path / "in"), 10**6)[3, 256]
    assert [one.tobytes() for one in again.images] == [one.tobytes() for one in some.images]
    assert min(int(image.shape[1]) for image in some.images) > 300  # not just the first ones


def test_of_a_large_array_some_parts_are_read(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "images.npy", noise(2000, 60 * 60).reshape(2000, 60, 60, 1))
    monkeypatch.setattr(planning, "GROUP_VALUES", 2**19)
    some = learnable_images(tasks_of(tmp_path / "in"), 2**21)[1, 256]
    assert 450 <= len(some.images) <= 650
    assert some.total == pytest.approx(2000 * 3600, rel=0.2)


def test_files_that_have_gone_teach_nothing(tmp_path):
    save(tmp_path / "in" / "a.png", noise(40, 40, 3))
    tasks = tasks_of(tmp_path / "in")
    (tmp_path / "in" / "a.png").unlink()
    assert learnable_images(tasks) == {}
