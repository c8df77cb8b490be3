"""Archives of one image as a format of Pillow."""

import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import bbcodec
from bbcodec.integrations import pillow_plugin

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def picture(mode: str) -> Image.Image:
    steps = np.random.default_rng(0).integers(0, 3, (20, 30, 4)).cumsum(0).cumsum(1).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(steps[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(steps, "RGBA").convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_images_come_back(mode, tmp_path):
    image = picture(mode)
    image.save(tmp_path / "a.bb", codec="none")
    with Image.open(tmp_path / "a.bb") as back:
        assert (back.format, back.mode, back.size) == ("BB", mode, image.size)
        assert back.tobytes() == image.tobytes()
        if mode == "P":
            assert back.getpalette() == image.getpalette()
        assert back.resize((3, 2)).size == (3, 2)
    assert back.copy().tobytes() == image.tobytes()  # as of all formats, after the file was closed
    assert bbcodec.verify(tmp_path / "a.bb").files == 1


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_streams_are_read_and_written(tmp_path):
    image, stream = picture("RGB"), io.BytesIO()
    image.info["icc_profile"] = b"profile"
    exif = image.getexif()
    exif[0x010E] = "described"
    image.save(stream, "BB", codec="none")
    stream.seek(0)
    back = Image.open(stream)
    assert np.array_equal(np.asarray(back), np.asarray(image))
    assert back.info["icc_profile"] == b"profile"
    assert back.getexif()[0x010E] == "described"


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_what_is_no_image_is_told(tmp_path):
    for number in range(2):
        picture("L").save(tmp_path / f"{number}.png")
    bbcodec.compress([tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "two.bb", codec="none")
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "array.bb", codec="none")
    for name in ("two.bb", "array.bb"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(tmp_path / name)
    picture("L").save(tmp_path / "one.bb", codec="none")
    data = (tmp_path / "one.bb").read_bytes()
    (tmp_path / "cut.bb").write_bytes(data[: len(data) // 2])
    with pytest.raises(OSError, match="the archive"):
        Image.open(tmp_path / "cut.bb")
    with pytest.raises(OSError, match=r"bad\.bb cannot be saved: .*none-such"):
        picture("L").save(tmp_path / "bad.bb", codec="none-such")
    with pytest.raises(OSError, match=r"cannot be saved: .*colour"):
        picture("L").save(tmp_path / "bad.bb", colour=3)
    with pytest.raises(OSError, match="CMYK"):
        picture("RGB").convert("CMYK").save(tmp_path / "bad.bb")
    assert not (tmp_path / "bad.bb").exists()
    assert pillow_plugin.FORMAT in Image.SAVE
