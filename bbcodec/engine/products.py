# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, disable-error-code=import-untyped
"""Matrix products of small whole numbers, exact in int32, with what follows each of them done in registers.

    inner: u8 (0..127) x s8 -> s32        wide: s16 x s16 -> s32

A product multiplies rows of activations, gathered from `taps` places, with a packed matrix; it adds the bias, shifts
each sum right by its channel's shift, and finishes it in one of the ways below. It is written once, as LLVM vectors;
instruction sets differ in one multiply-add of four (inner) or two (wide) neighbouring inputs, and in the size of tiles.
Sums wrap nowhere: the bound of the layers keeps them below 2**24, and the greatest pair of `vpmaddubsw`, 2 * 127 * 127,
is below 2**15.

Packed weights do not depend on the instruction set: (blocks of 16 channels, steps, 16, 4 or 2), where a step is four or
two neighbouring inputs, taps outermost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.containers import Tuple
from numba.extending import intrinsic

from bbcodec.engine.compiling import address, part

BLOCK: Final = 16  # channels
SLACK_ROWS: Final = 12  # that may be read, not written, after the last row of activations
INNER: Final = 8  # bits of an activation
WIDE: Final = 16
GROUP: Final = {INNER: 4, WIDE: 2}  # inputs a step
STREAM_BOUND: Final = 2047
ACTIVATION_BOUND: Final = 127

# What becomes of y, the rounded sum:
BYTES: Final = 0  # u8: clamp(y, 0, 127)
HALVES: Final = 1  # s16: clamp(y, 0, 127)
STREAM: Final = 2  # s16: h = clamp(h + y, +-2047); and u8: clamp((h + 8) >> 4, 0, 127)
WORDS: Final = 3  # s32: what was there plus y
VALUES: Final = 4  # s16: clamp(y, +-2047)

_i8, _i16, _i32, _i64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


@dataclass(frozen=True)
class _Unit:
    """A tile of an instruction set: vectors of `lanes` int32, `rows` rows, up to `blocks` blocks of channels."""

    lanes: int
    rows: int
    blocks: int


_UNITS: Final = {
    "avx512vnni": _Unit(16, 12, 2),
    "avxvnni": _Unit(8, 6, 1),
    "avx2": _Unit(8, 4, 1),
    "portable": _Unit(16, 2, 1),
}


class Matrix(NamedTuple):
    """A packed matrix; or several of one size, with an axis in front."""

    weight: npt.NDArray[Any]  # (blocks, steps, 16, 4 or 2)
    start: npt.NDArray[np.int32]  # (16 blocks,): the bias, the half that rounds included
    shift: npt.NDArray[np.int32]  # (16 blocks,)


def pack(weight: npt.NDArray[Any], bias: npt.NDArray[np.int32], shift: npt.NDArray[np.int8]) -> Matrix:
    """A matrix in the order of the products.

    weight: (taps, inputs, outputs), int8 for inner products, int16 for wide ones; the inputs of a tap lie side by side
    in memory and are a multiple of 4 (inner) or 2 (wide). bias, shift: (outputs,); a bias includes the half that
    rounds, 2**(shift - 1). Outputs are padded to a multiple of 16 with channels that are zero.
    """
    taps, inputs, outputs = weight.shape
    group = GROUP[WIDE if weight.dtype == np.int16 else INNER]
    more = -outputs % BLOCK
    padded = np.pad(weight, ((0, 0), (0, 0), (0, more)))
    blocks = padded.reshape(taps * inputs // group, group, -1, BLOCK).transpose(2, 0, 3, 1)
    start, shifts = (np.pad(numbers.astype(np.int32), (0, more)) for numbers in (bias, shift))
    return Matrix(np.ascontiguousarray(blocks), start, shifts)


def _declared(builder, name, result, arguments):
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def _splat(value, number):
    return ir.Constant(value, [number] * value.count)


def _dot(builder, kernels, bits, sums, inputs, weights):
    """sums + the inner product of each lane: inputs and weights are 32-bit lanes of 4 bytes or 2 halves."""
    vector = sums.type
    whole = ir.VectorType(_i16, 2 * vector.count)
    if kernels == "portable":
        for place in range(GROUP[bits]):
            up, down = _splat(vector, 32 - bits - bits * place), _splat(vector, 32 - bits)
            w = builder.ashr(builder.shl(weights, up), down)
            x = builder.shl(inputs, up)
            x = builder.lshr(x, down) if bits == INNER else builder.ashr(x, down)
            sums = builder.add(sums, builder.mul(x, w))
        return sums
    if kernels == "avx2":
        add_pairs = _declared(builder, "llvm.x86.avx2.pmadd.wd", vector, [whole, whole])
        if bits == WIDE:
            pairs = builder.bitcast(inputs, whole), builder.bitcast(weights, whole)
        else:
            octets = ir.VectorType(_i8, 4 * vector.count)
            multiply = _declared(builder, "llvm.x86.avx2.pmadd.ub.sw", whole, [octets, octets])
            products = builder.call(multiply, [builder.bitcast(inputs, octets), builder.bitcast(weights, octets)])
            pairs = products, _splat(whole, 1)
        return builder.add(sums, builder.call(add_pairs, pairs))
    # Assembly, as the operand types of LLVM's intrinsics differ between versions, and some versions split `vpdpwssd`.
    # vpdpbusd and vpdpwssd wrap; their relatives with an s at the end saturate.
    name = "vpdpbusd" if bits == INNER else "vpdpwssd"
    encoding, registers = ("{vex} ", "x") if kernels == "avxvnni" else ("", "v")
    signature, constraints = ir.FunctionType(vector, [vector] * 3), f"={registers},0,{registers},{registers}"
    return builder.asm(signature, f"{encoding}{name} $3, $2, $0", constraints, [sums, inputs, weights], False)


class _Tile:
    """Writes the code of one tile: rows x blocks, over all taps and steps."""

    def __init__(self, builder, kernels, bits, finish, blocks):
        self.builder, self.kernels, self.bits, self.finish = builder, kernels, bits, finish
        unit = _UNITS[kernels]
        self.lanes, self.rows, self.per_block = unit.lanes, unit.rows, BLOCK // unit.lanes
        self.vectors = blocks * self.per_block
        self.vector = ir.VectorType(_i32, unit.lanes)

    def number(self, value):
        return ir.Constant(_i64, value)

    def at(self, base, *terms):
        """base plus terms: each a value, a number, or a pair to multiply."""
        b = self.builder
        for term in terms:
            x, y = term if isinstance(term, tuple) else (term, 1)
            x, y = (self.number(z) if isinstance(z, int) else z for z in (x, y))
            base = b.add(base, b.mul(x, y))
        return base

    def load(self, where, value):
        loaded = self.builder.load(self.builder.inttoptr(where, value.as_pointer()))
        loaded.align = 1
        return loaded

    def store(self, where, value):
        self.builder.store(value, self.builder.inttoptr(where, value.type.as_pointer())).align = 1

    def spread(self, word):
        b, undefined = self.builder, ir.Constant(self.vector, ir.Undefined)
        first = b.insert_element(undefined, word, ir.Constant(_i32, 0))
        return b.shuffle_vector(first, undefined, _splat(self.vector, 0))

    def channels(self, base, n):
        """Vector n of an int32 a channel."""
        return self.load(self.at(base, 4 * self.lanes * n), self.vector)

    def clamp(self, x, low, high):
        b = self.builder
        low, high = _splat(x.type, low), _splat(x.type, high)
        x = b.select(b.icmp_signed("<", x, low), low, x)
        return b.select(b.icmp_signed(">", x, high), high, x)

    def sums(self, source, matrix):
        """Loop over taps and steps. Returns the sums, [row][vector]."""
        b = self.builder
        a, stride, offsets, taps, steps = source
        w, w_block, start = matrix
        before = b.basic_block
        first = [[self.channels(start, n) for n in range(self.vectors)] for _ in range(self.rows)]
        outer, inner = b.append_basic_block("tap"), b.append_basic_block("step")
        end, done = b.append_basic_block("next"), b.append_basic_block("summed")
        b.branch(outer)

        b.position_at_end(outer)
        tap, w_tap = b.phi(_i64), b.phi(_i64)
        at_tap = [[b.phi(self.vector) for _ in row] for row in first]
        rows = self.at(a, self.load(self.at(offsets, (tap, 8)), _i64))
        b.branch(inner)

        b.position_at_end(inner)
        step, w_step = b.phi(_i64), b.phi(_i64)
        at_step = [[b.phi(self.vector) for _ in row] for row in first]
        weights = [
            self.load(
                self.at(w_step, (w_block, n // self.per_block), 4 * self.lanes * (n % self.per_block)), self.vector
            )
            for n in range(self.vectors)
        ]
        x = self.at(rows, (step, 4))
        after = []
        for r, row in enumerate(at_step):
            word = self.spread(self.load(self.at(x, (stride, r)), _i32))
            after.append([_dot(b, self.kernels, self.bits, s, word, w) for s, w in zip(row, weights, strict=True)])
        next_step, next_w = self.at(step, 1), self.at(w_step, 4 * BLOCK)
        b.cbranch(b.icmp_signed("<", next_step, steps), inner, end)

        b.position_at_end(end)
        next_tap = self.at(tap, 1)
        b.cbranch(b.icmp_signed("<", next_tap, taps), outer, done)

        for phi, come, on in ((tap, self.number(0), next_tap), (w_tap, w, next_w)):
            phi.add_incoming(come, before)
            phi.add_incoming(on, end)
        for phi, come, on in ((step, self.number(0), next_step), (w_step, w_tap, next_w)):
            phi.add_incoming(come, outer)
            phi.add_incoming(on, inner)
        for r in range(self.rows):
            for n in range(self.vectors):
                at_tap[r][n].add_incoming(first[r][n], before)
                at_tap[r][n].add_incoming(after[r][n], end)
                at_step[r][n].add_incoming(at_tap[r][n], outer)
                at_step[r][n].add_incoming(after[r][n], inner)
        b.position_at_end(done)
        return after

    def finish_all(self, sums, shift, target, count):
        """Shift, finish and store the first `count` rows."""
        b = self.builder
        out, out_stride, other, other_stride = target
        shifts = [self.channels(shift, n) for n in range(self.vectors)]
        done = b.append_basic_block("finished")
        for r, row in enumerate(sums):
            if r:
                more = b.append_basic_block("row")
                b.cbranch(b.icmp_signed(">", count, self.number(r)), more, done)
                b.position_at_end(more)
            for n, total in enumerate(row):
                place = self.lanes * n
                y = b.ashr(total, shifts[n])
                self.finish_one(y, self.at(out, (out_stride, r)), self.at(other, (other_stride, r)), place)
        b.branch(done)
        b.position_at_end(done)

    def finish_one(self, y, out, other, place):
        b = self.builder
        bytes_, halves = (ir.VectorType(t, self.lanes) for t in (_i8, _i16))
        if self.finish in (BYTES, HALVES):
            size, narrow = (1, bytes_) if self.finish == BYTES else (2, halves)
            self.store(self.at(out, size * place), b.trunc(self.clamp(y, 0, ACTIVATION_BOUND), narrow))
        elif self.finish == STREAM:
            where = self.at(out, 2 * place)
            h = self.clamp(b.add(y, b.sext(self.load(where, halves), self.vector)), -STREAM_BOUND, STREAM_BOUND)
            self.store(where, b.trunc(h, halves))
            seen = b.ashr(b.add(h, _splat(self.vector, 8)), _splat(self.vector, 4))
            self.store(self.at(other, place), b.trunc(self.clamp(seen, 0, ACTIVATION_BOUND), bytes_))
        elif self.finish == VALUES:
            self.store(self.at(out, 2 * place), b.trunc(self.clamp(y, -STREAM_BOUND, STREAM_BOUND), halves))
        else:
            where = self.at(out, 4 * place)
            self.store(where, b.add(y, self.load(where, self.vector)))


@intrinsic
def _tile_rows(typing_context, kernels):
    """Rows of a tile."""
    rows = _UNITS[kernels.kernels].rows
    return types.int64(kernels), lambda context, builder, signature, arguments: ir.Constant(_i64, rows)


@intrinsic
def _tile_blocks(typing_context, kernels):
    """Blocks of channels of the largest tile: 1 or 2."""
    blocks = _UNITS[kernels.kernels].blocks
    return types.int64(kernels), lambda context, builder, signature, arguments: ir.Constant(_i64, blocks)


def _tile(bits, finish, most_blocks):
    """The intrinsic of a tile of `most_blocks` blocks (or fewer, if the instruction set has no tile as large)."""

    @intrinsic
    def tile(typing_context, kernels, source, matrix, target, count):
        name = kernels.kernels

        def codegen(context, builder, signature, arguments):
            source, matrix, target = (cgutils.unpack_tuple(builder, part) for part in arguments[1:4])
            writer = _Tile(builder, name, bits, finish, min(most_blocks, _UNITS[name].blocks))
            writer.finish_all(writer.sums(source, matrix[:3]), matrix[3], target, arguments[4])
            return context.get_dummy_value()

        numbers = [Tuple([types.int64] * size) for size in (5, 4, 4)]
        return types.void(kernels, *numbers, types.int64), codegen

    return tile


def _product(bits, finish):
    """A product of rows with a packed matrix: see `product` below for its arguments."""
    two, one = _tile(bits, finish, 2), _tile(bits, finish, 1)
    size, other_size = {BYTES: (1, 0), HALVES: (2, 0), STREAM: (2, 1), WORDS: (4, 0), VALUES: (2, 0)}[finish]
    group = GROUP[bits]

    def product(kernels, rows, stride, offsets, inputs, matrix, out, out_stride, other, other_stride, count):
        """Multiply `count` rows, of which tap n begins at address rows + offsets[n], `stride` bytes from row to row.

        inputs: of a tap. out, other: addresses of results, with bytes from row to row; other is for STREAM only.
        """
        steps, taps, blocks = np.int64(inputs // group), np.int64(len(offsets)), len(matrix.weight)
        block_bytes, height = np.int64(matrix.weight.shape[1] * 4 * BLOCK), _tile_rows(kernels)
        weights, start, shift = address(matrix.weight), address(matrix.start), address(matrix.shift)
        block = np.int64(0)
        while block < blocks:
            pair, channel = block + 2 <= blocks and _tile_blocks(kernels) == 2, block * BLOCK
            here = weights + block * block_bytes, block_bytes, start + 4 * channel, shift + 4 * channel
            y, z = out + channel * size, other + channel * other_size
            for row in range(0, count, height):
                source = rows + row * stride, stride, address(offsets), taps, steps
                target = y + row * out_stride, out_stride, z + row * other_stride, other_stride
                if pair:
                    two(kernels, source, here, target, count - row)
                else:
                    one(kernels, source, here, target, count - row)
            block += 2 if pair else 1

    # Its name in machine code. Functions of one name would be told apart by a number that each process gives anew, and
    # a process that loads the code of several would take one for another.
    product.__qualname__ = f"product_{bits}_{finish}"
    return part(product)


inner_to_bytes = _product(INNER, BYTES)
inner_to_halves = _product(INNER, HALVES)
inner_to_stream = _product(INNER, STREAM)
inner_to_values = _product(INNER, VALUES)
wide_to_halves = _product(WIDE, HALVES)
wide_to_stream = _product(WIDE, STREAM)
wide_to_words = _product(WIDE, WORDS)
