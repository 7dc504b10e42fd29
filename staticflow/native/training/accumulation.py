"""Gradients over several batches: each is added up, weighted by its rows, until its group is whole.

    batch      0          1          2          3          4         (5 batches, groups of 3)
    total      r0 g0      + r1 g1    + r2 g2    r3 g3      + r4 g4
    gradient                         total / (r0+r1+r2)    total / (r3+r4)
    update                           1st                   2nd

Groups end with the epoch. Shards add up what they have of each gradient by themselves, and meet at
the update only; unless there are states, whose next values are put in place after every batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from staticflow.native.toolchain.objects import External, NativeFunction, Signature

# Random numbers are drawn by the step; the batches of a group are told apart by its upper bits.
DRAW_SHIFT = 40
NOALIAS = ("weigh", "mean")  # functions whose arrays lie apart

WEIGH = """
def weigh(total, gradient, rows, count, begins):
    weight = {t}(rows)
    if begins != 0:
        for i in range(count):
            total[i] = weight * gradient[i]
    else:
        for i in range(count):
            total[i] += weight * gradient[i]
"""

MEAN = """
def mean(gradient, total, rows, count):
    divisor = {t}(rows)
    for i in range(count):
        gradient[i] = total[i] / divisor
"""

NUMBER = '''
def step_number(context, batch):
    """The number of the step that a batch belongs to; its place in a group is in the upper bits."""
    shard = i8ptr(context)
    batches = shard[SHARD_BATCHES]
    group = i8ptr(shard[SHARD_TOTAL])[TOTAL_GROUP]
    epoch = batch // batches
    place = batch - epoch * batches
    steps = epoch * ((batches + group - 1) // group) + place // group
    return shard[SHARD_STEP_BASE] + steps + ((place % group) << DRAW_SHIFT)
'''

ACCUMULATE = '''
def accumulate(context, batch):
    """Add a batch's gradient to its group's: 0 if the group is whole, and the gradient is its mean
    over rows, 1 if not, 2 if the run is given up.
    """
    shard = i8ptr(context)
    total = i8ptr(shard[SHARD_TOTAL])
    batches = shard[SHARD_BATCHES]
    place = batch % batches
    wide = total[TOTAL_ITEM_BYTES] == 8
    items = total[TOTAL_ITEMS]
    if shard[SHARD_STEP] != 0:
        rows = shard[SHARD_BATCH_ROWS]
        if shard[SHARD_RAGGED] != 0 and place == batches - 1:
            rows = shard[SHARD_DATA_ROWS] - place * rows
        begins = 1 if total[TOTAL_ROWS] == 0 else 0
        if wide:
            weigh_f8(total[TOTAL_ARRAY], total[TOTAL_GRADIENT], rows, items, begins)
        else:
            weigh_f4(total[TOTAL_ARRAY], total[TOTAL_GRADIENT], rows, items, begins)
        total[TOTAL_ROWS] += rows
    if place == batches - 1 or (place + 1) % total[TOTAL_GROUP] == 0:
        if wide:
            mean_f8(total[TOTAL_GRADIENT], total[TOTAL_ARRAY], total[TOTAL_ROWS], items)
        else:
            mean_f4(total[TOTAL_GRADIENT], total[TOTAL_ARRAY], total[TOTAL_ROWS], items)
        total[TOTAL_ROWS] = 0
        if shard[SHARD_STEP_CELL] != 0:
            i8ptr(shard[SHARD_STEP_CELL])[0] &= (1 << DRAW_SHIFT) - 1
        return 0
    if total[TOTAL_STATE_COUNT] == 0:
        return 1
    several = shard[SHARD_SHARDS] > 1
    if several and barrier(context) != 0:
        return 2
    if shard[SHARD_INDEX] == 0:
        for s in range(total[TOTAL_STATE_COUNT]):
            record = i8ptr(total[TOTAL_STATES] + 8 * s * STATE_WORDS)
            copy_bytes(record[STATE_TARGET], record[STATE_SOURCE], record[STATE_BYTES])
    if several and barrier(context) != 0:
        return 2
    return 1
'''


class Accumulation(NamedTuple):
    """What the worker calls where gradients of several batches add up; each i8 (context, batch)."""

    number: NativeFunction  # `step_number`
    add: NativeFunction  # `accumulate`


def accumulation_functions(
    kernel: Callable[..., NativeFunction], barrier: NativeFunction
) -> Accumulation:
    """The functions, by what makes the worker's kernels. Most programs never need them."""
    add = {}
    for code in ("f4", "f8"):
        types = (f"{code}*", f"{code}*", "i8", "u8")
        weigh = kernel("weigh", WEIGH.replace("{t}", code), Signature("", (*types, "i8")))
        mean = kernel("mean", MEAN.replace("{t}", code), Signature("", types))
        add[f"weigh_{code}"] = External(weigh.symbol, Signature("", ("i8",) * 5))
        add[f"mean_{code}"] = External(mean.symbol, Signature("", ("i8",) * 4))
    two = Signature("i8", ("i8", "i8"))
    total = kernel("accumulate", ACCUMULATE, two, barrier=barrier.external, **add)
    return Accumulation(kernel("step_number", NUMBER, two), total)
