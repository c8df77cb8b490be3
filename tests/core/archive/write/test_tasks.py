"""What is found in folders, what is told apart, and that the tasks depend on names and contents alone."""

import os
import stat

import numpy as np
import pytest
from folders import familiar, make_folder, noise, save, smooth
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format import tiles as tiling
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write.tasks import (
    ArrayTask,
    BytesTask,
    FileTask,
    ImageTask,
    find_copies,
    open_task,
    plan,
    scan,
    split_evenly,
)
from bbcodec.errors import InputError
from bbcodec.options import StorageOptions


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "in")


def names(scanned):
    return [os.fsdecode(entry.name) for entry in scanned.entries]


# --- finding files


def test_all_is_found_in_the_order_of_names(folder):
    entries = scan([folder]).entries
    found = [entry.name for entry in entries]
    assert found == sorted(os.fsencode(path.relative_to(folder)) for path in folder.rglob("*"))
    for entry in entries:
        about = (folder / os.fsdecode(entry.name)).lstat()
        assert (entry.modified_ns, entry.permissions) == (about.st_mtime_ns, stat.S_IMODE(about.st_mode))
        assert entry.size == (about.st_size if entry.kind == "file" else len(entry.target))
    kinds = {entry.name: entry.kind for entry in entries}
    assert (kinds[b"hollow"], kinds[b"grey/link.png"], kinds[b"empty.txt"]) == ("folder", "link", "file")


def test_names_are_relative_to_a_single_folder_only(folder, monkeypatch):
    assert names(scan([folder / "colour"])) == ["0.png", "1.png", "2.png", "same.bmp"]
    several = names(scan([folder / "hollow", folder / "notes.txt"]))
    assert several == ["hollow", "hollow/inner", "notes.txt"]
    assert names(scan([folder / "notes.txt"])) == ["notes.txt"]
    monkeypatch.chdir(folder / "colour")
    assert names(scan(["."])) == ["0.png", "1.png", "2.png", "same.bmp"]
    assert names(scan([".", folder / "notes.txt"]))[0] == "colour"


def test_inputs_may_not_take_the_same_name(folder, tmp_path):
    with pytest.raises(InputError, match=r"both be called 'notes.txt'"):
        scan([folder / "notes.txt", folder / "notes.txt"])
    (tmp_path / "grey").write_text("a file where the other has a folder")
    with pytest.raises(InputError, match="both be called 'grey"):
        scan([folder / "grey", tmp_path / "grey"])
    with pytest.raises(InputError, match="no name of its own"):
        scan(["/", folder])


def test_inputs_that_cannot_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nowhere").symlink_to("nothing")
    for inputs in ([], [tmp_path / "nope"], [tmp_path / "empty"], [tmp_path / "nowhere"]):
        with pytest.raises(InputError, match=r"no input|no file or folder|is empty"):
            scan(inputs)


def test_an_input_that_is_a_link_is_followed_and_others_are_not(tmp_path):
    save(tmp_path / "in" / "a.png", smooth(4, 4))
    (tmp_path / "in" / "loop").symlink_to(".")
    (tmp_path / "way").symlink_to("in")
    (tmp_path / "one").symlink_to("in/a.png")
    assert names(scan([tmp_path / "way"])) == ["a.png", "loop"]
    entry = scan([tmp_path / "one"]).entries[0]
    assert (entry.name, entry.kind, entry.size) == (b"one", "file", (tmp_path / "in" / "a.png").stat().st_size)


def test_what_is_neither_file_nor_folder_is_left_out_and_named(tmp_path):
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "file").touch()
    scanned = scan([tmp_path / "in"])
    assert names(scanned) == ["file"]
    assert len(scanned.skipped) == 1
    assert "pipe" in scanned.skipped[0]


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*.png", {"bits.png", "alpha.png", "deep.png", "grey/link.png", *(f"grey/{n}.png" for n in range(6)),
                   *(f"colour/{n}.png" for n in range(3))}),
        ("colour", {"colour", "colour/same.bmp", *(f"colour/{n}.png" for n in range(3))}),
        ("colour/", {"colour", "colour/same.bmp", *(f"colour/{n}.png" for n in range(3))}),
        ("grey/[0-4].png", {f"grey/{n}.png" for n in range(5)}),
        ("hollow/inner", {"hollow/inner"}),
        ("inner", {"hollow/inner"}),
        ("COLOUR", set()), ("grey/?", set()), ("olour", set()),
    ],
)  # fmt: skip
def test_names_that_match_a_pattern_are_left_out(folder, pattern, gone):
    everything = set(names(scan([folder])))
    assert everything - set(names(scan([folder], None, [pattern]))) == gone


def test_several_patterns(folder):
    assert names(scan([folder], None, ["*.*", "grey", "colour/"])) == ["hollow", "hollow/inner"]
    with pytest.raises(InputError, match="is empty"):
        scan([folder], None, ["*"])


