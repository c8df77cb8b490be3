"""What is fuzzed: functions of bytes that return whatever the bytes are, or raise an error of bbcodec.

Each checks what it can of bytes that are accepted, mostly that what was read comes out again. Checksums would stop
nearly every change, so that they are made right first where they guard other code. `run.py` calls these functions.
"""

import io
import math
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np

from bbcodec.archive.format.chunks import BYTES, DIRECTORY, HEAD_BYTES, LEARNED, SheetBody, pack_bytes, unpack_bytes
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.header import FOOTER_BYTES, HEADER_BYTES, START
from bbcodec.archive.format.index import Entry, Place, pack_directory, unpack_directory
from bbcodec.archive.format.parity import archive_end
from bbcodec.archive.format.shards import START as MANIFEST_START
from bbcodec.archive.format.shards import pack_manifest, unpack_manifest
from bbcodec.archive.read.archive import Archive
from bbcodec.binary import deflate, digest64
from bbcodec.codec.catalogue import MAGIC, parse_codec
from bbcodec.codec.engine_backend import engine_backend
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.stored import StoredCodec
from bbcodec.codec.weights import SCALES, tails
from bbcodec.coder.ans import PRECISION_MAX, AnsStack
from bbcodec.coder.kernels import geometric, uniform
from bbcodec.coder.tables import LOG2
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, StackUnderflow
from bbcodec.images.array_files import ArrayWriter
from bbcodec.images.codings import coding_named, file_codings
from bbcodec.images.codings.base import FileFacts
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.images.image_files import Picture, join_image, palette, split_image
from bbcodec.images.npy import MemberLayout, pack_members, split_npy, split_npz, unpack_members
from bbcodec.images.probe import probe
from bbcodec.options import Limits, RunOptions
from bbcodec.prediction.streams import pack_images, unpack_images
from bbcodec.sample_formats import SAMPLE_FORMATS

Target = Callable[[bytes], None]

