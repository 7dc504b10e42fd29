"""Run programs over blocks of rows, one after the other, and add up what they leave.

A batch whose intermediate values exceed the cache is cut into blocks that fit; since gradients and
metrics are sums over rows, the sum over blocks is the same value. Terms of a loss that read other
data have programs of their own, whose blocks follow. The function has the signature of a program's
step, so that the worker does not see the difference; T is the address of this table:
"""

from __future__ import annotations

from enum import IntEnum

from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.once import once
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.worker import sums_of_arrays


class Blocks(IntEnum):
    """The table, in int64 words."""

    COUNT = 0
    BLOCKS = 1  # address of a record for each block, see BlockRecord
    STOP_ENTRY = 2  # of a block's T: the address of the stop flag
    WORDS = 3


class BlockRecord(IntEnum):
    """A block of a program's rows, in int64 words."""

    STEP = 0  # the program: i64 step(i64 T, i64 S)
    BLOCK_T = 1
    BLOCK_S = 2
    FIRST_ROW = 3  # among the shard's rows
    INPUT_COUNT = 4
    INPUTS = 5  # address of (address of the pointer to row 0, entry of T, row bytes) for each input
    SUM_COUNT = 6
    SUMS = 7  # address of a record for each array to add up, see Sum
    BLOCK_WORDS = 8


class Sum(IntEnum):
    """An array to add up over the blocks, in int64 words."""

    SOURCE = 0
    TARGET = 1
    ITEMS = 2
    ITEM_BYTES = 3
    TOTAL = 4  # address of as many float64 for the totals of float32 over many blocks, or 0
    SUM_WORDS = 5


ADD_WIDE = """
def add_wide(total, part, count, begins):
    if begins != 0:
        for i in range(count):
            total[i] = f8(part[i])
    else:
        for i in range(count):
            total[i] += f8(part[i])
"""

ROUND = """
def round_totals(total, target, count):
    for i in range(count):
        target[i] = f4(total[i])
"""

RUN_BLOCKS = '''
def run_blocks(T, S):
    """Run each block's program and add up its outputs; 1 if the run is given up."""
    table = i8ptr(T)
    for b in range(table[COUNT]):
        block = i8ptr(table[BLOCKS] + 8 * BLOCK_WORDS * b)
        own = i8ptr(block[BLOCK_T])
        if load_acquire(own[table[STOP_ENTRY]]) != 0:
            return 1
        for k in range(block[INPUT_COUNT]):
            record = i8ptr(block[INPUTS] + 24 * k)
            own[record[1]] = i8ptr(record[0])[0] + block[FIRST_ROW] * record[2]
        given_up = call2(block[STEP], block[BLOCK_T], block[BLOCK_S])
        if given_up != 0:
            return given_up
        for k in range(block[SUM_COUNT]):
            record = i8ptr(block[SUMS] + 8 * SUM_WORDS * k)
            source, target, items = record[SOURCE], record[TARGET], record[ITEMS]
            if record[TOTAL] != 0:
                add_wide(record[TOTAL], source, items, 1 if b == 0 else 0)
                if b == table[COUNT] - 1:
                    round_totals(record[TOTAL], target, items)
            elif b == 0:
                copy_bytes(target, source, items * record[ITEM_BYTES])
            elif record[ITEM_BYTES] == 4:
                add_f4(target, source, items)
            else:
                add_f8(target, source, items)
    return 0
'''


@once
def run_blocks(toolchain: Toolchain) -> NativeFunction:
    """The compiled function, with the signature of a program's step."""
    routines = {
        "add_wide": (ADD_WIDE, ("f8*", "f4*", "u8", "i8")),
        "round_totals": (ROUND, ("f8*", "f4*", "u8")),
    }
    add = sums_of_arrays(toolchain)
    for name, (source, types) in routines.items():
        function = toolchain.kernel(KernelSource(name, source, Signature("", types)))
        add[name] = External(function.symbol, Signature("", ("i8",) * len(types)))
    names = {entry.name: int(entry) for table in (Blocks, BlockRecord, Sum) for entry in table}
    return toolchain.kernel(
        KernelSource(
            name="run_blocks",
            source=RUN_BLOCKS,
            signature=Signature("i8", ("i8", "i8")),
            externals=add,
            namespace=lambda: names,
            namespace_key=(str(sorted(names.items())),),
            noalias=False,
        )
    )
