"""Where the codecs come from that an archive needs: given by the caller, embedded in the archive, or shipped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bbcodec.archive.format.chunks import LEARNED, unpack_bytes
from bbcodec.archive.format.index import CodecRecord
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.read.damage import as_damage
from bbcodec.archive.read.tasks import Task
from bbcodec.binary import MAX_CODEC_BYTES
from bbcodec.codec.catalogue import CodecFile, parse_codec, shipped_codecs
from bbcodec.errors import DamagedArchive, InputError, MissingCodec
from bbcodec.remote import open_readable

if TYPE_CHECKING:
    from bbcodec.codec.pool import CodecSource


class CodecFinder:
    """Finds the codecs of an archive. known: those to look among before the embedded and the shipped ones.

    trusted: whether embedded ones are used.
    """

    def __init__(self, file: ArchiveFile, known: Iterable[CodecSource] = (), trusted: bool = True) -> None:
        """Find nothing yet."""
        self._file = file
        self._known = list(known)
        self._trusted = trusted

    def needed_by(self, tasks: Iterable[Task]) -> list[CodecRecord]:
        """The records of the codecs of all learned chunks that tasks read. Raises InputError."""
        chunks = {place.chunk for task in tasks for place in task.places() if place.chunk.type == LEARNED}
        if len(self._file.codecs) == 1:
            return self._file.codecs if chunks else []
        ids = set()
        try:
            for chunk in chunks:
                with open_readable(self._file.path_of(chunk)) as stream:
                    stream.seek(max(0, chunk.offset))
                    ids.add(stream.read(4))
        except OSError as error:
            raise InputError(f"{self._file.path} cannot be read: {error.strerror}") from None
        return [record for record in self._file.codecs if record.digest[:4] in ids]

    def source_of(self, record: CodecRecord) -> CodecSource:
        """The codec of a record. Raises MissingCodec; DamagedArchive for an embedded one that is damaged."""
        from bbcodec.codec.pool import CodecSource

        for source in self._known:
            if source.digest == record.digest:
                return source
        embedded = self.embedded(record) if self._trusted else None
        if embedded is not None:
            return CodecSource.of(embedded, self._file.directory.chunks[record.chunk or 0].length)
        for codec in shipped_codecs():
            if codec.digest == record.digest:
                return CodecSource.of(codec)
        if record.chunk is not None:
            raise MissingCodec(
                f"{self._file.path} carries the codec {record.name!r} (digest {record.digest.hex()}), which "
                "--no-embedded-codec refuses: give its file with --codec, or leave out the option"
            )
        raise MissingCodec(
            f"{self._file.path} needs the codec {record.name!r} (digest {record.digest.hex()}), which is neither "
            f"installed nor in the archive: give its file with --codec, or install the bbcodec that ships it"
        )

    def embedded(self, record: CodecRecord) -> CodecFile | None:
        """The codec in the archive; None if it is not embedded. Raises DamagedArchive for one that is damaged."""
        if record.chunk is None:
            return None
        body = self._file.body(self._file.directory.chunks[record.chunk])
        try:
            codec = parse_codec(unpack_bytes(body, MAX_CODEC_BYTES), record.name)
        except Exception as error:  # whatever a stranger put there
            raise DamagedArchive(
                f"{self._file.path}: the embedded codec {record.name!r} is damaged: {as_damage(error)}"
            ) from None
        if codec.digest != record.digest:
            raise DamagedArchive(
                f"{self._file.path}: the embedded codec {record.name!r} is not the one that was stored"
            )
        return codec
