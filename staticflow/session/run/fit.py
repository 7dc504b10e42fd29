"""The epochs of a fit: shuffle, train in native calls, log, validate, call back.

Each native call runs as many steps as fit into a short time, so that progress shows and callbacks
come after each epoch; the worker's threads do the rest. Data that is not in memory as arrays comes
in as an iterator of batches, one step a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.runtime.feeds import leading_dimension
from staticflow.session.report.history import History
from staticflow.session.report.progress import Progress
from staticflow.session.run.accumulation import accumulate, apply, refuse_accumulated
from staticflow.session.run.batches import check_slices, read_rows
from staticflow.session.run.evaluate import evaluate
from staticflow.session.run.fetch import Fetches
from staticflow.session.run.fit_options import FitOptions, callables, check_options
from staticflow.session.run.nan_guard import NanGuard
from staticflow.session.run.nan_labels import rows_with_nan
from staticflow.session.run.steps import check_labels, run_batch, trainer_for
from staticflow.training.epochs import Epochs
from staticflow.training.trainer import Trainer

MAX_PERMUTATION = 1 << 22  # rows shuffled ahead, over all epochs of a call
NS_PER_CALL = 200e6  # the cost model may be off by some; Ctrl-C does not depend on it


class Fit:
    """One call of `Session.fit`."""

    def __init__(self, fetches: Fetches, owner: object, data: Any, options: FitOptions) -> None:
        """`owner` is what callbacks are given, beside the log."""
        self.state = state = fetches.state
        self.fetches, self.owner = fetches, owner
        self.inputs = state.graph.training_inputs
        check_options(self.inputs, data, options)
        refuse_accumulated(state, "fit")
        self.epochs, self.batch_size = int(options.epochs), int(options.batch_size)
        self.group = int(options.accumulate)
        self.shuffle, self.show = options.shuffle, options.progress
        self.validation, self.batch_axis = options.validation_data, options.batch_axis
        self.callbacks = callables(options.callbacks)
        self.stream = data if callable(data) else None
        if not callable(data):
            leading_dimension(self.inputs, self.batch_axis)
        self.rows = None if callable(data) else read_rows(state.graph, data, self.batch_axis)
        self.guard = NanGuard(state, options.on_nan)
        if self.rows is not None:
            size = min(self.batch_size, self.rows.count)
            sizes = {size, self.rows.count % size or size} if self.rows.batch else {}
            check_slices(state.graph, self.rows, sizes)
            whole = {**self.rows.sliced, **self.rows.whole}
            check_labels(state, whole, self.batch_axis, self._sample)
        if isinstance(self.validation, Mapping):
            read_rows(state.graph, self.validation, self.batch_axis)
        self.history = History()
        self.names = ("loss", *state.graph.metrics)
        self.stopped = self.nan = False  # by a callback or by NaN; by NaN
        self.trainer: Trainer | None = None

    def _sample(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """A batch with labels that hold NaN."""
        assert self.rows is not None
        rows = self.rows
        if not rows.batch:
            return dict(rows.whole)
        bad = [np.moveaxis(a, rows.axes[n], 0) for n, a in labels.items() if n in rows.sliced]
        chosen = rows_with_nan(bad, rows.count, min(self.batch_size, rows.count))
        taken = {n: np.take(a, chosen, rows.axes[n]) for n, a in rows.sliced.items()}
        return {**taken, **rows.whole}

    def run(self) -> History:
        """Train; see `Session.fit`."""
        if self.rows is None:
            return self._run_stream()
        rows = self.rows
        size = min(self.batch_size, rows.count)
        batches = -(-rows.count // size)
        last = rows.count - (batches - 1) * size
        try:
            with Progress(self.epochs, batches, self.show) as bar:
                self._epochs({**rows.env, rows.batch: size}, bar, batches, last)
        finally:
            if self.trainer is not None:
                self.trainer.release()
        return self.history

    def _current_trainer(self, env: Mapping[str, int]) -> Trainer:
        """The trainer for the session's optimizer and threads as they are now."""
        assert self.rows is not None
        state = self.state
        state.require_optimizer("fit")
        state.feed_rates()
        together = self.group > 1
        trainer = trainer_for(state, self.rows.batch, env, state.threads, together)
        shards = len(trainer.shards)
        there = state.pool.start(shards) if trainer.tied else shards
        if there < shards:  # no more threads can be started
            trainer = trainer_for(state, self.rows.batch, env, max(1, there), together)
        if self.trainer not in (None, trainer):
            self.trainer.release()
        self.trainer = trainer
        return trainer

    def _bind(self, trainer: Trainer, last: int) -> None:
        """Point the trainer at this fit's data, if a call in between has not left it so."""
        assert self.rows is not None
        if trainer.user is not self:
            if last != trainer.rows:
                trainer.prepare_ragged(last)
            trainer.bind_data(self.rows.sliced, self.rows.whole, self.rows.axes)
            trainer.user = self

    def _epochs(self, env: Mapping[str, int], bar: Progress, batches: int, last: int) -> None:
        done = 0
        while done < self.epochs and not self.stopped:
            trainer = self._current_trainer(env)
            together = self._epochs_per_call(trainer, batches, self.epochs - done)
            self._bind(trainer, last)
            for log in self._train(trainer, bar, batches, last != trainer.rows, together, done):
                done += 1
                self.stopped |= self._finish_epoch(log, bar)
        self._end(done)

    def _end(self, epoch: int) -> None:
        """See that all went well; an epoch in which it did not is in the history as well."""
        if self.nan:
            self.history.append(dict.fromkeys(self.names, math.nan))
        else:
            self.guard.finish(epoch)

    def _epochs_per_call(self, trainer: Trainer, batches: int, left: int) -> int:
        """How many epochs one native call may run: one, if anybody looks after each."""
        assert self.rows is not None
        if self.callbacks or self.validation is not None:
            return 1
        by_time = int(NS_PER_CALL / max(1.0, trainer.choice.sharded_ns * batches))
        by_memory = MAX_PERMUTATION // self.rows.count
        return max(1, min(left, by_time, by_memory))

    def _train(
        self, trainer: Trainer, bar: Progress, batches: int, ragged: bool, epochs: int, before: int
    ) -> list[dict[str, float]]:
        """Run some epochs in one native call; returns their logs."""
        assert self.rows is not None
        state, rows = self.state, self.rows
        permutation = None
        if self.shuffle and batches > 1:  # the order of rows within a batch makes no difference
            permutation = memory.empty((epochs, rows.count), np.int64)
            for order in permutation:
                order[:] = state.rng.permutation(rows.count)
        shards = len(trainer.shards)
        sums = memory.zeros((shards, epochs, len(self.names)), np.float64)
        first = 0
        whole = Epochs(
            range(0), batches, rows.count, state.step_count + 1, ragged, permutation, self.group
        )

        def poll() -> None:
            bar.update(before * batches + first + trainer.sync.done)

        for first, end in self.guard.calls(epochs * batches, trainer.choice.sharded_ns):
            done = 0
            some = whole._replace(batches=range(first, end))
            trainer.sync.reset()  # an interrupt before the run counts none of the last one's
            try:
                done = trainer.run(state.pool, some, list(sums), poll, self.guard.active)
            finally:
                state.step_count += some.updates(done or trainer.sync.done)
            if trainer.found_nan:
                epoch, step = divmod(first + done, batches)
                self._stop(before + epoch, step, {**rows.sliced, **rows.whole})
                sums = sums[:, :epoch]
                break
        totals = sums.sum(axis=0) / rows.count
        return [dict(zip(self.names, map(float, row), strict=True)) for row in totals]

    def _stop(self, epoch: int, step: int, data: Mapping[str, Array]) -> None:
        """End the fit at a step whose loss is NaN; both counted from 0."""
        self.stopped = self.nan = True
        self.guard.found(epoch + 1, step + 1, data)

    def _finish_epoch(self, log: dict[str, float], bar: Progress) -> bool:
        """Log an epoch; returns whether a callback asks to stop."""
        self.state.epoch_count += 1
        if self.validation is not None:
            size = max(self.batch_size, 256)
            found = evaluate(self.fetches, self.validation, size, self.batch_axis)
            log.update({f"val_{name}": value for name, value in found.items()})
        self.history.append(log)
        bar.epoch_end(log)
        stops = [bool(callback(self.owner, log)) for callback in self.callbacks]
        return any(stops)

    def _run_stream(self) -> History:
        """Train on batches that an iterator brings."""
        assert self.stream is not None
        try:
            with Progress(self.epochs, None, self.show) as bar:
                done = 0
                while done < self.epochs and not self.stopped:
                    log = self._stream_epoch(done, self.stream(), bar)
                    if log:
                        done += 1
                        self.stopped |= self._finish_epoch(log, bar)
                self._end(done)
        finally:
            self.state.accumulated = None  # of a group that NaN or an exception has ended
        return self.history

    def _train_on(self, feeds: Any) -> tuple[Trainer, list[float]]:
        """Train on a batch that an iterator brought: the trainer, and the loss and metrics."""
        state = self.state
        if self.group == 1:
            trainer, values = run_batch(state, feeds, self.batch_axis, True, self.guard.active)
            trainer.release()
            return trainer, values
        trainer, values = accumulate(state, feeds, self.batch_axis, self.guard.active)
        if state.accumulated is not None and state.accumulated.batches == self.group:
            apply(state)
        return trainer, values

    def _stream_epoch(self, epoch: int, batches: Iterator[Any], bar: Progress) -> dict[str, float]:
        """The log of an epoch; none if it ends at a loss that is NaN."""
        state = self.state
        totals = np.zeros(len(self.names))
        count = 0
        for step, feeds in enumerate(batches):
            rows = read_rows(state.graph, feeds, self.batch_axis)
            self.guard.keep()
            trainer, values = self._train_on(feeds)
            if trainer.found_nan:
                self._stop(epoch, step, {**rows.sliced, **rows.whole})
                return {}
            totals += np.array(values) * rows.count
            count += rows.count
            bar.update(state.step_count, values[0])
        if state.accumulated is not None:  # the last group of the epoch has fewer batches
            apply(state)
        if count == 0:
            fail(GraphError, "the data has no batches", do="return a new iterator at each call")
        return dict(zip(self.names, map(float, totals / count), strict=True))
