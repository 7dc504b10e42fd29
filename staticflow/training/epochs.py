"""Which batches a native call trains on, and which updates they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.native.memory import Array
from staticflow.native.training.accumulation import DRAW_SHIFT


@dataclass
class Accumulated:
    """Gradients of batches that wait for their update.

    `total` has the layout of the trained parameters: the sum of gradients, each times its rows.
    """

    total: Array
    rows: int = 0
    batches: int = 0
    loss: float = 0.0  # the sum over rows
    along: str = ""  # the dimension that the batches were sliced along


class Epochs(NamedTuple):
    """The batches of some epochs that a native call trains on.

    A `group` of batches has one update; groups end with the epoch. With `into` it is one batch,
    whose gradient is added to others and has no update yet.
    """

    batches: range  # counted from 0 over all epochs
    per_epoch: int
    rows: int  # of the data
    first_step: int  # the number of the step that batch 0 belongs to
    ragged: bool = False  # an epoch's last batch has fewer rows than the others
    permutation: NDArray[np.int64] | None = None  # (epochs, rows); None for rows in order
    group: int = 1
    into: Accumulated | None = None

    @property
    def begins_group(self) -> bool:
        """Whether the first of these batches is the first of its group."""
        return self.batches.start % self.per_epoch % self.group == 0

    def updates(self, done: int) -> int:
        """How many updates the first `done` of these batches have made."""
        first = self.batches.start
        return self._updates_before(first + done) - self._updates_before(first)

    def number(self, batch: int) -> int:
        """The number of the step that a batch belongs to."""
        return (self.first_step & (1 << DRAW_SHIFT) - 1) + self._updates_before(batch)

    def _updates_before(self, batch: int) -> int:
        epoch, place = divmod(batch, self.per_epoch)
        return epoch * -(-self.per_epoch // self.group) + place // self.group


def one_batch(rows: int, step_count: int, into: Accumulated | None = None) -> Epochs:
    """A single batch after so many steps: it has an update, unless it is gathered `into` others."""
    number = step_count + 1
    if into is None:
        return Epochs(range(1), 1, rows, number)
    draws = number + (into.batches << DRAW_SHIFT)
    return Epochs(range(1), 2, rows, draws, group=2, into=into)  # the first of two