LIMITS = Limits(memory=2**26, output=2**24, work=0)  # no codec of an archive is tested: that takes seconds
PLACE = tempfile.TemporaryDirectory(prefix="bbcodec-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
MOST_IMAGE = 2**22  # values of an image that is joined again here
MOST_PREDICTED = 2**14  # values of images that are predicted: a hundredth of a second


def container(data: bytes) -> None:
    """An archive, its digests made right: listed, and each of its files read."""
    path = Path(PLACE.name, "archive.bb")
    path.write_bytes(sealed(data))
    with Archive(path, run=RunOptions(limits=LIMITS)) as archive:
        archive.listing()
        archive.summary()
        for name in archive.names[:50]:
            entry = archive.files[archive.select([name])[0]]
            try:
                content = archive.read_bytes(name)
            except BBCodecError:
                continue
            if entry.form in ("bytes", "link") and len(content) != entry.size:
                raise AssertionError(f"{name!r} has {len(content)} bytes, the index says {entry.size}")


def sealed(data: bytes) -> bytes:
    """An archive with the digest of its index, and the checksums of its directory chunks, made right."""
    changed = bytearray(data)
    at = changed.find(START, 1)
    while at >= HEAD_BYTES:
        kind, length = struct.unpack("<cI", changed[at - HEAD_BYTES : at])
        if kind == DIRECTORY.encode() and at + length + 4 <= len(changed):
            changed[at + length : at + length + 4] = struct.pack(
                "<I", zlib.crc32(changed[at - HEAD_BYTES : at + length])
            )
        at = changed.find(START, at + 1)
    end = archive_end(io.BytesIO(data), len(data))
    footer = end - FOOTER_BYTES
    if footer >= HEADER_BYTES:
        (length,) = struct.unpack("<I", changed[footer : footer + 4])
        index = changed[max(0, footer - length) : footer]
        changed[footer + 4 : footer + 12] = digest64(changed[footer + 12 : end], index)
    return bytes(changed)


def manifest(data: bytes) -> None:
    """A manifest, its digest made right: packed anew it is the same. It may name `a.bb`, which lies beside it."""
    content = MANIFEST_START + digest64(MANIFEST_START, data) + data
    if pack_manifest(unpack_manifest(content)) != content:
        raise AssertionError("a manifest is another when it was packed again")
    Path(PLACE.name, "a.bb").write_bytes(shard())
    Path(PLACE.name, "manifest.bb").write_bytes(content)
    with Archive(Path(PLACE.name, "manifest.bb"), run=RunOptions(limits=LIMITS)) as archive:
        archive.listing()
        archive.verify()


def shard() -> bytes:
    """A small archive."""
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    writer.add(BYTES, pack_bytes(b"hello", compress=False))
    writer.add_files([Entry(b"a.txt", "bytes", size=5, places=(Place(0, 0, 5),))])
    writer.finish()
    return stream.getvalue()


def directory(data: bytes) -> None:
    """A directory; packed anew it is the same."""
    start = 2**27
    found = unpack_directory(data, (start, start + len(data)), 2**20)
    before = sum(chunk.start < start for chunk in found.chunks)
    try:
        packed = pack_directory(found, before)
    except InputError:
        return  # beyond the bounds of what is written
    again = unpack_directory(packed, (start, start + len(packed)), 2**20)
    chunks = [[(one.type, one.length, one.crc) for one in each.chunks] for each in (found, again)]
    if (found.files, found.codecs, found.needs, chunks[0]) != (again.files, again.codecs, again.needs, chunks[1]):
        raise AssertionError("a directory is another when it was packed again")


def chunk(data: bytes) -> None:
    """The type and the body of a chunk: unpacked, and packed anew it holds the same."""
    kind, body = data[:1].decode("latin-1"), data[1:]
    if kind == BYTES:
        content = unpack_bytes(digest_of_content(body), 2**22)
        if unpack_bytes(pack_bytes(content)) != content:
            raise AssertionError("bytes are others when they were packed again")
    elif kind == LEARNED:
        message = LearnedMessage.unpack(body)
        if LearnedMessage.unpack(message.pack()) != message:
            raise AssertionError("a message is another when it was packed again")
    else:
        sheet = SheetBody.unpack(body)
        if SheetBody.unpack(sheet.pack()) != sheet:
            raise AssertionError("a sheet is another when it was packed again")
        shape = sheet.count, sheet.height, sheet.width, sheet.channels
        if math.prod(shape) <= MOST_IMAGE and sheet.coding != "jpegxl":
            pixels = coding_named(sheet.coding).decode_sheet(sheet.stream, shape)
            if pixels.shape != shape or pixels.dtype not in (np.uint8, np.uint16):
                raise AssertionError(f"a sheet of {shape} has pixels {pixels.shape}")


def digest_of_content(body: bytes) -> bytes:
    """The body of a `B` chunk whose digest is right, if its content is stored as it is."""
    return digest64(body[10:]) + body[8:] if body[8:9] == b"\0" and len(body) > 9 and body[9] < 128 else body


def codec_file(data: bytes) -> None:
    """A codec file, or its header's length and text, as it is before it is deflated, and its message.

    What is read is the same when it was packed again. An engine is made of it, if there is one.
    """
    if data[:4] != MAGIC and len(data) >= 4:
        end = 4 + struct.unpack("<I", data[:4])[0] % (len(data) - 3)
        text = deflate(data[4:end])
        data = MAGIC + struct.pack("<I", len(text)) + text + data[end:]
    stored = StoredCodec.read(parse_codec(data, "codec"))
    again = StoredCodec.read(parse_codec(stored.pack(), "codec"))
    for name, tensor in stored.tensors.items():
        if tensor.dtype != again.tensors[name].dtype or not np.array_equal(tensor, again.tensors[name]):
            raise AssertionError(f"the tensor {name} is another when it was packed again")
    if [*stored.tensors] != [*again.tensors] and sorted(stored.tensors) != sorted(again.tensors):
        raise AssertionError("tensors have other names when they were packed again")
    engine_backend(stored, "cpu")


def stack(data: bytes) -> None:
    """A message, and pops of several distributions: what was popped and is pushed again leaves the stack as it was."""
    if len(data) < 8:
        return
    lanes, operations = 1 + data[0] % 16, data[1:8]
    words = np.frombuffer(data[8 : 8 + (len(data) - 8) // 4 * 4], "<u4")
    one = AnsStack.unflatten(words, lanes)
    if not np.array_equal(one.flatten(), words):
        raise AssertionError("a message is another when it was read")
    done = []
    for number, operation in enumerate(operations):
        before = one.flatten()
        try:
            done.append((before, *_popped(one, operation % 3, operation // 3, number)))
        except StackUnderflow:
            if not np.array_equal(one.flatten(), before):
                raise AssertionError("a stack that ran out is another than it was") from None
    for before, kernel, symbols, params, shared in reversed(done):
        one.push(kernel, symbols, params, *shared)
        if not np.array_equal(one.flatten(), before):
            raise AssertionError("a push does not undo a pop")


def _popped(one: AnsStack, kind: int, amount: int, number: int) -> tuple:
    """Pop symbols: the kernel that pushes them, symbols, parameters with rows, and others."""
    count = 1 + amount * (number + 1)
    if kind == 0:
        symbols, levels = np.zeros(count, np.int32), 1 + amount**2
        one.pop(uniform.pop, symbols, (), levels, LOG2)
        return uniform.push, symbols, (), (levels, LOG2)
    if kind == 1:
        symbols, scales = np.zeros((count, 3), np.int32), (np.arange(count) * 7 % SCALES).astype(np.uint8)
        one.pop(geometric.pop, symbols, (scales,), tails())
        return geometric.push, symbols, (scales,), (tails(),)
    bits = 1 + amount % PRECISION_MAX
    slots = one.slots(min(one.lanes, count), bits)
    masses = np.minimum(1 + slots // 3, (1 << bits) - slots)
    one.pop_intervals(slots, masses, bits)
    from bbcodec.coder.kernels.rans import push_intervals

    return push_intervals, slots, (masses,), (bits,)


def image_reader(data: bytes) -> None:
    """An image file: taken apart, if it can be, and joined; the samples of what was joined are the same."""
    probe(data)
    picture = split_image(data)
    if picture is None or picture.samples.size > MOST_IMAGE:
        return
    joined = join_image(picture)
    again = split_image(joined)
    if again is None or again.sample_format != picture.sample_format or again.skeleton != picture.skeleton:
        raise AssertionError("an image that was joined is taken apart in another way")
    if not np.array_equal(again.samples, picture.samples):
        raise AssertionError("an image that was joined has other samples")
    exact = split_image(data, exact=True)
    if exact is not None and join_image(exact) != data:
        raise AssertionError("a file was to be the same in every byte, and is another")


def skeleton(data: bytes) -> None:
    """Form, sample format, width, height, and a skeleton: of an archive, where it may be anything."""
    if len(data) < 4:
        return
    form, name = PIXEL_FORMS[data[0] % len(PIXEL_FORMS)], list(SAMPLE_FORMATS)[data[1] % len(SAMPLE_FORMATS)]
    width, height, about = 1 + data[2] % 40, 1 + data[3] % 40, SAMPLE_FORMATS[name]
    values = np.arange(height * width * about.channels) % 2**about.depth
    samples = values.reshape(height, width, about.channels).astype(about.dtype)
    palette(form, name, data[4:])
    join_image(Picture(form, name, samples, data[4:]), trial=True)


def file_stream(data: bytes) -> None:
    """What an archive says of a file, its coding, and a part coded so: the file, if it is one."""
    if len(data) < 5:
        return
    codings = [one for one in file_codings("JPEG") if one.installed()]
    facts = FileFacts(int.from_bytes(data[3:5], "little"), 1 + data[1], 1 + data[2])
    for coding in codings[data[0] % max(1, len(codings)) :][:1]:
        if len(coding.decode_file(data[5:], facts)) != facts.size:
            raise AssertionError("a file has another size than was said")


def arrays(data: bytes) -> None:
    """An array file, taken apart and joined to the same bytes, or a skeleton of one, which is the same again."""
    if data[:1] not in b"\x93P":
        zipped, members = unpack_members(data)
        if unpack_members(pack_members(members, zipped=zipped)) != (zipped, members):
            raise AssertionError("the skeleton of an array file is another when it was packed again")
        plain = all(member.view is None for member in members)
        with nullcontext() if plain else suppress(DamagedArchive):  # of images that are not there
            _joined(zipped, [(member, [b""] * min(member.n_chunks, 100)) for member in members])
        return
    zipped = data[:1] == b"P"
    path = Path(PLACE.name, "a.npz" if zipped else "a.npy")
    path.write_bytes(data)
    if zipped:
        members = split_npz(str(path))
        found = [] if members is None else list(members)
    else:
        one = split_npy(str(path))
        found = [] if one is None else [one]
    contents = []
    for member in found:
        pixels = b"" if member.images is None else member.images.pixels[:].tobytes()
        layout = MemberLayout(member.name, member.method, member.date, member.header, 1, member.view)
        contents.append((layout, [pixels or member.rest]))
    joined = _joined(zipped, contents) if contents else b""
    if found and not zipped and joined != data:
        raise AssertionError("an array file that was joined is another")


def _joined(zipped: bool, contents: list[tuple[MemberLayout, list[bytes]]]) -> bytes:
    """An array file of members with their chunks."""
    stream = io.BytesIO()
    writer = ArrayWriter(stream, zipped, [member for member, _ in contents])
    try:
        for _, pieces in contents:
            for piece in pieces:
                writer.add(piece)
        writer.close()
    except DamagedArchive:
        writer.abandon()
        raise
    return stream.getvalue()


def predicted(data: bytes) -> None:
    """Count, height, width and channels of images, each less 1, and a stream of `predicted`."""
    count, height, width, channels = (number + 1 for number in data[:4].ljust(4, b"\0"))
    shape = count, height, width, channels
    if channels > 4 or math.prod(shape) > MOST_PREDICTED:
        return
    images = unpack_images(data[4:], shape)
    if images.shape != shape:
        raise AssertionError(f"images {shape} have the shape {images.shape}")
    again = unpack_images(pack_images(images), shape)
    if again.dtype != images.dtype or not np.array_equal(again, images):
        raise AssertionError("predicted images are others when they were coded again")


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        container,
        manifest,
        directory,
        chunk,
        codec_file,
        stack,
        image_reader,
        skeleton,
        file_stream,
        arrays,
        predicted,
    )
}
