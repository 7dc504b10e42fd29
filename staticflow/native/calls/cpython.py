"""What a call on arrays needs to know of CPython's and NumPy's C side; `supported` tries it out.

    array    count, type, data, rank (32 bits), dims, strides, base, dtype, flags (32 bits)

That holds in NumPy 2 and in every 64-bit CPython with a GIL, where an object begins with two words.
The word with the count of references is left to `Py_IncRef` and `Py_DecRef`, which know of immortal
objects. CPython's functions are called by name, NumPy's by their place in its table.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

EMPTY_ENTRY = 184  # of PyArray_Empty in NumPy's table of C functions
DEFAULT_HANDLER_ENTRY = 306  # of PyDataMem_DefaultHandler
HANDLER_NAME = b"mem_handler"  # of capsules with a memory handler
PLAIN_FLAGS = 0x101  # C order, aligned
_ONE_ARGUMENT = 0x8  # METH_O


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


class PythonCall:
    """A C function `f(self, argument)` as a Python callable with a given `self`."""

    def __init__(self, address: int, owner: Any) -> None:
        self._definition = _MethodDef(b"run", address, _ONE_ARGUMENT, None)
        self.function = _maker()(ctypes.addressof(self._definition), owner, None)


@functools.cache
def _maker() -> Any:
    """CPython's own maker of such callables."""
    address_type, object_type = ctypes.c_void_p, ctypes.py_object
    kind = ctypes.PYFUNCTYPE(object_type, address_type, object_type, address_type)
    return kind(("PyCFunction_NewEx", ctypes.pythonapi))


@functools.cache
def numpy_function(entry: int) -> int:
    """The address at a place in NumPy's table of C functions; 0 where there is no table."""
    try:
        table = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return 0
    return int(ctypes.cast(_pointer_in(table, None), ctypes.POINTER(ctypes.c_void_p))[entry] or 0)


def _pointer_in(capsule: Any, name: bytes | None) -> int:
    """What a capsule holds."""
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return int(get(capsule, name))


def empty_address() -> int:
    """The address of PyArray_Empty; 0 where it cannot be found."""
    return numpy_function(EMPTY_ENTRY)


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler, version 1 (NEP 49)."""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8),
        ("functions", ctypes.c_int64 * 5),
    )  # fmt: skip


class Handler:
    """A memory handler for NumPy, for as long as the process lives."""

    def __init__(self, name: str, functions: Sequence[int]) -> None:
        self._memory = _Handler(name.encode(), 1)
        self.set_functions(functions)
        new = ctypes.PYFUNCTYPE(
            ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
        )(("PyCapsule_New", ctypes.pythonapi))
        capsule = new(ctypes.addressof(self._memory), HANDLER_NAME, None)
        # Arrays that are given memory by it may be the last that is left of the process.
        for kept in (self._memory, capsule):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
        self.object_address = id(capsule)

    def set_functions(self, functions: Sequence[int]) -> None:
        """Put others in the place of a word to hand on, malloc, calloc, realloc and free."""
        self._memory.functions[:] = list(functions)


def default_handler() -> list[int] | None:
    """NumPy's own handler: the word to hand on, malloc, calloc, realloc, free; None without one."""
    variable = numpy_function(DEFAULT_HANDLER_ENTRY)
    if not variable:
        return None
    capsule = ctypes.cast(variable, ctypes.POINTER(ctypes.py_object))[0]
    found = _Handler.from_address(_pointer_in(capsule, HANDLER_NAME))
    return list(found.functions) if found.version == 1 else None


@functools.cache
def supported() -> bool:
    """Whether this Python and this NumPy are as `calls.arrays` expects them."""
    if sys.implementation.name != "cpython" or sys.maxsize < 1 << 32 or not empty_address():
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    return _reads_arrays() and _makes_arrays()


def _reads_arrays() -> bool:
    array = np.zeros((3, 5), np.float32)
    seen = (ctypes.c_int64 * 8).from_address(id(array))
    rank, flags = (ctypes.c_int32.from_address(id(array) + at).value for at in (24, 64))
    if (seen[1], seen[2], rank) != (id(np.ndarray), array.ctypes.data, 2):
        return False
    if seen[7] != id(array.dtype) or (flags & PLAIN_FLAGS) != PLAIN_FLAGS:
        return False
    return list((ctypes.c_int64 * 2).from_address(seen[4])) == [3, 5]


def _makes_arrays() -> bool:
    kind = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.py_object, ctypes.c_int
    )
    dims, dtype = (ctypes.c_int64 * 2)(3, 5), np.dtype(np.float32)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))
    made = kind(empty_address())(2, ctypes.addressof(dims), dtype, 0)
    return type(made) is np.ndarray and (made.shape, made.dtype) == ((3, 5), dtype)
