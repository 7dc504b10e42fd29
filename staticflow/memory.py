"""Give every temporary buffer a slot in one arena, and let slots be used again.

A buffer is live from the step that first writes it to the last step that touches it. Two buffers
share a slot when their sizes are the same expression and their live ranges do not meet; since only
equal expressions share, the plan holds for all sizes, and offsets are sums that the caller
evaluates. In-place reuse within one step never happens here: a kernel's arguments must not overlap.

        step      0    1    2    3    4
        b5        W----R                        slot 0
        b6             W---------R              slot 1
        b7                       W----R         slot 0 again, if b7 is as large as b5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.buffers import Buffer
from staticflow.dims import AnyDim, evaluate
from staticflow.schedule import Step

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class MemoryPlan:
    """The slots of an arena and the slot of every temporary buffer."""

    slots: tuple[AnyDim, ...]  # bytes, in size classes
    slot_of: Mapping[int, int]
    live: Mapping[int, tuple[int, int]]  # first and last step of every buffer in the plan

    def offsets(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """The byte offset of every slot, and the size of the arena."""
        offsets, total = [], 0
        for slot in self.slots:
            offsets.append(total)
            total += -(-evaluate(slot, sizes) // ALIGNMENT) * ALIGNMENT
        return offsets, total


def live_ranges(steps: Sequence[Step]) -> dict[int, tuple[int, int]]:
    """The first and last step that touches each buffer."""
    ranges: dict[int, tuple[int, int]] = {}
    for position, step in enumerate(steps):
        for buffer in step.reads | step.writes:
            first, _ = ranges.get(buffer, (position, position))
            ranges[buffer] = (first, position)
    return ranges


def plan_memory(buffers: Sequence[Buffer], steps: Sequence[Step]) -> MemoryPlan:
    """Plan the temporaries that the steps use; leaves and outputs are bound from outside."""
    ranges = live_ranges(steps)
    temporary = {b.index: b for b in buffers if b.role == "temp" and b.index in ranges}
    slots: list[AnyDim] = []
    free_from: list[int] = []  # the first step at which each slot is free again
    slot_of: dict[int, int] = {}
    for index in sorted(temporary, key=lambda i: ranges[i]):
        buffer = temporary[index]
        size = buffer.count * buffer.itemsize
        first, last = ranges[index]
        fitting = [s for s, n in enumerate(slots) if n == size and free_from[s] <= first]
        if fitting:
            slot = fitting[-1]
        else:
            slot = len(slots)
            slots.append(size)
            free_from.append(0)
        free_from[slot] = last + 1
        slot_of[index] = slot
    return MemoryPlan(tuple(slots), slot_of, {i: ranges[i] for i in temporary})
