"""A program without an update, run for every member by threads that take them in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import HEADER, STOP
from staticflow.compiler.cost_model import estimate
from staticflow.native.memory import Words, words, words_of, zeros
from staticflow.native.training.layout import Shard, Sync, Variant
from staticflow.native.training.members import Place, Queue, Record, train_members
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.runtime.failures import check_call
from staticflow.runtime.program import Program, Scratch
from staticflow.training.member_run import LINE_WORDS

PARALLEL_NS = 2e5  # of estimated work, from which on threads are woken


class Leaf(NamedTuple):
    """Where a buffer lies for the first member, and how far it is to the next member's."""

    buffer: int
    address: int
    stride: int


class _Place:
    """The tables of one thread."""

    def __init__(self, program: Program, sizes: Mapping[str, int], queue: Words) -> None:
        self.sync = SyncBlock()
        self.frame = program.frame(sizes, scratch=Scratch())
        self.frame.T[STOP] = self.sync.address + 8 * Sync.STOP
        self.table = table = ShardTable(0, 1, self.sync)
        table[Shard.STEP] = program.function.address
        table[Shard.PARTIES] = table[Shard.BATCHES] = 1
        table[Shard.WHOLE + Variant.T], table[Shard.WHOLE + Variant.S] = self.frame.addresses
        self._unused = zeros((1,), np.float64)
        table.point(Shard.METRICS, self._unused)
        table.point(Shard.METRIC_SUMS, self._unused)
        table.point(Shard.TEAM, words_of([table.address]))
        self.words = words(Place.WORDS)
        self.words[Place.QUEUE] = queue.ctypes.data
        self.words[Place.SHARD], self.words[Place.SYNC] = table.address, self.sync.address

    def aim(self, leaves: Sequence[Leaf]) -> None:
        """The words that are a member's."""
        base = self.frame.addresses[0]
        self._targets = words_of(base + 8 * (HEADER + leaf.buffer) for leaf in leaves)
        self.words[Place.TARGETS] = self._targets.ctypes.data
        self.words[Place.TARGET_COUNT] = len(leaves)


class MemberCompute:
    """A program for one set of sizes; used by one thread at a time."""

    def __init__(self, program: Program, sizes: Mapping[str, int], threads: int) -> None:
        self._queue = words(Queue.WORDS)
        self._places = [_Place(program, sizes, self._queue)]
        compiled = program.compiled
        self._ns = estimate(compiled.steps, self._places[0].frame.sizes_by_name())
        self._made_for, self._threads = (program, sizes), threads
        self._call = train_members(program.toolchain).bind()

    def run(self, pool: ShardPool, members: int, leaves: Sequence[Leaf]) -> None:
        """Run the program once for each member, whose leaves and outputs these are."""
        if members * self._ns > PARALLEL_NS:
            while len(self._places) < self._threads:
                self._places.append(_Place(*self._made_for, self._queue))
            used = self._places
        else:
            used = self._places[:1]
        for place in used:
            place.aim(leaves)
            place.sync.reset()
        records = self._records(members, leaves)
        self._queue[:] = 0
        self._queue[Queue.COUNT], self._queue[Queue.WIDTH] = members, records.strides[0]
        self._queue[Queue.RECORDS] = records.ctypes.data
        addresses = [int(place.words.ctypes.data) for place in used]

        def stop() -> None:
            for place in used:
                place.sync.stop()

        pool.call(self._call, addresses, stop, inline=len(used) == 1)
        for reason in np.unique(records[:, Record.REASON]):
            check_call(int(reason))

    def _records(self, members: int, leaves: Sequence[Leaf]) -> NDArray[np.int64]:
        width = -(-(Record.VALUES + len(leaves)) // LINE_WORDS) * LINE_WORDS
        found = words(members * width).reshape(members, width)
        found[:, Record.LAST] = found[:, Record.CHUNK] = 1
        found[:, Record.VARIANT] = -1
        first = np.array([leaf.address for leaf in leaves], np.int64)
        strides = np.array([leaf.stride for leaf in leaves], np.int64)
        own = slice(Record.VALUES, Record.VALUES + len(leaves))
        found[:, own] = first + strides * np.arange(members)[:, None]
        return found
