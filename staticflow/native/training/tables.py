"""The tables of the training worker, as arrays of int64 words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.native.memory import records, words
from staticflow.native.training.layout import SHARD_WORDS, SYNC_WORDS, Reason, Shard, Sync


class SyncBlock:
    """What the shards of a run share, and how Python stops them and sees how far they are."""

    def __init__(self) -> None:
        self._words = words(SYNC_WORDS)
        self.address = int(self._words.ctypes.data)

    def reset(self) -> None:
        """Before each run."""
        self._words[:] = 0

    def stop(self) -> None:
        """End the run before the next step."""
        self._words[Sync.STOP] = 1

    @property
    def done(self) -> int:
        """How many steps are finished."""
        return int(self._words[Sync.DONE])

    @done.setter
    def done(self, count: int) -> None:
        self._words[Sync.DONE] = count

    @property
    def reason(self) -> int:
        """Why the run ended: a `Reason`, or what the program's `step` or `update` gave."""
        return int(self._words[Sync.REASON])

    @property
    def stopped(self) -> bool:
        """Whether the run ended because of `stop`."""
        return self.reason == Reason.STOPPED


class ShardTable:
    """The table of one shard (`training.layout.Shard`), with the arrays that it points at."""

    def __init__(self, index: int, shards: int, sync: SyncBlock) -> None:
        self._words = words(SHARD_WORDS)
        self._kept: dict[int, tuple[Any, ...]] = {}
        self._owners: list[object] = []
        self.address = int(self._words.ctypes.data)
        self.sync = sync
        self[Shard.INDEX], self[Shard.SHARDS], self[Shard.SYNC] = index, shards, sync.address

    def __setitem__(self, entry: int, value: int) -> None:
        self._words[entry] = value

    def __getitem__(self, entry: int) -> int:
        return int(self._words[entry])

    def point(self, entry: int, array: NDArray[np.generic] | None, *behind: object) -> None:
        """Set `entry` to the address of `array`; None is address 0.

        The array, and what is `behind` its own addresses, are kept until the entry changes.
        """
        self._kept[entry] = (array, *behind)
        self[entry] = 0 if array is None else array.ctypes.data

    def pointed(self, entry: int) -> NDArray[np.int64]:
        """The words that an entry points at, which has been set to an array of words."""
        array = self._kept[entry][0] if entry in self._kept else None
        return np.zeros(0, np.int64) if array is None else array

    def keep(self, *owners: object) -> None:
        """Keep what the table's records and programs point at for as long as the table."""
        self._owners.extend(owners)

    def point_records(self, entry: int, count: int, rows: Sequence[Sequence[int]]) -> None:
        """Set `entry` to the address of a table of records, and entry `count` to their number."""
        self.point(entry, records(rows))
        self[count] = len(rows)
