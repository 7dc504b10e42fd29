"""A kernel's Python source to object code, by a front end of ours or Numba's, and our back end.

`source_translate` takes what is generated here; Numba's type inference and its lowering take what
calls jitted functions, or uses anything else of Python. Numba's compiler would run some twenty
passes that raw-pointer loops have no use for, optimise twice, generate code in its own engine, and
end the process if a symbol is not known there. Here the LLVM IR goes through `llvm_compile` once;
the code never enters Numba's engine.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import bytecode, compiler, cpu_options, funcdesc, lowering, types
from numba.core import typed_passes as typed
from numba.core import untyped_passes as untyped
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.runtime import rtsys
from numba.core.targetconfig import ConfigStack

from staticflow.native.intrinsics import STANDARD_NAMES
from staticflow.native.llvm_compile import compile_module, parsed
from staticflow.native.numba_types import (
    BoolPointer,
    load_bool,
    numba_signature,
    numba_type,
    store_bool,
)
from staticflow.native.objects import KernelSource, ObjectCode
from staticflow.native.source_translate import translate
from staticflow.native.source_values import Untranslatable

# A longer text in LLVM IR is the driver of a very large program: thousands of calls, one after the
# other. To keep its variables in registers takes a time that grows with the square of its length
# (3.2 s for 1000 kernels), gains nothing beside the calls, and is left out (then 1.2 s).
LONG = 8000  # lines


class Lowered(NamedTuple):
    """A kernel between the front end and the back end."""

    symbol: str
    text: str  # LLVM IR
    linked: list[Any]  # LLVM modules of the jitted functions it calls
    inline_ir: tuple[str, ...]


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
        for text in lowered.inline_ir:
            module.link_in(llvm.parse_assembly(text, context))
        level = 3 if lowered.text.count("\n") <= LONG else 1
        return compile_module(module, [lowered.symbol], level)


def _lowered(kernel: KernelSource, symbol: str) -> Lowered:
    function = _function(kernel)
    names = [function.__globals__.get(name) for name in function.__code__.co_names]
    if not any(isinstance(value, CPUDispatcher) for value in names):
        with contextlib.suppress(Untranslatable):
            text = translate(kernel, symbol, function.__globals__ | kernel.externals)
            return Lowered(symbol, text, [], kernel.inline_ir)
    return _lower(kernel, function, symbol)


def _contexts() -> tuple[Any, Any]:
    """Numba's contexts of typing and lowering, with all that is declared by now.

    To fill them takes 0.3 s once in a process.
    """
    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    target_context.refresh()
    _add_bool_pointers(target_context)
    return typing_context, target_context


@functools.cache
def _add_bool_pointers(target_context: Any) -> None:
    target_context.insert_func_defn(
        [
            (load_bool, operator.getitem, (BoolPointer, types.Integer)),
            (store_bool, operator.setitem, (BoolPointer, types.Integer, types.Any)),
        ]
    )


class _Library:
    """Stands in for Numba's code library: it keeps the IR instead of compiling it."""

    def __init__(self, codegen: Any) -> None:
        self.codegen = codegen
        self.name = "staticflow"
        self.module: Any = None
        self._linked: dict[Any, None] = {}

    def create_ir_module(self, name: str) -> Any:
        return self.codegen._create_empty_module(name)

    def add_ir_module(self, module: Any) -> None:
        self.module = module

    def add_linking_library(self, library: Any) -> None:
        self._linked[library] = None

    def linked(self) -> list[Any]:
        """The modules of jitted functions that the kernel calls."""
        runtime = rtsys.library if rtsys._init else None  # reference counting
        libraries = [library for library in self._linked if library is not runtime]
        if libraries and runtime is not None:
            libraries.append(runtime)
        return [library._get_module_for_linking().clone() for library in libraries]


def _lower(kernel: KernelSource, function: Any, symbol: str) -> Lowered:
    """Numba's way to LLVM IR."""
    flags = _flags(kernel)
    state = _state(kernel, function, flags)
    library = _Library(state.targetctx.codegen())
    with ConfigStack().enter(flags.copy()):
        untyped.ExtractByteCode().run_pass(state)
        untyped.TranslateByteCode().run_pass(state)
        untyped.FixupArgs().run_pass(state)
        untyped.IRProcessing().run_pass(state)
        untyped.ReconstructSSA().run_pass(state)
        with ConfigStack().enter(_numbas_flags()):  # jitted functions that are called inherit them
            typed.NopythonTypeInference().run_pass(state)
        typed.PreLowerStripPhis().run_pass(state)
        typed.IRLegalization().run_pass(state)
        descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes,
            mangler=state.targetctx.mangler, inline=False, noalias=kernel.noalias, abi_tags=(),
        )  # fmt: skip
        with state.targetctx.push_code_library(library):
            lowering.Lower(state.targetctx, library, descriptor, state.func_ir).lower()
    _add_c_function(state.targetctx, library.module, descriptor, symbol, kernel)
    return Lowered(symbol, str(library.module), library.linked(), kernel.inline_ir)


def _flags(kernel: KernelSource) -> Any:
    flags = compiler.Flags()
    flags.noalias = kernel.noalias
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.nrt = True
    flags.error_model = "numpy"
    if kernel.fastmath:
        flags.fastmath = cpu_options.FastMathOptions(set(kernel.fastmath))
    return flags


def _numbas_flags() -> Any:
    flags = compiler.Flags()
    flags.nrt = True
    return flags


def _state(kernel: KernelSource, function: Any, flags: Any) -> Any:
    typing_context, target_context = _contexts()
    state = compiler.StateDict()
    state.typingctx = typing_context
    state.targetctx = compiler._make_subtarget(target_context, flags)
    state.args = tuple(numba_type(code) for code in kernel.signature.arguments)
    state.return_type = numba_type(kernel.signature.result)
    state.flags = flags
    state.locals = {}
    state.library = None
    state.status = compiler._CompileStatus(can_fallback=False)
    state.metadata = {}
    state.lifted = ()
    state.func_ir = None
    state.func_id = bytecode.FunctionIdentity.from_function(function)
    return state


def _function(kernel: KernelSource) -> Any:
    names: dict[str, Any] = {**STANDARD_NAMES, **kernel.namespace()}
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
