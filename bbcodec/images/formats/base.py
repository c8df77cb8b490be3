"""What a file form is: the contract that the modules of this folder fulfil, and the names of the parts of a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, NamedTuple

from bbcodec.images.samples import Bytes, Samples
from bbcodec.sample_formats import SAMPLE_FORMATS, SampleFormat

if TYPE_CHECKING:
    from PIL import Image

MAX_SKELETON_BYTES: Final = 2**18  # a file with more around its samples is kept as bytes; the index stays small

# The modes in which Pillow shows samples of some sample format.
SAMPLE_MODES: Final = (*{one.mode: None for one in SAMPLE_FORMATS.values()}, "I", "I;16L", "I;16B", "I;16N")


BandSource = Callable[[SampleFormat], Iterable[Samples]]  # the samples of an image, in bands, as often as it is called


class Unfit(ValueError):
    """A file that a form does not take, and why, in a few words: `planar`, `32 bits a sample`."""


class Parts(NamedTuple):
    """What an image file is taken apart into, besides its samples.

    joined: the file as it will be joined, where that was found out on the way; else it is to be tried.
    """

    sample_format: str
    skeleton: bytes
    joined: bytes | None = None


class Found(NamedTuple):
    """An image file whose samples its form finds without Pillow.

    file_format: as Pillow calls it, or would. bands: the samples, to be read once, from top to bottom. skeleton: the
    skeleton, once they were read. Both raise ValueError where the file is not what its header says.
    """

    file_format: str
    sample_format: str
    width: int
    height: int
    bands: Callable[[], Iterator[Samples]]
    skeleton: Callable[[], bytes]


@dataclass(frozen=True)
class Outline:
    """An image file without its samples: its form, what its samples are, width x height pixels, and the skeleton."""

    form: str
    sample_format: str
    width: int
    height: int
    skeleton: bytes


class FileForm(ABC):
    """How files of some formats are taken apart and joined again.

    name: in archives, fixed forever. pillow_formats, modes: which files it takes, as Pillow calls them.
    exact: whether it can promise that a joined file has the bytes of the original; else it is the same picture.
    most_skeleton_bytes: files with longer skeletons are kept as bytes.
    """

    name: ClassVar[str]
    pillow_formats: ClassVar[tuple[str, ...]]
    modes: ClassVar[tuple[str, ...]] = SAMPLE_MODES
    exact: ClassVar[bool] = False
    most_skeleton_bytes: ClassVar[int] = MAX_SKELETON_BYTES

    def find(self, stream: BinaryIO) -> Found | None:
        """The samples of the file in `stream`, found without Pillow; None for files that the form leaves to it.

        Raises Unfit for a file of its formats that it does not take, or anything of `BAD_IMAGE`.
        """
        return None

    def take_apart(self, image: Image.Image, stream: BinaryIO, bands: BandSource, exact: bool | None) -> Parts | None:
        """Sample format and skeleton of the file in `stream`; None where it could not be joined again.

        exact: with every byte; None: if that is quickly found out and takes little. `image` is the file as Pillow
        opened it, not loaded yet; `bands` loads it. May raise anything of `BAD_IMAGE`.
        """
        return None

    @abstractmethod
    def join(self, outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
        """Write the file of samples that come as bands of rows (h, W, C), from top to bottom, to a seekable stream.

        trial: with little effort, for a file that is only looked at. Raises DamagedArchive for a skeleton that is not
        of this form, ValueError for bands that are not of this sample format and size.
        """

    def joins_in_bands(self, skeleton: bytes) -> bool:
        """Whether `join` holds one band at a time; else it holds all samples."""
        return True

    def keeps_bytes(self, skeleton: bytes) -> bool:
        """Whether a file of this skeleton is joined with the bytes of the original."""
        return self.exact

    def palette(self, sample_format: SampleFormat, skeleton: bytes) -> Bytes | None:
        """The palette as uint8 (n, 3), or (n, 4) where it has transparent colours; None if not known.

        Raises DamagedArchive for a malformed skeleton.
        """
        return None

    def shown(self, outline: Outline, samples: Samples) -> Samples | None:
        """The samples (H, W, C) that people see first in a file; None where its samples do not tell."""
        return samples
