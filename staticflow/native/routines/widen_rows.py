"""What kernels call to put narrow rows side by side, and to add up over many of them.

See `staticflow.compiler.schedule.widen_rows` and `staticflow.compiler.schedule.long_sums`.
"""

from __future__ import annotations

from typing import NamedTuple

from staticflow.native.toolchain.objects import External, KernelSource, Signature, TypedName
from staticflow.native.toolchain.toolchain import Toolchain

VECTOR_BYTES = 64  # of the widest vectors: a width that suits them suits all
WIDTH_BYTES = 512  # of the rows abreast, at least
ROOM_BYTES = 4096  # of the stack, for what is repeated or summed, each
MOST_ROOMS = 6
WIDEST = 128  # columns: with as many, nothing is gained
FEWEST = 512  # elements, without sums over rows
FEWEST_SUMMED = 16  # rows, with sums over them

ROWS_ABREAST = '''
def rows_abreast(columns, rows, cost):
    """How many of `rows` go side by side: a power of two; 1 where it does not pay."""
    r = 1
    while 2 * r <= rows:
        aligned = r * columns % LANES == 0 or 2 * r * columns > ROOM
        if aligned and r * columns >= WIDTH:
            break
        r *= 2
    if columns % LANES == 0:
        needed = 32 * r
    elif 2 * columns < LANES:
        needed = r
    else:
        needed = 2 * r if cost >= 8 else 4 * r
    return r if rows >= needed else 1
'''

REPEAT = '''
def repeat(room, source, columns, width):
    """Fill `width` elements with copies of `columns` elements, doubling what is there."""
    for i in range(columns):
        room[i] = source[i]
    done = columns
    while done < width:
        for i in range(done):
            room[done + i] = room[i]
        done *= 2
'''

FOLD = '''
def fold(room, target, columns, width):
    """Add up the copies of `columns` elements, halving what is left."""
    left = width
    while left > columns:
        left //= 2
        for i in range(left):
            room[i] += room[left + i]
    for i in range(columns):
        target[i] = room[i]
'''

BEGIN_TOTALS = '''
def begin_totals(parts, totals, count):
    """Let totals begin with what is there, and the parts with zero."""
    for i in range(count):
        totals[i] = f8(parts[i])
        parts[i] = f4(0)
'''

ADD_TO_TOTALS = '''
def add_to_totals(parts, totals, count):
    """Add the parts to the totals; they begin with zero again."""
    for i in range(count):
        totals[i] += f8(parts[i])
        parts[i] = f4(0)
'''

END_TOTALS = '''
def end_totals(parts, totals, count):
    """The totals, rounded, in the place of the parts."""
    for i in range(count):
        parts[i] = f4(totals[i])
'''


class NarrowRoutine(NamedTuple):
    """What a routine computes, and its signature, in which {t} is the elements' type."""

    source: str
    result: str
    arguments: tuple[str, ...]


_OF_ROOM = ("", ("{t}*", "{t}*", "i8", "i8"))  # room, an array, columns, width
_OF_TOTALS = ("", ("{t}*", "f8*", "i8"))  # parts, totals, count
NARROW_ROUTINES = {
    "rows_abreast": NarrowRoutine(ROWS_ABREAST, "i8", ("i8", "i8", "i8")),
    "repeat": NarrowRoutine(REPEAT, *_OF_ROOM),
    "fold": NarrowRoutine(FOLD, *_OF_ROOM),
    "begin_totals": NarrowRoutine(BEGIN_TOTALS, *_OF_TOTALS),
    "add_to_totals": NarrowRoutine(ADD_TO_TOTALS, *_OF_TOTALS),
    "end_totals": NarrowRoutine(END_TOTALS, *_OF_TOTALS),
}
_ITEM_BYTES = {"f4": 4, "f8": 8}


def narrow_routine(toolchain: Toolchain, named: TypedName) -> External:
    """The compiled routine for elements of a dtype."""
    (name, suffix), routine = named, NARROW_ROUTINES[named.function]
    item = _ITEM_BYTES[suffix]
    sizes = {"WIDTH": WIDTH_BYTES, "LANES": VECTOR_BYTES, "ROOM": ROOM_BYTES}
    names = {word: count // item for word, count in sizes.items()}
    arguments = tuple(code.replace("{t}", suffix) for code in routine.arguments)
    source = KernelSource(
        name=name,
        source=routine.source,
        signature=Signature(routine.result, arguments),
        namespace=lambda: names,
        namespace_key=(str(names),),
        noalias=False,
    )
    return toolchain.kernel(source).external
