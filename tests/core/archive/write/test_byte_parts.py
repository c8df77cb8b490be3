"""Files that are kept as bytes cost no more than deflate makes of each, alone or in company."""

import io
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import bbcodec
from bbcodec.archive.format.chunks import unpack_bytes
from bbcodec.archive.write import byte_parts
from bbcodec.archive.write.byte_parts import KeptFile, files_as_bytes, packed_file_size, packed_size
from bbcodec.archive.write.coded import SharedPiece, total_bytes
from bbcodec.archive.write.tasks import FilePart
from bbcodec.binary import deflate

ARCHIVE_BYTES = 300  # header, footer, and two directories of an archive of one file
MORE = 64  # that a file may cost more than zip -9 makes of it


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


def blobs(height, width, values=6, seed=0):
    """A label map: disks of a few values."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width), np.uint8)
    for _ in range(20):
        row, column, radius = generator.uniform(0, height), generator.uniform(0, width), generator.uniform(4, 30)
        image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = generator.integers(values)
    return image


def tiff(tags, blocks):
    """An uncompressed little-endian TIFF of these tags (number: values of 16 bits), its samples in blocks."""
    start = 8 + sum(map(len, blocks))
    offsets, at = [], 8
    for block in blocks:
        offsets.append(at)
        at += len(block)
    entries, tail = b"", b""
    where = start + 2 + 12 * (len(tags) + 2) + 4
    tiled = 322 in tags
    for tag, kind, values in sorted(
        [
            *((tag, 3, values) for tag, values in tags.items()),
            (324 if tiled else 273, 4, offsets),
            (325 if tiled else 279, 4, [len(block) for block in blocks]),
        ]
    ):
        data = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            tail, data = tail + data, struct.pack("<I", where + len(tail))
        entries += struct.pack("<HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags) + 2) + entries + bytes(4) + tail
    return struct.pack("<2sHI", b"II", 42, start) + b"".join(blocks) + directory


def tags(height, width, bits, samples=1, **more):
    numbers = {"rows": 278, "planar": 284, "tile_width": 322, "tile_height": 323, "sign": 339}
    shown = 2 if samples == 3 else 1
    known = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [shown], 277: [samples]}
    return known | {numbers[name]: [value] for name, value in more.items()}


def label_tiled():
    image = blobs(256, 256)
    blocks = [image[i : i + 64, j : j + 64].tobytes() for i in range(0, 256, 64) for j in range(0, 256, 64)]
    return tiff(tags(256, 256, 8, tile_width=64, tile_height=64), blocks)


def int32():
    image = (blobs(128, 128).astype(np.int32) - 3) * 1000
    return tiff(tags(128, 128, 32, rows=128, sign=2), [image.tobytes()])


def planar_rgb():
    planes = [blobs(96, 96, 200, seed=channel).tobytes() for channel in range(3)]
    return tiff(tags(96, 96, 8, 3, rows=96, planar=2), planes)


def rgb_of_16_bits():
    image = np.stack([blobs(96, 96, seed=channel).astype(np.uint16) * 9000 for channel in range(3)], 2)
    return tiff(tags(96, 96, 16, 3, rows=96), [image.tobytes()])


def big_text():
    about, stream = PngInfo(), io.BytesIO()
    about.add_text("log", "".join(f"step {n}: all is well\n" for n in range(15000)))
    Image.fromarray(blobs(20, 20) * 40).save(stream, "PNG", pnginfo=about)
    return stream.getvalue()


def repeated_noise_in_a_bmp():
    stream = io.BytesIO()
    Image.fromarray(np.tile(np.frombuffer(noise(3 * 2000), np.uint8).reshape(1, 2000, 3), (60, 1, 1))).save(
        stream, "BMP"
    )
    return stream.getvalue()


CASES = {
    "label_tiled.tif": label_tiled, "i32.tif": int32, "planar.tif": planar_rgb, "rgb16.tif": rgb_of_16_bits,
    "big_text.png": big_text, "repeated.bmp": repeated_noise_in_a_bmp,
}  # fmt: skip


def zipped(data):
    """What zip -9 makes of a file, without its own headers."""
    return min(len(data), len(deflate(data)))


def costs_of(tmp_path, contents, **options):
    """What files of these contents cost in an archive, by name, and the archive in all; all come back."""
    folder = tmp_path / "in"
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    reports = []
    options = {"codec": "none", "exact_files": True, **options}
    bbcodec.compress(folder, tmp_path / "a.bb", report=reports.append, **options)
    bbcodec.decompress(tmp_path / "a.bb", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents
    return {report.name: report.stored_bytes for report in reports}, (tmp_path / "a.bb").stat().st_size


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_zip_shrinks_shrinks_here(tmp_path, name):
    data = CASES[name]()
    with Image.open(io.BytesIO(data)) as image:  # a file that Pillow reads
        image.load()
    costs, size = costs_of(tmp_path, {name: data}, exact_files=not name.endswith("png"))
    assert zipped(data) < len(data) / 3
    assert costs[name] <= zipped(data) + MORE
    assert size <= zipped(data) + MORE + ARCHIVE_BYTES


def test_a_large_image_is_kept_as_its_bytes_where_these_are_fewer(tmp_path):
    stream = io.BytesIO()
    block = np.random.default_rng(0).integers(0, 256, (64, 256)).astype(np.uint8)  # repeated beyond what is predicted
    Image.fromarray(np.tile(block, (266, 1))).save(stream, "PPM")
    data = stream.getvalue()
    costs, _ = costs_of(tmp_path, {"even.pgm": data})
    with bbcodec.open(tmp_path / "a.bb") as archive:
        assert [file["how"] for file in archive.listing()["files"]] == ["original"]
    assert costs["even.pgm"] <= zipped(data) + MORE


texts = st.builds(
    lambda times, n: (f"entry {n} of the list\n" * times).encode(), st.integers(0, 400), st.integers(0, 9)
)
binary = st.builds(noise, st.integers(0, 6000), st.integers(0, 99))
few = st.builds(lambda size, seed: bytes(b & 3 for b in noise(size, seed)), st.integers(0, 6000), st.integers(0, 99))
contents = st.lists(
    st.lists(st.one_of(texts, binary, few), min_size=1, max_size=3).map(b"".join), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(contents)
@example([noise(200000), b"all is well\n" * 3000])
@example([noise(5000, seed) + bytes(5000) for seed in range(8)])
@example([noise(30) for _ in range(40)])
@example([bytes(b & 63 for b in noise(4800, 1)), noise(60), noise(60, 1)])  # which share what a chunk takes
def test_no_file_costs_more_than_zip_makes_of_it(contents):
    """One by one, and all together, whatever else they are with."""
    coded = files_as_bytes([KeptFile(number, data) for number, data in enumerate(contents)])
    restored = {}
    for file in coded.files:
        parts = []
        for piece in file.pieces:
            if isinstance(piece, SharedPiece):
                parts.append(piece.data)
            else:
                content = unpack_bytes(coded.chunks[piece.chunk].body)
                same = [one for other in coded.files for one in other.pieces if not isinstance(one, SharedPiece)]
                before = sum(one.length for one in same if (one.chunk, one.position) < (piece.chunk, piece.position)
                             and one.chunk == piece.chunk)  # fmt: skip
                parts.append(content[before : before + piece.length])
        restored[file.entry] = b"".join(parts)
        assert file.cost <= zipped(contents[file.entry]) + MORE
    assert restored == dict(enumerate(contents))
    alone = sum(len(piece.data) for file in coded.files for piece in file.pieces if isinstance(piece, SharedPiece))
    whole = total_bytes(coded.chunks) + alone
    assert whole <= sum(zipped(data) + MORE for data in contents)
    assert abs(whole - sum(file.cost for file in coded.files)) <= len(contents)


@settings(max_examples=15, deadline=None)
@given(contents)
def test_whole_archives_keep_the_bound(tmp_path_factory, contents):
    named = {f"{number}.dat": data for number, data in enumerate(contents)}
    costs, size = costs_of(tmp_path_factory.mktemp("bytes"), named)
    assert all(costs[name] <= zipped(data) + MORE for name, data in named.items())
    assert size <= sum(zipped(data) + MORE for data in contents) + ARCHIVE_BYTES


def test_what_does_not_shrink_keeps_no_other_file_from_it(tmp_path):
    log = b"".join(b"step %d: all is well\n" % n for n in range(2000))
    costs, _ = costs_of(tmp_path, {"a.bin": noise(500_000), "log.txt": log})
    assert costs["log.txt"] < len(log) / 4


def test_files_share_a_chunk_only_where_that_is_no_longer(monkeypatch):
    """As if a chunk of several were as long as their bytes."""

    def poor(content, **options):
        return pack(content) if len(content) == 4000 else bytes(len(content))

    pack = byte_parts.pack_bytes
    monkeypatch.setattr(byte_parts, "pack_bytes", poor)
    coded = files_as_bytes([KeptFile(number, bytes([number]) * 4000) for number in range(3)])
    assert len(coded.chunks) == 3
    assert all(file.cost < MORE for file in coded.files)


def test_large_files_are_measured_only_where_they_may_be_short(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(noise(90000) + bytes(300_000))
    file = FilePart(0, str(tmp_path / "a"), 0, 390_000)
    assert packed_file_size(file, 390_000) == packed_size((tmp_path / "a").read_bytes()) < 91_000
    monkeypatch.setattr(byte_parts, "packed_size", None)
    assert packed_file_size(file, 1000) == 390_000
