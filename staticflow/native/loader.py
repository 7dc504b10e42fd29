"""Object code into the process: one MCJIT engine, and a table of the symbols it has defined.

Objects refer to each other by symbol name: each loaded symbol is registered with LLVM. LLVM ends
the process when it meets a name it does not know, so every name an object needs is looked up
before the object is handed over. Numba is not imported unless an object needs its run time.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

import llvmlite.binding as llvm

from staticflow.native.numba_import import import_numba
from staticflow.native.objects import ObjectCode
from staticflow.native.target import target_machine


@functools.cache
def process_lock() -> threading.RLock:
    """The lock around LLVM. A fork waits for it, so that the child never inherits it held."""
    lock = threading.RLock()
    held: list[Any] = []

    def before() -> None:
        compiler = sys.modules.get("numba.core.compiler_lock")
        # Numba's lock first, as when we compile: its owner may be about to ask for ours
        locks = ([compiler.global_compiler_lock] if compiler is not None else []) + [lock]
        for each in locks:
            each.acquire()
        held.extend(locks)

    def after() -> None:
        while held:
            held.pop().release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
    return lock


class Loader:
    """Loads objects; each symbol has one definition in the process."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._addresses: dict[str, int] = {}

    def load(self, entry: ObjectCode) -> Mapping[str, int]:
        """The addresses of the object's symbols. Loading it again changes nothing."""
        _require(entry.requires)
        with process_lock():
            if not all(symbol in self._addresses for symbol in entry.symbols):
                self._add(entry)
            return {symbol: self._addresses[symbol] for symbol in entry.symbols}

    def _add(self, entry: ObjectCode) -> None:
        if self._engine is None:
            self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(entry.code))
        self._engine.finalize_object()
        for symbol in entry.symbols:
            address = self._engine.get_function_address(symbol)
            llvm.add_symbol(symbol, address)
            self._addresses[symbol] = address


def _require(symbols: tuple[str, ...]) -> None:
    missing = [symbol for symbol in symbols if not llvm.address_of_symbol(symbol)]
    if missing:
        _register_numba_runtime()
        missing = [symbol for symbol in missing if not llvm.address_of_symbol(symbol)]
    if missing:
        raise RuntimeError(f"compiled code refers to unknown functions: {', '.join(missing)}")


def _register_numba_runtime() -> None:
    """Objects that hold jitted functions of the user may call Numba's own C functions."""
    import_numba()
    from numba.core.registry import cpu_target

    cpu_target.target_context.refresh()
