"""A kernel's Python source to object code: Numba's compiler, and our back end.

A dispatcher of Numba's (`dispatcher`) makes LLVM IR. Numba itself would optimise it twice,
generate code in its own engine, and end the process if a symbol is not known there. Here the LLVM
IR goes through `toolchain.llvm_backend` once; the code never enters Numba's engine.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import CPUDispatcher

from staticflow.native.toolchain.dispatcher import CallingDispatcher, KernelDispatcher
from staticflow.native.toolchain.intrinsics import STANDARD_NAMES
from staticflow.native.toolchain.llvm_backend import compile_module, parsed
from staticflow.native.toolchain.numba_types import numba_signature
from staticflow.native.toolchain.objects import KernelSource, ObjectCode

# A longer text in LLVM IR is the driver of a very large program: thousands of calls, one after the
# other. To keep its variables in registers takes a time that grows with the square of its length
# (3.2 s for 1000 kernels), gains nothing beside the calls, and is left out (then 1.2 s).
LONG = 8000  # lines


class Lowered(NamedTuple):
    """A kernel between Numba and our back end."""

    symbol: str
    text: str  # LLVM IR
    linked: list[Any]  # LLVM modules of the jitted functions it calls


def compile_source(kernel: KernelSource, symbol: str) -> ObjectCode:
    """The object code of `kernel`, which defines the one C symbol `symbol`.

    The caller holds Numba's compiler lock.
    """
    with _no_garbage_collection():
        return _finish(_lowered(kernel, symbol))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Compiling makes so many objects that the collector would take a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _finish(lowered: Lowered) -> ObjectCode:
    with parsed(lowered.text) as (module, context):
        for other in lowered.linked:
            module.link_in(llvm.parse_bitcode(other.as_bitcode(), context))
        level = 3 if lowered.text.count("\n") <= LONG else 1
        return compile_module(module, [lowered.symbol], level)


def _lowered(kernel: KernelSource, symbol: str) -> Lowered:
    """Numba's way to LLVM IR."""
    function = _function(kernel)
    names = [function.__globals__.get(name) for name in function.__code__.co_names]
    general = any(isinstance(value, CPUDispatcher) or value is np for value in names)
    dispatcher = (CallingDispatcher if general else KernelDispatcher)(function, kernel)
    signature = numba_signature(kernel.signature)
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    library = result.library
    _add_c_function(result.target_context, library.module, result.fndesc, symbol, kernel)
    return Lowered(symbol, str(library.module), library.linked())


def _function(kernel: KernelSource) -> Any:
    names: dict[str, Any] = {**STANDARD_NAMES, **kernel.namespace()}
    # Numba gives each Python number a type of its own, and a variable one type
    words = {name: np.int64(n) for name, n in names.items() if type(n) is int}
    names |= words
    for name, external in kernel.externals.items():
        names[name] = types.ExternalFunction(external.symbol, numba_signature(external.signature))
    exec(compile(kernel.source, f"<staticflow kernel {kernel.name}>", "exec"), names)
    return names[kernel.name]


def _add_c_function(
    context: Any, module: Any, descriptor: Any, symbol: str, kernel: KernelSource
) -> None:
    """The C function around Numba's, which returns a status and its result through a pointer."""
    inner = module.globals[descriptor.llvm_func_name]
    inner.linkage = "internal"
    inner.attributes.add("alwaysinline")
    arguments = [context.get_value_type(type_) for type_ in descriptor.argtypes]
    result = context.get_value_type(descriptor.restype)
    has_result = bool(kernel.signature.result)
    c_type = ir.FunctionType(result if has_result else ir.VoidType(), arguments)
    outer = ir.Function(module, c_type, symbol)
    for argument in outer.args:
        if kernel.noalias and isinstance(argument.type, ir.PointerType):
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(outer.append_basic_block("entry"))
    status, value = context.call_conv.call_function(
        builder, inner, descriptor.restype, descriptor.argtypes, outer.args
    )
    if has_result:
        on_error = ir.Constant(result, kernel.error_result)
        builder.ret(builder.select(status.is_error, on_error, value))
    else:
        builder.ret_void()
