"""Archives from a stranger, every checksum right: what is hostile costs itself alone, and no more than it says."""

import io

import numpy as np
import pytest
from fake_codec import FakeCodec, fake_content, read_header
from folders import FAKE, contents, noise, read_all, restore, save, smooth, text, write_archive

import bbcodec
from bbcodec.archive.format.chunks import BYTES, LEARNED, SHEET, SheetBody, pack_bytes
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read import decode as decoding
from bbcodec.archive.read import kept_chunks
from bbcodec.archive.read.archive import Archive
from bbcodec.binary import codec_digest, digest64
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import BadCodecFile, DamagedArchive, InexactArithmetic, InputError, LimitExceeded, MissingCodec
from bbcodec.images.codings import coding_named
from bbcodec.options import Limits, RunOptions

L8 = {"mode": "L", "sample_format": "L8", "width": 4, "height": 4, "size": 99}


def learned(content: bytes, count: int = 1) -> tuple[str, bytes]:
    """A chunk of images that need the codec in `content`."""
    pixels = smooth(4, 4, 1)[None].repeat(count, 0)
    stream = FakeCodec(read_header(content)).encode_message(pixels)
    return LEARNED, LearnedMessage(codec_digest(content)[:4], digest64(pixels.tobytes()), count, 4, 4, stream).pack()


def two_codecs(tmp_path):
    """An archive with an image of each of two embedded codecs, and a text."""
    good, bad = fake_content(), fake_content(bits_per_dim=2.0)
    files = [
        Entry(b"bad.png", "png", places=(Place(3, 0),), **L8), Entry(b"good.png", "png", places=(Place(2, 0),), **L8),
        text(b"text", b"hello", chunk=4),
    ]  # fmt: skip
    chunks = [learned(good), learned(bad), (BYTES, pack_bytes(b"hello"))]
    codecs = [(codec_digest(content), name, content) for content, name in ((good, "good"), (bad, "bad"))]
    return write_archive(tmp_path / "a.bb", files, chunks, codecs), bad


ERRORS = [
    ValueError("a\nb"), IndexError(), OverflowError("inf"), RecursionError(), MemoryError(), TypeError(),
    BadCodecFile("none"), InexactArithmetic("no"), LimitExceeded("too much"), InputError("x"),
]  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("when", ["load", "decode"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_an_embedded_codec_is_that_of_its_images(tmp_path, error, when, jobs):
    path, bad = two_codecs(tmp_path)
    loads = []

    class Failing(FakeCodec):
        concurrent = True

        def decode_message(self, *message):
            raise error

    def load(content, device):
        if content != bad:
            return FakeCodec(read_header(content))
        loads.append(content)
        if when == "load":
            raise error
        return Failing(read_header(content))

    run = RunOptions(jobs, "cpu", None, load)
    assert {name for name, content in read_all(path, run=run).items() if content is None} == {"bad.png"}
    assert len(loads) == 1  # even where it fails
    with pytest.raises(DamagedArchive, match=r"1 of 3 files are damaged: 'bad.png' .*others were restored$"):
        restore(path, tmp_path / "out", run=run)
    assert contents(tmp_path / "out").keys() == {"good.png", "text"}
    with Archive(path, run=run) as archive, pytest.raises(DamagedArchive, match=r"1 of 3 files .*'bad\.png'"):
        archive.verify()


@pytest.mark.parametrize("error", [BadCodecFile("none"), InexactArithmetic("no")])
def test_what_is_wrong_with_a_codec_of_ones_own_is_told_as_such(tmp_path, error):
    """It is not the archive that is damaged."""
    content = fake_content()
    files = [Entry(b"a.png", "png", places=(Place(0, 0),), **L8)]
    path = write_archive(tmp_path / "a.bb", files, [learned(content)], [(codec_digest(content), "own", None)])

    def load(content, device):
        raise error

    own = bbcodec.codec.pool.CodecSource.of(bbcodec.codec.catalogue.parse_codec(content, "own"))
    with pytest.raises(type(error)):
        restore(path, tmp_path / "out", run=RunOptions(1, "cpu", None, load), known=[own])
    with pytest.raises(MissingCodec):
        restore(path, tmp_path / "out", run=RunOptions(1, "cpu", None, load))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x09" + bytes(7) + b"[" * 9, fake_content(channels=1e999)])
def test_an_embedded_codec_that_is_none_costs_its_images(tmp_path, content):
    """Also one whose numbers are infinite."""
    good = fake_content()
    files = [Entry(b"a.png", "png", places=(Place(1, 0),), **L8), text(b"text", b"hello", chunk=2)]
    body = LearnedMessage(codec_digest(content)[:4], bytes(8), 1, 4, 4, learned(good)[1][15:]).pack()
    path = write_archive(
        tmp_path / "a.bb",
        files,
        [(LEARNED, body), (BYTES, pack_bytes(b"hello"))],
        [(codec_digest(content), "x", content)],
    )
    for run in (FAKE, RunOptions(1, "cpu"), RunOptions(2, "cpu")):
        found = read_all(path, run=run)
        assert (found["a.png"], found["text"]) == (None, b"hello")


CHUNKS = {
    "an unknown method": (BYTES, digest64(b"x") + b"\7\1x"),
    "an unknown coding": (SHEET, b"12345678" + bytes([99, 1, 1, 1, 1])),
    "too short a body": (BYTES, b"1"),
    "a WebP that is none": (SHEET, SheetBody(bytes(8), "webp", 1, 1, 4, 4, b"RIFF").pack()),
    "more memory than there is": (SHEET, SheetBody(bytes(8), "lzma", 4, 1, 2**13, 2**13, b"").pack()),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_an_error_of_a_chunk_is_that_of_its_files(tmp_path, name):
    kind, body = CHUNKS[name]
    bad = text(b"bad", b"x") if kind == BYTES else Entry(b"bad", "png", places=(Place(0, 0),), **L8)
    path = write_archive(
        tmp_path / "a.bb", [bad, text(b"text", b"hello", chunk=1)], [(kind, body), (BYTES, pack_bytes(b"hello"))]
    )
    assert read_all(path) == {"bad": None, "text": b"hello"}
    with pytest.raises(DamagedArchive, match="1 of 2"):
        restore(path, tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"text"}


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), RecursionError()])
def test_errors_of_skeletons_are_those_of_their_files(tmp_path, error, monkeypatch):
    save(tmp_path / "in" / "a.png", smooth(20, 20, 3), dpi=(50, 50))
    save(tmp_path / "in" / "b.png", smooth(21, 20, 3))
    bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    real = decoding.join_image

    def join(picture):
        if picture.skeleton:
            raise error
        return real(picture)

    monkeypatch.setattr(decoding, "join_image", join)
    found = read_all(tmp_path / "a.bb")
    assert (found["a.png"] is None, found["b.png"] is None) == (True, False)


def test_what_limits_keep_from_being_decoded_is_told_as_such(tmp_path):
    """Others are restored; the code is that of limits where nothing is damaged."""
    files = [text(b"a", bytes(10**5)), text(b"text", b"hello", chunk=1)]
    path = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(bytes(10**5))), (BYTES, pack_bytes(b"hello"))])
    run = RunOptions(1, "cpu", limits=Limits(memory=10**5))
    with pytest.raises(LimitExceeded, match=r"1 of 2 files are beyond the limits: 'a' .*--max-memory if you trust"):
        restore(path, tmp_path / "out", run=run)
    assert contents(tmp_path / "out").keys() == {"text"}
    data = bytearray(path.read_bytes())
    data[data.index(b"hello")] ^= 1
    path.write_bytes(data)
    with Archive(path, run=run) as archive, pytest.raises(DamagedArchive, match="2 of 2 files are damaged"):
        archive.verify()


