"""Run a program over blocks of rows, one after the other, and add up what it leaves.

A batch whose intermediate values exceed the cache is cut into blocks that fit; since gradients and
metrics are sums over rows, the sum over blocks is the same value. The function has the signature of
a program's step, so that the worker does not see the difference; T is the address of this table:
"""

from __future__ import annotations

from enum import IntEnum

from staticflow.native.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain import Toolchain
from staticflow.native.worker import ADD_ARRAY


class Blocks(IntEnum):
    """The table, in int64 words."""

    STEP = 0  # the program: i64 step(i64 T, i64 S)
    COUNT = 1
    BLOCKS = 2  # address of (T, S, first row) for each block
    INPUT_COUNT = 3
    INPUTS = 4  # address of (address of the pointer to row 0, entry of T, row bytes) for each input
    SUM_COUNT = 5
    SUMS = 6  # address of (source, target, items, item bytes) for each array to add up
    STOP_ENTRY = 7  # of a block's T: the address of the stop flag
    WORDS = 8


RUN_BLOCKS = '''
def run_blocks(T, S):
    """Run the program on each block and add up its outputs; 1 if the run is given up."""
    table = i8ptr(T)
    for b in range(table[COUNT]):
        block = i8ptr(table[BLOCKS] + 24 * b)
        own = i8ptr(block[0])
        if load_acquire(own[table[STOP_ENTRY]]) != 0:
            return 1
        for k in range(table[INPUT_COUNT]):
            record = i8ptr(table[INPUTS] + 24 * k)
            own[record[1]] = i8ptr(record[0])[0] + block[2] * record[2]
        given_up = call2(table[STEP], block[0], block[1])
        if given_up != 0:
            return given_up
        for k in range(table[SUM_COUNT]):
            record = i8ptr(table[SUMS] + 32 * k)
            if b == 0:
                copy_bytes(record[1], record[0], record[2] * record[3])
            elif record[3] == 4:
                add_f4(record[1], record[0], record[2])
            else:
                add_f8(record[1], record[0], record[2])
    return 0
'''


def run_blocks(toolchain: Toolchain) -> NativeFunction:
    """The compiled function, with the signature of a program's step."""
    add = {}
    for code in ("f4", "f8"):
        signature = Signature("", (f"{code}*", f"{code}*", "u8"))
        function = toolchain.kernel(KernelSource("add_array", ADD_ARRAY, signature))
        add[f"add_{code}"] = External(function.symbol, Signature("", ("i8", "i8", "i8")))
    names = {entry.name: int(entry) for entry in Blocks}
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
