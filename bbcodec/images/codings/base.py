"""What a storage coding is: the contract that the modules of this folder fulfil.

They import NumPy and Pillow where these are used, as an archive is listed without them.
"""

from __future__ import annotations

import math
from abc import ABC
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

from bbcodec.binary import MAX_VALUES, digest64
from bbcodec.errors import NEEDS_PACKAGE, DamagedArchive, MissingPackage

if TYPE_CHECKING:
    from bbcodec.images.samples import Bytes, Samples

# Of a picture that is stored; and of quick trials, from the least on.
Effort = Literal["image", "sheet", "hard sheet", "least", "glance", "look"]
Shape = tuple[int, int, int]  # height, width, channels of an image
SheetShape = tuple[int, int, int, int]  # count, height, width, channels of images of one size

SHEET_SIDE: Final = 16383  # pixels of a sheet that is a picture: the most that WebP takes
MAX_SHEET_IMAGES: Final = 2**24  # of any other sheet

FILE_DIGEST_BYTES: Final = 8
# Of a progressive JPEG with full colour, lepton takes 12.5 (measured, 24 megapixels).
FILE_BYTES_A_PIXEL: Final = 16
MOST_PIXELS_A_BYTE: Final = 1024  # 64 take a bit at least, of several channels or of one that is half as wide and high
FREE_PIXELS: Final = 2**16  # beside these: of small files, and of such as are cut
MAX_FILE_MEMORY: Final = 2**31  # what readers allow by default (`bbcodec.options.Limits`)


class StorageCoding(ABC):
    """A way of storing images: each alone, or several of one size together, in a sheet; or bytes as they are.

    name: in archives and reports. needs: what an archive that uses it says its readers need. on_request: whether it is
    tried only where callers ask for it. alone, together: which of the two it does. sheet_types: of the arrays that
    sheets hold: uint8, and uint16 of 65,536 levels. sheet_pixels: of the largest images that sheets make shorter.
    hard_sheets: whether sheets can be coded with much more effort. max_side: pixels that an encoded image, or sheet,
    may have at most in height and width.
    """

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    on_request: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    together: ClassVar[bool] = False
    sheet_types: ClassVar[tuple[str, ...]] = ("uint8",)
    sheet_pixels: ClassVar[int] = 2**16
    hard_sheets: ClassVar[bool] = False
    max_side: ClassVar[int | None] = None

    def takes(self, channels: int, levels: int) -> bool:
        """Whether it codes images of these channels and levels (2, 256 or 65536) alone."""
        return self.alone and ((channels, levels) == (1, 2) or (1 <= channels <= 4 and levels == 256))

    def encode(self, image: Samples, levels: int) -> bytes:
        """An image (H, W, C) alone.

        Raises ValueError for one that it does not take, MissingPackage where a package is not installed.
        """
        if not self.takes(image.shape[2], levels):
            raise ValueError(f"{self.name} does not take {image.shape[2]} channels of {levels} levels")
        return self._encode(image, levels)

    def decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        """The image (H, W, C) of `encode`. Raises DamagedArchive for anything else, MissingPackage as there."""
        check_size(shape)
        if not self.takes(shape[2], levels):
            raise DamagedArchive(f"the archive holds {self.name} of {shape[2]} channels and {levels} levels")
        return self._decode(data, shape, levels)

    def sheet_images(self, shape: Shape) -> int:
        """How many images of a shape one sheet takes at most; 0 if it takes none."""
        return MAX_SHEET_IMAGES if self.together else 0

    def encode_sheet(self, images: Samples, *, hard: bool = True) -> bytes:
        """Images (N, H, W, C) of one of `sheet_types` as one stream.

        hard: with an effort that takes ten to a hundred times as long, where the coding has one. Raises ValueError for
        images that it does not take, MissingPackage where a package is not installed.
        """
        if not self.together:
            raise ValueError(f"{self.name} does not take several images together")
        return self._encode_sheet(images, hard)

    def decode_sheet(self, data: bytes, shape: SheetShape) -> Samples:
        """The images (N, H, W, C) of `encode_sheet`. Raises DamagedArchive for others, MissingPackage as there."""
        check_size(shape)
        if not self.together or shape[3] > 4:
            raise DamagedArchive(f"the archive holds images of {shape[3]} channels together as {self.name}")
        return self._decode_sheet(data, shape)

    def _encode(self, image: Samples, levels: int) -> bytes:
        raise NotImplementedError

    def _decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        raise NotImplementedError

    def _encode_sheet(self, images: Samples, hard: bool) -> bytes:
        raise NotImplementedError

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Samples:
        raise NotImplementedError


