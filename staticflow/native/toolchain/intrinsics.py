"""The names that every kernel's source may use, beside the builtins.

Addresses are int64: `f4ptr(address)[i]` reads memory, `call2(address, a, b)` calls a function. The
atomics work on int64 words. Each intrinsic is one or two LLVM instructions, inlined.
"""

from __future__ import annotations

import inspect
import math
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from staticflow.native.toolchain.numba_types import numba_type

_I32, _I64, _BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)
_FLOATS = {"f4": ir.FloatType(), "f8": ir.DoubleType()}
_MACHINE = platform.machine().lower()
_IS_X86 = _MACHINE in ("x86_64", "amd64", "i386", "i686")
_IS_ARM = _MACHINE in ("aarch64", "arm64")
_FLUSH_X86 = 0x8040  # flush to zero, denormals are zero
_FLUSH_ARM = 1 << 24
# The number of Linux's system call; words are compared by their low half, which comes first here.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(_MACHINE, 0) if sys.platform == "linux" else 0
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_PRIVATE = 0, 1, 128

Emit = Callable[..., Any]


def declare(name: str, result: str, arguments: tuple[str, ...], emit: Emit) -> Any:
    """An intrinsic with the given type codes; `emit(builder, *values)` gives its value."""
    signature = numba_type(result)(*map(numba_type, arguments))

    def definition(_typing_context: Any, *_arguments: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return value if result else context.get_dummy_value()

        return signature, generate

    definition.__name__ = definition.__qualname__ = name
    names = ("_typing_context", *(f"x{k}" for k in range(len(arguments))))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    # Numba passes a tuple to what takes any number of arguments
    definition.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    return intrinsic(definition)


def _function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """A C function or LLVM intrinsic, declared in the module being built."""
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _I64.as_pointer())


def _pointer_to(code: str) -> Emit:
    element = {"f4": _FLOATS["f4"], "f8": _FLOATS["f8"], "i4": _I32, "i8": _I64, "b1": _BYTE}[code]
    return lambda builder, address: builder.inttoptr(address, element.as_pointer())


def _atomic_add(builder: Any, address: Any, value: Any) -> Any:
    return builder.atomic_rmw("add", _word(builder, address), value, "acq_rel")


def _load_acquire(builder: Any, address: Any) -> Any:
    return builder.load_atomic(_word(builder, address), "acquire", 8)


def _store_release(builder: Any, address: Any, value: Any) -> None:
    builder.store_atomic(value, _word(builder, address), "release", 8)


def _swap_if_zero(builder: Any, address: Any, value: Any) -> Any:
    word = _word(builder, address)
    pair = builder.cmpxchg(word, ir.Constant(_I64, 0), value, "acq_rel", "acquire")
    return builder.extract_value(pair, 0)


def _pause(builder: Any) -> None:
    if _IS_X86:
        builder.call(_function(builder, "llvm.x86.sse2.pause", ir.VoidType()), ())
    elif _IS_ARM:
        hint = _function(builder, "llvm.aarch64.hint", ir.VoidType(), _I32)
        builder.call(hint, (ir.Constant(_I32, 1),))


def _yield_processor(builder: Any) -> None:
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
    builder.call(_function(builder, name, _I32), ())


def _doze(builder: Any, microseconds: Any) -> None:
    if sys.platform == "win32":
        builder.call(_function(builder, "Sleep", ir.VoidType(), _I32), (ir.Constant(_I32, 0),))
    else:
        short = builder.trunc(microseconds, _I32)
        builder.call(_function(builder, "usleep", _I32, _I32), (short,))


def _futex(builder: Any, address: Any, operation: int, value: Any, timeout: Any) -> None:
    words = [_FUTEX, address, operation | _FUTEX_PRIVATE, value, timeout, 0, 0]
    values = [ir.Constant(_I64, w) if isinstance(w, int) else w for w in words]
    builder.call(_function(builder, "syscall", _I64, *[_I64] * len(values)), values)


def _wait_while(builder: Any, address: Any, value: Any, microseconds: Any) -> None:
    if not _FUTEX:
        _doze(builder, microseconds)
        return
    with builder.goto_entry_block():
        time = builder.alloca(ir.ArrayType(_I64, 2))
    nanoseconds = builder.mul(microseconds, ir.Constant(_I64, 1000))
    no_seconds = ir.Constant(ir.ArrayType(_I64, 2), [0, 0])
    builder.store(builder.insert_value(no_seconds, nanoseconds, 1), time)
    _futex(builder, address, _FUTEX_WAIT, value, builder.ptrtoint(time, _I64))


