"""Sample formats and modes."""

import pytest
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.sample_formats import SAMPLE_FORMATS, mode_channels, pixel_mode, sample_format_named


def test_grey_steps_reach_white():
    assert {name: SAMPLE_FORMATS[name].grey_step for name in ("L2", "L4", "L8", "P2", "P4", "RGB8")} == {
        "L2": 85, "L4": 17, "L8": 1, "P2": 1, "P4": 1, "RGB8": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", SAMPLE_FORMATS)
def test_channels_are_those_of_the_mode(name):
    description = sample_format_named(name)
    assert description.channels == mode_channels(description.mode) == Image.getmodebands(description.mode)
    assert description.dtype.itemsize == max(1, description.depth // 8)


def test_modes_of_pixels():
    assert [pixel_mode(channels) for channels in (1, 2, 3, 4)] == ["L", "LA", "RGB", "RGBA"]
    assert (pixel_mode(1, 2), pixel_mode(3, 2)) == ("1", "RGB")


def test_unknown_sample_formats_are_damage():
    with pytest.raises(DamagedArchive, match="RGB32"):
        sample_format_named("RGB32")
