"""Parts of several files in common chunks."""

import io

from bbcodec.archive.format.chunks import read_chunk, unpack_bytes
from bbcodec.archive.format.container import Reader, Writer
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.write.candidates import Stored
from bbcodec.archive.write.writer import _Pending, _Shared


def test_equal_parts_are_stored_once(tmp_path):
    shared, files = _Shared(compress=False), [_Pending(Stored(number, "bytes", 3), [None]) for number in range(4)]
    stream = io.BytesIO()
    writer = Writer(stream)
    shared.flush(writer)
    assert not writer.chunks  # nothing waits
    for pending, part in zip(files, (b"one", b"two", b"one", b"three"), strict=True):
        shared.add(part, pending, 0, "bytes")
    assert shared.size == len(b"one" + b"two" + b"three")
    shared.flush(writer)
    assert [pending.places for pending in files] == [
        [Place(0, 0, 3)], [Place(0, 1, 3)], [Place(0, 0, 3)], [Place(0, 2, 5)],
    ]  # fmt: skip
    shared.add(b"one", files[0], 0, "webp")  # of the next chunk
    shared.flush(writer)
    assert files[0].places == [Place(1, 0, 3, "webp")]
    everything = Entry(b"a", "bytes", places=(Place(0, 0, 3), Place(0, 1, 3), Place(0, 2, 5), Place(1, 0, 3)))
    writer.add_files([everything])
    writer.finish()
    (tmp_path / "a.bb").write_bytes(stream.getvalue())
    chunks = Reader(stream).directory.chunks
    assert [unpack_bytes(read_chunk(str(tmp_path / "a.bb"), one)) for one in chunks[:2]] == [b"onetwothree", b"one"]
