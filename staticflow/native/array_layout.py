"""The tables behind a call on arrays: Python fills them, the functions of `array_call` read them.

Every entry is a word of 8 bytes.
"""

from enum import IntEnum

MAX_INPUTS = 16


class Owner(IntEnum):
    """What does not depend on sizes."""

    NONE = 0  # addresses of Python objects: None, the type dict, the type of arrays
    DICT = 1
    ARRAY = 2
    EMPTY = 3  # address of PyArray_Empty
    INPUT_COUNT = 4
    INPUTS = 5  # address of an `Input` for each
    OUTPUT_COUNT = 6
    BOUNDS = 7  # address of the number of `Bound` tables and their addresses, the latest first
    WORK = 8  # i64 work(i64 bound, i64 worker)
    TUPLE = 9  # address of the type tuple
    GIVEN = 10  # the arrays of this call, MAX_INPUTS words
    WORDS = 26


class Input(IntEnum):
    """An input: the keys it goes by, and what its array must be."""

    NAME = 0
    NODE = 1
    DTYPE = 2
    RANK = 3
    WORDS = 4


class Bound(IntEnum):
    """The tables for one set of sizes."""

    BUSY = 0
    DIMS = 1  # address of the shapes of all inputs, one after the other
    SHAPES = 2  # address of an `Output` for each
    STEP = 3  # i64 step(i64 T, i64 S)
    WORKERS = 4  # address of a `Worker` for each thread
    SLOTS = 5  # address of (entry of T or -1, row bytes) for each input, then for each output
    KEEP_GIL = 6
    CREW = 7  # 0: the caller does it alone
    ROWS = 8
    PIECE = 9  # rows of a piece
    NANOSECONDS = 10  # estimated
    RESULT = 11
    INPUT_COUNT = 12
    ARRAY_COUNT = 13  # inputs and outputs
    PATIENCE = 14  # how often to look whether helpers are done before giving way
    NEXT = 32  # the first row that nobody has taken, on a line of its own
    HELD = 48  # the arrays of the call under way, as many as there are


class Output(IntEnum):
    """A result: what its array will be."""

    DTYPE = 0
    RANK = 1
    DIMS = 2
    WORDS = 3


class Worker(IntEnum):
    """The tables of a thread, for whole pieces and for the last one."""

    T = 0
    S = 1
    LAST_T = 2
    LAST_S = 3
    WORDS = 4
