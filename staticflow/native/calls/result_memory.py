"""Memory of large results, kept for the next ones when an array dies: it is mapped already.

Pages that a process touches for the first time cost more than most kernels that fill them. So
large results are made with a memory handler of NumPy's (NEP 49): an array's memory goes to a pool
when the array and all of its views are gone, and the next result of the same size gets it. What the
pool does not have comes from NumPy's own handler, and what it has no room for goes back there: to
NumPy, every block is one of its own, and from the end of the process on they are.
"""

from __future__ import annotations

import atexit
import functools
from enum import IntEnum
from typing import NamedTuple

from staticflow.native.calls import cpython as python_call
from staticflow.native.memory import Words, words
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import toolchain
from staticflow.native.toolchain.word_function import called, of_words, word_function

LEAST_BYTES = 1 << 16  # of a result that the pool is asked for
MOST_BYTES = 1 << 27  # of all blocks in the pool
MOST_BLOCKS = 16
SET_HANDLER = 304  # the place of PyDataMem_SetHandler in NumPy's table


class Pool(IntEnum):
    """The words of the pool's table; blocks stand in it oldest first."""

    LOCK = 0
    COUNT = 1
    BYTES = 2  # of all blocks
    DEFAULT = 3  # NumPy's own handler: its word to hand on, and its functions
    DEFAULT_MALLOC = 4
    DEFAULT_CALLOC = 5
    DEFAULT_REALLOC = 6
    DEFAULT_FREE = 7
    HANDLER = 8  # address of the handler, as an object of Python's
    SET_HANDLER = 9  # address of PyDataMem_SetHandler
    EMPTY = 10  # address of PyArray_Empty
    BLOCKS = 16  # address and bytes of each
    WORDS = BLOCKS + 2 * MOST_BLOCKS


TAKE = '''
def take(pool, size):
    """Memory of so many bytes: the block of this size that was given back last, or new."""
    p = i8ptr(pool)
    if size >= LEAST_BYTES and swap_if_zero(pool + 8 * POOL_LOCK, 1) == 0:
        k = p[POOL_COUNT] - 1
        while k >= 0 and p[POOL_BLOCKS + 2 * k + 1] != size:
            k -= 1
        address = 0
        if k >= 0:
            address = p[POOL_BLOCKS + 2 * k]
            drop(pool, k)
        store_release(pool + 8 * POOL_LOCK, 0)
        if address != 0:
            return address
    return call2(p[POOL_DEFAULT_MALLOC], p[POOL_DEFAULT], size)
'''

DROP = '''
def drop(pool, k):
    """Take a block off the list."""
    p = i8ptr(pool)
    p[POOL_BYTES] -= p[POOL_BLOCKS + 2 * k + 1]
    for i in range(2 * k, 2 * p[POOL_COUNT] - 2):
        p[POOL_BLOCKS + i] = p[POOL_BLOCKS + i + 2]
    p[POOL_COUNT] -= 1
    return 0
'''

GIVE = '''
def give(pool, address, size):
    """Keep a block for a later result; older ones go where there is no room for all."""
    p = i8ptr(pool)
    kept = size >= LEAST_BYTES and size <= MOST_BYTES
    if kept and swap_if_zero(pool + 8 * POOL_LOCK, 1) == 0:
        while p[POOL_COUNT] == MOST_BLOCKS or p[POOL_BYTES] + size > MOST_BYTES:
            oldest = p[POOL_BLOCKS]
            bytes = p[POOL_BLOCKS + 1]
            drop(pool, 0)
            call3(p[POOL_DEFAULT_FREE], p[POOL_DEFAULT], oldest, bytes)
        p[POOL_BLOCKS + 2 * p[POOL_COUNT]] = address
        p[POOL_BLOCKS + 2 * p[POOL_COUNT] + 1] = size
        p[POOL_COUNT] += 1
        p[POOL_BYTES] += size
        store_release(pool + 8 * POOL_LOCK, 0)
        return 0
    call3(p[POOL_DEFAULT_FREE], p[POOL_DEFAULT], address, size)
    return 0
'''

CALLOC = '''
def zeroed(pool, count, size):
    """New memory, of zeros."""
    p = i8ptr(pool)
    return call3(p[POOL_DEFAULT_CALLOC], p[POOL_DEFAULT], count, size)
'''

REALLOC = '''
def resized(pool, address, size):
    """Memory of another size, with what was in it."""
    p = i8ptr(pool)
    return call3(p[POOL_DEFAULT_REALLOC], p[POOL_DEFAULT], address, size)
'''

LARGE = '''
def large(pool, rank, dims, dtype):
    """PyArray_Empty with the pool's memory; 0 with an exception set."""
    p = i8ptr(pool)
    before = call1(p[POOL_SET_HANDLER], p[POOL_HANDLER])
    if before == 0:
        Py_DecRef(dtype)
        return 0
    array = call4(p[POOL_EMPTY], rank, dims, dtype, 0)
    own = call1(p[POOL_SET_HANDLER], before)
    Py_DecRef(before)
    if own == 0:
        if array != 0:
            Py_DecRef(array)
        return 0
    Py_DecRef(own)
    return array
'''

_PYTHON = {"Py_DecRef": Signature("", ("i8",))}


class ResultMemory(NamedTuple):
    """What makes large results."""

    large: int  # address of `large`, or 0 where NumPy's handlers are not to be had
    table: Words  # its first argument


@functools.cache
def result_memory() -> ResultMemory:
    """The pool of the process."""
    table = words(Pool.WORDS)
    default = python_call.default_handler()
    if default is None:
        return ResultMemory(0, table)
    table[Pool.DEFAULT : Pool.DEFAULT_FREE + 1] = default
    drop = _function("drop", DROP, 2).external
    functions = [
        _function("take", TAKE, 2, drop=drop),
        _function("zeroed", CALLOC, 3),
        _function("resized", REALLOC, 3),
        _function("give", GIVE, 3, drop=drop),
    ]
    own = [int(table.ctypes.data), *(function.address for function in functions)]
    handler = python_call.Handler("staticflow", own)
    # Arrays may outlive this module and its code.
    atexit.register(handler.set_functions, default)
    table[Pool.HANDLER] = handler.object_address
    table[Pool.SET_HANDLER] = python_call.numpy_function(SET_HANDLER)
    table[Pool.EMPTY] = python_call.empty_address()
    return ResultMemory(_function("large", LARGE, 4).address, table)


def _function(name: str, source: str, arguments: int, **externals: External) -> NativeFunction:
    named = {f"POOL_{entry.name}": int(entry) for entry in Pool}
    sizes = {"LEAST_BYTES": LEAST_BYTES, "MOST_BYTES": MOST_BYTES, "MOST_BLOCKS": MOST_BLOCKS}
    used = {**called(source, _PYTHON), **externals}
    signature = of_words(arguments)
    return word_function(toolchain(), name, source, signature, {**named, **sizes}, used)
