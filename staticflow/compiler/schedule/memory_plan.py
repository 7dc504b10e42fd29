"""Give every temporary buffer a chunk in one arena, and let chunks be used again.

A buffer is live from the step that first writes it to the last step that touches it. Two buffers
may share a chunk when their live ranges do not meet; the chunk is as large as the largest of them,
which is known when the sizes are. So the plan holds for all sizes, and is never larger than without
sharing. The largest get their chunks first, the others the smallest chunk that is free for them;
of names, that which is declared decides. In-place reuse within one step never happens here: a
kernel's arguments must not overlap.

        step      0    1    2    3    4
        b5        W----R                        chunk 0
        b6             W---------R              chunk 1
        b7                       W----R         chunk 0 again
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.ir.size_classes import size_name
from staticflow.compiler.ir.steps import BranchStep, LoopStep, ProductStep, Step, walk
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.graph.dims import AnyDim, Dim, evaluate, names_of
from staticflow.native.memory import LINE, aligned


@dataclass(frozen=True)
class MemoryPlan:
    """The chunks of an arena and the chunk of every temporary buffer."""

    chunks: tuple[tuple[AnyDim, ...], ...]  # bytes, in size classes: the largest of these
    chunk_of: Mapping[int, int]
    live: Mapping[int, tuple[int, int]]  # first and last step of every buffer in the plan
    size_of: Mapping[int, AnyDim]  # the bytes of every buffer in the plan

    def offsets(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """The byte offset of every chunk, and the size of the arena."""
        offsets, total = [], 0
        for chunk in self.chunks:
            offsets.append(total)
            size = max(evaluate(n, sizes) for n in chunk)
            total += -(-size // LINE) * LINE
        return offsets, total

    def allocate(
        self, sizes: Mapping[str, int], take: Callable[[int], NDArray[np.uint8]] = aligned
    ) -> tuple[NDArray[np.uint8], dict[int, int]]:
        """An arena, which is taken by its size, and the address of every temporary buffer in it."""
        offsets, total = self.offsets(sizes)
        arena = take(total)
        base = arena.ctypes.data
        return arena, {buffer: base + offsets[chunk] for buffer, chunk in self.chunk_of.items()}


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
        if deferred and isinstance(step, ProductStep) and step.owner_bit and not step.split_k:
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
    for inner in walk(step.body):
        own |= inner.bases if isinstance(inner, LoopStep | BranchStep) else inner.writes
    return own


def plan_memory(
    buffers: Sequence[Buffer],
    steps: Sequence[Step],
    deferred: bool = False,
    known: Sequence[AnyDim] = (),
) -> MemoryPlan:
    """Plan the temporaries that the steps use; leaves and outputs are bound from outside.

    `known` holds what the size classes n0, n1, ... stand for, in the user's names.
    """
    ranges = live_ranges(steps, buffers, deferred)
    temporary = [b for b in buffers if b.role == "temp" and b.index in ranges]
    table = {size_name(i): size for i, size in enumerate(known)}
    extent = {b.index: _extent(b, table) for b in temporary}
    chunks: list[_Chunk] = []
    for buffer in sorted(temporary, key=lambda b: (*_reversed(extent[b.index]), ranges[b.index])):
        own = ranges[buffer.index]
        chunk = _best(chunks, own)
        if chunk is None:
            chunk = _Chunk(extent[buffer.index])
            chunks.append(chunk)
        chunk.add(buffer, own)
    chunks.sort(key=lambda chunk: (chunk.firsts[0], chunk.lasts[0]))
    sizes = (dict.fromkeys(b.count * b.itemsize for b in chunk.buffers) for chunk in chunks)
    chunk_of = {b.index: i for i, chunk in enumerate(chunks) for b in chunk.buffers}
    live = {b.index: ranges[b.index] for b in temporary}
    size_of = {b.index: b.count * b.itemsize for b in temporary}
    return MemoryPlan(tuple(map(tuple, sizes)), chunk_of, live, size_of)


def memory_plans(
    buffers: Sequence[Buffer], steps: Sequence[Step], known: Sequence[AnyDim]
) -> tuple[MemoryPlan, MemoryPlan]:
    """The plan for a run, and that for one which leaves the marked products to the end."""
    memory = plan_memory(buffers, steps, known=known)
    if not any(isinstance(step, ProductStep) and step.owner_bit for step in steps):
        return memory, memory
    return memory, plan_memory(buffers, steps, deferred=True, known=known)


Extent = tuple[int, int]  # how many named sizes are multiplied, and the size if all of these are 64


def _extent(buffer: Buffer, known: Mapping[str, AnyDim]) -> Extent:
    """What to expect of a buffer's size: a plan must hold for all sizes, not be best for all."""
    size = buffer.count * buffer.itemsize
    if isinstance(size, Dim):
        size = size.substitute({name: known.get(name, 64) for name in size.names})
    names = names_of([size])
    return _degree(size), evaluate(size, dict.fromkeys(names, 64))


def _reversed(extent: Extent) -> Extent:
    """For the largest first: what is small then fits where something large has been."""
    return -extent[0], -extent[1]


@dataclass
class _Chunk:
    """What lies in a chunk, and when: times that do not meet, in the order of time."""

    extent: Extent  # of the first buffer, which is the largest
    buffers: list[Buffer] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)

    def add(self, buffer: Buffer, own: tuple[int, int]) -> None:
        """Put a buffer in, which must be free at that time."""
        self.buffers.append(buffer)
        at = bisect_right(self.firsts, own[0])
        self.firsts.insert(at, own[0])
        self.lasts.insert(at, own[1])

    def gap(self, own: tuple[int, int]) -> int:
        """How many steps lie between a range and the nearest one here; 0 if they meet."""
        at = bisect_right(self.firsts, own[1])  # the first that begins later
        before = own[0] - self.lasts[at - 1] if at else None
        after = self.firsts[at] - own[1] if at < len(self.firsts) else None
        return max(0, min(gap for gap in (before, after) if gap is not None))


def _best(chunks: Sequence[_Chunk], own: tuple[int, int]) -> _Chunk | None:
    """The smallest chunk that is free; of several the one that is used closest in time."""
    best, nearest = None, 0
    for chunk in chunks:
        if best is not None and chunk.extent > best.extent:
            continue
        gap = chunk.gap(own)
        if gap and (best is None or (chunk.extent, gap) < (best.extent, nearest)):
            best, nearest = chunk, gap
    return best


def _degree(size: AnyDim) -> int:
    """How many sizes are multiplied in the leading term."""
    return max(len(monomial) for monomial, _ in size.terms) if isinstance(size, Dim) else 0
