# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="import-untyped, misc"
"""Numbers side by side, as numba types: LLVM makes of them what the CPU has, from one register to four.

Sixteen int32, eight int32, and eight float64, which hold whole numbers below 2**53 exactly: however their sums and
products are grouped, the result is the same.

    x + y, x - y, x * y, x & y, x << y, x >> y     int32 wraps; shifts are arithmetic; y may be a plain number
    x < y, x == y                                  of int32: lanes of 1 or 0, for `select`
    x / y                                          of float64
    spread, insert, lane, select, clamp, smallest, greatest, size, least, total, totals
    shift_logical, leading_zeros, quotient, small_quotient, multiply_shift, floor, as_float, as_int

Left to itself, LLVM vectorises a loop over arrays only behind a check that they do not overlap, which costs as much as
sixteen lanes of work.
"""

from __future__ import annotations

import operator
from typing import Any, Final

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES: Final = 16
EIGHT: Final = 8

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_ELEMENTS: Final = {types.int32: I32, types.float64: ir.DoubleType()}
_ADDS: Final = ("reassoc", "contract")  # of float64: sums may be grouped otherwise, and products fused with them


class VectorType(types.Type):
    """So many numbers of one type."""

    def __init__(self, element: Any, lanes: int) -> None:
        """element: int32 or float64."""
        self.element, self.lanes = element, lanes
        self.llvm = ir.VectorType(_ELEMENTS[element], lanes)
        super().__init__(f"{element}x{lanes}")

    @property
    def whole(self):
        """Whether it is of int32."""
        return self.element == types.int32

    @property
    def conditions(self):
        """The LLVM type of as many bits."""
        return ir.VectorType(I1, self.lanes)


vector: Final = VectorType(types.int32, LANES)
eight: Final = VectorType(types.int32, EIGHT)
floats: Final = VectorType(types.float64, EIGHT)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, numba_type.llvm)


def _spread(builder, form, number):
    undefined = ir.Constant(form, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, form.count), [0] * form.count))


def declared(builder, name, result, *arguments):
    """A function of LLVM."""
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def operand(context, builder, form, numba_type, value):
    """A vector of a type, or a number spread over one."""
    if isinstance(numba_type, VectorType):
        return value
    return _spread(builder, form.llvm, context.cast(builder, value, numba_type, form.element))


def _type_of(*operands):
    """The type of vectors and numbers together; None if there is none."""
    forms = {each for each in operands if isinstance(each, VectorType)}
    numbers = [each for each in operands if not isinstance(each, VectorType)]
    if len(forms) != 1 or not all(isinstance(each, types.Integer | types.Float) for each in numbers):
        return None
    form = next(iter(forms))
    return form if not form.whole or all(isinstance(each, types.Integer) for each in numbers) else None


def _operation(build, build_float=None):
    """The intrinsic of a binary operation; build(builder, x, y) returns its code."""

    @intrinsic
    def operation(typing_context, x, y):
        form = _type_of(x, y)
        if form is None:
            return None
        chosen = build if form.whole else build_float

        def codegen(context, builder, signature, arguments):
            operands = (operand(context, builder, form, t, v) for t, v in zip(signature.args, arguments, strict=True))
            return chosen(builder, *operands)

        return (form(x, y), codegen) if chosen else None

    return operation


def _compared(sign):
    return lambda b, x, y: b.zext(b.icmp_signed(sign, x, y), ir.VectorType(I32, x.type.count))


def _chosen(sign):
    return lambda b, x, y: b.select(b.icmp_signed(sign, x, y), x, y)


def _chosen_float(sign):
    return lambda b, x, y: b.select(b.fcmp_ordered(sign, x, y), x, y)


smallest = _operation(_chosen("<"), _chosen_float("<"))
greatest = _operation(_chosen(">"), _chosen_float(">"))
shift_logical = _operation(lambda b, x, y: b.lshr(x, y))