# --- sizes


@pytest.mark.parametrize("form", ["png", "raw", "webp"])
@pytest.mark.parametrize("size", [5, 60_000])
def test_an_image_of_more_pixels_than_its_file_could_hold_is_not_restored(tmp_path, form, size):
    """64 GB from 3 kB, of which `list` says that they are 5 bytes: refused before anything is decoded."""
    tile = coding_named("webp").encode(np.zeros((4096, 4096, 3), np.uint8), 256)
    skeleton = b"\0\0" if form == "raw" else b""  # plain rows, and nothing before or after
    places = (Place(0, 0, len(skeleton)), *(Place(0, 1, len(tile), "webp") for _ in range(64 * 64)))
    about = {"mode": "RGB", "sample_format": "RGB8", "width": 2**18, "height": 2**18, "size": size}
    files = [Entry(b"bomb", form, skeleton=True, places=places, **about), text(b"text", b"hello", chunk=1)]
    path = write_archive(
        tmp_path / "a.bb", files, [(BYTES, pack_bytes(skeleton + tile)), (BYTES, pack_bytes(b"hello"))]
    )
    with pytest.raises(DamagedArchive, match=r"1 of 2 files are damaged: 'bomb' \(an image of 262144x262144 pixels"):
        restore(path, tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"text"}
    with Archive(path) as archive, pytest.raises(DamagedArchive, match="of 262144x262144 pixels cannot have been"):
        archive.extract("bomb", io.BytesIO())


def test_an_array_longer_than_its_file_is_not_written(tmp_path):
    body = pack_bytes(bytes(10**6))
    places = tuple(Place(0, 0, 10**6) for _ in range(50))
    about = {"mode": "L", "plane_layout": 1, "width": 100, "height": 100}
    bomb = Entry(b"a.npy", "arrays", size=128 + 10**6, places=places, **about)
    path = write_archive(tmp_path / "a.bb", [bomb], [(BYTES, body)])
    stream = io.BytesIO()
    with Archive(path) as archive, pytest.raises(DamagedArchive, match="longer than those of a file of this size"):
        archive.extract("a.npy", stream)
    assert len(stream.getvalue()) < 2 * 10**6


