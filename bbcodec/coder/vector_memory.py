# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="import-untyped, misc"
"""Vectors from arrays and to arrays: side by side, wherever they lie, and sixteen rows as columns."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from bbcodec.coder.vectors import EIGHT, I32, I64, LANES, VectorType, declared, eight, floats, operand, vector


def _place(context, builder, form, array_type, array, row):
    """Address of element lanes * row of an array in C order, seen as one-dimensional; row: int64."""
    data = context.make_array(array_type)(context, builder, array).data
    place = builder.gep(data, [builder.mul(row, ir.Constant(I64, form.lanes))])
    return builder.bitcast(place, form.llvm.as_pointer())


def _loaded(form, array, row):
    def codegen(context, builder, signature, arguments):
        row = context.cast(builder, arguments[1], signature.args[1], types.int64)
        loaded = builder.load(_place(context, builder, form, signature.args[0], arguments[0], row))
        loaded.align = form.element.bitwidth // 8
        return loaded

    return form(array, row), codegen


@intrinsic
def load(typing_context, array, row):
    """Elements 16 * row .. 16 * row + 15 of an int32 array, or 8 * row .. 8 * row + 7 of a float64 array.

    Arrays are in C order, and seen as one-dimensional.
    """
    return _loaded(vector if array.dtype == types.int32 else floats, array, row)


@intrinsic
def load_eight(typing_context, array, row):
    """Elements 8 * row .. 8 * row + 7 of an int32 array in C order, seen as one-dimensional."""
    return _loaded(eight, array, row)


@intrinsic
def store(typing_context, array, row, x):
    """Put numbers where `load`, or `load_eight`, would find them; a plain number sixteen times."""
    form = x if isinstance(x, VectorType) else vector

    def codegen(context, builder, signature, arguments):
        row = context.cast(builder, arguments[1], signature.args[1], types.int64)
        value = operand(context, builder, form, signature.args[2], arguments[2])
        place = _place(context, builder, form, signature.args[0], arguments[0], row)
        builder.store(value, place).align = form.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, row, x), codegen


class _Pointers(ir.Instruction):
    """Pointers to the elements of a table; llvmlite's own instruction takes no vectors."""

    def __init__(self, parent, base, indices):
        form = ir.VectorType(I32.as_pointer(), indices.type.count)
        super().__init__(parent, form, "getelementptr", [base, indices])

    def descr(self, buf):
        base, indices = self.operands
        buf.append(f"getelementptr i32, {base.type} {base.get_reference()}, {indices.type} {indices.get_reference()}\n")


@intrinsic
def gather(typing_context, table, indices):
    """table[i] of each lane; table: int32, in C order, seen as one-dimensional."""
    form = indices

    def codegen(context, builder, signature, arguments):
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointers = _Pointers(builder.block, base, arguments[1])
        builder._insert(pointers)
        opaque = str(I32.as_pointer()) == "ptr"
        name = f"llvm.masked.gather.v{form.lanes}i32.v{form.lanes}{'p0' if opaque else 'p0i32'}"
        function = declared(builder, name, form.llvm, pointers.type, I32, form.conditions, form.llvm)
        everywhere = ir.Constant(form.conditions, [1] * form.lanes)
        return builder.call(function, [pointers, ir.Constant(I32, 4), everywhere, ir.Constant(form.llvm, ir.Undefined)])

    return form(table, indices), codegen


def _element(context, builder, signature, arguments, k):
    """Address of the element of a table at place k of an int64 array, moved by an offset."""
    table, places, offset = arguments[:3]
    base = builder.gep(context.make_array(signature.args[0])(context, builder, table).data, [offset])
    at = context.make_array(signature.args[1])(context, builder, places).data
    return builder.gep(base, [builder.load(builder.gep(at, [ir.Constant(I64, k)]))])


@intrinsic
def gather_at(typing_context, table, places, offset):
    """table[places[k] + offset] of eight lanes; table: int32, in C order, seen as one-dimensional; places: int64."""

    def codegen(context, builder, signature, arguments):
        x = ir.Constant(eight.llvm, ir.Undefined)
        for k in range(EIGHT):
            number = builder.load(_element(context, builder, signature, arguments, k))
            x = builder.insert_element(x, number, ir.Constant(I32, k))
        return x

    return eight(table, places, types.int64), codegen


@intrinsic
def scatter_at(typing_context, table, places, offset, x):
    """Put eight lanes where `gather_at` would find them; of equal places, the last lane's."""

    def codegen(context, builder, signature, arguments):
        for k in range(EIGHT):
            number = builder.extract_element(arguments[3], ir.Constant(I32, k))
            builder.store(number, _element(context, builder, signature, arguments, k))
        return context.get_dummy_value()

    return types.void(table, places, types.int64, eight), codegen


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
            here = ir.Constant(I64, i)
            here = builder.select(builder.icmp_signed("<", here, last), here, last)
            number = builder.inttoptr(builder.add(order, builder.shl(here, ir.Constant(I64, 3))), I64.as_pointer())
            at = builder.add(rows, builder.mul(stride, builder.load(number)))
            line = builder.load(builder.inttoptr(at, vector.llvm.as_pointer()))
            line.align = 4
            lines.append(line)
        for step in (8, 4, 2, 1):
            first = [lane + LANES - step if lane & step else lane for lane in range(LANES)]
            second = [lane + LANES if lane & step else lane + step for lane in range(LANES)]
            masks = [ir.Constant(vector.llvm, mask) for mask in (first, second)]
            for i in range(LANES):
                if not i & step:
                    pair = lines[i], lines[i + step]
                    lines[i], lines[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for j, line in enumerate(lines):
            at = builder.add(row, ir.Constant(I64, j))
            place = _place(context, builder, vector, signature.args[4], array, at)
            builder.store(line, place).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, array, types.int64), codegen