class PictureCoding(StorageCoding):
    """A coding of pictures of 8 bits: two levels are 0 and 255, and a sheet is all images one below the other."""

    alone = True
    together = True

    def sheet_images(self, shape: Shape) -> int:
        """As many as make a picture of `SHEET_SIDE` rows."""
        return SHEET_SIDE // shape[0] if max(shape[:2]) <= SHEET_SIDE else 0

    def encode_picture(self, pixels: Bytes, effort: Effort) -> bytes:
        """A lossless picture of pixels uint8 (H, W, C)."""
        raise NotImplementedError

    def decode_picture(self, data: bytes, shape: Shape) -> Bytes:
        """The pixels (H, W, C) of a picture. Raises DamagedArchive unless it has this form and size."""
        raise NotImplementedError

    def _encode(self, image: Samples, levels: int) -> bytes:
        return self.encode_picture(image * image.dtype.type(255) if levels == 2 else image, "image")

    def _decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        pixels = self.decode_picture(data, shape)
        if levels == 256:
            return pixels
        samples: Samples = pixels & pixels.dtype.type(1)
        if (samples * pixels.dtype.type(255) != pixels).any():
            raise DamagedArchive("an image of two levels in the archive has others")
        return samples

    def _encode_sheet(self, images: Bytes, hard: bool) -> bytes:
        count, height, width, channels = images.shape
        sheet = images.reshape(count * height, width, channels)
        return self.encode_picture(sheet, "hard sheet" if hard else "sheet")

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Bytes:
        count, height, width, channels = shape
        return self.decode_picture(data, (count * height, width, channels)).reshape(shape)


class FileFacts(NamedTuple):
    """What an archive says of a file: its bytes, and the width and height of its image."""

    size: int
    width: int
    height: int

    @property
    def memory(self) -> int:
        """About how many bytes decoding takes: of coefficients, of lines of samples, and of the file itself."""
        return FILE_BYTES_A_PIXEL * self.width * self.height + 4 * self.size

    @property
    def plausible(self) -> bool:
        """Whether a file of this size could hold so many pixels."""
        return 1 <= self.width * self.height <= MOST_PIXELS_A_BYTE * self.size + FREE_PIXELS


class FileCoding(StorageCoding):
    """A storage coding of whole image files of one form: every byte comes back.

    form: of the files. pillow_formats: what Pillow calls them. package: that codes them, as Python imports it; install:
    what pip calls it.
    """

    form: ClassVar[str]
    pillow_formats: ClassVar[tuple[str, ...]]
    package: ClassVar[str]
    install: ClassVar[str]

    def encode_file(self, data: bytes, facts: FileFacts) -> bytes:
        """A file, coded: the digest of its bytes, and a stream.

        Decoded again to be sure. Raises ValueError for a file that does not come back, or would take too much memory;
        MissingPackage.
        """
        if facts.memory > MAX_FILE_MEMORY or not facts.plausible:
            raise ValueError(f"{self.name} takes no {facts.width}x{facts.height} pixels in {facts.size} bytes")
        coded = digest64(data) + self._encode_file(data, facts)
        try:
            self.decode_file(coded, facts)
        except DamagedArchive as error:
            raise ValueError(str(error)) from None
        return coded

    def decode_file(self, coded: bytes, facts: FileFacts) -> bytes:
        """The file of `encode_file`. Raises DamagedArchive for anything else; MissingPackage."""
        data = self._decode_file(coded[FILE_DIGEST_BYTES:], facts)
        if len(data) != facts.size or digest64(data) != coded[:FILE_DIGEST_BYTES]:
            raise DamagedArchive(f"{self.name} does not give back the file that was stored")
        return data

    def installed(self) -> bool:
        """Whether its package is."""
        return find_spec(self.package) is not None

    def require(self) -> ModuleType:
        """Its package. Raises MissingPackage."""
        return required(self.package, self.install, f"{self.form.upper()} stored as {self.name}")

    def _encode_file(self, data: bytes, facts: FileFacts) -> bytes:
        raise NotImplementedError

    def _decode_file(self, stream: bytes, facts: FileFacts) -> bytes:
        raise NotImplementedError


def required(package: str, install: str, what: str) -> ModuleType:
    """A package that is optional. Raises MissingPackage, which says what needs it and how it is installed."""
    try:
        return import_module(package)
    except ImportError:
        raise MissingPackage(f"{what} {NEEDS_PACKAGE} {install}: pip install {install}") from None


def check_size(shape: tuple[int, ...]) -> None:
    """Raise DamagedArchive where an array would be empty or larger than the format allows."""
    if not 1 <= math.prod(shape) <= MAX_VALUES:
        raise DamagedArchive(f"the archive says that something has {math.prod(shape)} samples: out of bounds")
