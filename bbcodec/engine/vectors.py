# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="import-untyped, misc"
"""Sixteen int32 side by side, as a numba type: LLVM makes of them what the CPU has, from four registers down to one.

    x + y, x - y, x * y, x & y, x << y, x >> y     wrapping; shifts are arithmetic; y may be a plain number
    x < y, x == y                                  lanes of 1 or 0, for `select`
    load, store, transpose, gather, spread, select, clamp, smallest, greatest, shift_logical, leading_zeros, quotient

Left to itself, LLVM vectorises a loop over arrays only behind a check that they do not overlap, which costs as much as
sixteen lanes of work.
"""

from __future__ import annotations

import operator
from typing import Final

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES: Final = 16

_i32, _i64 = ir.IntType(32), ir.IntType(64)
_VECTOR: Final = ir.VectorType(_i32, LANES)
_BITS: Final = ir.VectorType(ir.IntType(1), LANES)


class VectorType(types.Type):
    """Sixteen int32."""

    def __init__(self) -> None:
        """There is one."""
        super().__init__("int32x16")


vector: Final = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _VECTOR)


def _spread(builder, number):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_i32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_VECTOR, [0] * LANES))


def _operand(context, builder, numba_type, value):
    """A vector, or an integer spread over one."""
    if isinstance(numba_type, VectorType):
        return value
    return _spread(builder, context.cast(builder, value, numba_type, types.int32))


def _is_operand(numba_type):
    return isinstance(numba_type, VectorType | types.Integer)


def _operation(build):
    """The intrinsic of a binary operation; build(builder, x, y) returns its code."""

    @intrinsic
    def operation(typing_context, x, y):
        def codegen(context, builder, signature, arguments):
            operands = (_operand(context, builder, t, v) for t, v in zip(signature.args, arguments, strict=True))
            return build(builder, *operands)

        if _is_operand(x) and _is_operand(y):
            return vector(x, y), codegen
        return None

    return operation


def _compared(sign):
    return lambda b, x, y: b.zext(b.icmp_signed(sign, x, y), _VECTOR)


def _chosen(sign):
    return lambda b, x, y: b.select(b.icmp_signed(sign, x, y), x, y)


smallest = _operation(_chosen("<"))
greatest = _operation(_chosen(">"))
shift_logical = _operation(lambda b, x, y: b.lshr(x, y))


def _quotient(builder, x, y):
    """By way of float64: x / y differs from a whole number by 1/y or more, which is far above its rounding."""
    real = ir.VectorType(ir.DoubleType(), LANES)
    return builder.fptosi(builder.fdiv(builder.sitofp(x, real), builder.sitofp(y, real)), _VECTOR)


quotient = _operation(_quotient)  # of positive numbers, rounded down

_OPERATORS: Final = {
    operator.add: lambda b, x, y: b.add(x, y),
    operator.sub: lambda b, x, y: b.sub(x, y),
    operator.mul: lambda b, x, y: b.mul(x, y),
    operator.and_: lambda b, x, y: b.and_(x, y),
    operator.lshift: lambda b, x, y: b.shl(x, y),
    operator.rshift: lambda b, x, y: b.ashr(x, y),
    operator.lt: _compared("<"),
    operator.eq: _compared("=="),
}


def _register(symbol, build):
    """Teach numba an operator; directly, as an overload would be compiled for every pair of types."""

    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, arguments, keywords):
            x, y = arguments
            if _is_operand(x) and _is_operand(y) and (isinstance(x, VectorType) or isinstance(y, VectorType)):
                return vector(x, y)
            return None

    def lowered(context, builder, signature, arguments):
        operands = (_operand(context, builder, t, v) for t, v in zip(signature.args, arguments, strict=True))
        return build(builder, *operands)

    for pair in ((VectorType, VectorType), (VectorType, types.Integer), (types.Integer, VectorType)):
        lower_builtin(symbol, *pair)(lowered)


for _symbol, _build in _OPERATORS.items():
    _register(_symbol, _build)


@intrinsic
def spread(typing_context, number):
    """Sixteen times a number."""

    def codegen(context, builder, signature, arguments):
        return _operand(context, builder, signature.args[0], arguments[0])

    return vector(number), codegen


@intrinsic
def clamp(typing_context, x, low, high):
    """Each lane within low..high."""

    def codegen(context, builder, signature, arguments):
        x, low, high = (_operand(context, builder, *each) for each in zip(signature.args, arguments, strict=True))
        return _chosen("<")(builder, _chosen(">")(builder, x, low), high)

    return vector(x, low, high), codegen


@intrinsic
def select(typing_context, condition, x, y):
    """x where the condition is 1, y where it is 0."""

    def codegen(context, builder, signature, arguments):
        x, y = (_operand(context, builder, t, v) for t, v in zip(signature.args[1:], arguments[1:], strict=True))
        return builder.select(builder.trunc(arguments[0], _BITS), x, y)

    return vector(condition, x, y), codegen


