"""The comparison of files that other tests rely on can fail."""

import pytest
from PIL import Image
from strange import check_same, make, picture, saved


def test_files_are_the_same_at_each_call(tmp_path):
    count = make(tmp_path / "one")
    assert count >= 500
    assert make(tmp_path / "two") == count
    for path in (tmp_path / "one").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def check(tmp_path, one, two):
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "two").write_bytes(two)
    check_same(tmp_path / "one", tmp_path / "two")


def test_pictures_that_look_the_same_are(tmp_path):
    image = picture("RGB")
    check(tmp_path, saved(image, "PNG", compress_level=1), saved(image, "PNG", compress_level=9))
    check(tmp_path, b"text", b"text")


def test_pictures_that_look_different_are_not(tmp_path):
    image, hidden = picture("RGB"), Image.new("RGBA", (3, 3), (1, 2, 3, 0))
    frames = {"save_all": True, "append_images": [picture("RGB", seed=1)]}
    other = {"save_all": True, "append_images": [picture("RGB", seed=2)]}
    indexed, recoloured = picture("P"), picture("P")
    recoloured.putpalette([*recoloured.getpalette()[:-3], 0, 0, 0])
    for one, two in [
        (b"text", b"Text"),
        (saved(image, "PNG"), saved(image, "BMP")),
        (saved(image, "PNG"), saved(image, "PNG")[:-200]),
        (saved(image, "PNG"), saved(image, "PNG", dpi=(72, 72))),
        (saved(image, "PNG"), saved(picture("RGB", seed=1), "PNG")),
        (saved(image, "PNG", **frames), saved(image, "PNG", **other)),
        (saved(image, "PNG", **frames, duration=10), saved(image, "PNG", **frames, duration=20)),
        (saved(hidden, "PNG"), saved(Image.new("RGBA", (3, 3)), "PNG")),
        (saved(indexed, "PNG"), saved(recoloured, "PNG")),
    ]:
        with pytest.raises(AssertionError):
            check(tmp_path, one, two)
