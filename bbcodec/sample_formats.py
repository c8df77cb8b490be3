"""Sample formats: what the numbers of an image are, apart from any file format.

Arrays of samples are `bbcodec.images.samples`. NumPy is imported where it is used, as an archive is listed without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bbcodec.errors import DamagedArchive

if TYPE_CHECKING:
    import numpy as np


class SampleFormat(NamedTuple):
    """Samples as Pillow shows them: the mode, channels of a pixel, and bits of a sample.

    Samples of less than 8 bits are the plain numbers 0 to 2**depth - 1; those of mode `P` are indices into a palette.
    """

    mode: str
    channels: int
    depth: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, or uint16 for 16 bits."""
        import numpy as np

        return np.dtype(np.uint16 if self.depth == 16 else np.uint8)

    @property
    def indexed(self) -> bool:
        """Whether samples are indices into a palette."""
        return self.mode == "P"

    @property
    def grey_step(self) -> int:
        """What Pillow shows for one step of a grey sample below 8 bits: 85 for 2 bits, 17 for 4; 1 for all others."""
        return 255 // (2**self.depth - 1) if self.mode == "L" else 1


# In the order of their numbers in archives, which begin at 1: new ones go to the end (`docs/format.md`, Pixels).
SAMPLE_FORMATS: Final = {
    "L1": SampleFormat("1", 1, 1),
    "L2": SampleFormat("L", 1, 2),
    "L4": SampleFormat("L", 1, 4),
    "L8": SampleFormat("L", 1, 8),
    "L16": SampleFormat("I;16", 1, 16),
    "LA8": SampleFormat("LA", 2, 8),
    "RGB8": SampleFormat("RGB", 3, 8),
    "RGBA8": SampleFormat("RGBA", 4, 8),
    "P1": SampleFormat("P", 1, 1),
    "P2": SampleFormat("P", 1, 2),
    "P4": SampleFormat("P", 1, 4),
    "P8": SampleFormat("P", 1, 8),
    "RGB16": SampleFormat("RGB", 3, 16),  # of which Pillow shows the high bytes
    "RGBA16": SampleFormat("RGBA", 4, 16),
}

_MODE_CHANNELS: Final = {"LA": 2, "PA": 2, "La": 2, "RGB": 3, "YCbCr": 3, "LAB": 3, "HSV": 3, "RGBA": 4, "CMYK": 4,
                         "RGBa": 4, "RGBX": 4}  # fmt: skip


def sample_format_named(name: str) -> SampleFormat:
    """The sample format that an archive names. Raises DamagedArchive for an unknown name."""
    if name not in SAMPLE_FORMATS:
        raise DamagedArchive(f"the archive names an unknown sample format, {name!r}")
    return SAMPLE_FORMATS[name]


def mode_channels(mode: str) -> int:
    """Values of a pixel of a Pillow mode; 1 for modes that are not known.

    >>> mode_channels("RGB"), mode_channels("I;16")
    (3, 1)
    """
    return _MODE_CHANNELS.get(mode, 1)


def pixel_mode(channels: int, levels: int = 256) -> str:
    """The Pillow mode of pixels with 1 to 4 channels: `1` for two levels of one channel, `I;16` for 65,536.

    >>> pixel_mode(1, 2), pixel_mode(1), pixel_mode(3), pixel_mode(1, 65536)
    ('1', 'L', 'RGB', 'I;16')
    """
    if levels > 256:
        return "I;16"
    return "1" if (channels, levels) == (1, 2) else ("L", "LA", "RGB", "RGBA")[channels - 1]
