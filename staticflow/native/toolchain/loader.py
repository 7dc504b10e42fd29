"""Object code into the process: one MCJIT engine, and a table of the symbols it has defined; and
an ORC engine for code that can be unloaded.

Objects refer to each other by symbol name: each loaded symbol is registered with LLVM. LLVM ends
the process when it meets a name it does not know, so every name an object needs is looked up
before the object is handed over. Numba is not imported unless an object needs its run time.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import llvmlite.binding as llvm

from staticflow.native.toolchain.numba_import import import_numba
from staticflow.native.toolchain.objects import ObjectCode, wanted
from staticflow.native.toolchain.target import initialize, target_machine

# How much an engine that can unload is given before another takes its place. LLVM keeps some 8 kB
# of each library that is gone, until its engine goes, which is with the last library of it.
UNITS_AN_ENGINE = 16


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
        self._units: Any = None  # LLVM's other engine, which can unload
        self._count = 0
        self._gone: deque[Any] = deque()

    def load(self, entry: ObjectCode) -> Mapping[str, int]:
        """The addresses of the object's symbols. Loading it again changes nothing."""
        with process_lock():
            if self._engine is None:  # with it, LLVM's table has the symbols of the process
                self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        _require(entry.requires)
        with process_lock():
            if not all(symbol in self._addresses for symbol in entry.symbols):
                self._add(entry)
            return {symbol: self._addresses[symbol] for symbol in entry.symbols}

    def _add(self, entry: ObjectCode) -> None:
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(entry.code))
        self._engine.finalize_object()
        for symbol in entry.symbols:
            address = self._engine.get_function_address(symbol)
            llvm.add_symbol(symbol, address)
            self._addresses[symbol] = address

    def link(
        self, entries: Sequence[ObjectCode], known: Mapping[str, int]
    ) -> tuple[Any, dict[str, int]]:
        """Load objects that can be unloaded: what does it when it goes, and their symbols.

        They may refer to each other, to the symbols that are `known`, and to those that last.
        """
        outside = wanted(entries)
        # What this loader has defined comes first: LLVM's own table may have another loader's.
        tables = (self._addresses, known)
        known = {s: a for table in tables for s, a in table.items() if s in outside}
        others = outside - known.keys()
        _require(tuple(others))
        builder = llvm.JITLibraryBuilder()
        for symbol in others:
            builder.import_symbol(symbol, llvm.address_of_symbol(symbol))
        for symbol, address in known.items():
            builder.import_symbol(symbol, address)
        for entry in entries:
            builder.add_object_img(entry.code)
        symbols = [symbol for entry in entries for symbol in entry.symbols]
        for symbol in symbols:
            builder.export_symbol(symbol)
        with process_lock():
            while self._gone:
                self._gone.popleft().close()
            tracker = builder.link(self._engine_for_unit(), f"unit{self._count}")
        return tracker, {symbol: tracker[symbol] for symbol in symbols}

    def _engine_for_unit(self) -> Any:
        if self._units is None or self._count == UNITS_AN_ENGINE:
            initialize()
            if self._units is not None:
                self._units.close()  # its libraries keep what they need of it
            self._units, self._count = llvm.create_lljit_compiler(), 0
        self._count += 1
        return self._units

    def unload(self, tracker: Any) -> None:
        """Unload code when something is linked next: this may be called from anywhere."""
        self._gone.append(tracker)


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
