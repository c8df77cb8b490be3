"""Hostile archives and codecs for `reliability.py`: their checksums are right, and what lies behind them is not."""

from __future__ import annotations

import json
import random
import struct
import zlib
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np
from harm import Corpus, Work, fill, flip, judged

import bbcodec
from bbcodec.archive.format.chunks import pack_bytes
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.header import HEADER_BYTES, Footer, pack_header
from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.archive import Archive
from bbcodec.binary import deflate, pack_varint, shortest
from bbcodec.codec.catalogue import MAGIC, CodecFile, parse_codec, shipped_codecs, split_codec
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import BBCodecError

FAST_CODECS: Final = [codec for codec in shipped_codecs() if codec.card.get("fast")]
NUMBERS: Final = (0, 1, 2, 3, 255, 2**8, 2**16, 2**24, 2**31, 2**32 - 1, 2**40, 2**63 - 1, -1)
INDEX_KINDS: Final = ("a byte of the index", "a bomb")
REPACKED: Final = ("weights", "known answers")  # of codecs
KINDS: Final = ("a chunk", "a field of an entry", "a place", "a type of a chunk", *INDEX_KINDS)


def hostile_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """An archive whose checksums are right, with one thing changed behind them, or with far too much of something."""
    kind = rng.choice(KINDS)
    if kind in INDEX_KINDS:
        return index_case(corpus, rng, folder, kind)
    (folder / "good.bb").write_bytes(corpus.archive)
    with Archive(folder / "good.bb") as archive:
        entries, records = list(archive.files), list(archive.codecs)
        all_chunks = archive._file.directory.chunks
        kept = [number for number, chunk in enumerate(all_chunks) if chunk.type != "D"]
        types, bodies = [all_chunks[n].type for n in kept], [archive._file.body(all_chunks[n]) for n in kept]
        entries = [entry.renumbered(np.searchsorted(kept, range(len(all_chunks))).tolist()) for entry in entries]
    number = rng.randrange(len(kept))
    expected: list[str] = []
    if kind == "a chunk":
        body = bytearray(bodies[number])
        flip(rng, body, 0, min(len(body), rng.choice([4, 20, 100, len(body)])))
        bodies[number] = bytes(body)
        expected = [name for name in corpus.files if kept[number] not in corpus.where[name]]
    elif kind == "a type of a chunk":
        types[number] = rng.choice("LSBC")
    else:
        which = rng.randrange(len(entries))
        entries[which] = changed_entry(rng, entries[which], kind)
    with suppress(BBCodecError, ValueError, TypeError, KeyError, IndexError, OverflowError):  # which nobody can write
        with open(folder / "bad.bb", "wb") as stream:
            writer = ContainerWriter(stream)
            for record in records:
                writer.add_codec(record.digest, record.name, None)
            for type_, body in zip(types, bodies, strict=True):
                writer.add(type_, body)
            writer.add_files(entries)
            writer.finish()
        return kind, lambda: judged(folder, corpus.files, expected, compared=False)
    return hostile_case(corpus, rng, folder)


def changed_entry(rng: random.Random, entry: Entry, kind: str) -> Entry:
    """An entry with another number in one field, or with other places."""
    if kind == "a place" and entry.places:
        places = list(entry.places)
        at = rng.randrange(len(places))
        changed: Any = {rng.choice(["chunk", "position", "length"]): rng.choice(NUMBERS)}
        places[at] = places[at]._replace(**changed)
        return replace(entry, places=tuple(places * rng.choice([1, 1, 2, 1000])))
    numeric = [one.name for one in fields(entry) if type(getattr(entry, one.name)) is int]
    return replace(entry, **{rng.choice(numeric): rng.choice(NUMBERS)})


def index_case(corpus: Corpus, rng: random.Random, folder: Path, kind: str) -> tuple[str, Work]:
    """An index with bytes changed, or a bomb of less than 1 MB: listed, verified, and restored unless it is a bomb."""
    bombs = kind == "a bomb"
    if bombs:
        name, index, chunks = bomb(rng)
        kind = f"{kind}: {name}"
    else:
        changed = bytearray(msgpack.packb(corpus.index))
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        index, chunks = b"\0\0" + bytes(changed), corpus.archive[HEADER_BYTES : corpus.chunks[-1][1]]
    header = pack_header(index)
    (folder / "bad.bb").write_bytes(header + chunks + index + Footer.of(header, index).pack())

    def work() -> str:
        try:
            with bbcodec.open(folder / "bad.bb") as archive:
                archive.listing()
                archive.verify()
        except BBCodecError:
            return "told"
        return "harmless" if bombs else judged(folder, {}, compared=False)

    return kind, work