def _wake_all(builder: Any, address: Any) -> None:
    if _FUTEX:
        everyone = ir.Constant(_I64, (1 << 31) - 1)
        _futex(builder, address, _FUTEX_WAKE, everyone, ir.Constant(_I64, 0))


def _copy_bytes(builder: Any, target: Any, source: Any, count: Any) -> None:
    pointer = _BYTE.as_pointer()
    to, origin = builder.inttoptr(target, pointer), builder.inttoptr(source, pointer)
    cgutils.raw_memcpy(builder, to, origin, count, 1)


def _call(builder: Any, function: Any, *arguments: Any) -> Any:
    type_ = ir.FunctionType(_I64, [_I64] * len(arguments))
    return builder.call(builder.inttoptr(function, type_.as_pointer()), arguments)


def _bits(target: Any) -> Emit:
    return lambda builder, value: builder.bitcast(value, target)


def _control(builder: Any, new: Any | None) -> Any:
    """Read the floating-point control register as an i64, or set it."""
    if _IS_X86:
        return _mxcsr(builder, new)
    if not _IS_ARM:
        return ir.Constant(_I64, 0)
    if new is None:
        return builder.call(_function(builder, "llvm.aarch64.get.fpcr", _I64), ())
    return builder.call(_function(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), _I64), (new,))


def _mxcsr(builder: Any, new: Any | None) -> Any:
    pointer = _BYTE.as_pointer()
    with builder.goto_entry_block():
        slot = builder.alloca(_I32)
    name = "llvm.x86.sse.stmxcsr" if new is None else "llvm.x86.sse.ldmxcsr"
    access = _function(builder, name, ir.VoidType(), pointer)
    if new is not None:
        builder.store(builder.trunc(new, _I32), slot)
    builder.call(access, (builder.bitcast(slot, pointer),))
    return builder.zext(builder.load(slot), _I64)


def _flush_denormals(builder: Any) -> Any:
    old = _control(builder, None)
    flush = ir.Constant(_I64, _FLUSH_X86 if _IS_X86 else _FLUSH_ARM)
    _control(builder, builder.or_(old, flush))
    return old


_DECLARED = [
    *(declare(f"{t}ptr", f"{t}*", ("i8",), _pointer_to(t)) for t in ("f4", "f8", "i4", "i8", "b1")),
    # the old value; sequentially consistent enough for counters that others wait on
    declare("atomic_add", "i8", ("i8", "i8"), _atomic_add),
    declare("load_acquire", "i8", ("i8",), _load_acquire),
    declare("store_release", "", ("i8", "i8"), _store_release),
    # stores the value if the word is 0, and gives what was there
    declare("swap_if_zero", "i8", ("i8", "i8"), _swap_if_zero),
    declare("pause", "", (), _pause),
    declare("yield_processor", "", (), _yield_processor),
    # wait_while(address, value, microseconds) sleeps for less than a second while the word there is
    # `value`, until wake_all(address); it may come back sooner, or see the change only at the end.
    # A thread that gives way again and again loses its claim to the processor, one that sleeps not
    declare("wait_while", "", ("i8",) * 3, _wait_while),
    declare("wake_all", "", ("i8",), _wake_all),
    # copy_bytes(target, source, count)
    declare("copy_bytes", "", ("i8", "i8", "i8"), _copy_bytes),
    # call1(function, a) ... call4(function, a, b, c, d): int64 in, int64 out
    declare("call1", "i8", ("i8",) * 2, _call),
    declare("call2", "i8", ("i8",) * 3, _call),
    declare("call3", "i8", ("i8",) * 4, _call),
    declare("call4", "i8", ("i8",) * 5, _call),
    declare("bits_f4", "i4", ("f4",), _bits(_I32)),
    declare("bits_f8", "i8", ("f8",), _bits(_I64)),
    declare("f4_from_bits", "f4", ("i4",), _bits(_FLOATS["f4"])),
    declare("f8_from_bits", "f8", ("i8",), _bits(_FLOATS["f8"])),
    # flush_denormals() gives the old state, restore_denormals(state) puts it back
    declare("flush_denormals", "i8", (), _flush_denormals),
    declare("restore_denormals", "", ("i8",), _control),
]

STANDARD_NAMES: Mapping[str, object] = {
    "math": math, "f4": np.float32, "f8": np.float64,
    "i4": np.int32, "i8": np.int64, "u8": np.uintp,
    **{item.__name__: item for item in _DECLARED},
}  # fmt: skip
