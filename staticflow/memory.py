"""Give every temporary buffer a slot in one arena, and let slots be used again.

A buffer is live from the step that first writes it to the last step that touches it. Two buffers
may share a slot when their live ranges do not meet; the slot is as large as the largest of them,
which is known when the sizes are. So the plan depends on the structure alone, and is never larger
than without sharing. A slot whose buffers have the same size expression is preferred, then one of
the same degree: rows of activations share with rows of activations, not with a scalar. In-place
reuse within one step never happens here: a kernel's arguments must not overlap.

        step      0    1    2    3    4
        b5        W----R                        slot 0
        b6             W---------R              slot 1
        b7                       W----R         slot 0 again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.buffers import Buffer
from staticflow.dims import AnyDim, Dim, evaluate
from staticflow.schedule import BranchStep, LoopStep, ProductStep, Step

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class MemoryPlan:
    """The slots of an arena and the slot of every temporary buffer."""

    slots: tuple[tuple[AnyDim, ...], ...]  # bytes, in size classes: the largest of these
    slot_of: Mapping[int, int]
    live: Mapping[int, tuple[int, int]]  # first and last step of every buffer in the plan

    def offsets(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """The byte offset of every slot, and the size of the arena."""
        offsets, total = [], 0
        for slot in self.slots:
            offsets.append(total)
            size = max(evaluate(n, sizes) for n in slot)
            total += -(-size // ALIGNMENT) * ALIGNMENT
        return offsets, total


def live_ranges(
    steps: Sequence[Step], buffers: Sequence[Buffer], deferred: bool = False
) -> dict[int, tuple[int, int]]:
    """The first and last step that touches each buffer; `deferred` products come after all steps.

    The steps of a loop's body count one by one. What the body shares with the rest of the program
    is live through the whole loop, for the next step of the loop may need it.
    """
    ranges: dict[int, tuple[int, int]] = {}

    def touch(buffer: int, first: int, last: int) -> None:
        while (moving := buffers[buffer].moving) is not None:
            buffer = moving.base
        old = ranges.get(buffer, (first, last))
        ranges[buffer] = (min(old[0], first), max(old[1], last))

    def visit(steps: Sequence[Step], position: int) -> int:
        for step in steps:
            if isinstance(step, LoopStep | BranchStep):
                end = visit(step.body, position + 1)
                for buffer in _shared(step, buffers):
                    touch(buffer, position, end)
                position = end
            else:
                for buffer in step.reads | step.writes:
                    touch(buffer, position, position)
            position += 1
        return position

    end = visit(steps, 0)
    for step in steps:
        if deferred and isinstance(step, ProductStep) and step.late:
            for buffer in step.reads:
                touch(buffer, end, end)
    return ranges


def _shared(step: LoopStep | BranchStep, buffers: Sequence[Buffer]) -> set[int]:
    """The buffers of a loop that must keep their content from one of its steps to the next."""
    shared = set(step.bases) | {b for b in step.moving} | set(step.after)
    written = _written(step)
    shared |= {b for b in step.reads if b not in written}
    return shared


def _written(step: LoopStep | BranchStep) -> set[int]:
    """What the body writes before reading it, and so need not keep."""
    own: set[int] = set()
    for inner in step.body:
        if isinstance(inner, LoopStep | BranchStep):
            own |= _written(inner) | inner.bases
        else:
            own |= inner.writes
    return own


def plan_memory(
    buffers: Sequence[Buffer], steps: Sequence[Step], deferred: bool = False
) -> MemoryPlan:
    """Plan the temporaries that the steps use; leaves and outputs are bound from outside."""
    ranges = live_ranges(steps, buffers, deferred)
    temporary = {b.index: b for b in buffers if b.role == "temp" and b.index in ranges}
    slots: list[list[AnyDim]] = []
    free_from: list[int] = []  # the first step at which each slot is free again
    slot_of: dict[int, int] = {}
    for index in sorted(temporary, key=lambda i: ranges[i]):
        buffer = temporary[index]
        size = buffer.count * buffer.itemsize
        first, last = ranges[index]
        free = [s for s, since in enumerate(free_from) if since <= first]
        fitting = [s for s in free if size in slots[s]] or [
            s for s in free if _degree(slots[s][0]) == _degree(size)
        ]
        if fitting:
            slot = max(fitting, key=lambda s: free_from[s])
        else:
            slot = len(slots)
            slots.append([])
            free_from.append(0)
        if size not in slots[slot]:
            slots[slot].append(size)
        free_from[slot] = last + 1
        slot_of[index] = slot
    return MemoryPlan(tuple(map(tuple, slots)), slot_of, {i: ranges[i] for i in temporary})


def _degree(size: AnyDim) -> int:
    """How many sizes are multiplied in the leading term."""
    return max(len(monomial) for monomial, _ in size.terms) if isinstance(size, Dim) else 0