def _quotient(builder, x, y):
    """By way of float64: x / y differs from a whole number by 1/y or more, which is far above its rounding."""
    real = ir.VectorType(ir.DoubleType(), x.type.count)
    return builder.fptosi(builder.fdiv(builder.sitofp(x, real), builder.sitofp(y, real)), x.type)


quotient = _operation(_quotient)  # of positive numbers, rounded down

_OPERATORS: Final = {
    operator.add: (lambda b, x, y: b.add(x, y), lambda b, x, y: b.fadd(x, y, flags=_ADDS)),
    operator.sub: (lambda b, x, y: b.sub(x, y), lambda b, x, y: b.fsub(x, y, flags=_ADDS)),
    operator.mul: (lambda b, x, y: b.mul(x, y), lambda b, x, y: b.fmul(x, y, flags=_ADDS)),
    operator.truediv: (None, lambda b, x, y: b.fdiv(x, y)),
    operator.and_: (lambda b, x, y: b.and_(x, y), None),
    operator.lshift: (lambda b, x, y: b.shl(x, y), None),
    operator.rshift: (lambda b, x, y: b.ashr(x, y), None),
    operator.lt: (_compared("<"), None),
    operator.eq: (_compared("=="), None),
}


def _register(symbol, build, build_float):
    """Teach numba an operator; directly, as an overload would be compiled for every pair of types."""

    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, arguments, keywords):
            form = _type_of(*arguments)
            if form is not None and (build if form.whole else build_float):
                return form(*arguments)
            return None

    def lowered(context, builder, signature, arguments):
        form = signature.return_type
        operands = (operand(context, builder, form, t, v) for t, v in zip(signature.args, arguments, strict=True))
        return (build if form.whole else build_float)(builder, *operands)

    for number in (types.Integer, types.Float):
        for pair in ((VectorType, VectorType), (VectorType, number), (number, VectorType)):
            lower_builtin(symbol, *pair)(lowered)


for _symbol, _builds in _OPERATORS.items():
    _register(_symbol, *_builds)


@intrinsic
def spread(typing_context, number):
    """Sixteen times a whole number."""

    def codegen(context, builder, signature, arguments):
        return operand(context, builder, vector, signature.args[0], arguments[0])

    return vector(number), codegen


@intrinsic
def insert(typing_context, x, lane, number):
    """x with another number in a lane."""

    def codegen(context, builder, signature, arguments):
        number = context.cast(builder, arguments[2], signature.args[2], x.element)
        return builder.insert_element(arguments[0], number, context.cast(builder, arguments[1], lane, types.int32))

    return x(x, lane, number), codegen


@intrinsic
def lane(typing_context, x, number):
    """The number in a lane."""

    def codegen(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], context.cast(builder, arguments[1], number, types.int32))

    return x.element(x, number), codegen


@intrinsic
def clamp(typing_context, x, low, high):
    """Each lane within low..high."""

    def codegen(context, builder, signature, arguments):
        pairs = zip(signature.args, arguments, strict=True)
        x, low, high = (operand(context, builder, signature.return_type, *each) for each in pairs)
        chosen = _chosen if signature.return_type.whole else _chosen_float
        return chosen("<")(builder, chosen(">")(builder, x, low), high)

    return _type_of(x, low, high)(x, low, high), codegen


@intrinsic
def select(typing_context, condition, x, y):
    """x where the condition is 1, y where it is 0."""

    def codegen(context, builder, signature, arguments):
        form = signature.return_type
        x, y = (operand(context, builder, form, t, v) for t, v in zip(signature.args[1:], arguments[1:], strict=True))
        return builder.select(builder.trunc(arguments[0], form.conditions), x, y)

    return _type_of(condition, x, y)(condition, x, y), codegen


# --- of int32 --------------------------------------------------------------------------------------------------------


@intrinsic
def leading_zeros(typing_context, x):
    """Zeros above the highest one of each lane, none of which may be zero."""

    def codegen(context, builder, signature, arguments):
        function = declared(builder, f"llvm.ctlz.v{x.lanes}i32", x.llvm, x.llvm, I1)
        return builder.call(function, [arguments[0], ir.Constant(I1, 1)])

    return x(x), codegen


