"""The epochs of a fit of several members: orders of rows, native calls, logs, callbacks.

Each native call takes all members that are not stopped over some epochs, on as many threads as the
session has: see `training.member_run`. A member stops when its loss becomes NaN, or a callback says
so; the others go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.native import memory
from staticflow.native.training.layout import Reason
from staticflow.runtime.feeds import leading_dimension
from staticflow.session.report.history import History
from staticflow.session.report.progress import Progress
from staticflow.session.run.batches import check_slices
from staticflow.session.run.fit import MAX_PERMUTATION, NS_PER_CALL
from staticflow.session.run.fit_options import FitOptions
from staticflow.session.run.member_data import member_indices, read_member_rows
from staticflow.session.run.member_epochs import Log, MemberEpochs
from staticflow.session.run.member_fetch import MemberFetches
from staticflow.session.run.member_orders import Orders
from staticflow.session.run.member_steps import (
    call,
    checked_steps,
    member_run,
)
from staticflow.session.run.nan_guard import CALL_NS
from staticflow.session.run.steps import check_labels
from staticflow.training.member_run import MemberRun, MemberSteps


class MemberFit(MemberEpochs):
    """One call of `fit` on a session of several members, with data that are in memory."""

    def __init__(
        self,
        fetches: MemberFetches,
        owner: object,
        data: Any,
        options: FitOptions,
        rows: Any = None,
    ) -> None:
        """`rows` are the rows of each member, see `member_indices`."""
        super().__init__(fetches, owner, data, options)
        state, axis = self.state, options.batch_axis
        leading_dimension(state.graph.training_inputs, axis)
        self.data = read_member_rows(state.graph, data, state.members, axis)
        self.rows = self.data.rows
        chosen = member_indices(rows, state.members, self.rows.count)
        full = [self.rows.count] * state.members
        self.counts = np.array(full if chosen is None else [len(own) for own in chosen], np.int64)
        self.size = min(int(options.batch_size), int(self.counts.max()))
        self.batches = -(-self.counts // self.size)
        self.orders = Orders(options.shuffle, self.counts.tolist(), chosen, state.rngs)
        last = self.counts - (self.batches - 1) * self.size
        sizes = {self.size, *map(int, last)} if self.rows.batch else set()
        check_slices(state.graph, self.rows, sizes)
        check_labels(state, {**self.rows.sliced, **self.rows.whole}, axis)
        self.run_of: MemberRun | None = None

    def run(self) -> History:
        """Train; see `Session.fit`."""
        epochs = self.epochs
        done = 0
        try:
            with Progress(epochs, int(self.batches.max()), self.options.progress) as bar:
                while done < epochs and self.active.any():
                    run = self._current_run()
                    together = self._epochs_per_call(run, epochs - done)
                    for log in self._train(run, bar, together, done):
                        done += 1
                        self.finish_epoch(log, bar)
                self.guard.finish(done)
        finally:
            if self.run_of is not None:
                self.run_of.release()
        return self.history

    def _current_run(self) -> MemberRun:
        """The threads' places, for the session's optimizer and threads as they are now."""
        state, rows = self.state, self.rows
        state.require_optimizer("fit")
        state.feed_rates()
        env = {**rows.env, rows.batch: self.size} if rows.batch else rows.env
        run = member_run(state, rows.batch, env)
        if self.run_of not in (None, run):
            self.run_of.release()
        self.run_of = run
        if run.user is not self:
            run.bind(self.data.data(self.counts.tolist()), state.regions(), self.group)
            run.user = self
        return run

    def _epochs_per_call(self, run: MemberRun, left: int) -> int:
        """How many epochs are drawn for at a time: one, if anybody looks after each."""
        if self.callbacks or self.options.validation_data is not None:
            return 1
        active = self.active
        epoch_ns = run.step_ns * self.batches[active].sum() / min(len(run.places), active.sum())
        rows = self.counts[active].sum() if self.orders.has_own else self.counts.max()
        by_time, by_memory = int(NS_PER_CALL / max(1.0, epoch_ns)), int(MAX_PERMUTATION // rows)
        return max(1, min(left, by_time, by_memory))

    def _train(self, run: MemberRun, bar: Progress, epochs: int, before: int) -> Iterator[Log]:
        """Run some epochs; gives their logs."""
        state = self.state
        started = np.flatnonzero(self.active)
        orders = self.orders.draw(started, self.batches, epochs)
        order_of = dict(zip(started.tolist(), orders, strict=True))
        sums = memory.zeros((state.members, epochs, len(self.names)), np.float64)
        base = state.step_counts + 1
        total = self.batches * epochs
        ended = np.where(self.active, epochs, 0)  # epochs that each member has done
        pieces = self._pieces(run, epochs)
        shown = int(self.batches.max())

        for piece in range(pieces):
            own = np.flatnonzero(self.active)
            if not own.size:
                break
            steps = MemberSteps(
                members=own,
                first=self._cut(total, epochs, piece, pieces)[own],
                last=self._cut(total, epochs, piece + 1, pieces)[own],
                step_base=base[own],
                orders=[order_of[k] for k in own.tolist()],
                sums=sums,
                group=self.group,
                watch=self.guard.active,
            )
            share = int(steps.first.mean())

            def poll(share: int = share, count: int = own.size) -> None:
                bar.update(before * shown + share + run.done // count)

            self.guard.keep()
            if state.check_numerics:
                checked_steps(state, run, self.data, steps, self.options.batch_axis)
                continue
            outcome = call(state, run, steps, poll)
            for k in np.flatnonzero(outcome.reasons == Reason.NAN):
                member = int(own[k])
                epoch, step = divmod(
                    int(steps.first[k] + outcome.done[k]), int(self.batches[member])
                )
                self.active[member] = False
                ended[member] = epoch
                self.guard.found(member, before + epoch + 1, step + 1, self.data.of(member))
        means = sums / self.counts[:, None, None]
        means[np.arange(epochs) >= ended[:, None]] = math.nan
        for epoch in range(epochs):
            if epoch and not (ended >= epoch).any():
                return
            state.epoch_counts[ended > epoch] += 1
            yield dict(zip(self.names, means[:, epoch].T.copy(), strict=True))

    def _pieces(self, run: MemberRun, epochs: int) -> int:
        """In how many native calls: copies of the values are made in between."""
        if not self.guard.active:
            return 1
        steps = self.batches[self.active].sum() * epochs
        wanted = int(steps * run.step_ns / min(len(run.places), self.active.sum()) / CALL_NS) + 1
        most = epochs if self.group > 1 else int(self.batches.max()) * epochs
        return max(1, min(wanted, most))

    def _cut(
        self, total: NDArray[np.int64], epochs: int, piece: int, pieces: int
    ) -> NDArray[np.int64]:
        """Where a piece begins, by member; groups of batches end with the epoch."""
        if self.group > 1:
            return self.batches * (epochs * piece // pieces)
        return total * piece // pieces
