"""The toolchain: from a kernel's source or LLVM IR to the address of machine code.

Every compiled thing is an object file with C symbols. It is looked for in memory, then on disk,
and compiled when neither has it; only then are Numba and the optimiser touched. A symbol's name
ends with the hash of everything that shaped the code behind it, so that two objects never clash and
one that calls another by name can never meet a stale one.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from staticflow.native.toolchain import disk_cache as cache
from staticflow.native.toolchain.linked import Linked, when_gone
from staticflow.native.toolchain.loader import Loader, process_lock
from staticflow.native.toolchain.numba_import import import_numba
from staticflow.native.toolchain.objects import KernelSource, NativeFunction, ObjectCode, wanted
from staticflow.native.toolchain.undisturbed import undisturbed

RECENT_BYTES = 1 << 22  # of some hundred programs
_Build: TypeAlias = Callable[[], ObjectCode]
_Lock: TypeAlias = Callable[[], AbstractContextManager[Any]]


@dataclass
class Counts:
    """What a toolchain has done so far; tests and `explain` read it."""

    compiled: int = 0
    loaded: int = 0


class Toolchain:
    """Compiles, caches and loads; one per process is enough, and safe to use from any thread.

    `cache_dir` is where objects are kept; None means the user's cache directory. A directory that
    cannot be used, or is not only ours, is not used, and everything works without it.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        self.store = cache.Store(cache.default_directory() if cache_dir is None else cache_dir)
        self.counts = Counts()
        self._loader = Loader()
        self.linked: weakref.WeakValueDictionary[str, Linked] = weakref.WeakValueDictionary()
        # What is compiled from graphs, by their structure, as long as somebody has it.
        self.programs: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._objects = _Recent()
        self.library: dict[Callable[..., Any], Any] = {}  # see `once`
        self._functions: dict[str, NativeFunction] = {}
        self._modules: dict[str, Mapping[str, int]] = {}

    def kernel(self, source: KernelSource) -> NativeFunction:
        """The compiled function of one kernel."""
        key, symbol = self.named(source)
        function = self._functions.get(key)
        if function is None:
            addresses = self._load(key, _numba_lock, lambda: _compile_kernel(source, symbol))
            function = NativeFunction(symbol, addresses[symbol], source.signature)
            self._functions[key] = function
        return function

    def module(self, ir_text: Callable[[], str], key: Sequence[str]) -> Mapping[str, int]:
        """The addresses of the external functions of a module of LLVM IR.

        `key` stands for the text: the same key must always mean the same text. The functions' names
        must be unique in the process: let them end with `symbol_suffix(key)`.
        """
        entry_key = cache.entry_key(["module", *key])
        addresses = self._modules.get(entry_key)
        if addresses is None:
            addresses = self._load(entry_key, process_lock, lambda: _compile_ir(ir_text()))
            self._modules[entry_key] = addresses
        return addresses

    @staticmethod
    def named(source: KernelSource) -> tuple[str, str]:
        """The key of a kernel, and the symbol of its function."""
        key = cache.entry_key(source.key_parts())
        return key, f"{source.name}_{key[:24]}"

    @staticmethod
    def module_key(key: Sequence[str]) -> str:
        """The key under which the object of a module is kept."""
        return cache.entry_key(["module", *key])

    def compiled_kernel(self, source: KernelSource) -> ObjectCode:
        """The object code of a kernel, not loaded."""
        key, symbol = self.named(source)
        return self._compiled(key, _numba_lock, lambda: _compile_kernel(source, symbol))

    def compiled_module(self, ir_text: Callable[[], str], key: Sequence[str]) -> ObjectCode:
        """The object code of a module, not loaded."""
        return self._compiled(self.module_key(key), process_lock, lambda: _compile_ir(ir_text()))

    def link(self, entries: Mapping[str, ObjectCode], uses: tuple[Linked, ...]) -> Linked:
        """Load objects, given by their keys, that go when nobody has what this gives any more."""
        objects = list(entries.values())
        needed = wanted(objects)
        elsewhere = {s: a for linked in uses for s, a in linked.addresses.items() if s in needed}
        tracker, addresses = undisturbed(lambda: self._loader.link(objects, elsewhere))
        linked = Linked(addresses, uses, needed, tracker)
        when_gone(linked, self._loader.unload)
        for key in entries:
            self.linked[key] = linked
        return linked

    def _compiled(self, key: str, lock: _Lock, build: _Build) -> ObjectCode:
        """An object. Ctrl-C comes before it is made, or after."""
        if self._known(key) is None and lock is _numba_lock:
            import_numba()  # which may be interrupted
        return undisturbed(lambda: self._object(key, lock, build))

    def _load(self, key: str, lock: _Lock, build: _Build) -> Mapping[str, int]:
        """The addresses of an object's symbols, loaded for good."""
        entry = self._compiled(key, lock, build)
        return undisturbed(lambda: self._loader.load(entry))

    def _known(self, key: str) -> ObjectCode | None:
        """From memory or from disk."""
        entry = self._objects.get(key)
        if entry is None:
            entry = self.store.read(key)
            if entry is not None:
                self.counts.loaded += 1
                self._objects.put(key, entry)
        return entry

    def _object(self, key: str, lock: _Lock, build: _Build) -> ObjectCode:
        """What is known, or built under `lock` and kept in memory and on disk."""
        entry = self._objects.get(key)
        if entry is None:
            with lock():
                entry = self._objects.get(key)  # another thread may have been faster
                if entry is None:
                    entry = build()
                    self.counts.compiled += 1
                    self._objects.put(key, entry)
                    self.store.write(key, entry)
        return entry


class _Recent:
    """The objects last used, up to some memory: the programs of a sweep come and go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, ObjectCode] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> ObjectCode | None:
        """The object under a key, if it is there."""
        return self._entries.get(key)

    def values(self) -> list[ObjectCode]:
        """Those that are there."""
        return list(self._entries.values())

    def put(self, key: str, entry: ObjectCode) -> None:
        """Remember an object as the last one used."""
        with self._lock:
            if key not in self._entries:
                self._bytes += len(entry.code)
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while self._bytes > RECENT_BYTES:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= len(oldest.code)


def symbol_suffix(key: Sequence[str]) -> str:
    """What the symbols of `Toolchain.module(..., key)` end with, so that they are unique."""
    return cache.entry_key(["module", *key])[:24]


@contextlib.contextmanager
def _numba_lock() -> Iterator[None]:
    """Numba's lock, then ours. Always in this order: Numba may hold its own when it calls us."""
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock, process_lock():
        yield


def _compile_kernel(source: KernelSource, symbol: str) -> ObjectCode:
    from staticflow.native.toolchain.numba_frontend import (
        compile_source,  # costs an import of numba
    )

    return compile_source(source, symbol)


def _compile_ir(text: str) -> ObjectCode:
    from staticflow.native.toolchain.llvm_backend import compile_ir

    return compile_ir(text)


@functools.cache
def toolchain() -> Toolchain:
    """The process's toolchain, with the user's cache directory."""
    return Toolchain()
