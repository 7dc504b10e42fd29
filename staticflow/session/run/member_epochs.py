"""What fits of several members have in common: which of them go on, logs, callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.runtime.stacked import check_members
from staticflow.session.report.history import History, mean_of
from staticflow.session.report.progress import Progress
from staticflow.session.run.fit_options import FitOptions, callables, check_options
from staticflow.session.run.member_data import read_member_rows
from staticflow.session.run.member_evaluate import evaluate_members
from staticflow.session.run.member_fetch import MemberFetches
from staticflow.session.run.member_guard import MemberGuard
from staticflow.session.run.member_steps import refuse_accumulated_members

Log = dict[str, Array]


class MemberEpochs:
    """The epochs of one fit: `active` says which members are still trained."""

    def __init__(
        self, fetches: MemberFetches, owner: object, data: Any, options: FitOptions
    ) -> None:
        """`owner` is what callbacks are given, beside the log."""
        self.state = state = fetches.whole
        self.fetches, self.owner, self.options = fetches, owner, options
        check_options(state.graph.training_inputs, data, options)
        refuse_accumulated_members(state, "fit")
        self.epochs, self.group = int(options.epochs), int(options.accumulate)
        self.callbacks = callables(options.callbacks)
        self.guard = MemberGuard(state, options.on_nan)
        if isinstance(options.validation_data, Mapping):
            given, axis = options.validation_data, options.batch_axis
            read_member_rows(state.graph, given, state.members, axis)
        self.history = History()
        self.names = ("loss", *state.graph.metrics)
        self.active = np.ones(state.members, bool)

    def leave_out(self, stopped: Any) -> None:
        """Leave some members as they are from the start."""
        if stopped is not None:
            check_members("fit: the members that are stopped", len(stopped), self.state.members)
            self.active &= ~np.asarray(stopped, bool)

    def finish_epoch(self, log: Log, bar: Progress) -> None:
        """Log an epoch, and stop the members that a callback names."""
        options = self.options
        if options.validation_data is not None:
            size = max(int(options.batch_size), 256)
            data, axis = options.validation_data, options.batch_axis
            found = evaluate_members(self.fetches, data, size, axis)
            log.update({f"val_{name}": value for name, value in found.items()})
        self.history.append(log)
        bar.epoch_end({name: mean_of(value) for name, value in log.items()})
        for callback in self.callbacks:
            self.active &= ~self._stops(callback(self.owner, log))

    def _stops(self, answer: Any) -> NDArray[np.bool_]:
        """The members that a callback's answer stops: all, or those of an array of booleans."""
        if np.ndim(answer) == 0:
            return np.full(self.state.members, bool(answer))
        found = np.asarray(answer)
        if found.shape != (self.state.members,) or found.dtype != bool:
            fail(
                GraphError,
                "fit: a callback says which members stop",
                got=f"{found.dtype}{list(found.shape)}",
                do=f"return True or False, or an array of {self.state.members} booleans",
            )
        return found
