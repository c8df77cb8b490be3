"""An archive as a mapping, and its listing."""

import json

import numpy as np
import pytest
from fake_codec import familiar, squeeze
from folders import (
    ALL,
    FAKE,
    N_FILES,
    check_same_file,
    counting,
    restore,
    save,
)
from PIL import Image, JpegImagePlugin

from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import candidates as encoding
from bbcodec.errors import InputError, NoSuchName
from bbcodec.images import display
from bbcodec.images.pillow import BAD_IMAGE


def test_an_archive_is_a_mapping(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert list(archive) == archive.names == sorted(archive.names)
        assert len(archive) == len(archive.names) == N_FILES
        assert "grey/0.png" in archive
        assert "grey" not in archive
        assert 5 not in archive
        for name in archive:
            if name.endswith((".png", ".jpg", ".bmp", ".webp")) and not (folder / name).is_symlink():
                with Image.open(folder / name) as before:
                    assert archive[name].tobytes() == before.tobytes()
                    assert archive[name].info == before.info
        assert np.array_equal(archive["mask.npy"], np.load(folder / "mask.npy"))
        assert archive.read_bytes("empty.txt") == b""
        assert archive.read_bytes("grey/link.png") == b"../photo.jpg"
        with pytest.raises(InputError, match="not an image"):
            archive["notes.txt"]
        for name in ("nope", "grey", "", "grey/0.png/"):
            with pytest.raises(NoSuchName, match=f"no file '{name}'"):
                archive[name]


def test_one_image_costs_one_chunk(tmp_path, monkeypatch):
    """Random access: no other chunk is read or decoded."""
    monkeypatch.setitem(encoding.CHUNK_PIXELS, (1, 256), 3 * 24 * 24)
    for number in range(9):
        save(tmp_path / "in" / f"{number}.png", familiar(seed=number))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    calls, setting = counting()
    with Archive(tmp_path / "a.bb", run=setting) as archive:
        for name in ("4.png", "5.png", "4.png"):
            assert np.array_equal(np.asarray(archive[name]), familiar(seed=int(name[0]))[..., 0])
    assert calls == [3]


def test_names_select_files_and_folders(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    restore(tmp_path / "a.bb", tmp_path / "out", ["colour/", "grey/3.png", "hollow/inner"])
    kept = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert kept == [
        "colour", "colour/0.png", "colour/1.png", "colour/2.png", "colour/same.bmp", "grey", "grey/3.png", "hollow",
        "hollow/inner",
    ]  # fmt: skip
    for name in ("colour", "grey/3.png", "hollow/inner"):
        check_same_file(folder / name, tmp_path / "out" / name)
    for names in (["grey/3.png", "nope"], ["/"], [""], ["gre"], ["grey/3.pn"], ["./grey"]):
        with pytest.raises(NoSuchName):
            restore(tmp_path / "a.bb", tmp_path / "none", names)
    assert not (tmp_path / "none").exists()


def test_a_listing_says_how_each_file_is_stored(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb") as archive:
        listing = archive.listing()
        whole = sum(chunk.length for chunk in archive._file.directory.chunks if chunk.type in "LSB")
    json.dumps(listing)
    files = {file["name"]: file for file in listing["files"]}
    assert list(files) == sorted(files)
    assert listing["folders"] == ["colour", "grey", "hollow", "hollow/inner"]
    assert (listing["needs"], listing["rebuilt"]) == ([], "")
    assert (files["deep.png"]["width"], files["deep.png"]["height"], files["deep.png"]["mode"]) == (20, 20, "I;16")
    assert (files["photo.jpg"]["mode"], files["photo.jpg"]["bytes"]) == ("RGB", (folder / "photo.jpg").stat().st_size)
    assert files["notes.txt"]["mode"] is None
    assert (files["copy of notes.txt"]["copy_of"], files["notes.txt"]["copy_of"]) == (None, "copy of notes.txt")
    assert sum(file["stored_bytes"] for file in files.values()) == whole
    assert files["notes.txt"]["stored_bytes"] == 0  # a copy


@pytest.mark.parametrize("error", [kind for kind in BAD_IMAGE if kind is not Warning])
@pytest.mark.parametrize("step", ["open", "load", "convert"])
def test_whatever_pillow_raises_is_an_error_of_ours(folder, tmp_path, monkeypatch, error, step):
    """Of a file that is kept as bytes, as it is opened, decoded, or converted."""
    squeeze(folder, tmp_path / "a.bb")

    def fail(*_, **__):
        raise error("odd")

    with Archive(tmp_path / "a.bb") as archive:
        assert archive.files[archive._numbers["photo.jpg"]].form == "bytes"
        if step == "open":
            monkeypatch.setattr(Image, "open", fail)
        elif step == "load":
            monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", fail)
        else:
            monkeypatch.setattr(display, "image_shown", fail)
        with pytest.raises(InputError, match=r"photo\.jpg' is"):
            archive.pixels("photo.jpg")
        if step != "convert":
            with pytest.raises(InputError, match=r"photo\.jpg' is not an image that Pillow reads"):
                archive["photo.jpg"]
