"""Memory for native code between pages that nobody may touch.

    with guarded("end"):                    every array ends where such a page begins
        x = fed(np.ones((7, 3), "f4"))      an input of the same kind, which cannot be written to
        session.run("y", {"x": x})          one element too far: SIGSEGV

Within the context all of `staticflow.native.memory` comes from here, each temporary buffer of a
program by itself, and results too. "begin" puts arrays right behind a page instead. What is left
of an array's own pages holds a pattern, which is looked at when the array goes. Fresh memory holds
NaN (-1 as integers). Memory that has been given back cannot be touched for a long while either.
A case that may fail has to run in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import prod
from typing import Any, ClassVar
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.compiler.schedule.memory_plan import MemoryPlan
from staticflow.graph.dims import evaluate
from staticflow.native import memory
from staticflow.native.calls import cpython as python_call
from staticflow.native.calls.result_memory import ResultMemory
from staticflow.runtime import fast_call, reentrant
from staticflow.runtime.parameters import FlatArray
from staticflow.session import jit as embed
from staticflow.session.session import Session

Array = NDArray[Any]
PAGE = mmap.PAGESIZE
NOTHING, READ, WRITE = 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
FRESH, SPARE = 0xFF, 0xA5  # bytes of new memory, and of what is left of its pages
DONT_NEED = 4
QUARANTINE = 2000  # regions that have been given back, and stay inaccessible
_libc = ctypes.PyDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
for _name, _last in (("mprotect", ctypes.c_int), ("madvise", ctypes.c_int)):
    getattr(_libc, _name).argtypes = (ctypes.c_void_p, ctypes.c_size_t, _last)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

_gone: deque[tuple[int, int]] = deque()


class Pages:
    """Where guarded arrays lie, what is wrong with those that have gone, and their number."""

    def __init__(self, place: str) -> None:
        assert place in ("begin", "end")
        self.at_end = place == "end"
        self.damage: list[str] = []
        self.made = 0
        self._live: weakref.WeakSet[Region] = weakref.WeakSet()

    def region(self, size: int) -> Region:
        """Bytes of their own."""
        self.made += 1
        region = Region(self, size)
        self._live.add(region)
        return region

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of its own, of unspecified values."""
        return self.region(prod(shape) * dtype.itemsize).array(shape, dtype)

    def copy(self, array: Array, writable: bool = False) -> Array:
        """A copy, which can only be read unless it is `writable`."""
        region = self.region(array.nbytes)
        made = region.array(array.shape, array.dtype)
        made[...] = array
        if not writable:
            region.protect(READ)
            made.flags.writeable = False
        return made

    def hold(self, address: int) -> bool:
        """Whether an address is of an array's memory, or of memory that an array had lately."""
        live = [(region.address, region.size) for region in list(self._live)]
        return any(0 <= address - start <= size for start, size in (*live, *_gone))

    def check(self) -> None:
        """Raise if anything was written beside an array so far."""
        for region in list(self._live):
            region.check()
        found, self.damage = self.damage, []
        assert not found, "; ".join(found)

    def give_back(self, start: int, length: int) -> None:
        _libc.madvise(start, length, DONT_NEED)
        _libc.mprotect(start, length, NOTHING)
        _gone.append((start, length))
        while len(_gone) > QUARANTINE:
            _libc.munmap(*_gone.popleft())


