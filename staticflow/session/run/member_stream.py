"""A fit of several members on batches that an iterator brings, one step a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.session.report.history import History, mean_of
from staticflow.session.report.progress import Progress
from staticflow.session.run.accumulation import accumulate, apply
from staticflow.session.run.member_data import MemberRows, read_member_rows
from staticflow.session.run.member_epochs import Log, MemberEpochs
from staticflow.session.run.member_steps import Step, one_step


class MemberStream(MemberEpochs):
    """One call of `fit` with a callable that returns an iterator of batches."""

    def run(self, batches: Any) -> History:
        """Train; see `Session.fit`."""
        try:
            with Progress(self.epochs, None, self.options.progress) as bar:
                done = 0
                while done < self.epochs and self.active.any():
                    log = self._epoch(done, batches(), bar)
                    done += 1
                    self.finish_epoch(log, bar)
                self.guard.finish(done)
        finally:
            for member in self.state.known_members():
                member.accumulated = None  # of a group that NaN or an exception has ended
        return self.history

    def _epoch(self, epoch: int, batches: Iterator[Any], bar: Progress) -> Log:
        """The log of an epoch: NaN for members that are stopped, or do so in it."""
        state = self.state
        totals = np.zeros((state.members, len(self.names)))
        count = 0
        for number, feeds in enumerate(batches):
            data = read_member_rows(state.graph, feeds, state.members, self.options.batch_axis)
            self.guard.keep()
            step = self._step(data)
            for member in np.flatnonzero(step.is_nan).tolist():
                self.active[member] = False
                self.guard.found(member, epoch + 1, number + 1, data.of(member))
            totals += step.values * data.rows.count
            count += data.rows.count
            bar.update(int(state.step_counts.max()), mean_of(step.values[:, 0]))
            if not self.active.any():
                break
        if self.group > 1:
            self._apply(1)
        if count == 0:
            fail(GraphError, "the data has no batches", do="return a new iterator at each call")
        totals[~self.active] = np.nan
        state.epoch_counts[self.active] += 1
        return dict(zip(self.names, (totals / count).T.copy(), strict=True))

    def _step(self, data: MemberRows) -> Step:
        """A step of the active members, or a part of one where batches have updates in common."""
        state, watch, axis = self.state, self.guard.active, self.options.batch_axis
        if self.group == 1:
            return one_step(state, data, self.active, watch, axis)
        values = np.full((state.members, len(self.names)), np.nan)
        for k in np.flatnonzero(self.active).tolist():
            values[k] = accumulate(state.member(k), data.of(k), axis, watch)[1]
        self._apply(self.group)
        return Step(values, self._nan(values))

    def _nan(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.isnan(values[:, 0]) & self.active & self.guard.active
        return found

    def _apply(self, batches: int) -> None:
        """Make the updates of members that have gathered so many batches."""
        for member in self.state.known_members():
            gathered = member.accumulated
            if gathered is not None and gathered.batches >= batches:
                apply(member)