@pytest.mark.parametrize("files", [["black.png"], ["black.bmp"], ["black.webp"], ["black.npy"], ["black.npz"]])
def test_the_smallest_files_of_many_pixels_are_restored(tmp_path, files, every_coding):
    """What honest files are at most: bounds are beyond what deflate, WebP and predictions can do."""
    pixels = np.zeros((3000, 3000, 1), np.uint8)
    (tmp_path / "in").mkdir()
    for name in files:
        path = tmp_path / "in" / name
        if name.endswith(".npy"):
            np.save(path, pixels)
        elif name.endswith(".npz"):
            np.savez_compressed(path, pixels)
        else:
            options = {"compress_level": 9} if name.endswith(".png") else {"lossless": True, "exact": True}
            save(path, pixels[..., 0] > 0 if name.endswith(".png") else pixels, **options)
    bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == files


# --- chunks by turns


def test_large_chunks_that_are_used_by_turns_are_decoded_once(tmp_path, monkeypatch):
    """Colours in one chunk and alpha in another, each larger than what is kept, and skeletons in a third."""
    monkeypatch.setattr(kept_chunks, "KEPT_BYTES", 10)
    reads = []
    real = decoding.read_chunk
    monkeypatch.setattr(decoding, "read_chunk", lambda path, chunk: (reads.append(chunk.offset), real(path, chunk))[1])
    colours, alpha = (noise(8, 8, channels, seed=channels)[None].repeat(20, 0) for channels in (3, 1))
    chunks = [
        (SHEET, SheetBody(digest64(some.tobytes()), "lzma", some.shape[3], 20, 8, 8,
                          coding_named("lzma").encode_sheet(some)).pack()) for some in (colours, alpha)
    ]  # fmt: skip
    about = {"mode": "RGBA", "sample_format": "RGBA8", "plane_layout": 1, "width": 8, "height": 8, "size": 500}
    skeleton = b"\0tEXt\3a\0b"
    files = [
        Entry(
            b"%02d.png" % n,
            "png",
            skeleton=True,
            places=(Place(2, 0, len(skeleton)), Place(0, n), Place(1, n)),
            **about,
        )
        for n in range(20)
    ]
    path = write_archive(tmp_path / "a.bb", files, [*chunks, (BYTES, pack_bytes(skeleton))])
    with Archive(path) as archive:
        for name in archive.names:
            assert archive.pixels(name).shape == (8, 8, 4)
    assert len(reads) == 3
    reads.clear()
    restore(path, tmp_path / "out")
    assert len(reads) == 3


# --- names


def test_names_of_many_parts_are_names(tmp_path):
    """2,000 folders within each other: listed, read, verified; restored where the system can."""
    name = b"/".join([b"d"] * 2000)
    path = write_archive(tmp_path / "a.bb", [text(name, b"hello")], [(BYTES, pack_bytes(b"hello"))])
    with Archive(path) as archive:
        assert archive.names == [name.decode()]
        assert archive.read_bytes(name.decode()) == b"hello"
        assert archive.verify().files == 1
        assert archive.select(["d/d"]) == [0]


# --- the Python API


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(40), b"BM" + b"\xff" * 60, b"P5 99999999 9 255 ", b"",
                                     b"II*\0\x08\0\0\0" + b"\xff" * 40])  # fmt: skip
def test_files_that_pillow_cannot_read_are_input_errors(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    bbcodec.compress(tmp_path / "a.png", tmp_path / "a.bb", codec="none")
    with bbcodec.open(tmp_path / "a.bb") as archive, pytest.raises(InputError, match="is not an image"):
        archive["a.png"]


@pytest.mark.parametrize("error", [ValueError, SyntaxError, IndexError, RecursionError, OverflowError, MemoryError])
def test_whatever_pillow_raises_is_an_input_error(tmp_path, error, monkeypatch):
    from PIL import Image

    save(tmp_path / "a.png", smooth(9, 9, 3))
    bbcodec.compress(tmp_path / "a.png", tmp_path / "a.bb", codec="none")

    def fail(*_):
        raise error("odd")

    with bbcodec.open(tmp_path / "a.bb") as archive:
        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(InputError, match="is not an image"):
            archive["a.png"]


@pytest.mark.parametrize("shape", [b"(1e999,)", b"(-1,)", b"(9, 9)", b"x", b"(" * 200])
def test_arrays_whose_headers_are_wrong_are_input_errors(tmp_path, shape):
    text_of = b"{'descr': '|u1', 'fortran_order': False, 'shape': %s, }" % shape
    header = b"\x93NUMPY\1\0" + (len(text_of) + 1).to_bytes(2, "little") + text_of + b"\n"
    skeleton = b"\x92\xc2\x91\x95\xa0\x00\x90\xc5" + len(header).to_bytes(2, "big") + header + b"\x01"
    places = (Place(0, 0, len(skeleton)), Place(0, 1, 1))
    file = Entry(b"a.npy", "arrays", skeleton=True, size=len(header) + 1, places=places)
    path = write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))])
    with Archive(path) as archive:
        assert archive.read_bytes("a.npy") == header + b"x"
        with pytest.raises(InputError, match="holds no array"):
            archive["a.npy"]
