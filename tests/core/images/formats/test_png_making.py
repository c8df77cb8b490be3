"""PNGs that come back byte for byte, whatever zlib, filters and chunks they were made with; others are left alone."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.png import ADAM7, COLOUR_TYPES, FORM, SIGNATURE
from bbcodec.images.formats.png_filters import filtered_by
from bbcodec.images.formats.png_making import Making, least_filters, made_again, pack_making, unpack_making
from bbcodec.images.image_files import Picture, join_image, split_image
from bbcodec.images.samples import packed_rows
from bbcodec.sample_formats import SAMPLE_FORMATS


def samples_of(name: str, height: int, width: int, seed: int) -> np.ndarray:
    """Smooth samples with some noise, of a sample format."""
    about = SAMPLE_FORMATS[name]
    i, j, c = np.mgrid[:height, :width, : about.channels]
    noise = np.random.default_rng(seed).integers(0, 3, i.shape)
    return ((i * 3 + j * 5 + c * 40 + noise) % 2**about.depth).astype(about.dtype)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, name, filters, state, *, interlaced=False, cut=2**20, before=b"", after=b"") -> bytes:
    """A PNG by a writer of any habits. filters: of rows, over and over; state: of zlib."""
    about, (height, width) = SAMPLE_FORMATS[name], samples.shape[:2]
    images = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    content, done = b"", 0
    for rows in (packed_rows(image, about.depth) for image in images if image.size):
        chosen = np.resize(np.roll(np.array(filters, np.uint8), -done), len(rows))
        content += filtered_by(rows, chosen, max(1, about.channels * about.depth // 8)).tobytes()
        done += len(rows)
    data = state.compress(content) + state.flush()
    header = struct.pack(">IIBBBBB", width, height, *COLOUR_TYPES[name], 0, 0, interlaced)
    parts = b"".join(chunk(b"IDAT", data[at : at + cut]) for at in range(0, len(data), cut))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if about.indexed else b""
    return SIGNATURE + chunk(b"IHDR", header) + before + palette + parts + chunk(b"IEND", b"") + after


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["L1", "L2", "L4", "L8", "L16", "LA8", "RGB8", "RGBA8", "P8", "RGB16", "RGBA16"]),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.tuples(st.integers(0, 9), st.integers(9, 15), st.integers(1, 9), st.integers(0, 4)),
    st.booleans(),
    st.sampled_from([2**20, 8192, 100, 7]),
    st.booleans(),
)  # fmt: skip
def test_whatever_zlib_was_told_every_byte_comes_back(name, size, filters, told, interlaced, cut, plain):
    level, window, memory, strategy = told
    state = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
    around = {} if plain else {"before": chunk(b"gAMA", bytes(4)), "after": b"more"}
    data = png(samples_of(name, *size, seed=1), name, filters, state, interlaced=interlaced, cut=cut, **around)
    if split_image(data) is None:
        return  # of which not even the picture could be kept
    picture = split_image(data, exact=True)
    if picture is None:  # tokens of stored blocks are not known, and PNG writers have memory levels 8 and 9
        assert memory < 8
        return
    assert picture.sample_format == name
    assert join_image(picture) == data
    assert np.array_equal(picture.samples, samples_of(name, *size, seed=1))


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 1}, {"compress_level": 0}], ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_files_of_pillow_come_back_from_little(mode, options):
    image = Image.fromarray(samples_of("RGB8", 120, 150, seed=2)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG", dpi=(72, 72), **options)
    picture = split_image(stream.getvalue(), exact=True)
    assert join_image(picture) == stream.getvalue()
    assert len(picture.skeleton) < 200 + 768 * (mode == "P")


def test_the_first_byte_says_whether_bytes_are_kept():
    stream = io.BytesIO()
    Image.fromarray(samples_of("L8", 20, 30, seed=0)[..., 0]).save(stream, "PNG")
    assert FORM.keeps_bytes(split_image(stream.getvalue(), exact=True).skeleton)
    assert not FORM.keeps_bytes(split_image(stream.getvalue()).skeleton)


def drawn(**options) -> bytes:
    """A photo of Pillow's."""
    stream = io.BytesIO()
    noise = np.random.default_rng(7).normal(0, 9, (200, 320, 3))
    smooth = samples_of("RGB8", 200, 320, seed=7) // 2
    Image.fromarray((smooth + noise + 40).clip(0, 255).astype(np.uint8)).save(stream, "PNG", **options)
    return stream.getvalue()


def surprised(data: bytes) -> bytes:
    """The same picture with the same header, by two deflate streams of other levels in one."""
    content = zlib.decompress(b"".join(png_chunks(data)))
    low, high = (zlib.compressobj(level, zlib.DEFLATED, -15) for level in (1, 6))
    half = len(content) // 2
    stream = low.compress(content[:half]) + low.flush(zlib.Z_FULL_FLUSH) + high.compress(content[half:]) + high.flush()
    ends = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    adler = struct.pack(">I", zlib.adler32(content))
    return data[: ends[0]] + chunk(b"IDAT", b"\x78\x9c" + stream + adler) + data[ends[1] :]