def framed(body: bytes) -> tuple[bytes, int]:
    """A `B` chunk of a body, and the length of that."""
    frame = b"B" + struct.pack("<I", len(body)) + body
    return frame + struct.pack("<I", zlib.crc32(frame)), len(body)


def bomb(rng: random.Random) -> tuple[str, bytes, bytes]:
    """Its name, a directory that says far more than it weighs, and the chunks before it."""
    most = int(2 ** rng.uniform(8, 26))
    names = [b"%07d" % number for number in range(min(most, 2**19))]
    columns, places, many = [2] + [0] * 11, [0] * 4, min(most, 2**20)
    index: list[Any] = [b"", columns, places, [], [], "", 0, b"", 0]
    kind = rng.choice(("deep names", "long names", "files", "places", "chunks", "arrays", "codecs", "needs", "padding"))
    chunks = b""
    match kind:
        case "deep names":
            index[0] = b"/".join([b"a"] * min(most, 2**15)) + b"\0"
        case "long names":
            index[0] = b"".join(name + b"a" * (2**16 - 10) + b"\0" for name in names[: most >> 16])
        case "files":
            index[0] = b"\0".join(names) + b"\0"
        case "places":
            some = names[: rng.choice((1, 10, 1000))]
            chunks, body = framed(pack_bytes(b""))
            index[0], columns[11] = b"\0".join(some) + b"\0", most // len(some)
            index[5:] = ["B", body, chunks[-4:], 1]
        case "chunks":
            size = min(many, 2**15)
            frame, _ = framed(b"")
            chunks = frame * size
            index[5], index[7], index[8] = "B" * size, frame[-4:] * size, size
        case "arrays":
            index[rng.randrange(1, 5)] = [[]] * many
        case "codecs":
            index[3] = [[bytes(16), "a", None]] * many
        case "needs":
            index[4] = ["jpegxl"] * many
    packed = msgpack.packb(index)
    method, coded = shortest(packed)
    # Zeros before the array, for which more is allowed: so many that the file is of less than 1 MB.
    pad = max(0, min(2**20 - len(coded) - len(chunks) - 100, most))
    return kind, bytes([method]) + pack_varint(pad) + bytes(pad) + coded, chunks


def codec_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """A codec file with something changed, as if it had come in an archive."""
    file = rng.choice(FAST_CODECS)
    kind = rng.choice(["a number of the config", "a tensor", "bytes of the header", "bytes of the weights", *REPACKED])
    content = repacked(file, rng, kind) if kind in REPACKED else spoilt(file, rng, kind)

    def work() -> str:
        try:
            one = CodecSource.of(parse_codec(content, "codec"), len(content))
            CodecPool([one], "cpu").codec(one)
        except BBCodecError:
            return "told"
        return "harmless"

    return kind, work


def repacked(file: CodecFile, rng: random.Random, kind: str) -> bytes:
    """A codec file that is whole, but of other weights or known answers."""
    stored = StoredCodec.read(file)
    if kind == "known answers":
        known = list(stored.known_answers)
        known[rng.randrange(len(known))] = "00" * 16
        return replace(stored, known_answers=known).pack()
    name = rng.choice(list(stored.tensors))
    tensor = stored.tensors[name].copy()
    limits, values = np.iinfo(tensor.dtype), tensor.reshape(-1)
    extremes = limits.min, limits.max, 0, 2047, -2047
    some = rng.sample(range(values.size), min(values.size, rng.choice((1, 10, 10**6))))
    values[some] = rng.choice([one for one in extremes if limits.min <= one <= limits.max])
    return replace(stored, tensors={**stored.tensors, name: tensor}).pack()


def spoilt(file: CodecFile, rng: random.Random, kind: str) -> bytes:
    """A codec file with a part of its header, or bytes of its message, changed."""
    header, message = split_codec(file.content)
    if kind == "a number of the config":
        config = header["config"]
        key = rng.choice([one for one, value in config.items() if type(value) is int])
        config[key] = rng.choice((*NUMBERS, config[key] - 1, config[key] + 1, config[key] * 2))
    elif kind == "a tensor":
        row = rng.choice(header["tensors"])  # name, type, shape, centre, low
        other = rng.choice(("i8", "i16", "i32")), rng.choice((row[2][::-1], row[2] * 2)), *rng.choices(NUMBERS, k=2)
        at = rng.randrange(4)
        row[1 + at] = other[at]
    elif kind == "bytes of the weights":
        changed = bytearray(message)
        fill(rng, changed, rng.choice([1, 2, 64]))
        message = bytes(changed)
    text = bytearray(json.dumps(header).encode())
    if kind == "bytes of the header":
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.choice(b'0123456789-eE[]{}":,.')
    packed = deflate(bytes(text))
    return MAGIC + struct.pack("<I", len(packed)) + packed + message
