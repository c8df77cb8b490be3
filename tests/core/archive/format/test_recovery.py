"""Directories that belong to an archive in the archive are not taken for its own."""

import io

import pytest

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.format.container import ContainerReader, ContainerWriter
from bbcodec.archive.format.index import Entry, Place


def archive(files: dict[bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    for name, content in files.items():
        chunk = writer.add(BYTES, pack_bytes(content, compress=False))
        writer.add_files([Entry(name, "bytes", size=len(content), places=(Place(chunk, 0, len(content)),))])
        writer.end_segment()
    writer.finish()
    return stream.getvalue()


INNER = archive({b"ghost": b"boo" * 30})
OUTER = archive({b"first": b"1" * 50, b"inner.bb": INNER, b"last": b"3" * 50})


def names(data: bytes) -> list[bytes]:
    reader = ContainerReader(io.BytesIO(data))
    assert reader.rebuilt
    return [file.name for file in reader.directory.files]


def test_directories_of_an_archive_in_the_archive_are_not_its_own():
    assert names(OUTER[:-20]) == [b"first", b"inner.bb", b"last"]


@pytest.mark.parametrize("offset", range(0, 90, 7))
def test_nor_where_the_chunk_that_holds_it_is_damaged(offset):
    data = bytearray(OUTER[:-20])
    data[data.index(INNER) + offset] ^= 0x40
    assert names(bytes(data)) == [b"first", b"inner.bb", b"last"]
