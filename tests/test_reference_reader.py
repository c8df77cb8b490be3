"""The documents suffice: a reader written from them alone gives back what bbcodec stored, or finds it damaged."""

import ast
import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import reference_reader
import torch
from PIL import Image
from pins import without_predicted
from reference_reader import Archive, Codec, ReaderError, Stack, filler, geometric, shapes, tables
from tiny_models import header_of

import bbcodec
from bbcodec.archive.format.tiles import tile_bounds, tile_count
from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import save_codec
from bbcodec.codec.stored import StoredCodec, as_difference, pack_file
from bbcodec.errors import MissingCodec
from bbcodec.exact.layers import exact_layers
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig

READER = Path(reference_reader.__file__)
PAGE = READER.parents[1] / "docs" / "coding.md"
CONFIG = VlaeConfig(
    channels=1, levels=2, hidden=4, layers=1, inner=4, radius=1, components=1, latent_channels=1, latent_stride=8,
    context_stride=2, width=2, blocks=1, prior_hidden=2, prior_layers=1, steps_per_unit=4,
)  # fmt: skip


def examples(name):
    """A block of examples of the page: what stands left of the last ` = ` of a line -> what stands right of it."""
    (block,) = re.findall(rf"^```example {name}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return dict(re.split(r" += (?!.* = )", line) for line in block.splitlines())


def rule_pictures(count, height, width, seed):
    """(N, H, W, 1) of 0 and 1: noise, but for pixels that are 1 where the two above, left and right, are equal.

    All but a codec that knows the rule take them for noise.
    """
    x = np.random.default_rng(seed).integers(0, 2, (count, height, width, 1), np.uint8)
    for i in range(1, height):
        x[:, i, 1:-1] = x[:, i - 1, :-2] ^ x[:, i - 1, 2:] ^ 1
    return x


def rule_codec():
    """The file of a small codec that knows the rule: |a + b| is relu(a + b) + relu(-a - b). No part is idle."""
    model = Vlae(CONFIG)
    for n, (name, layer) in enumerate(exact_layers(model).items()):
        stored = layer.stored()
        rng, weight, outs = np.random.default_rng(n), stored["weight"], layer.bias.numel()
        numbers = (
            24 * rng.integers(-2, 3, tuple(weight.shape)),
            300 * rng.integers(-2, 3, outs),
            rng.integers(6, 9, outs),
        )
        weight_now, bias, shift = numbers
        if name in ("context_net.head", "local.stem", "local.blocks.0.pointwise", "local.neck"):
            weight_now[:2], bias[:2] = 0, 0  # channels 0 and 1 are for the rule
        if name == "local.stem":  # pixels at (-1, -1) and (-1, 1): +-512, or 0
            weight_now[0, 0, [0, 2]], weight_now[1, 0, [0, 2]], shift[:2] = 128, -128, 7
        if name == "local.neck":
            weight_now[0, 0], weight_now[1, 1], shift[:2] = 64, 64, 6
        if name == "local.head":
            weight_now[0, :2], bias[:], shift[:] = 2047, 0, 6
        if name == "local.skip":
            weight_now, bias[:], shift[:] = weight_now // 8, 0, 7
            weight_now[0, 1] = 0, -350, 0, 0  # below the first row
        kept = zip(stored.values(), (weight_now, bias, shift), strict=True)
        layer.load_stored(*(torch.from_numpy(each).to(before.dtype) for before, each in kept))
    return save_codec(model, "vlae", CONFIG, PixelFormat(1, 2), {})


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder of two-level arrays, 1-bit PNGs and other files; its archive with the codec in it, and one without."""
    root = tmp_path_factory.mktemp("learned")
    folder, codec = root / "folder", root / "rule.bbc"
    (folder / "png").mkdir(parents=True)
    (folder / "empty folder").mkdir()
    codec.write_bytes(rule_codec())
    np.save(folder / "array.npy", rule_pictures(8, 39, 41, seed=1))
    np.savez(folder / "arrays.npz", noise=np.arange(99) ** 2, pictures=rule_pictures(2, 39, 41, seed=2)[..., 0] > 0)
    for n, picture in enumerate(rule_pictures(4, 40, 37, seed=3)):
        Image.fromarray(255 * picture[..., 0]).convert("1").save(folder / "png" / f"{n}.png")
    shutil.copy(folder / "png" / "0.png", folder / "png" / "the first again.png")
    (folder / "note.txt").write_text("all other files\n" * 30)
    (folder / "empty.txt").touch()
    (folder / "link").symlink_to("png/1.png")
    with without_predicted():
        summary = bbcodec.compress([folder], root / "with.bb", codec=codec)
        bbcodec.compress([folder], root / "without.bb", codec=codec, embed_codec=False)
    assert summary.codecs == ["rule"]
    assert summary.how["learned"] >= 6
    return root


@pytest.fixture(scope="module")
def classical(tmp_path_factory):
    """A small archive of bytes and of pixels in LZMA, and what it holds."""
    folder = tmp_path_factory.mktemp("classical")
    noise = np.random.default_rng(4).integers(0, 256, 100, np.uint8)
    planes = np.stack([np.resize(noise[:n], (3, 20, 20)) for n in (29, 31, 37)], -1)
    pixels = {b"%d.png" % n: np.resize(np.roll(noise, n), (12, 12, 3)) for n in range(3)}
    for name, picture in pixels.items():
        Image.fromarray(picture).save(folder / name.decode())
    np.save(folder / "planes.npy", planes)
    np.save(folder / "grey.npy", planes[..., 0])
    np.save(folder / "one.npy", planes[0])
    (folder / "a").write_bytes(b"bytes")
    with without_predicted():
        bbcodec.compress([folder], folder / "out.bb", codec="none", exclude=["out.bb*"])
    held = {name: [picture.tobytes()] for name, picture in pixels.items()}
    held |= {name: [(folder / name.decode()).read_bytes()] for name in (b"a", b"grey.npy", b"one.npy", b"planes.npy")}
    return (folder / "out.bb").read_bytes(), held


def read_all(data, codecs=()):
    """Name -> what the entry holds, of an archive whose chunks are all whole."""
    archive = Archive(data, codecs)
    check_chunks(archive)
    return {name: archive.read(entry) for name, entry in archive.entries.items()}


def check_chunks(archive):
    for start in archive.parts:
        archive.chunk(archive.data[start : start + 1].decode("latin-1"), start)


def without_index(data):
    """The header and the chunks."""
    return data[: -25 - struct.unpack("<I", data[-25:-21])[0]]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def check_holds(read, folder):
    """Pixels are those of the images, all else is byte for byte."""
    expected = {b"png", b"empty folder", *(str(path.relative_to(folder)).encode() for path in folder.rglob("*"))}
    assert set(read) == expected
    for name, held in read.items():
        path = folder / name.decode()
        if path.is_symlink():
            assert held == [str(path.readlink()).encode()]
        elif path.suffix == ".png":
            with Image.open(path) as image:
                assert held == [np.asarray(image).astype(np.uint8).tobytes()]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                assert [member[-array.nbytes :] for member, array in zip(held, arrays.values(), strict=True)] == [
                    array.tobytes() for array in arrays.values()
                ]
        else:
            assert held == [path.read_bytes() if path.is_file() else b""]


def test_the_tables_are_those_of_the_page():
    written = examples("tables") | examples("activations")
    for name, table in tables().items():
        rows = np.array(table, "<i8" if name.upper() in ("NORMAL", "INVERSE_SCALE", "BERNOULLI") else "<i2")
        known = written.get(f"digest of {name}") or written[f"digest of {name.upper()}"]
        assert hashlib.blake2b(rows.tobytes(), digest_size=8).hexdigest() == known


def test_the_example_of_the_page_is_decoded_from_the_page_alone():
    """Section 9: the codec file is made of filler here, the message stands on the page."""
    sizes = {"channels": 1, "levels": 2, "hidden": 3, "layers": 1, "inner": 3, "between": 1, "radius": 2,
             "components": 1, "latent_channels": 2, "latent_stride": 4, "context_stride": 2, "width": 2, "blocks": 1,
             "prior_hidden": 2, "prior_layers": 1, "steps_per_unit": 4}  # fmt: skip
    tensors = {}
    for n, (name, shape) in enumerate(shapes(sizes).items(), 1):
        m, c = shape.outs * shape.ins * len(shape.taps), shape.outs
        words = [filler(n, k) for k in range(m + 2 * c)]
        wide = shape.most > 127
        tensors[f"{name}.weight"] = (
            ("i16", [u % 257 - 128 for u in words[:m]]) if wide else ("i8", [u % 255 - 127 for u in words[:m]])
        )
        tensors[f"{name}.bias"] = "i32", [u % 2001 - 1000 for u in words[m : m + c]]
        tensors[f"{name}.shift"] = "i8", [4 + u % 3 for u in words[m + c :]]
    layouts = [[name, kind, [len(numbers)], 0, 0] for name, (kind, numbers) in tensors.items()]
    stack = Stack(struct.pack("<2I", 0, 2**31))
    for _, numbers in reversed(tensors.values()):  # one row each, all of the steady scale
        for number in reversed(numbers):
            stack.push(geometric(24), number, 24)
        stack.push(geometric(24), 0, 24)
    about = {"format": 3, "family": "vlae", "config": sizes, "pixels": {"channels": 1, "levels": 2}, "tensors": layouts}
    packed = zlib.compress(json.dumps(about).encode())[2:-4]
    words = [stack.head >> 32, stack.head & 2**32 - 1, *reversed(stack.tail)]
    file = b"\xb8BBC" + struct.pack("<I", len(packed)) + packed + struct.pack(f"<{len(words)}I", *words)
    written = examples("codec")
    message = bytes.fromhex("".join(value for key, value in written.items() if key.startswith("message")))
    codec = Codec(file)
    assert codec.decode(message, 4, 5, 9) == bytes(filler(100, k) >> 31 for k in range(4 * 5 * 9))
    with pytest.raises(ReaderError, match="return to its start"):
        codec.decode(flipped(message, len(message) - 1), 4, 5, 9)


def test_what_bbcodec_stored_is_read(learned):
    data = (learned / "with.bb").read_bytes()
    archive = Archive(data)
    assert not archive.rebuilt
    assert {place.type for entry in archive.entries.values() for place in entry.places} == {"L", "B"}
    check_holds(read_all(data), learned / "folder")


def test_a_codec_that_is_a_difference_is_read(learned, tmp_path, monkeypatch):
    """Numbers of all tensors wrap around somewhere."""
    base = StoredCodec.read(parse_codec((learned / "rule.bbc").read_bytes(), "rule"))
    tensors = {name: -one - np.iinfo(one.dtype).max for name, one in base.tensors.items()}
    other = parse_codec(pack_file(header_of((learned / "rule.bbc").read_bytes()), tensors), "other", shipped=True)
    monkeypatch.setattr("bbcodec.codec.stored.shipped_codecs", lambda: (other,))
    (tmp_path / "short.bbc").write_bytes(as_difference((learned / "rule.bbc").read_bytes(), other))
    with without_predicted():
        summary = bbcodec.compress(learned / "folder", tmp_path / "a.bb", codec=tmp_path / "short.bbc")
    assert summary.codecs == ["short"]
    bbcodec.verify(tmp_path / "a.bb")
    data = (tmp_path / "a.bb").read_bytes()
    check_holds(read_all(data, [other.content]), learned / "folder")
    with pytest.raises(ReaderError, match="is a difference to is not here"):
        read_all(data)
    monkeypatch.setattr("bbcodec.codec.stored.shipped_codecs", tuple)
    with pytest.raises(MissingCodec, match="difference to the codec 'other'"):
        bbcodec.verify(tmp_path / "a.bb")


def test_the_entries_say_what_the_files_were(learned):
    for name, entry in Archive((learned / "with.bb").read_bytes()).entries.items():
        path = learned / "folder" / name.decode()
        status = path.lstat()
        assert entry.form == (0 if path.is_dir() else 1 if path.is_symlink() else
                              {".npy": 3, ".npz": 3, ".png": 4}.get(path.suffix, 2))  # fmt: skip
        if path.is_file() and not path.is_symlink():
            assert entry.size == status.st_size
            assert entry.permissions == status.st_mode & 0o777
            assert entry.sec * 10**9 + entry.nsec == status.st_mtime_ns
        if path.suffix == ".png":
            assert (entry.mode, entry.kind, entry.way, entry.width, entry.height) == (1, 1, 0, 37, 40)


def test_a_codec_beside_the_archive_serves_as_well(learned):
    data = (learned / "without.bb").read_bytes()
    with pytest.raises(ReaderError):
        read_all(data)
    png = Archive(data, [(learned / "rule.bbc").read_bytes()])
    name = b"png/1.png"
    assert png.read(png.entries[name]) == [rule_pictures(4, 40, 37, seed=3)[1].tobytes()]


def test_a_directory_is_rebuilt_where_the_index_is_gone(learned):
    data = (learned / "with.bb").read_bytes()
    archive = Archive(without_index(data))
    assert archive.rebuilt
    assert archive.entries == Archive(data).entries
    assert archive.parts.items() <= Archive(data).parts.items()  # all but the directory chunk itself
    check_holds(read_all(without_index(data)), learned / "folder")


def test_an_archive_within_an_archive_does_not_mix_with_it(tmp_path):
    noise, inner, outer = tmp_path / "noise", tmp_path / "inner.bb", tmp_path / "outer.bb"
    noise.write_bytes(np.random.default_rng(6).bytes(2**21))
    bbcodec.compress([noise], inner, codec="none")
    bbcodec.compress([inner], outer, codec="none")
    data = outer.read_bytes()
    assert inner.read_bytes() in data, "this test needs an archive that is stored as it is"
    assert read_all(without_index(data)) == {b"inner.bb": [inner.read_bytes()]}


def test_pixels_in_lzma_are_read(classical):
    data, held = classical
    archive = Archive(data)
    places = {place.start: archive.chunk("S", place.start).read()[8]
              for entry in archive.entries.values() for place in entry.places if place.type == "S"}  # fmt: skip
    assert set(places.values()) == {4, 5}
    assert read_all(data) == held == read_all(without_index(data))


def test_every_flipped_byte_is_found(classical):
    """The reader raises, or it found the index damaged and read the directory chunk instead."""
    data, held = classical
    for at in range(len(data)):
        try:
            archive = Archive(flipped(data, at))
            check_chunks(archive)
        except ReaderError:
            continue
        assert archive.rebuilt or at < 13  # of the header, which the end repeats
        assert {name: archive.read(entry) for name, entry in archive.entries.items()} == held


def test_every_flipped_byte_of_a_learned_archive_is_found(learned):
    data = (learned / "with.bb").read_bytes()
    entries = Archive(data).entries
    for at in range(0, len(data), 3):
        try:
            archive = Archive(flipped(data, at))
            check_chunks(archive)
        except ReaderError:
            continue
        assert archive.rebuilt or at < 13
        assert archive.entries == entries


def test_flipped_bytes_are_found_even_where_the_checksum_of_the_chunk_is_right(classical, learned):
    """Then the digests differ, or the stream or the chain of messages does not come to its end."""
    for data, step in ((classical[0], 5), ((learned / "with.bb").read_bytes(), 150)):
        whole = Archive(data)
        places = {entry.places[-1].start: entry for entry in whole.entries.values() if entry.places}
        for start, entry in places.items():
            size = len(whole.chunk(chr(data[start]), start).read())
            for at in range(start + 5, start + 5 + size, step):
                damaged = flipped(data, at)
                crc = struct.pack("<I", zlib.crc32(damaged[start : start + 5 + size]))
                archive = Archive(damaged[: start + 5 + size] + crc + damaged[start + 9 + size :])
                with pytest.raises(ReaderError, match="another than was stored here"):
                    archive.chunk(chr(data[start]), start)
                archive.crcs[start] = zlib.crc32(damaged[start : start + 5 + size])
                archive.chunk(chr(data[start]), start)
                with pytest.raises(ReaderError):
                    archive.read(entry)


def test_every_cut_is_found(classical):
    data, held = classical
    starts = sorted(Archive(data).parts)
    for length in range(len(data)):
        try:
            archive = Archive(data[:length])
        except ReaderError:
            assert length < starts[1]  # where the directory ends
            continue
        assert archive.rebuilt
        for name, entry in archive.entries.items():
            try:
                assert archive.read(entry) == held[name]
            except ReaderError:
                assert length < len(without_index(data))


def test_chunks_that_change_places_are_found(classical):
    """Whole ones, each with a checksum that is right."""
    data = classical[0]
    one, two, *_ = (start for start in Archive(data).parts if data[start] != ord("D"))
    sizes = [9 + int.from_bytes(data[start + 1 : start + 5], "little") for start in (one, two)]
    assert two == one + sizes[0]
    swapped = data[:one] + data[two : two + sizes[1]] + data[one:two] + data[two + sizes[1] :]
    archive = Archive(swapped)
    assert not archive.rebuilt
    with pytest.raises(ReaderError, match="another than was stored here"):
        archive.chunk(chr(swapped[one]), one)


@pytest.mark.parametrize("seed", range(5))
def test_tiles_lie_where_bbcodec_lays_them(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(2 ** rng.uniform(0, 12 - 2 * far)) for far in (seed % 2, 0))
    plane = rng.integers(0, 256, (height, width, 1), np.uint8)
    count = tile_count(width, height, height * width // 7 + 1)
    tiles = [plane[top:bottom, left:right] for top, bottom, left, right in tile_bounds(width, height, count)]
    assert len(tiles) > 1
    archive = Archive.__new__(Archive)
    archive.images = lambda _, number: (1, *tiles[number].shape, tiles[number].tobytes())
    places = [reference_reader.Place("S", number, 0, 0) for number in range(len(tiles))]
    assert archive.plane(iter(places), height, width, count) == plane.tobytes()


def test_the_reader_is_plain_python_of_a_readable_length():
    source = READER.read_text()
    names = [name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for name in node.names]
    names += [node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert len(source.splitlines()) <= 660


def test_the_reader_runs_where_nothing_is_installed(classical, tmp_path):
    data, held = classical
    (tmp_path / "out.bb").write_bytes(data)
    command = [sys.executable, "-I", "-S", str(READER), str(tmp_path / "out.bb")]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    digests = {name: hashlib.blake2b(content, digest_size=8).hexdigest() for name, (content,) in held.items()}
    assert listed == "".join(f"{name.decode()} {digests[name]}\n" for name in sorted(digests))
