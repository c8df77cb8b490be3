"""A reader of bbcodec archives in plain Python, written from `docs/format.md` and `docs/coding.md` alone.

It shares no code with bbcodec and needs the standard library only: the two pages are enough to get everything back in
many years. It is slow, and of the many codings it reads these: bytes, pixels in LZMA, and learned codecs of the family
`vlae` with two levels. F is docs/format.md and C docs/coding.md in what follows, as in "C 1.2".
`python tests/reference_reader.py ARCHIVE` lists what an archive holds.
"""

import io
import json
import lzma
import struct
import sys
import zlib
from bisect import bisect_right
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal, localcontext
from functools import cache
from hashlib import blake2b
from itertools import accumulate, pairwise, product
from math import ceil, floor, log, prod
from operator import mul
from pathlib import Path
from typing import Any

Vector = list[int]
Map = dict[tuple[int, int], Vector]  # (row, column) -> a number for each channel; places that are missing read 0


class ReaderError(Exception):
    """The archive is damaged, or beyond this reader."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise ReaderError(what)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """What fails in here fails because the bytes are not as the pages say."""
    try:
        yield
    except Exception as error:
        raise ReaderError(f"{what} cannot be read: {error}") from error


def digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size).digest()


# ---- Tables and arithmetic: C 0, C 2 ----


def clamp(a: int, low: int, high: int) -> int:
    return min(max(a, low), high)


@cache
def tables() -> dict[str, list[Any]]:
    """C 2: those that binary codecs need, in half a second."""

    def half_up(r: Decimal, n: int) -> int:
        return floor(r * 2**n + Decimal("0.5"))

    def sigma(r: Decimal) -> Decimal:
        return 1 / (1 + (-r).exp())

    def normal(r: Decimal) -> tuple[Decimal, Decimal]:
        density, total, term, n = (-r * r / 2).exp() / (2 * pi).sqrt(), Decimal(0), r, 0
        while abs(term) > Decimal("1e-50"):
            n, total = n + 1, total + term
            term = term * r * r / (2 * n + 1)
        return Decimal("0.5") + density * total, density

    with localcontext() as context:
        context.prec, pi = 60, Decimal("3.14159265358979323846264338327950288419716939937510582097494")
        h, rows = Decimal(1) / 64, []
        for (value, slope), (next_value, next_slope) in pairwise(normal((i - 400) * h) for i in range(801)):
            rise, s, t = next_value - value, h * slope, h * next_slope
            rows.append([half_up(c, 44) for c in (value, s, 3 * rise - 2 * s - t, s + t - 2 * rise)])
        out = {"normal": rows, "inverse_scale": [half_up((Decimal(1138 - i) / 256).exp(), 34) for i in range(2547)]}
        upper = [1 + floor((2**24 - 2) * sigma(Decimal(-logit) / 128)) for logit in range(2048)]
        out["bernoulli"] = [2**24 - mass for mass in upper[:0:-1]] + upper
        return out


# ---- The stack and its distributions: C 1, C 3 ----


def filler(seed: int, k: int) -> int:
    """C 1.4: word k."""
    a = (seed + (k + 1) * 0x9E3779B97F4A7C15) % 2**64
    a = (a ^ a >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    a = (a ^ a >> 27) * 0x94D049BB133111EB % 2**64
    return (a ^ a >> 31) >> 32


class Stack:
    """C 1, with one lane: a head, and a tail with the newest word last."""

    def __init__(self, data: bytes) -> None:
        high, low, *tail = struct.unpack(f"<{len(data) // 4}I", data)
        self.head, self.tail = high << 32 | low, tail[::-1]
        check(2**31 <= self.head < 2**63, "the head of a message is outside of its bounds")

    def push(self, cumulative: Callable[[int], int], symbol: int, precision: int) -> None:
        start, mass = cumulative(symbol), cumulative(symbol + 1) - cumulative(symbol)
        if self.head >= mass << 63 - precision:
            self.tail.append(self.head & 2**32 - 1)
            self.head >>= 32
        self.head = (self.head // mass << precision) + self.head % mass + start

    def pop(self, cumulative: Callable[[int], int], first: int, last: int, precision: int) -> int:
        """The symbol, of first .. last."""
        slot = self.head & (1 << precision) - 1
        symbol = first - 1 + bisect_right(range(first, last + 1), slot, key=cumulative)
        start, end = cumulative(symbol), cumulative(symbol + 1)
        self.head = (end - start) * (self.head >> precision) + slot - start
        if self.head < 2**31:
            check(bool(self.tail), "a message ends too early")
            self.head = self.head << 32 | self.tail.pop()
        return symbol


def gaussian(mean: int, log_sigma: int, steps: int) -> Callable[[int], int]:
    """C 3.1."""
    bound, m, least = 8 * steps - 1, clamp(mean, -2047, 2047), round(256 * log(0.75 / steps))
    v = tables()["inverse_scale"][clamp(log_sigma, least, 512) + 1138]

    def cumulative(k: int) -> int:
        if not -bound < k <= bound:
            return 0 if k <= -bound else 2**28
        x = clamp((((2 * k - 1) * (128 // steps) - m) * v >> 12) + (400 << 24), 0, (800 << 24) - 1)
        t, (c0, c1, c2, c3) = x & 2**24 - 1, tables()["normal"][x >> 24]
        g = c0 + ((c1 + ((c2 + (c3 * t >> 24)) * t >> 24)) * t >> 24) >> 10
        return (g * (2**28 - (2 * bound + 1)) >> 34) + k + bound

    return cumulative


@cache
def geometric(scale: int) -> Callable[[int], int]:
    """C 3.5."""
    a, tails = (4 + scale % 4) << scale // 4, []
    tail = (a << 32) // (2 * a + 256)
    for m in range(2047):
        tails.append((tail * (2**24 - 4095) >> 32) + 2047 - m)
        tail = tail * ((a << 32) // (a + 256)) >> 32
    tails.append(0)
    return lambda k: 2**24 - tails[k - 1] if k > 0 else tails[-k]


# ---- Nets: C 4, C 5 ----

Shape = namedtuple("Shape", "outs ins taps bound most")  # of a layer: C 6.1; its greatest input, and weight


def clip(ys: Iterable[int]) -> Vector:
    return [clamp(y, -2047, 2047) for y in ys]


def enter(h: Vector) -> Vector:
    return [clamp((y + 8) >> 4, 0, 127) for y in h]


def relu(ys: Vector) -> Vector:
    return [clamp(y, 0, 127) for y in ys]


class Layer:  # C 4, C 5.3
    def __init__(self, name: str, shape: Shape, weight: Vector, bias: Vector, shift: Vector) -> None:
        self.taps, self.zeros, self.rows, n = shape.taps, [0] * shape.ins, [], len(shape.taps)
        for o, (b, k) in enumerate(zip(bias, shift, strict=True)):
            row = weight[o * shape.ins * n : (o + 1) * shape.ins * n]
            check(1 <= k <= 16 and max(map(abs, row)) <= shape.most, f"{name} has a number that is too large")
            sums = shape.bound * sum(map(abs, row)) + abs(b) + (1 << k - 1)
            check(sums < 2**24, f"{name} breaks the bound of its sums")
            self.rows.append(([w for t in range(n) for w in row[t::n]], b + (1 << k - 1), k))

    def at(self, h: Map, i: int, j: int) -> Vector:
        """The outputs where the taps are around (i, j)."""
        inputs = [v for di, dj in self.taps for v in h.get((i + di, j + dj), self.zeros)]
        return [(b + sum(map(mul, row, inputs))) >> k for row, b, k in self.rows]

    def over(self, h: Map, height: int, width: int, stride: int = 1) -> Map:
        return {(i, j): self.at(h, stride * i, stride * j) for i in range(height) for j in range(width)}


# ---- The family vlae: C 6, C 7, and the codec file: F ----

DEFAULTS = {"channels": 3, "levels": 256, "hidden": 64, "layers": 5, "radius": 3, "components": 5, "latent_channels": 2,
            "latent_stride": 16, "context_stride": 4, "width": 32, "blocks": 2, "prior_hidden": 32, "prior_layers": 2,
            "steps_per_unit": 8, "joint": False, "inner": 128, "between": 0}  # fmt: skip


def taps(kind: str, radius: int) -> list[tuple[int, int]]:
    """C 4, C 5.2: offsets that a layer reads at, in the order of its weights; a doubling reads a stretched map."""
    square = product(range(1, -3, -1) if kind == "doubling" else range(-radius, radius + 1), repeat=2)
    return [(i, j) for i, j in square if kind not in "AB" or (i <= 0 and j + 2 * i < (i == j == 0 and kind == "B"))]


def shapes(c: dict[str, int]) -> dict[str, Shape]:
    """C 6.1: the layers, in their order."""
    w, z, blocks = c["width"], c["latent_channels"], range(c["blocks"])
    a, b = c["latent_stride"].bit_length() - 1, c["context_stride"].bit_length() - 1

    def local(
        name: str, radius: int, sizes: tuple[int, int], radii: list[int], ins: int, params: int, bound: int
    ) -> Any:
        hidden, inner = sizes
        return [
            (f"{name}.stem", "A", radius, hidden, ins, bound, 2047),
            *(
                layer
                for n, each in enumerate(radii)
                for layer in (
                    (f"{name}.blocks.{n}.spatial", "B", each, inner, hidden, 127, 127),
                    (f"{name}.blocks.{n}.pointwise", "B", 0, hidden, inner, 127, 127),
                )
            ),
            (f"{name}.neck", "B", 0, hidden, hidden, 127, 127),
            (f"{name}.head", "B", 0, params, hidden, 127, 2047),
            (f"{name}.skip", "A", min(radius, 2), params, ins, bound, 2047),
        ]

    def residual(name: str) -> list[Any]:
        parts = ("spatial", 1), ("pointwise", 0)
        return [(f"{name}.blocks.{n}.{part}", "conv", r, w, w, 127, 127) for n in blocks for part, r in parts]

    prior = [1] * c["prior_layers"]
    own = ([1] + [0] * c["between"]) * c["layers"]
    rows = [
        ("encoder.first", "conv", 1, w, 2, 256, 2047),
        *((f"encoder.halvings.{n}", "conv", 1, w, w, 127, 127) for n in range(a - 1)),
        *residual("encoder"),
        ("encoder.head", "conv", 0, 2 * z, w, 127, 127),
        *local("prior_net", 2, (c["prior_hidden"], 2 * c["prior_hidden"]), prior, z + 1, 2 * z, 2047),
        ("context_net.first", "conv", 1, w, z, 2047, 2047),
        *residual("context_net"),
        *((f"context_net.doublings.{n}", "doubling", 0, w, w, 127, 127) for n in range(a - b - 1)),
        ("context_net.head", "doubling" if a > b else "conv", 1, c["hidden"], w, 127, 127),
        *local("local", c["radius"], (c["hidden"], c["inner"]), own, 2, 1, 256),
    ]
    return {name: Shape(outs, ins, taps(kind, radius), *most) for name, kind, radius, outs, ins, *most in rows}


def weights(layouts: list[Any], stack: Stack) -> dict[str, tuple[str, Vector]]:
    """F, The codec file: type and numbers of each tensor."""
    found = {}
    for name, kind, shape, centre, low in layouts:
        rows, scale, scales = (shape[0] if len(shape) > 1 else 1), 24, []
        for _ in range(rows):
            scale += stack.pop(geometric(24), -2047, 2047, 24)
            scales.append(scale)
        columns = prod(shape) // rows
        q = [stack.pop(geometric(scale), -2047, 2047, 24) for scale in scales for _ in range(columns)]
        plain = [stack.pop(lambda k: (k << 24) >> low, 0, 2**low - 1, 24) if low > 0 else 0 for _ in q]  # noqa: B023
        found[name] = kind, [centre + (high << abs(low)) + rest for high, rest in zip(q, plain, strict=True)]
    check(stack.head == 2**31 and not stack.tail, "the weights of the codec have a tail")
    return found


def codec_file(data: bytes) -> tuple[dict[str, Any], dict[str, tuple[str, Vector]]]:
    """F, The codec file: its header, and its tensors."""
    check(data[:4] == b"\xb8BBC", "not a codec")
    end = 8 + int.from_bytes(data[4:8], "little")
    about = json.loads(zlib.decompress(data[8:end], -15))
    return about, weights(about["tensors"], Stack(data[end:]))


def added(base: tuple[str, Vector], difference: tuple[str, Vector]) -> tuple[str, Vector]:
    """F, The codec file: a tensor of a codec that is a difference, modulo what its type holds."""
    kind, half = base[0], 1 << int(base[0][1:]) - 1
    check(kind == difference[0], "another type than in the base")
    sums = (one + more for one, more in zip(base[1], difference[1], strict=True))
    return kind, [(one + half) % (2 * half) - half for one in sums]


class Codec:
    """A codec of the family vlae, of two levels, from its file: F, The codec file; C 6.1. others: files, by digest."""

    def __init__(self, data: bytes, others: Mapping[bytes, bytes] = {}) -> None:
        about, numbers = codec_file(data)
        if "base" in about:
            found = others.get(bytes.fromhex(about["base"]["digest"]))
            check(found is not None, "the codec that another is a difference to is not here")
            before, base = codec_file(found)
            check("base" not in before and base.keys() == numbers.keys(), "no base")
            numbers = {name: added(base[name], one) for name, one in numbers.items()}
        c = self.config = DEFAULTS | about["config"]
        check([about["format"], about["family"], *c] == [3, "vlae", *DEFAULTS], "an unknown codec")
        check(about["pixels"] == {"channels": 1, "levels": 2} and c["levels"] == 2 and not c["joint"], "not two levels")
        self.steps, self.depth, self.stride = c["steps_per_unit"], c["latent_channels"], c["context_stride"]
        self.halvings, self.net = c["latent_stride"].bit_length() - 1, {}
        check(c["latent_stride"] == 1 << self.halvings and self.stride.bit_count() == 1, "strides are powers of two")
        for name, shape in shapes(c).items():
            tensors = []
            for part, kind in (("weight", "i16" if shape.most > 127 else "i8"), ("bias", "i32"), ("shift", "i8")):
                size = shape.outs * (shape.ins * len(shape.taps) if part == "weight" else 1)
                found, tensor = numbers.pop(f"{name}.{part}")
                check(found == kind and len(tensor) == size, f"another {name}.{part}")
                tensors.append(tensor)
            self.net[name] = Layer(name, shape, *tensors)
        check(not numbers, "the codec has unknown tensors")

    def local(self, name: str, maps: list[Map], i: int, j: int, context: Vector) -> Vector:
        """C 5.3: parameters of (i, j); maps are E and the inputs of each block, which get those of this pixel."""
        stem, neck, head, skip = (self.net[f"{name}.{part}"] for part in ("stem", "neck", "head", "skip"))
        h = clip(map(sum, zip(stem.at(maps[0], i, j), context, strict=False)))
        for n, known in enumerate(maps[1:]):
            known[i, j] = enter(h)
            h = self.and_block(h, f"{name}.blocks.{n}", known, i, j)
        z = relu(neck.at({(i, j): enter(h)}, i, j))
        return list(map(sum, zip(head.at({(i, j): z}, i, j), skip.at(maps[0], i, j), strict=True)))

    def and_block(self, h: Vector, name: str, entered: Map, i: int, j: int) -> Vector:
        """C 5.3, C 6.1: what h of (i, j) is after a block; entered: its input there and around."""
        z = relu(self.net[f"{name}.spatial"].at(entered, i, j))
        return clip(map(sum, zip(h, self.net[f"{name}.pointwise"].at({(i, j): z}, i, j), strict=True)))

    def pop_latents(self, stack: Stack, count: int, height: int, width: int) -> list[Map]:
        """C 5.1, C 6.3, C 6.6: the latents of a batch, wave by wave, each in groups of 16 places (C 3.5)."""
        bound, depth = 8 * self.steps - 1, self.depth
        values, maps = [{} for _ in range(count)], self.empty_maps(count, "prior_net")
        for t in range(width + 2 * (height - 1)):
            wave = [(n, i, t - 2 * i) for n, i in product(range(count), range(height)) if 0 <= t - 2 * i < width]
            rows = {place: self.local("prior_net", maps[place[0]], *place[1:], [0] * 256) for place in wave}
            for first in range(0, len(wave), 16):
                group = wave[first : first + 16]
                for c, (n, i, j) in product(range(depth), group):
                    row = rows[n, i, j]
                    k = stack.pop(gaussian(row[c], row[depth + c], self.steps), -bound, bound, 28)
                    values[n].setdefault((i, j), []).append(k)
            for n, i, j in wave:
                maps[n][0][i, j] = [*(k * (256 // self.steps) for k in values[n][i, j]), 256]
        return values

    def pop_pixels(self, stack: Stack, height: int, width: int, contexts: list[Map]) -> list[Map]:
        """C 5.1, C 6.5, C 6.6: the pixels of a batch, wave by wave."""
        values, maps = [{} for _ in contexts], self.empty_maps(len(contexts), "local")
        for t, n, i in product(range(width + 2 * (height - 1)), range(len(contexts)), range(height)):
            if 0 <= (j := t - 2 * i) < width:
                (logit,) = self.local("local", maps[n], i, j, contexts[n][i // self.stride, j // self.stride])
                mass = tables()["bernoulli"][clamp(logit, -2047, 2047) + 2047]  # C 3.2
                values[n][i, j] = x = [stack.pop((0, mass, 2**24).__getitem__, 0, 1, 24)]
                maps[n][0][i, j] = [(2 * x[0] - 1) * 256, 256]
        return values

    def empty_maps(self, count: int, name: str) -> list[list[Map]]:
        """For each image E, and the input of each block of a local net."""
        blocks = sum(each.startswith(f"{name}.blocks.") and each.endswith(".spatial") for each in self.net)
        return [[{} for _ in range(blocks + 1)] for _ in range(count)]

    def after_blocks(self, name: str, h: Map) -> Map:
        """C 6.1."""
        for n in range(self.config["blocks"]):
            entered = {p: enter(y) for p, y in h.items()}
            h = {p: self.and_block(y, f"{name}.blocks.{n}", entered, *p) for p, y in h.items()}
        return h

    def posterior(self, image: Map, sizes: list[tuple[int, int]]) -> Map:
        """C 6.2; sizes are those of the image, of its half, and so on, down to the latent map."""
        h = {p: [(2 * x - 1) * 256, 256] for p, (x,) in image.items()}
        for n in range(self.halvings):
            layer = self.net[f"encoder.halvings.{n - 1}" if n else "encoder.first"]
            h = {p: clip(y) for p, y in layer.over(h, *sizes[n + 1], stride=2).items()}
            h = {p: enter(y) for p, y in h.items()} if n + 1 < self.halvings else h
        h = {p: enter(y) for p, y in self.after_blocks("encoder", h).items()}
        return {p: clip(y) for p, y in self.net["encoder.head"].over(h, *sizes[-1]).items()}

    def context(self, latents: Map, sizes: list[tuple[int, int]]) -> Map:
        """C 6.4."""
        h = {p: [k * (256 // self.steps) for k in ks] for p, ks in latents.items()}
        h = {p: clip(y) for p, y in self.net["context_net.first"].over(h, *sizes[-1]).items()}
        h, b = {p: enter(y) for p, y in self.after_blocks("context_net", h).items()}, self.stride.bit_length() - 1
        for n in range(self.halvings - b - 1):
            h = {(2 * i, 2 * j): v for (i, j), v in h.items()}
            h = {p: relu(y) for p, y in self.net[f"context_net.doublings.{n}"].over(h, *sizes[-2 - n]).items()}
        if self.halvings > b:
            h = {(2 * i, 2 * j): v for (i, j), v in h.items()}
        return {p: clip(y) for p, y in self.net["context_net.head"].over(h, *sizes[b]).items()}

    def decode_batch(self, stack: Stack, count: int, height: int, width: int) -> list[Map]:
        """C 6.6."""
        sizes = [(ceil(height / 2**n), ceil(width / 2**n)) for n in range(self.halvings + 1)]
        z = self.pop_latents(stack, count, *sizes[-1])
        x = self.pop_pixels(stack, height, width, [self.context(latents, sizes) for latents in z])
        for latents, image in zip(z[::-1], x[::-1], strict=True):
            q = self.posterior(image, sizes)
            for c, p in product(reversed(range(self.depth)), sorted(latents, reverse=True)):
                stack.push(gaussian(q[p][c], q[p][self.depth + c], self.steps), latents[p][c], 28)
        return x

    def decode(self, message: bytes, count: int, height: int, width: int) -> bytes:
        """C 7: the pixels of all images."""
        check(height * width <= 2**23 and (message[0] > 0 or count <= 2), "a message of an impossible size")
        g, widest, stack, sizes = message[0], max(1, 2**18 // (height * width)), Stack(message[1:]), []
        while sum(sizes) < count:
            sizes.append(min(max(1, sum(sizes) * g // 32), widest, count - sum(sizes)))
        images = [image for size in sizes[::-1] for image in self.decode_batch(stack, size, height, width)]
        start = [filler(0, k) for k in range(1 + len(stack.tail))]  # C 1.4
        check([stack.head - 2**32, *stack.tail[::-1]] == start, "a message does not return to its start")
        return bytes(image[i, j][0] for image in images for i in range(height) for j in range(width))


# ---- The container: F ----

SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}  # MessagePack: bytes of a length
Place = namedtuple("Place", "type start position coding")  # start: of the chunk in the archive
Entry = namedtuple("Entry", "name form mode kind way width height size sec nsec permissions skeleton count places")


class Cursor(io.BytesIO):  # takes fields from the front of bytes
    def take(self, n: int) -> bytes:
        data = self.read(n)
        check(len(data) == n, "data end too early")
        return data

    def varint(self, more: int = 4) -> int:
        """F: LEB128; too large a number is too large for every field."""
        byte = self.take(1)[0]
        return byte if byte < 128 or not more else byte - 128 | self.varint(more - 1) << 7

    def msgpack(self) -> Any:
        """F: a value of MessagePack."""
        tag = self.take(1)[0]
        if tag < 0x80 or tag >= 0xE0:
            return tag if tag < 0x80 else tag - 256
        if tag in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[tag]
        if 0xCC <= tag <= 0xD3:
            return int.from_bytes(self.take(1 << tag % 4), "big", signed=tag >= 0xD0)
        size = int.from_bytes(self.take(SIZES[tag]), "big") if tag >= 0xC0 else tag & (31 if tag >= 0xA0 else 15)
        if tag < 0xA0 or tag in (0xDC, 0xDD):
            return [self.msgpack() for _ in range(size)]
        return self.take(size) if tag in (0xC4, 0xC5, 0xC6) else self.take(size).decode()


def unpack(method: int, data: bytes, limit: int) -> bytes:
    """F, B: stored, deflate or LZMA2."""
    if method == 0:
        return data
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**24}]
    stream = {1: zlib.decompressobj(-15), 2: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)}[method]
    out = stream.decompress(data, limit + 1)
    check(stream.eof and not stream.unused_data, "a stream has another length")
    return out


class Archive:
    """F, Header, Footer: `entries` by name; `rebuilt` if its index is damaged. It may need codecs, .bbc files."""

    def __init__(self, data: bytes, codecs: Iterable[bytes] = ()) -> None:
        self.data, self.entries, self.parts, self.codecs, self.crcs = data, {}, {}, {}, {}
        self.given = {digest(codec, 16): codec for codec in codecs}
        self.content, self.images = cache(self.content), cache(self.images)
        length, want, last = struct.unpack("<I8s13s", data[-25:].rjust(25))
        own = {header for header in (data[:13], last) if header.startswith(b"\x89BBC\r\n\x1a\n\x05")}
        check(bool(own), f"{data[:9]!r} is not how archives of version 0.5 begin")
        at, start = len(data), len(data) - 25 - length
        self.rebuilt = last not in own or start < 13 or digest(last + data[start:-25], 8) != want
        if not self.rebuilt:
            check(self.directory(data[start:-25], start, at) == 13, "the chunks do not begin after the header")
        while self.rebuilt and (at := data.rfind(b"\x89BBC\r\n\x1a\n\x05", 5, at)) >= 0:
            with suppress(ReaderError):
                if data[at : at + 13] in own:
                    body = self.chunk("D", at - 5).read()
                    self.directory(body[13:], at - 5, at + len(body) + 4)
        check(bool(self.entries), "no directory is left")

    @reading("a directory")
    def directory(self, data: bytes, start: int, end: int) -> int:
        """F, Directory: takes in that of the chunks before `start` and after `end`; returns where the first begins."""

        def column(packed: Any, n: int) -> Vector:
            base, planes = (packed, bytes(n)) if isinstance(packed, int) else packed
            check(len(planes) % max(1, n) == 0 and len(planes) <= 8 * n, "a column has another length")
            return [base + int.from_bytes(planes[i::n], "little") for i in range(n)]

        cursor = Cursor(data[1:])
        check(not any(cursor.take(cursor.varint())), "padding is not zero")
        cursor = Cursor(unpack(data[0], cursor.read(), 2**28))
        names, files, places, codecs, needs, types, lengths, crcs, before = cursor.msgpack()
        check(not cursor.read() and set(needs) <= {"jpegxl", "lepton"}, "it goes on, or needs what is unknown")
        *names, last = names.split(b"\0")
        check(last == b"" and names == sorted(set(names)) and len(files) == 12, "names or columns are not in order")
        check(not any({b"", b".", b".."} & set(name.split(b"/")) for name in names), "a name is unsafe")
        edges = list(accumulate((9 + n for n in column(lengths, len(types))), initial=0))
        starts = [(start, end)[n >= before] + edge - edges[before] for n, edge in enumerate(edges[:-1])]
        rows = list(zip(*(column(numbers, len(names)) for numbers in files), strict=True))
        *firsts, m = accumulate((row[-1] for row in rows), initial=0)
        parts, held = [{} for _ in types], []
        for chunk, step, n, coding in zip(*(column(numbers, m) for numbers in places), strict=True):
            position = step + 1 + max(parts[chunk], default=-1)
            check(position >= 0 and parts[chunk].setdefault(position, n) == n, "a place is not in order")
            held.append(Place(types[chunk], starts[chunk], position, coding))
        new = {name: Entry(name, *row, held[i : i + row[-1]]) for name, row, i in zip(names, rows, firsts, strict=True)}
        self.entries = new | self.entries  # where names are equal, the later holds
        self.codecs |= {key: starts[chunk] for key, _, chunk in codecs if chunk is not None}
        self.parts |= dict(zip(starts, parts, strict=True))
        self.crcs |= dict(zip(starts, struct.unpack(f"<{len(types)}I", crcs), strict=True))
        return start - edges[before]

    def chunk(self, kind: str, start: int) -> Cursor:
        """F, Chunk: the body."""
        length = int.from_bytes(self.data[start + 1 : start + 5], "little")
        frame, crc = self.data[start : start + 5 + length], self.data[start + 5 + length : start + 9 + length]
        check(frame[:1] == kind.encode() and zlib.crc32(frame) == int.from_bytes(crc, "little"), "a damaged chunk")
        check(zlib.crc32(frame) == self.crcs.get(start, zlib.crc32(frame)), "a chunk is another than was stored here")
        return Cursor(frame[5:])

    def content(self, kind: str, start: int) -> bytes:
        """F, B, C."""
        body = self.chunk(kind, start)
        want, method, size = body.take(8), body.take(1)[0], body.varint()
        content = unpack(method, body.read(), min(size, 2**29))
        check(len(content) == size and digest(content, 8) == want, "bytes are not those that were stored")
        return content

    def codec(self, key: bytes) -> Codec:
        """The codec whose digest begins with the key."""
        (name,) = (name for name in self.given | self.codecs if name[:4] == key)
        file = self.given.get(name) or self.content("C", self.codecs[name])
        check(digest(file, 16) == name, "a codec is not the one that was meant")
        return Codec(file, self.given)

    def images(self, kind: str, start: int) -> tuple[int, int, int, int, bytes]:
        """F, L, S: number, height, width and channels of images, and their pixels."""
        body = self.chunk(kind, start)
        key, want = body.take(4 if kind == "L" else 0), body.take(8)
        coding, channels = body.take(2) if kind == "S" else (0, 1)
        check(coding in {"L": (0,), "S": (4, 5)}.get(kind, ()), "WebP, PNG, JPEG XL and 16 bits are beyond this reader")
        shape = n, height, width = [body.varint() for _ in range(3)]
        check(1 <= (size := n * height * width * channels) <= 2**28, "a chunk of no pixels, or too many")
        pixels = unpack(2, body.read(), size) if coding else self.codec(key).decode(body.read(), *shape)
        if coding == 5:
            pixels = bytes(v for i in range(size // channels) for v in pixels[i :: size // channels])
        check(len(pixels) == size and digest(pixels, 8) == want, "pixels are not those that were stored")
        return *shape, channels, pixels

    def part(self, place: Place) -> bytes:
        """F, Directory: the bytes at a place; of images, all of the chunk."""
        if place.type != "B":
            return self.images(place.type, place.start)[-1]
        content, lengths = self.content(place.type, place.start), self.parts[place.start]
        check(place.coding == 0, "WebP, PNG and JPEG XL are beyond this reader")
        check(sum(lengths.values()) == len(content), "parts do not add up")
        start = sum(lengths[n] for n in range(place.position))
        return content[start : start + lengths[place.position]]

    @reading("an entry")
    def read(self, entry: Entry) -> list[bytes]:
        """F, Forms: the target of a link or content of a file; members of arrays; or planes of H x W x C bytes."""
        check(entry.form != 7, "JPEG files are beyond this reader")
        if entry.form <= 2:  # folder, link, bytes
            return [b"".join(map(self.part, entry.places))]
        places = iter(entry.places[entry.skeleton :])
        if entry.form == 3 and not entry.skeleton:  # an array
            shape, content = ((), (), (1,), (3,))[entry.way], b"".join(map(self.part, places))
            shape = (len(content) // (entry.height * entry.width * prod(shape)), entry.height, entry.width, *shape)
            check(entry.way > 0 and entry.size - 128 == len(content) == prod(shape) > 0, "an array has another size")
            text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
            return [b"\x93NUMPY\1\0v\0" + text.encode() + b"\n" + content]
        if entry.form == 3:  # arrays
            _, members = Cursor(self.part(entry.places[0])).msgpack()
            return [self.member(row[3], row[5:], [next(places) for _ in range(row[4])]) for row in members]
        n = (entry.count - entry.skeleton) // (planes := 1 + entry.way % 2)
        return [self.plane(places, entry.height, entry.width, n) for _ in range(planes)]

    def member(self, header: Any, view: list[Any], places: list[Place]) -> bytes:
        """F, Forms: the header and content of an array, seen by a view if there is one."""
        content = b"".join(map(self.part, places))
        if not view:
            return header + content
        descr, shape, fortran, values, split, parts = view[0]
        if isinstance(header, int):
            text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {tuple(shape)}, }}".encode()
            size = struct.pack("<H", header - 10)
            header = (b"\x93NUMPY\1\0" + size + text).ljust(header - 1) + b"\n"
        last = len(shape) > 3 and shape[-1] in (1, 3, 4)
        last = last or (len(shape) == 3 and (shape[-1] == 3 or shape[-1] == 4 < shape[1]))
        if deep := values in (3, 4):  # 16 bits
            content = struct.unpack(f"<{len(content) // 2}H", content)
        first = not last and not deep and len(shape) > 3 and shape[-3] in (1, 3, 4)
        channels = shape[-1] if last else shape[-3] if first else 1
        area = prod(shape[-3:]) // channels if last or first else prod(shape[-2:])
        count, body = prod(shape) // (area * channels), io.BytesIO(content if split else b"")
        if split:
            content = b""
            for i in range(parts):
                n = (count * (i + 1) // parts - count * i // parts) * area
                colours, alpha = body.read(3 * n), body.read(n)
                content += b"".join(colours[3 * k : 3 * k + 3] + alpha[k : k + 1] for k in range(n))
        kind = (
            descr[0].replace("|", "<")
            + {"b": " ?", "u": " BH I   Q", "i": " bh i   q", "f": "  e f   d"}[descr[1]][int(descr[2])]
        )
        known = {2: lambda k: struct.pack(kind, k / 255), 4: lambda k: struct.pack(kind, k - 2**15)}
        known |= dict.fromkeys((0, 1, 3), lambda k: struct.pack(kind, k))
        size = int(descr[2])
        look = known.get(values) if isinstance(values, int) else lambda k: values[k * size : (k + 1) * size]
        items = [bytes([k]) if values == 0 else look(k) for k in content]
        if first:
            images = (items[i : i + area * channels] for i in range(0, len(items), area * channels))
            items = [image[i] for image in images for c in range(channels) for i in range(c, area * channels, channels)]
        if fortran:
            steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
            items = [items[sum(map(mul, at[::-1], steps))] for at in product(*map(range, shape[::-1]))]
        return header + b"".join(items)

    def plane(self, places: Iterator[Place], height: int, width: int, n: int) -> bytes:
        """F, Pixels: of the n tiles at the next places."""
        rows = max(r for r in range(1, n + 1) if n % r == 0 and (r == 1 or r * r * width <= n * height))
        edges = [[size * i // n for i in range(n + 1)] for size, n in ((height, rows), (width, n // rows))]
        lines = [b""] * height
        for (top, end), (left, right) in product(*map(pairwise, edges)):
            place = next(places)
            *shape, channels, pixels = self.images(place.type, place.start)
            check(shape[1:] == [end - top, right - left] and place.position < shape[0], "a tile has another size")
            line, first = (right - left) * channels, place.position * (end - top)
            for i, at in enumerate(range(first * line, (first + end - top) * line, line), top):
                lines[i] += pixels[at : at + line]
        return b"".join(lines)


def opened(path: Path) -> Iterator[Archive]:
    """F, Shards: an archive, or those of a manifest."""
    data = path.read_bytes()
    if not data.startswith(b"\x89BBM\r\n\x1a\n\x05"):
        yield Archive(data)
        return
    check(digest(data[:9] + data[17:], 8) == data[9:17], "a manifest is damaged")
    cursor = Cursor(data[17:])
    while length := cursor.read(1):
        name = cursor.take(length[0]).decode()
        check(not set("/\\:") & set(name), "a shard lies elsewhere")
        shard, (size, *own, _) = (path.parent / name).read_bytes(), struct.unpack("<Q8s4sI", cursor.take(24))
        check([len(shard), shard[-21:-13], shard[9:13]] == [size, *own], "a shard is another than was meant")
        yield Archive(shard)


if __name__ == "__main__":
    for archive in opened(Path(sys.argv[1])):
        for name, entry in sorted(archive.entries.items()):
            try:
                held = [digest(data, 8).hex() for data in archive.read(entry)]
            except ReaderError as error:
                held = [f"({error})"]
            print(name.decode(errors="replace"), *held)