def _place(context, builder, array_type, array, row):
    """Address of element 16 * row of an array of int32 in C order, seen as one-dimensional; row: int64."""
    data = context.make_array(array_type)(context, builder, array).data
    place = builder.gep(data, [builder.mul(row, ir.Constant(_i64, LANES))])
    return builder.bitcast(place, _VECTOR.as_pointer())


@intrinsic
def load(typing_context, array, row):
    """Elements 16 * row .. 16 * row + 15 of an int32 array in C order, seen as one-dimensional."""

    def codegen(context, builder, signature, arguments):
        row = context.cast(builder, arguments[1], signature.args[1], types.int64)
        loaded = builder.load(_place(context, builder, signature.args[0], arguments[0], row))
        loaded.align = 4
        return loaded

    return vector(array, row), codegen


@intrinsic
def store(typing_context, array, row, x):
    """Put sixteen elements where `load` would find them."""

    def codegen(context, builder, signature, arguments):
        row = context.cast(builder, arguments[1], signature.args[1], types.int64)
        value = _operand(context, builder, signature.args[2], arguments[2])
        builder.store(value, _place(context, builder, signature.args[0], arguments[0], row)).align = 4
        return context.get_dummy_value()

    return types.void(array, row, x), codegen


class _Pointers(ir.Instruction):
    """Pointers to the elements of a table; llvmlite's own instruction takes no vectors."""

    def __init__(self, parent, base, indices):
        super().__init__(parent, ir.VectorType(_i32.as_pointer(), LANES), "getelementptr", [base, indices])

    def descr(self, buf):
        base, indices = self.operands
        buf.append(f"getelementptr i32, {base.type} {base.get_reference()}, {_VECTOR} {indices.get_reference()}\n")


@intrinsic
def gather(typing_context, table, indices):
    """table[i] of each lane; table: int32, one-dimensional, in C order."""

    def codegen(context, builder, signature, arguments):
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointers = _Pointers(builder.block, base, arguments[1])
        builder._insert(pointers)
        opaque = str(_i32.as_pointer()) == "ptr"
        name = f"llvm.masked.gather.v{LANES}i32.v{LANES}{'p0' if opaque else 'p0i32'}"
        module = builder.module
        form = ir.FunctionType(_VECTOR, [pointers.type, _i32, _BITS, _VECTOR])
        function = module.globals.get(name) or ir.Function(module, form, name)
        everywhere = ir.Constant(_BITS, [1] * LANES)
        return builder.call(function, [pointers, ir.Constant(_i32, 4), everywhere, ir.Constant(_VECTOR, ir.Undefined)])

    return vector(table, indices), codegen


@intrinsic
def leading_zeros(typing_context, x):
    """Zeros above the highest one of each lane, none of which may be zero."""

    def codegen(context, builder, signature, arguments):
        name, bit = f"llvm.ctlz.v{LANES}i32", ir.IntType(1)
        module = builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(_VECTOR, [_VECTOR, bit]), name)
        return builder.call(function, [arguments[0], ir.Constant(bit, 1)])

    return vector(x), codegen


@intrinsic
def transpose(typing_context, rows, stride, order, last, array, row):
    """Turn sixteen rows of sixteen int32 into columns.

    Row i begins at address rows + stride * order[min(i, last)], order the address of int64 numbers. Element j of row i
    becomes element i of what `load` finds at row + j of an array. All numbers are int64.
    """

    def codegen(context, builder, signature, arguments):
        rows, stride, order, last, array, row = arguments
        lines = []
        for i in range(LANES):
            here = ir.Constant(_i64, i)
            here = builder.select(builder.icmp_signed("<", here, last), here, last)
            number = builder.inttoptr(builder.add(order, builder.shl(here, ir.Constant(_i64, 3))), _i64.as_pointer())
            at = builder.add(rows, builder.mul(stride, builder.load(number)))
            line = builder.load(builder.inttoptr(at, _VECTOR.as_pointer()))
            line.align = 4
            lines.append(line)
        for step in (8, 4, 2, 1):
            first = [lane + LANES - step if lane & step else lane for lane in range(LANES)]
            second = [lane + LANES if lane & step else lane + step for lane in range(LANES)]
            masks = [ir.Constant(_VECTOR, mask) for mask in (first, second)]
            for i in range(LANES):
                if not i & step:
                    pair = lines[i], lines[i + step]
                    lines[i], lines[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for j, line in enumerate(lines):
            place = _place(context, builder, signature.args[4], array, builder.add(row, ir.Constant(_i64, j)))
            builder.store(line, place).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, array, types.int64), codegen