class Region:
    """Some bytes between two pages."""

    def __init__(self, pages: Pages, size: int) -> None:
        self._pages, self.size = pages, size
        inner = -(-size // PAGE) * PAGE
        self._start, self._length = _map(inner + 2 * PAGE), inner + 2 * PAGE
        begin = self._start + PAGE
        self.address = begin + inner - size if pages.at_end else begin
        self._spare = (begin if pages.at_end else begin + size, inner - size)
        self.protect(WRITE)
        ctypes.memset(self._spare[0], SPARE, self._spare[1])
        ctypes.memset(self.address, FRESH, size)

    def protect(self, kind: int) -> None:
        """What may be done with the pages inside."""
        if self._length > 2 * PAGE:
            code = _libc.mprotect(self._start + PAGE, self._length - 2 * PAGE, kind)
            assert code == 0, "mprotect has failed"

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The bytes as an array that keeps the region."""
        self.__array_interface__ = {
            "shape": (self.size,), "typestr": "|u1", "data": (self.address, False), "version": 3,
        }  # fmt: skip
        return np.asarray(self).view(dtype).reshape(shape)

    def check(self) -> None:
        """Look at what is left of the pages."""
        if ctypes.string_at(*self._spare) != bytes([SPARE]) * self._spare[1]:
            self._pages.damage.append(f"written beside an array of {self.size} bytes")

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():  # the process, whose modules go in any order
            self.check()
            self._pages.give_back(self._start, self._length)


def _map(length: int) -> int:
    found = _libc.mmap(None, length, NOTHING, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if found is None or found == ctypes.c_void_p(-1).value:
        raise MemoryError("mmap has failed")
    return int(found)


_current: list[Pages] = []


def fed(value: Any, writable: bool = False) -> Array:
    """An array to be passed: within `guarded` between pages and read-only, elsewhere as it is."""
    array = np.asarray(value)
    return _current[-1].copy(array, writable) if _current else array


def between(flat: FlatArray) -> Array:
    """Which items of a flat array lie between its parameters."""
    free = np.ones(flat.size, bool)
    for span in flat.spans:
        free[span.start : span.start + span.count] = False
    return free


def spoil(session: Session) -> None:
    """Put NaN between the parameters, where within `guarded`; nothing may come of it."""
    for store in (session.params, session.states) if _current else ():
        for flat in store.flats.values():
            flat.data[between(flat)] = np.nan


@contextlib.contextmanager
def guarded(place: str) -> Iterator[Pages]:
    """All memory for native code between pages, at their "end" or "begin"."""
    pages = Pages(place)

    def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], alignment: int) -> Array:
        return pages.array(shape, dtype)

    def plan(
        self: MemoryPlan, sizes: Mapping[str, int], take: object = None
    ) -> tuple[Any, dict[int, int]]:
        parts = buffers(pages, self, sizes)
        return parts, {buffer: part.address for buffer, part in parts.items()}

    _current.append(pages)
    with contextlib.ExitStack() as stack:
        for owner, name, new in (
            (memory, "allocate", allocate),
            (memory, "lend", pages.copy),
            (MemoryPlan, "allocate", plan),
            (python_call, "empty_address", lambda: _empty_address()),
            (fast_call, "result_memory", lambda: ResultMemory(0, memory.words(1))),
            (reentrant, "ALLOCATE", _symbol("sf_test_allocate")),
            (reentrant, "FREE", _symbol("sf_test_free")),
            (embed, "Reentrant", Entry),
        ):
            stack.enter_context(mock.patch.object(owner, name, new))
        try:
            yield pages
        finally:
            _current.pop()
    pages.check()


def buffers(pages: Pages, plan: MemoryPlan, sizes: Mapping[str, int]) -> dict[int, Region]:
    """Memory of its own for each temporary buffer of a program."""
    return {buffer: pages.region(evaluate(n, sizes)) for buffer, n in plan.size_of.items()}


# -- results of native calls -----------------------------------------------------------------------

_MakeArray = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)


@_MakeArray
def _empty(rank: int, dims: int | None, dtype: int, fortran: int) -> Array:
    """In the place of PyArray_Empty, which takes over a reference to the dtype."""
    shape = tuple((ctypes.c_int64 * rank).from_address(dims)) if rank and dims else ()
    kind = ctypes.cast(dtype, ctypes.py_object).value
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(kind))
    return _current[-1].array(shape, kind) if _current else np.empty(shape, kind)


def _empty_address() -> int:
    return int(ctypes.cast(_empty, ctypes.c_void_p).value or 0)


# -- memory of jitted entries ----------------------------------------------------------------------

_regions: dict[int, Region] = {}
_Word = ctypes.c_int64


@ctypes.CFUNCTYPE(_Word, _Word)
def _allocate(size: int) -> int:
    """In the place of malloc: the entry asks for one line more than it needs, to align it."""
    assert (size - memory.LINE) % memory.LINE == 0
    region = _current[-1].region(size - memory.LINE)
    _regions[region.address] = region
    return region.address


@ctypes.CFUNCTYPE(None, _Word)
def _free(address: int) -> None:
    del _regions[address]


@cache
def _symbol(name: str) -> str:
    """Make one of the two known to LLVM by name."""
    function: Callable[..., Any] = {"sf_test_allocate": _allocate, "sf_test_free": _free}[name]
    llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    return name


class Entry(reentrant.Reentrant):
    """A jitted entry whose temporary buffers can be put between pages one by one."""

    all: ClassVar[list[Entry]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.own: list[Any] = []
        Entry.all.append(self)

    def part(self, pages: Pages) -> None:
        """Give each buffer memory of its own, in all blocks that calls have left."""
        compiled = self.program.compiled
        for record in self._records.reshape(-1, self.width):
            if not record[reentrant.BLOCK]:
                continue
            env = dict(zip(self.sizes, record[reentrant.SIZES :].tolist(), strict=False))
            parts = buffers(pages, compiled.memory, compiled.sized.sizes_by_name(env))
            self.own.append(parts)
            count = HEADER + len(compiled.assignment.buffers)
            table = (_Word * count).from_address(int(record[reentrant.BLOCK]))
            for buffer, part in parts.items():
                table[HEADER + buffer] = part.address


def part_entries() -> None:
    """The next calls of jitted functions, with sizes as before, have every buffer by itself."""
    if _current:
        for entry in Entry.all:
            entry.part(_current[-1])
