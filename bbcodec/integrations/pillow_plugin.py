"""Archives of one image as a format of Pillow: `import bbcodec.integrations.pillow_plugin`, then `Image.open("a.bb")`.

Pillow loads only its own plugins by itself.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from PIL import Image, ImageFile

from bbcodec.archive.compress import compress
from bbcodec.archive.format.header import START
from bbcodec.archive.read.archive import open_archive
from bbcodec.atomic_files import temporary_folder
from bbcodec.errors import BBCodecError

FORMAT: Final = "BB"
NAME: Final = "image.png"  # in the archives that are written


class ArchiveImage(ImageFile.ImageFile):
    """The image of an archive that holds one file.

    >>> import numpy, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "grey.bb")
    >>> Image.fromarray(numpy.arange(256, dtype=numpy.uint8).reshape(16, 16)).save(path, codec="none")
    >>> with Image.open(path) as image:
    ...     image.format, image.mode, image.size, image.getpixel((1, 2))
    ('BB', 'L', (16, 16), 33)
    """

    format = FORMAT
    format_description = "bbcodec archive of one image"

    def _open(self) -> None:
        """Decode the image. Raises SyntaxError for archives of several files, as Pillow asks for, or OSError."""
        assert self.fp is not None
        image = _only_image(self.fp)
        self._mode, self._size, self.info = image.mode, image.size, dict(image.info)
        self._decoded: Image.Image | None = image
        self.tile = []

    def load(self) -> Any:
        """The pixels."""
        if self._decoded is not None:
            self.im, self.palette = self._decoded.im, self._decoded.palette
            self._decoded = None
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)


def _only_image(stream: IO[bytes]) -> Image.Image:
    """The image in the archive that a stream holds. Raises SyntaxError or OSError."""
    with temporary_folder() as folder:
        path = folder / "archive.bb"
        stream.seek(0)
        with open(path, "wb") as copy:
            shutil.copyfileobj(stream, copy)
        try:
            with open_archive(path) as archive:
                if len(archive) != 1:
                    raise SyntaxError(f"an archive of {len(archive)} files, not of one image: use bbcodec.open")
                image = archive[archive.names[0]]
        except BBCodecError as error:
            raise OSError(str(error).replace(str(path), "the archive")) from None
    if not isinstance(image, Image.Image):
        raise SyntaxError("an archive of arrays, not of one image: use bbcodec.open")
    return image


def save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Write an archive of one image. Options of `Image.save` are those of `bbcodec.compress`.

    Raises OSError for modes that PNG does not have, and where options are wrong.
    """
    options = {**image.encoderinfo}
    with temporary_folder() as folder:
        about = {}
        with suppress(KeyError):
            about["icc_profile"] = image.info["icc_profile"]
        image.save(folder / NAME, "PNG", compress_level=1, exif=image.getexif(), **about)
        try:
            compress(folder / NAME, folder / "archive.bb", **options)
        except (BBCodecError, TypeError) as error:
            raise OSError(f"{Path(str(filename)).name or 'the image'} cannot be saved: {error}") from None
        stream.write((folder / "archive.bb").read_bytes())


Image.register_open(FORMAT, ArchiveImage, lambda prefix: prefix.startswith(START))
Image.register_save(FORMAT, save)
Image.register_extension(FORMAT, ".bb")
