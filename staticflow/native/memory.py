"""All memory that native code reads or writes and that is made for it.

Arenas, tables, parameters, gradients, gathered rows, scratch of products and results come from the
functions here, and all of these from `allocate`: in tests another one stands in its place, which
puts every array between pages that nobody may touch. Only jitted entries (`reentrant`) get memory
in another way: they call `ALLOCATE` and `FREE` by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Words = NDArray[np.int64]
LINE = 64  # bytes: a cache line, and the widest vector
LINES = 2 * LINE  # for what threads write: processors fetch lines in pairs
CORE_CACHE_BYTES = 1 << 20  # what a core's own cache holds of intermediate values
ALLOCATE, FREE = "malloc", "free"  # C functions


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], alignment: int) -> Array:
    """An array of unspecified values.

    With an `alignment` of more than 1 byte it starts at a multiple of it, and no other memory
    begins before the next multiple behind it.
    """
    if alignment == 1:
        return np.empty(shape, dtype)
    size = prod(shape) * dtype.itemsize
    raw = np.empty(-(-size // alignment) * alignment + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def lend(array: Array) -> Array:
    """An array that exists, as native code may read it for as long as the result lives."""
    return array


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of unspecified values, as `np.empty` makes it."""
    return allocate(shape, np.dtype(dtype), 1)


def zeros(shape: tuple[int, ...], dtype: DTypeLike, alignment: int = 1) -> Array:
    """An array of zeros."""
    array = allocate(shape, np.dtype(dtype), alignment)
    array[...] = 0
    return array


def filled(values: Any, dtype: DTypeLike) -> Array:
    """A new array of the given values."""
    given = np.asarray(values, dtype)
    array = empty(given.shape, dtype)
    array[...] = given
    return array


def aligned(count: int) -> NDArray[np.uint8]:
    """Bytes of unspecified values that start at a cache line."""
    return allocate((count,), np.dtype(np.uint8), LINE)


def words(count: int) -> Words:
    """Zeroed int64 words that share no cache line with other tables."""
    return zeros((count,), np.int64, LINES)


def records(rows: Iterable[Sequence[int]]) -> Words:
    """Records of equal width, one after the other."""
    return words_of(value for row in rows for value in row)


def words_of(values: Iterable[int]) -> Words:
    """Words of the given values."""
    given = list(values)
    result = words(len(given))
    result[:] = given
    return result