def test_the_output_is_no_input(folder):
    (folder / "out.bb").touch()
    assert "out.bb" not in names(scan([folder], folder / "out.bb"))
    assert "out.bb" in names(scan([folder], folder / "other.bb"))


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    def refusing(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(planning.os, "listdir", refusing)
    with pytest.raises(InputError, match=r"in cannot be read: Permission denied"):
        scan([folder])


# --- equal files


def test_copies_are_those_with_equal_bytes(tmp_path):
    for name, content in {"a": b"x" * 9, "b": b"y" * 9, "c": b"x" * 9, "d": b"x" * 8, "e": b"", "f": b""}.items():
        (tmp_path / name).write_bytes(content)
    os.link(tmp_path / "b", tmp_path / "g")
    (tmp_path / "h").symlink_to("a")
    assert find_copies(scan([tmp_path]).entries) == {2: 0, 6: 1}


def test_a_file_that_is_an_array_by_name_is_no_copy_of_one_that_is_not(tmp_path):
    """A zip comes back byte for byte, an npz member for member; and an array called so is coded as one."""
    np.savez(tmp_path / "b.npz", one=familiar(count=3))
    (tmp_path / "a.zip").write_bytes((tmp_path / "b.npz").read_bytes())
    (tmp_path / "c.zip").write_bytes((tmp_path / "b.npz").read_bytes())
    (tmp_path / "d.NPZ").write_bytes((tmp_path / "b.npz").read_bytes())
    assert find_copies(scan([tmp_path]).entries) == {2: 0, 3: 1}


# --- tasks


def test_images_of_one_mode_and_size_are_one_task(folder):
    entries = scan([folder]).entries
    tasks = plan(entries, {}, StorageOptions())
    groups = [[os.fsdecode(entries[n].name) for n in task.entries] for task in tasks if isinstance(task, ImageTask)]
    assert [f"grey/{n}.png" for n in range(6)] in groups
    assert [*(f"colour/{n}.png" for n in range(3)), "colour/same.bmp"] in groups
    assert {"alpha.png", "alpha.webp"} == set(next(group for group in groups if "alpha.png" in group))


def test_each_file_is_in_one_task(folder):
    entries = scan([folder]).entries
    copies = find_copies(entries)
    tasks = plan(entries, copies, StorageOptions())
    seen = [n for task in tasks for n in ((task.entry,) if isinstance(task, FileTask) else task.entries)]
    wanted = {n for n, entry in enumerate(entries) if entry.kind == "file" and entry.size} - copies.keys()
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
    assert [len(task.entries) for task in tasks if isinstance(task, ImageTask)] == [2, 2, 3]
    pieces = [[piece[1:] for piece in task.pieces] for task in tasks if isinstance(task, BytesTask)]
    # the large file comes when it is met, the small ones when there are enough
    assert sorted(map(len, pieces)) == [1, 1, 1, 1, 2, 2, 2]
    assert [one for one in pieces if one[0] != (0, 100)] == [[(0, 400)], [(400, 400)], [(800, 200)]]
    monkeypatch.setattr(planning, "LONE_PIXELS", 99)
    tasks = plan(scan([tmp_path]).entries, {}, StorageOptions())
    assert [len(task.entries) for task in tasks if isinstance(task, ImageTask)] == [1] * 7


def test_large_images_are_cut_into_tiles_that_cover_them(tmp_path, monkeypatch):
    for module in (planning, tiling):
        monkeypatch.setattr(module, "TILE_PIXELS", 200)
    pixels = smooth(33, 50, 3)
    save(tmp_path / "a.png", pixels)
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions())
    assert isinstance(task, FileTask)
    tiles = list(open_task(task))
    seen = np.zeros_like(pixels)
    for tile, (top, bottom, left, right) in zip(tiles, tiling.tile_bounds(50, 33), strict=True):
        ((plane, levels),) = tile.planes[0]
        assert levels == 256
        seen[top:bottom, left:right] = plane
    assert np.array_equal(seen, pixels)
    assert [tile.last for tile in tiles] == [False] * (len(tiles) - 1) + [True]
    assert [tile.picture is not None for tile in tiles] == [True] + [False] * (len(tiles) - 1)


def test_the_array_of_a_file_is_cut_and_its_recipes_come_with_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 100)
    monkeypatch.setattr(planning, "PIECE_BYTES", 50)
    pixels = noise(7, 10, 10)
    np.savez(tmp_path / "a.npz", one=pixels, two=np.arange(9.0))
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions())
    parts = list(open_task(task))
    assert all(isinstance(part, ArrayTask) for part in parts)
    images = [part.images for part in parts if part.images is not None]
    assert [len(part) for part in images] == [2, 2, 3]
    assert np.array_equal(np.concatenate(images)[..., 0], pixels)
    assert [part.recipe.name for part in parts if part.recipe] == ["one.npy", "two.npy"]
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part.rest) <= 50 for part in parts)


def test_an_npz_is_bytes_where_every_byte_counts(tmp_path):
    np.savez(tmp_path / "a.npz", one=noise(7, 10, 10))
    (task,) = plan(scan([tmp_path]).entries, {}, StorageOptions(exact=True))
    assert [type(part) for part in open_task(task)] == [BytesTask]


@given(st.integers(1, 500), st.integers(1, 60))
def test_even_parts_cover_all(count, most):
    parts = split_evenly(count, most)
    sizes = [part.stop - part.start for part in parts]
    assert [n for part in parts for n in range(count)[part]] == list(range(count))
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // most)


def test_a_file_that_shrinks_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="became shorter"):
        planning.read_piece(str(tmp_path / "a"), 2, 4)
    assert planning.read_piece(str(tmp_path / "a"), 2, 3) == b"345"
    with pytest.raises(InputError, match="cannot be read"):
        planning.file_digest(str(tmp_path))
