"""LLVM IR to object code: optimise for this machine once, generate code once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi, newpassmanagers

from staticflow.native.toolchain.objects import ObjectCode
from staticflow.native.toolchain.target import target_machine


def compile_ir(text: str) -> ObjectCode:
    """The object code of one module; its external functions are the object's symbols."""
    with parsed(text) as (module, _):
        exported = [
            function.name
            for function in module.functions
            if not function.is_declaration and function.linkage == llvm.Linkage.external
        ]
        return compile_module(module, exported)


@contextlib.contextmanager
def parsed(text: str) -> Iterator[tuple[Any, Any]]:
    """A module and its context, which is its own and takes with it what LLVM remembers of modules.

    Both are given back here, in this order: a garbage collector might choose the other one.
    """
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(text, context)
        try:
            yield module, context
        finally:
            module.close()
    finally:
        context.close()


def compile_module(module: Any, exported: Iterable[str], level: int = 3) -> ObjectCode:
    """Optimise and emit a module. Whatever is not exported becomes internal to the object.

    Below `level` 3, nothing is optimised.
    """
    machine = _machine(level)
    symbols = tuple(exported)
    module.triple = machine.triple
    module.data_layout = _data_layout()
    _internalise(module, set(symbols))
    module.verify()
    if level == 3:
        _optimise(module, machine)
    requires = tuple(f.name for f in module.functions if _is_undefined(f))
    return ObjectCode(symbols, requires, machine.emit_object(module))


def _internalise(module: Any, exported: set[str]) -> None:
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in exported:
            value.linkage = llvm.Linkage.internal


def _optimise(module: Any, machine: Any) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    # llvmlite 0.50 gives no pass manager back: of its class's two bases, the one whose `_dispose`
    # does nothing comes first (some 95 kB a module).
    if type(manager)._dispose is ffi.ObjectRef._dispose:
        newpassmanagers.NewPassManager._dispose(manager)


def _is_undefined(function: Any) -> bool:
    return bool(function.is_declaration) and not function.name.startswith("llvm.")


@functools.cache
def _machine(level: int = 3) -> Any:
    return target_machine(level)


@functools.cache
def _data_layout() -> str:
    return str(_machine().target_data)
