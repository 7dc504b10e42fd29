"""Training steps of several members, which threads take in turn (`native.training.members`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.native.memory import Array, Words, words
from staticflow.native.training.layout import Shard
from staticflow.native.training.members import OVER, TAKEN, Place, Queue, Record, train_members
from staticflow.native.training.shard_pool import ShardPool
from staticflow.runtime.failures import check_call
from staticflow.training.epochs import Epochs
from staticflow.training.member_place import MemberPlace, Region

CHUNK_NS = 5e5  # that a thread works for a member before it takes another: its data stay in cache
SHORT_NS = 20e6  # a call this short is made by the calling thread, if there is one thread
LINE_WORDS = 16

# What the shard's table says of a member, beside the words that point at its values.
ENTRIES = (
    Shard.BATCHES, Shard.DATA_ROWS, Shard.RAGGED, Shard.STEP_BASE, Shard.PERMUTATION,
    Shard.METRIC_SUMS,
)  # fmt: skip


@dataclass(frozen=True)
class MemberData:
    """The data of a fit: as `Trainer.bind_data` takes them, the first member's where each has its
    own, whose `regions` say where those of the others are.
    """

    sliced: Mapping[str, Array]
    whole: Mapping[str, Array]
    axes: Mapping[str, int]
    regions: Sequence[Region] = ()
    rows: Sequence[int] = field(default=())  # of each member


@dataclass(frozen=True)
class MemberSteps:
    """What some members train on in a native call; arrays have an entry for each of them.

    Batches are counted from 0 over the epochs of `sums`. `orders` are row numbers (epochs, rows),
    None for rows as they are.
    """

    members: NDArray[np.int64]  # their numbers
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    step_base: NDArray[np.int64]  # the number of the step of batch 0
    orders: Sequence[NDArray[np.int64] | None]
    sums: NDArray[np.float64]  # (all members, epochs, metrics)
    group: int = 1
    watch: bool = False


class Ended(NamedTuple):
    """What came of a native call, by member: batches done, and why it ended before the last."""

    done: NDArray[np.int64]
    reasons: NDArray[np.int64]


class MemberRun:
    """The places of some threads, and the records of the members that they work for."""

    def __init__(self, places: Sequence[MemberPlace], gates: Array) -> None:
        """`gates` are the words of all members' gates (members, words)."""
        self.places, self._gates = list(places), gates
        self._queue = words(Queue.WORDS)
        self._call = train_members(places[0].programs.forward.toolchain).bind()
        self._values = np.zeros((0, 0), np.int64)
        self.user: object = None
        self.under_way: MemberSteps | None = None
        self._records = words(0).reshape(0, LINE_WORDS)
        self.batch_rows = places[0].rows
        self.step_ns = places[0].choice.sharded_ns  # by the cost model, then as measured
        for place in self.places:
            place.place[Place.QUEUE] = self._queue.ctypes.data

    def bind(self, data: MemberData, regions: Sequence[Region], group: int = 1) -> None:
        """Say where the data and the members' values (`regions`) lie; a `group` of batches has one
        update.
        """
        rows, size = np.array(data.rows, np.int64), self.batch_rows
        self.rows, self.batches = rows, -(-rows // size)
        last = rows - (self.batches - 1) * size
        self._ragged = last != size
        self._variants = np.full(len(rows), -1, np.int64)
        for place in self.places:
            for count in np.unique(last[self._ragged]):
                self._variants[last == count] = place.smaller_batch(int(count))
            place.bind_data(data.sliced, data.whole, data.axes)
            place.shards[0].accumulate(Epochs(range(0), 1, 1, 1, group=group))
        aims = [place.aim([*regions, *data.regions], ENTRIES) for place in self.places]
        found = aims[0]
        assert all(np.array_equal(found.first, other.first) for other in aims)
        self._values = found.first + found.strides * np.arange(len(rows))[:, None]

    def release(self) -> None:
        """Forget the data of the last fit."""
        self.user = None
        for place in self.places:
            place.release()

    @property
    def done(self) -> int:
        """Steps finished in the call under way, of all members."""
        return int(self._queue[Queue.DONE])

    def stop(self) -> None:
        """End the call under way before the next step of each thread."""
        for place in self.places:
            place.sync.stop()

    def begin(self, steps: MemberSteps) -> None:
        """Make the records for a call."""
        self._records = records = self._made(steps)
        self._queue[:] = 0
        self._queue[Queue.COUNT], self._queue[Queue.WIDTH] = len(records), records.strides[0]
        self._queue[Queue.RECORDS] = records.ctypes.data
        self.under_way = steps

    def finish(self) -> None:
        """The call is over."""
        self.under_way = None

    def run(
        self, pool: ShardPool, steps: MemberSteps, threads: int,
        poll: Callable[[], None] | None = None,
    ) -> Ended:  # fmt: skip
        """Train the members that `begin` was told of, on at most so many threads.

        Raises what a custom op's failure is. An exception out of `poll`, or an interrupt, leaves
        the members where they are, which `ended` then says.
        """
        used = self.places[: min(threads, len(steps.members))]
        for place in used:
            place.sync.reset()
            table = place.shards[0].table
            table[Shard.BATCH_ROWS], table[Shard.WATCH] = self.batch_rows, int(steps.watch)
            table[Shard.PHASE] = 0
        left = int((steps.last - steps.first).sum())
        short = left * self.step_ns < SHORT_NS and not self.places[0].time.varies
        addresses = [int(place.place.ctypes.data) for place in used]
        began = time.perf_counter_ns()
        pool.call(self._call, addresses, self.stop, poll, short)
        ended = self.ended(steps)
        self._measure((time.perf_counter_ns() - began) * len(used), int(ended.done.sum()))
        for reason in np.unique(ended.reasons):
            check_call(int(reason))
        return ended

    def _measure(self, nanoseconds: float, steps: int) -> None:
        """Enter how long so many steps have taken: long ones look at the stop flag themselves."""
        if not steps:
            return
        self.step_ns = nanoseconds / steps
        for place in self.places:
            place.measure(nanoseconds, steps)

    def ended(self, steps: MemberSteps) -> Ended:
        """How far the members of the last call are."""
        found = self._records.copy()
        for place in self.places:  # in the child of a fork, threads were at work
            table = place.shards[0].table
            sums = Record.VALUES + ENTRIES.index(Shard.METRIC_SUMS)
            taken = (found[:, Record.CLAIM] == TAKEN) & (found[:, sums] == table[Shard.METRIC_SUMS])
            found[taken, Record.NEXT] += place.sync.done
        return Ended(found[:, Record.NEXT] - steps.first, found[:, Record.REASON].copy())

    def _made(self, steps: MemberSteps) -> Words:
        """The records of the members that are to be trained."""
        own = steps.members
        first = Record.VALUES + len(ENTRIES)
        width = first + self._values.shape[1]
        found = words(len(own) * (-(-width // LINE_WORDS) * LINE_WORDS)).reshape(len(own), -1)
        found[:, Record.NEXT], found[:, Record.LAST] = steps.first, steps.last
        found[:, Record.CLAIM] = np.where(steps.first < steps.last, 0, OVER)
        whole = steps.group > 1  # groups end with the epoch, and are one thread's
        found[:, Record.CHUNK] = steps.last if whole else max(1, int(CHUNK_NS / self.step_ns))
        found[:, Record.VARIANT] = self._variants[own]
        found[:, Record.GATE] = self._gates.ctypes.data + self._gates.strides[0] * own
        sums = steps.sums
        entries = {
            Shard.BATCHES: self.batches[own],
            Shard.DATA_ROWS: self.rows[own],
            Shard.RAGGED: self._ragged[own],
            Shard.STEP_BASE: steps.step_base,
            Shard.PERMUTATION: [0 if x is None else x.ctypes.data for x in steps.orders],
            Shard.METRIC_SUMS: sums.ctypes.data + sums.strides[0] * own,
        }
        for k, entry in enumerate(ENTRIES):
            found[:, Record.VALUES + k] = entries[entry]
        found[:, first : first + self._values.shape[1]] = self._values[own]
        return found


def updates(first: Any, done: Any, per_epoch: Any, group: int) -> NDArray[np.int64]:
    """How many updates so many batches from the `first` on make, a `group` of them each one."""

    def before(batch: Any) -> Any:
        epoch, place = np.divmod(batch, per_epoch)
        return epoch * -(-per_epoch // group) + place // group

    result: NDArray[np.int64] = before(first + done) - before(first)
    return result
