"""What is coded together, and that the tasks depend on names and contents alone."""

import os

import numpy as np
import pytest
from folders import make_folder, noise, save, smooth
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format.tiles import tile_bounds, tile_count
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write.scan import find_copies, scan
from bbcodec.archive.write.tasks import (
    ArrayFile,
    ArrayTask,
    BytesTask,
    FileTask,
    ImageTask,
    LargeImage,
    main_mode,
    opened,
    plan,
    split_evenly,
)
from bbcodec.images.npy import Images
from bbcodec.options import StorageOptions


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


def test_images_of_one_mode_and_size_are_one_task(folder):
    entries = scan([folder]).entries
    tasks = plan(entries, {}, StorageOptions())
    groups = [[os.fsdecode(entries[n].name) for n, _ in task.files] for task in tasks if isinstance(task, ImageTask)]
    assert [f"grey/{n}.png" for n in range(6)] in groups
    assert [*(f"colour/{n}.png" for n in range(3)), "colour/same.bmp"] in groups
    assert {"alpha.png", "alpha.webp"} == set(next(group for group in groups if "alpha.png" in group))


def test_each_file_is_in_one_task(folder):
    entries = scan([folder]).entries
    copies = find_copies(entries)
    tasks = plan(entries, copies, StorageOptions())
    seen = [task.entry for task in tasks if isinstance(task, LargeImage | ArrayFile | FileTask)]
    seen += [file.entry for task in tasks if isinstance(task, ImageTask) for file in task.files]
    seen += [part.entry for task in tasks if isinstance(task, BytesTask) for part in task.parts]
    wanted = {n for n, entry in enumerate(entries) if entry.file_type == "file" and entry.size} - copies.keys()
    assert sorted(seen) == sorted(wanted)


def test_tasks_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 100)
    monkeypatch.setattr(planning, "SHARED_BYTES", 250)
    monkeypatch.setattr(planning, "PIECE_BYTES", 400)
    for number in range(7):
        save(tmp_path / f"{number}.png", noise(10, 10, 1, seed=number))
        (tmp_path / f"{number}.txt").write_bytes(noise(100, seed=number).tobytes())
    (tmp_path / "large").write_bytes(bytes(1000))
    tasks = plan(scan([tmp_path]).entries, {}, StorageOptions())
    assert [len(task.files) for task in tasks if isinstance(task, ImageTask)] == [2, 2, 3]
    pieces = [[(part.start, part.length) for part in task.parts] for task in tasks if isinstance(task, BytesTask)]
    # the large file comes when it is met, the small ones when there are enough
    assert sorted(map(len, pieces)) == [1, 1, 1, 1, 2, 2, 2]
    assert [one for one in pieces if one[0] != (0, 100)] == [[(0, 400)], [(400, 400)], [(800, 200)]]
    monkeypatch.setattr(planning, "LONE_PIXELS", 99)
    tasks = plan(scan([tmp_path]).entries, {}, StorageOptions())
    assert [len(task.files) for task in tasks if isinstance(task, ImageTask)] == [1] * 7


def test_large_images_are_cut_into_tiles_that_cover_them(tmp_path):
    pixels = smooth(33, 50, 3)
    save(tmp_path / "a.png", pixels, dpi=(300, 300))
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions(), lambda mode: 200)
    assert isinstance(task, LargeImage)
    tiles = list(opened([task]))
    seen = np.zeros_like(pixels)
    for tile, (top, bottom, left, right) in zip(tiles, tile_bounds(50, 33, tile_count(50, 33, 200)), strict=True):
        ((plane, levels),) = tile.layouts[0]
        assert levels == 256
        seen[top:bottom, left:right] = plane
    assert np.array_equal(seen, pixels)
    assert [tile.last for tile in tiles] == [False] * (len(tiles) - 1) + [True]
    assert [tile.outline.skeleton != b"" for tile in tiles] == [True] + [False] * (len(tiles) - 1)


def test_the_arrays_of_a_file_are_cut_and_each_is_named_by_its_last_part(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 100)
    monkeypatch.setattr(planning, "PIECE_BYTES", 50)
    pixels = noise(7, 10, 10)
    np.savez(tmp_path / "a.npz", one=pixels, two=np.arange(9.0))
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions())
    parts = list(opened([task]))
    assert all(isinstance(part, ArrayTask) for part in parts)
    images = [part.content.pixels for part in parts if isinstance(part.content, Images)]
    assert [len(part) for part in images] == [2, 2, 3]
    assert np.array_equal(np.concatenate(images)[..., 0], pixels)
    assert [part.member.name for part in parts if part.member] == ["one.npy", "two.npy"]
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part.content) <= 50 for part in parts if isinstance(part.content, bytes))


def test_an_npz_is_bytes_where_every_byte_counts(tmp_path):
    np.savez(tmp_path / "a.npz", one=noise(7, 10, 10))
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions(exact=True))
    assert [type(part) for part in opened([task])] == [BytesTask]


@given(st.integers(1, 500), st.integers(1, 60))
def test_even_parts_cover_all(count, most):
    parts = split_evenly(count, most)
    sizes = [part.stop - part.start for part in parts]
    assert [n for part in parts for n in range(count)[part]] == list(range(count))
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // most)


def test_the_mode_of_most_values(tmp_path):
    save(tmp_path / "a.png", noise(10, 10, 3))
    save(tmp_path / "b.png", noise(20, 14, 1))
    assert main_mode(plan(scan([tmp_path]).entries, {}, StorageOptions())) == "RGB"
    assert main_mode(plan(scan([tmp_path]).entries, {}, StorageOptions(), lambda mode: 50)) == "RGB"  # as large ones
    np.save(tmp_path / "c.npy", noise(20, 20, 3))
    assert main_mode(plan(scan([tmp_path]).entries, {}, StorageOptions())) == ""
    assert main_mode([]) == ""
