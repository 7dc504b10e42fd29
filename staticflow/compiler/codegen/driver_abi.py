"""The two tables that a driver gets, and what stands at which entry.

    T    what the thread has, the addresses of the buffers by number, the addresses of blocks
    S    the thread's first row of the batch, the size classes

`emit` prints code that reads them; who runs a program fills them.
"""

from staticflow.compiler.ir.size_classes import FIRST_ROW, size_name

# The first entries of table T, before the buffers.
WORK, SYNC, PEERS, SHARDS, PROFILE, STOP, OWNER_BITS, POOL = range(8)
HEADER = 8
# Behind the buffers, where a program has blocks: its own address, that of S, whether helpers may
# go on to what needs the steps before a chain, the blocks' addresses.
TAIL_SELF, TAIL_SIZES, TAIL_GATE, TAIL_BLOCKS = range(4)
# The first entry of table S, before the size classes.
FIRST_ROW_ENTRY = 0
SIZE_HEADER = 1


def size_entries(count: int) -> dict[str, int]:
    """The entries of table S for so many size classes, by what drivers call them."""
    classes = {size_name(i): SIZE_HEADER + i for i in range(count)}
    return {str(FIRST_ROW): FIRST_ROW_ENTRY, **classes}
