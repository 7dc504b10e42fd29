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
from typing import Any

import numpy as np

EMPTY_ENTRY = 184  # of PyArray_Empty in NumPy's table of C functions
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
def empty_address() -> int:
    """The address of PyArray_Empty; 0 where it cannot be found."""
    try:
        table = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return 0
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    functions = ctypes.cast(get(table, None), ctypes.POINTER(ctypes.c_void_p))
    return int(functions[EMPTY_ENTRY] or 0)


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