def png_chunks(data: bytes) -> list[bytes]:
    """The data of the IDAT chunks."""
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        found += [data[at + 8 : at + 8 + length]] if kind == b"IDAT" else []
        at += 12 + length
    return found


@pytest.mark.parametrize("level", range(10))
def test_by_default_bytes_come_back_where_that_is_quick(level):
    """Settled by the header of zlib, which says that levels above 6 took long."""
    data = drawn(compress_level=level)
    picture = split_image(data, exact=None)
    assert FORM.keeps_bytes(picture.skeleton) == (level <= 6)
    assert (join_image(picture) == data) == (level <= 6)
    assert FORM.keeps_bytes(split_image(data, exact=True).skeleton)
    assert not FORM.keeps_bytes(split_image(data).skeleton)


def test_by_default_bytes_come_back_where_that_takes_little():
    """Neither of a small file, nor of a stream of another encoder, nor of one whose filters are many for its bytes."""
    small = Image.fromarray(samples_of("RGB8", 40, 60, seed=8))
    rng = np.random.default_rng(9)
    filters = rng.integers(0, 5, 20_000).tolist()
    rows = png(rng.integers(0, 256, (20_000, 2, 1), np.uint8), "L8", filters, zlib.compressobj(6))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    for data in (stream.getvalue(), surprised(drawn()), rows):
        picture = split_image(data, exact=None)
        assert not FORM.keeps_bytes(picture.skeleton)
        assert join_image(picture) != data
    whole = split_image(rows, exact=True)
    assert join_image(whole) == rows


def test_streams_that_zlib_does_not_end_so_are_left_alone():
    samples = samples_of("L8", 40, 40, seed=3)

    class Flushing:
        """A writer that flushes in between, as some do."""

        def __init__(self):
            self.state = zlib.compressobj(6)

        def compress(self, data):
            half = len(data) // 2
            return (
                self.state.compress(data[:half])
                + self.state.flush(zlib.Z_SYNC_FLUSH)
                + self.state.compress(data[half:])
            )

        def flush(self):
            return self.state.flush()

    class Wrong(Flushing):
        """A writer whose checksum is wrong."""

        def compress(self, data):
            return self.state.compress(data)

        def flush(self):
            return self.state.flush()[:-1] + b"?"

    for writer in (Flushing(), Wrong()):
        data = png(samples, "L8", [0], writer)
        picture = split_image(data, exact=True)
        assert picture is None or join_image(picture) == data


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_skeletons_are_damage_or_another_file(data):
    samples = samples_of("RGB8", 9, 12, seed=4)
    file = png(samples, "RGB8", [0, 1, 4], zlib.compressobj(6), cut=50)
    picture = split_image(file, exact=True)
    skeleton = bytearray(picture.skeleton)
    for _ in range(data.draw(st.integers(1, 3))):
        skeleton[data.draw(st.integers(0, len(skeleton) - 1))] ^= data.draw(st.integers(1, 255))
    skeleton = skeleton[: data.draw(st.sampled_from([len(skeleton), len(skeleton) // 2]))]
    try:
        joined = join_image(Picture("png", "RGB8", samples, bytes(skeleton)))
    except DamagedArchive:
        return
    assert joined.startswith(SIGNATURE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=12, max_size=12), st.integers(0, 3), st.binary(max_size=30))
def test_makings_are_packed_and_unpacked(filters, shape, noise):
    rows = samples_of("L8", 12, 9, seed=5)[..., 0]
    least = least_filters([rows], 1)
    found = split_image(png(rows[..., None], "L8", filters, zlib.compressobj(3)), exact=True)
    length = found.skeleton[1]
    making = unpack_making(found.skeleton[2 : 2 + length], least)
    total = sum(making.sizes)
    sizes = ((total,), (total - 8, 8), (5, 5, total - 10), (1,) * total)[shape]
    changed = Making(making.header, sizes, making.filters, making.recipe)
    assert unpack_making(pack_making(changed, least), least) == changed
    assert b"".join(made_again(changed, [rows], 1)) == b"".join(made_again(making, [rows], 1))
    try:
        unpack_making(noise, least)
    except DamagedArchive:
        return


def test_a_stream_is_not_longer_than_any_zlib_makes():
    rows = samples_of("L8", 12, 9, seed=5)[..., 0]
    found = split_image(png(rows[..., None], "L8", [0], zlib.compressobj(3)), exact=True)
    making = unpack_making(found.skeleton[2 : 2 + found.skeleton[1]], bytes(12))
    for sizes in ((2**32 - 1,), (sum(making.sizes) + 1,), (sum(making.sizes) - 1,)):
        with pytest.raises(DamagedArchive):
            made_again(Making(making.header, sizes, making.filters, making.recipe), [rows], 1)
