"""Where a thread works for members: tables of one shard, and which of their words are a member's.

    T:    arena + 64 | weight of member 0 | bias of member 0 | gradient | ...
    of member k:       weight of member k | bias of member k

The tables are made for the first member. Every word in them that points into rows (`Region`)
is a target, which a thread sets to where the rows of another member are, before it works for that
one: its program, its arena and its gradient stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.native.memory import Array, Words, words, words_of
from staticflow.native.training.layout import Shard
from staticflow.native.training.members import VARIANT_WORDS, Place
from staticflow.training.shard import TrainingMemory
from staticflow.training.trainer import Trainer
from staticflow.training.update_frame import StepValues


class Region(NamedTuple):
    """The rows of the members in an array with a leading axis of members."""

    first: int  # address of the first member's row
    size: int  # bytes of all rows
    stride: int  # from one row to the next


def region_of(array: Array) -> Region:
    """The rows of an array (members, ...)."""
    stride = array.strides[0] if len(array) > 1 else array.nbytes
    return Region(int(array.ctypes.data), array.nbytes, stride)


class Targets(NamedTuple):
    """Words that are a member's: where they are, what they hold for the first, and how much that
    grows from one member to the next.
    """

    addresses: Words
    first: Words
    strides: Words


def find_targets(tables: Sequence[NDArray[np.int64]], regions: Sequence[Region]) -> Targets:
    """The words of some tables that point into rows: at first the first member's, then those of the
    last member that was worked for.
    """
    known = sorted(region for region in regions if region.size)
    starts = np.array([region.first for region in known], np.int64)
    ends = starts + np.array([region.size for region in known], np.int64)
    strides = np.array([region.stride for region in known], np.int64)
    held = np.concatenate([table.reshape(-1) for table in tables])
    at = np.concatenate([t.ctypes.data + 8 * np.arange(t.size) for t in tables])
    if not known:
        return Targets(held[:0], held[:0], held[:0])
    index = np.searchsorted(starts, held, "right") - 1
    hit = (index >= 0) & (held < ends[index])
    first, stride = starts[index[hit]], strides[index[hit]]
    return Targets(at[hit], first + (held[hit] - first) % stride, stride)


class MemberPlace(Trainer):
    """A training step in the memory of one thread, for one member after the other."""

    def __init__(self, memory: TrainingMemory, values: StepValues, env: Mapping[str, int]) -> None:
        super().__init__(memory, values, env, threads=1)
        shard = self.shards[0]
        self._team = words_of([shard.table.address])
        shard.table.point(Shard.TEAM, self._team)
        shard.table[Shard.PARTIES] = 1
        self._sizes: list[int] = []  # rows of the smaller batches that there are tables for
        self._variants: list[list[int]] = []
        self.place = words(Place.WORDS)
        self.place[Place.SHARD] = shard.table.address
        self.place[Place.SYNC] = self.sync.address

    def smaller_batch(self, rows: int) -> int:
        """The number of the variant for a last batch of so many rows."""
        if rows not in self._sizes:
            shard, name = self.shards[0], f"ragged {rows}"
            shard.add_variant(name, Shard.LAST_BATCH, rows)
            self._introduce(name)
            table = shard.table
            self._variants.append([table[Shard.LAST_BATCH + k] for k in range(VARIANT_WORDS)])
            self._sizes.append(rows)
            self._every = words_of(word for variant in self._variants for word in variant)
            self.place[Place.VARIANTS] = self._every.ctypes.data
        return self._sizes.index(rows)

    def measure(self, nanoseconds: float, steps: int) -> None:
        """Enter how long steps have taken."""
        self.time.measure(nanoseconds, steps)
        self._look_often()

    def aim(self, regions: Sequence[Region], entries: Sequence[int]) -> Targets:
        """Find the words that are a member's, and set these entries of the shard's table for each
        member as well, before them.
        """
        shard = self.shards[0]
        found = find_targets(shard.address_tables(), regions)
        own = np.array([shard.table.address + 8 * entry for entry in entries], np.int64)
        self._addresses = words_of([*own, *found.addresses])
        self.place[Place.TARGETS] = self._addresses.ctypes.data
        self.place[Place.TARGET_COUNT] = self._addresses.size
        return found
