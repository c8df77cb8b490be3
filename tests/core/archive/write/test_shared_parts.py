"""Parts of several files in common chunks."""

import io

from bbcodec.archive.format.chunks import read_chunk, unpack_bytes
from bbcodec.archive.format.container import ContainerReader, ContainerWriter
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.write.coded import StoredFile
from bbcodec.archive.write.shared_parts import PendingFile, SharedParts


def pending_file(number=0):
    return PendingFile(StoredFile(entry=number, form="bytes", size=3))


def test_equal_parts_are_stored_once(tmp_path):
    shared, files = SharedParts(compress=False), [pending_file(number) for number in range(4)]
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    shared.flush(writer)
    assert not writer.chunks  # nothing waits
    for file, part in zip(files, (b"one", b"two", b"one", b"three"), strict=True):
        shared.add(part, "bytes", file)
        assert not file.complete
    assert shared.size == len(b"one" + b"two" + b"three")
    shared.flush(writer)
    assert all(file.complete for file in files)
    assert [file.places for file in files] == [
        [Place(0, 0, 3)], [Place(0, 1, 3)], [Place(0, 0, 3)], [Place(0, 2, 5)],
    ]  # fmt: skip
    shared.add(b"one", "webp", files[0])  # of the next chunk
    assert shared.size == len(b"one")
    shared.flush(writer)
    assert files[0].places == [Place(0, 0, 3), Place(1, 0, 3, "webp")]
    everything = Entry(b"a", "bytes", size=14, places=(Place(0, 0, 3), Place(0, 1, 3), Place(0, 2, 5), Place(1, 0, 3)))
    writer.add_files([everything])
    writer.finish()
    (tmp_path / "a.bb").write_bytes(stream.getvalue())
    chunks = ContainerReader(stream).directory.chunks
    assert [unpack_bytes(read_chunk(str(tmp_path / "a.bb"), one)) for one in chunks[1:3]] == [b"onetwothree", b"one"]


def test_a_file_is_complete_when_no_more_of_it_follows():
    file = pending_file()
    file.places.append(Place(0, 0))
    assert file.complete
    file.continued = True
    assert not file.complete
