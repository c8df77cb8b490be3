"""What is found in folders, under which names, and what is equal."""

import os
import stat
import subprocess

import numpy as np
import pytest
from folders import familiar, make_folder, save, smooth

from bbcodec.archive.write import scan as scanning
from bbcodec.archive.write.scan import find_copies, scan
from bbcodec.errors import InputError
from bbcodec.input_files import read_piece


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
        assert entry.size == (about.st_size if entry.file_type == "file" else len(entry.target))
    types = {entry.name: entry.file_type for entry in entries}
    assert (types[b"hollow"], types[b"grey/link.png"], types[b"empty.txt"]) == ("folder", "link", "file")


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
    assert (entry.name, entry.file_type, entry.size) == (b"one", "file", (tmp_path / "in" / "a.png").stat().st_size)


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

    monkeypatch.setattr(scanning.os, "listdir", refusing)
    with pytest.raises(InputError, match=r"in cannot be read: Permission denied"):
        scan([folder])


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    found = scan([tmp_path]).entries
    assert len(found) == 1201
    assert found[-1].name == b"d/" * 1200 + b"file"
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own way would recurse


# --- equal files


def test_copies_are_those_with_equal_bytes(tmp_path):
    for name, content in {"a": b"x" * 9, "b": b"y" * 9, "c": b"x" * 9, "d": b"x" * 8, "e": b"", "f": b""}.items():
        (tmp_path / name).write_bytes(content)
    os.link(tmp_path / "b", tmp_path / "g")
    (tmp_path / "h").symlink_to("a")
    assert find_copies(scan([tmp_path]).entries) == {2: 0, 6: 1}


def test_a_file_that_is_an_array_by_name_is_no_copy_of_one_that_is_not(tmp_path):
    """A zip is restored byte for byte, an npz member for member; and an array called so is coded as one."""
    np.savez(tmp_path / "b.npz", one=familiar(count=3))
    (tmp_path / "a.zip").write_bytes((tmp_path / "b.npz").read_bytes())
    (tmp_path / "c.zip").write_bytes((tmp_path / "b.npz").read_bytes())
    (tmp_path / "d.NPZ").write_bytes((tmp_path / "b.npz").read_bytes())
    assert find_copies(scan([tmp_path]).entries) == {2: 0, 3: 1}


# --- reading


def test_a_file_that_shrinks_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="became shorter"):
        read_piece(str(tmp_path / "a"), 2, 4)
    assert read_piece(str(tmp_path / "a"), 2, 3) == b"345"
    with pytest.raises(InputError, match="cannot be read"):
        scanning.file_digest(str(tmp_path))


def test_what_is_not_kept_of_files_is_told(tmp_path):
    for name in "abcde":
        (tmp_path / name).write_bytes(b"plain")
    os.chmod(tmp_path / "a", 0o4755)
    (tmp_path / "folder").mkdir()
    os.chmod(tmp_path / "folder", 0o1777)
    for number in range(5):
        os.link(tmp_path / "b", tmp_path / f"link{number}")
    with open(tmp_path / "sparse", "wb") as stream:
        stream.truncate(2**20)
    assert scan([tmp_path]).skipped == [
        f"{tmp_path / 'a'}, {tmp_path / 'folder'}: setuid, setgid and sticky bits are not kept",
        f"{tmp_path / 'link0'}, {tmp_path / 'link1'}, {tmp_path / 'link2'} and 2 more: "
        "hard links are restored as files of their own",
        f"{tmp_path / 'sparse'}: holes of sparse files are restored as zeros",
    ]