@intrinsic
def small_quotient(typing_context, x, y):
    """x // y of positive numbers below 2**23, as `quotient`, by way of float32."""

    def codegen(context, builder, signature, arguments):
        real = ir.VectorType(ir.FloatType(), signature.return_type.lanes)
        pairs = zip(signature.args, arguments, strict=True)
        x, y = (builder.sitofp(operand(context, builder, signature.return_type, *each), real) for each in pairs)
        return builder.fptosi(builder.fdiv(x, y), signature.return_type.llvm)

    return _type_of(x, y)(x, y), codegen


@intrinsic
def multiply_shift(typing_context, x, y, bits):
    """x * y >> bits of each lane; products have 64 bits, and what is left of them fits in 32."""

    def codegen(context, builder, signature, arguments):
        wide = ir.VectorType(I64, x.lanes)
        first, second = (builder.sext(each, wide) for each in arguments[:2])
        shift = _spread(builder, wide, context.cast(builder, arguments[2], bits, types.int64))
        return builder.trunc(builder.lshr(builder.mul(first, second), shift), x.llvm)

    return x(x, y, bits), codegen


# --- of float64, and sums --------------------------------------------------------------------------------------------


def _of_floats(name):
    """The intrinsic of a function of LLVM."""

    @intrinsic
    def operation(typing_context, x):
        def codegen(context, builder, signature, arguments):
            return builder.call(declared(builder, f"llvm.{name}.v{x.lanes}f64", x.llvm, x.llvm), arguments)

        return floats(floats), codegen

    return operation


floor = _of_floats("floor")
size = _of_floats("fabs")


@intrinsic
def as_float(typing_context, x):
    """Eight int32 as float64."""
    return floats(eight), lambda context, builder, signature, arguments: builder.sitofp(arguments[0], floats.llvm)


@intrinsic
def as_int(typing_context, x):
    """Eight float64, whole numbers below 2**31, as int32."""
    return eight(floats), lambda context, builder, signature, arguments: builder.fptosi(arguments[0], eight.llvm)


def _folded(builder, x, join):
    """One number, of all lanes: halves are joined until there is one."""
    undefined, lanes = ir.Constant(x.type, ir.Undefined), x.type.count
    while lanes > 1:
        lanes //= 2
        half = [lanes + k if k < lanes else k for k in range(x.type.count)]
        x = join(builder, x, builder.shuffle_vector(x, undefined, ir.Constant(ir.VectorType(I32, len(half)), half)))
    return builder.extract_element(x, ir.Constant(I32, 0))


@intrinsic
def total(typing_context, x):
    """The sum of all lanes."""
    add = _OPERATORS[operator.add][0 if x.whole else 1]
    return x.element(x), lambda context, builder, signature, arguments: _folded(builder, arguments[0], add)


@intrinsic
def least(typing_context, x):
    """The smallest of all lanes."""
    choose = _chosen("<") if x.whole else _chosen_float("<")
    return x.element(x), lambda context, builder, signature, arguments: _folded(builder, arguments[0], choose)


@intrinsic
def totals(typing_context, a, b, c, d):
    """The sums of four vectors of float64, in the first lanes of one; the others are 0."""

    def codegen(context, builder, signature, arguments):
        def shuffled(x, y, *lanes):
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

        def added(x, y):
            return builder.fadd(x, y, flags=_ADDS)

        a, b, c, d = (added(shuffled(x, x, 0, 1, 2, 3), shuffled(x, x, 4, 5, 6, 7)) for x in arguments)
        first = added(shuffled(a, b, 0, 4, 2, 6), shuffled(a, b, 1, 5, 3, 7))
        second = added(shuffled(c, d, 0, 4, 2, 6), shuffled(c, d, 1, 5, 3, 7))
        sums = added(shuffled(first, second, 0, 1, 4, 5), shuffled(first, second, 2, 3, 6, 7))
        return shuffled(sums, ir.Constant(sums.type, [0.0] * 4), *range(8))

    return floats(floats, floats, floats, floats), codegen
