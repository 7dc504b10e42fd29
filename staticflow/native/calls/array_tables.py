"""The tables behind a call on arrays: Python fills them, the functions of `calls.arrays` read them.

Every entry is a word of 8 bytes.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum

MAX_INPUTS = 16
HASH_FACTOR = 1_000_003


def bounds_table(entries: Iterable[tuple[Sequence[int], int]]) -> list[int]:
    """A mask, and the addresses of `Bound` tables, each in the first free place from that of the
    hash of its sizes on; 0 ends a row of such places. Sizes that differ by one lie side by side.
    """
    listed = list(entries)
    mask = (1 << (2 * len(listed)).bit_length()) - 1
    table = [mask, *[0] * (mask + 1)]
    for sizes, address in listed:
        place = 0
        for size in sizes:
            place = place * HASH_FACTOR + size
        place &= mask
        while table[1 + place]:
            place = (place + 1) & mask
        table[1 + place] = address
    return table


class Owner(IntEnum):
    """What does not depend on sizes."""

    NONE = 0  # addresses of Python objects: None, the type dict, the type of arrays
    DICT = 1
    ARRAY = 2
    EMPTY = 3  # address of PyArray_Empty
    INPUT_COUNT = 4
    INPUTS = 5  # address of an `ArrayRecord` for each
    OUTPUT_COUNT = 6
    BOUNDS = 7  # address of a hash table of `Bound` tables, see `bounds_table`
    WORK = 8  # i64 work(i64 bound, i64 worker)
    TUPLE = 9  # address of the type tuple
    FAILED = 10  # address of a Python callable of the code of a custom op that failed; it raises
    WATCH = 11  # address of the `watch.Watch` of the process
    GATE = 12  # address of the session's `gate.Gate`, or 0
    LARGE = 13  # address of `result_memory.large`
    MEMORY = 14  # and its table
    WORDS = 16


class ArrayRecord(IntEnum):
    """An input: the keys it goes by, and what its array must be."""

    NAME = 0
    NODE = 1
    DTYPE = 2
    RANK = 3
    WORDS = 4


class Bound(IntEnum):
    """The tables for one set of sizes."""

    CONTEXT = 0  # address of the word that says that its memory is in use
    DIMS = 1  # address of the shapes of all inputs, one after the other
    SHAPES = 2  # address of an `Output` for each
    STEP = 3  # i64 step(i64 T, i64 S)
    WORKERS = 4  # address of a `Worker` for each thread
    ENTRIES = 5  # address of (entry of T or -1, row bytes) for each input, then for each output
    KEEP_GIL = 6
    POOL = 7  # 0: the caller does it alone
    ROWS = 8
    PIECE = 9  # rows of a piece
    NANOSECONDS = 10  # estimated
    RESULT = 11
    INPUT_COUNT = 12
    ARRAY_COUNT = 13  # inputs and outputs
    PATIENCE = 14  # how often to look whether helpers are done before giving way
    WORKER_COUNT = 15
    STOP = 16  # address of the stop flag of the call under way
    STOP_ENTRY = 17  # of T, where programs look for it
    NEXT = 32  # the first row that nobody has taken, on a line of its own
    COME = 33  # how many threads have come to work
    HELD = 48  # the arrays of the call under way, as many as there are


class Output(IntEnum):
    """A result: what its array will be."""

    DTYPE = 0
    RANK = 1
    DIMS = 2
    IS_LARGE = 3  # its memory comes from `result_memory`
    WORDS = 4


class Worker(IntEnum):
    """The tables of a thread, for whole pieces and for the last one."""

    T = 0
    S = 1
    LAST_T = 2
    LAST_S = 3
    WORDS = 4
