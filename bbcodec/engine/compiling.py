# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, disable-error-code=import-untyped
"""How the engine is compiled, and which instructions multiply.

Every compiled entry point takes a `Kernels` as its first argument. Its numba type carries the name of an instruction
set, so that machine code for different instruction sets lies side by side on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import llvmlite.binding as llvm
import numba as nb
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import NativeValue, intrinsic, models, register_model, typeof_impl, unbox

from bbcodec.coder.compilation import kept
from bbcodec.errors import InputError

VARIABLE: Final = "BBCODEC_KERNELS"
# CPU features (LLVM's names) that each instruction set needs, fastest first.
FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "avx512vnni": ("avx512f", "avx512bw", "avx512vl", "avx512vnni"),
    "avxvnni": ("avx2", "avxvnni"),
    "avx2": ("avx2",),
    "portable": (),
}

Function = Callable[..., Any]


_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Function) -> Function:
    """An entry point: machine code, cached on disk, that lets other threads run and allocates nothing."""
    return cast(Function, kept(nb.njit(**_OPTIONS)(function), Path(__file__).parent))


def part(function: Function) -> Function:
    """A function that entry points call; Python cannot, which spares the code that would unpack its arguments."""
    return cast(Function, nb.njit(no_cpython_wrapper=True, **_OPTIONS)(function))


def inlined(function: Function) -> Function:
    """A part that is always inlined."""
    return cast(Function, nb.njit(inline="always", no_cpython_wrapper=True, **_OPTIONS)(function))


class Kernels:
    """The instruction set of the products; an argument of compiled code that has no value at run time."""

    def __init__(self, name: str) -> None:
        """name: a key of FEATURES. Raises ValueError for another name, or if this CPU lacks a feature."""
        if name not in FEATURES:
            raise ValueError(f"no such kernels: {name!r}, expected one of {', '.join(FEATURES)}")
        missing = [feature for feature in FEATURES[name] if not host_features().get(feature)]
        if missing:
            raise ValueError(f"kernels {name!r} need {', '.join(missing)}, which this CPU lacks")
        self.name = name


def choose() -> Kernels:
    """The kernels that the environment variable BBCODEC_KERNELS names, or else the fastest that this CPU can run.

    Raises InputError, naming the variable, for an unknown name or one that this CPU cannot run.
    """
    name = os.environ.get(VARIABLE, "")
    if not name:
        return Kernels(available()[0])
    try:
        return Kernels(name)
    except ValueError as error:
        raise InputError(f"{VARIABLE}: {error}") from None


def available() -> list[str]:
    """Names of the kernels that this CPU can run, fastest first."""
    return [name for name, needs in FEATURES.items() if all(host_features().get(feature) for feature in needs)]


@cache
def host_features() -> Mapping[str, bool]:
    """Features of this CPU by LLVM's names; asked for once, as networks choose kernels for each wave."""
    return cast(Mapping[str, bool], llvm.get_host_cpu_features())


class KernelsType(types.Opaque):
    """The numba type of a `Kernels`."""

    def __init__(self, name: str) -> None:
        """name: of the instruction set."""
        self.kernels = name
        super().__init__(f"Kernels({name})")


_type = cache(KernelsType)  # making one takes longer than most calls
register_model(KernelsType)(models.OpaqueModel)
llvm.initialize_native_asmparser()  # for inline assembly


@typeof_impl.register(Kernels)
def _typeof(kernels, context):
    return _type(kernels.name)


@unbox(KernelsType)
def _unbox(typ, obj, context):
    return NativeValue(cgutils.get_null_value(context.context.get_value_type(typ)))


@intrinsic
def address(typing_context, array):
    """Address of the first element of an array, int64."""

    def codegen(context, builder, signature, arguments):
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(struct.data, ir.IntType(64))

    return types.int64(array), codegen


@intrinsic
def clear(typing_context, where, size):
    """Zero `size` bytes from an address on; both int64."""

    def codegen(context, builder, signature, arguments):
        where = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        cgutils.memset(builder, where, arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
