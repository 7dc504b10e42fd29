"""A session of several members: `sf.Session(..., members=64)`.

session.params["fnn.0.weight"].shape        (64, in, out)
session.fit(data, epochs=10, shuffle="own") every member by itself, one after the other
session.member(3)                           a session, in the same memory
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.session.live import Live
from staticflow.session.report.history import History
from staticflow.session.run.accumulation import accumulate, apply
from staticflow.session.run.fit_options import FitOptions
from staticflow.session.run.member_data import read_member_rows
from staticflow.session.run.member_evaluate import evaluate_members
from staticflow.session.run.member_fetch import MemberFetches, reduced
from staticflow.session.run.member_fit import MemberFit
from staticflow.session.run.member_steps import one_step, refuse_accumulated_members
from staticflow.session.run.member_stream import MemberStream
from staticflow.session.session import Session, session_over
from staticflow.session.state.graph import SessionGraph
from staticflow.session.state.members import MembersState
from staticflow.session.state.session_state import (
    SessionState,
    check_seed,
)


class Ensemble(Session):
    """A session of several members, of equal shapes, each with its own seed.

    Everything that a session has, each member has: parameters, states and the optimizer's arrays
    have a leading axis of members, and so have results and losses. Member k is, bit for bit, the
    session with `seed=seed + k` and `threads=1` (trained with `shuffle="own"`, or without). The
    seed, the optimizer's `lr` (also of a schedule) and its `weight_decay` may be lists of a value
    for each member; initial values may be those of `sf.init.by_member`.
    """

    step_count: Live[Any] = Live(lambda state: members_of(state).step_counts.copy())
    epoch_count: Live[Any] = Live(lambda state: members_of(state).epoch_counts.copy())
    run_count: Live[Any] = Live(lambda state: members_of(state).run_counts.copy())

    @staticmethod
    def _begun(
        graph: SessionGraph, trained: Any, seed: Any, members: int | None, **settings: Any
    ) -> SessionState:
        count = 1 if members is None else members
        return MembersState(graph, trained, seed=check_seeds(seed), members=count, **settings)

    def _hold(self, state: SessionState) -> None:
        self._state = self._whole = members_of(state)
        self._fetches = self._every = MemberFetches(self._whole)
        self._sessions: dict[int, Session] = {}

    @property
    def members(self) -> int:
        """How many there are."""
        return self._whole.members

    @staticmethod
    def _over(state: SessionState) -> Session:
        session = object.__new__(Ensemble)
        session._hold(state)
        return session

    def member(self, index: int) -> Session:
        """One member as an ordinary session on one thread, in the same memory."""
        state = self._whole.member(index)
        if state.index not in self._sessions:
            self._sessions[state.index] = session_over(state, self._every.member(state.index))
        return self._sessions[state.index]

    def run(
        self,
        fetches: Any,
        feeds: Mapping[Any, Any] | None = None,
        seed: int | None = None,
        reduce: Any = None,
    ) -> Any:
        """Compute a fetch for all members: arrays (members, ...).

        `feeds` may have a leading axis of members. `reduce` is "mean", "std" or a tuple of them,
        over the members. Otherwise as `Session.run`.
        """
        return reduced(
            self._every.run(fetches, feeds, None if seed is None else check_seed(seed)), reduce
        )

    def fit(
        self,
        data: Any,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool | str = True,
        validation_data: Any = None,
        callbacks: Any = (),
        progress: bool = True,
        batch_axis: str | None = None,
        on_nan: str = "stop",
        accumulate: int = 1,
        rows: Any = None,
        stopped: Any = None,
    ) -> History:
        """Train all members for some epochs; the logs have a value for each, (members,).

        `data` are shared, or have a leading axis of members; `rows` are the rows of each member, as
        indices or as masks. `shuffle` is True for one order of rows for all, "own" for an order of
        each member's, or False. `stopped` are booleans that say which members are left as they
        are, and a callback may return such an array: which members stop. A member whose loss is NaN
        stops as `on_nan` says, and the others go on; what is logged of a member that has stopped is
        NaN. Otherwise as `Session.fit`.
        """
        self._state.require_optimizer("fit")
        options = FitOptions(
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            validation_data=validation_data,
            callbacks=callbacks,
            progress=progress,
            batch_axis=batch_axis,
            on_nan=on_nan,
            accumulate=accumulate,
        )
        with self._state.lock:
            if callable(data):
                if rows is not None:
                    fail(
                        GraphError,
                        "fit: rows are chosen from data that are in memory",
                        got="a callable that returns batches",
                        do="pass a dict of arrays, or let the callable choose",
                    )
                stream = MemberStream(self._every, self, data, options)
                stream.leave_out(stopped)
                return stream.run(data)
            fit = MemberFit(self._every, self, data, options, rows)
            fit.leave_out(stopped)
            return fit.run()

    def step(self, feeds: Mapping[Any, Any], batch_axis: str | None = None) -> Any:
        """One training step of all members on one batch; returns their losses (members,)."""
        state = self._whole
        state.require_optimizer("step")
        with state.lock:
            refuse_accumulated_members(state, "step")
            data = read_member_rows(state.graph, feeds, state.members, batch_axis)
            every = np.ones(state.members, bool)
            return one_step(state, data, every, batch_axis=batch_axis).values[:, 0]

    def accumulate(self, feeds: Mapping[Any, Any], batch_axis: str | None = None) -> Any:
        """Add the gradients on one batch to those that `apply` trains by; returns the losses."""
        state = self._whole
        state.require_optimizer("accumulate")
        with state.lock:
            data = read_member_rows(state.graph, feeds, state.members, batch_axis)
            own = [accumulate(m, data.of(m.index), batch_axis)[1][0] for m in state.each()]
        return np.array(own)

    def apply(self) -> Any:
        """One update of each member by what has been accumulated; returns the mean losses."""
        with self._state.lock:
            return np.array([apply(member) for member in self._whole.each()])

    def discard(self) -> None:
        """Forget what has been accumulated and not applied."""
        with self._state.lock:
            for member in self._whole.known_members():
                member.accumulated = None

    def gradients(
        self, feeds: Mapping[Any, Any], batch_axis: str | None = None
    ) -> dict[str, Array]:
        """The gradients of the losses by parameter name, (members, ...); changes nothing."""
        state = self._whole
        with state.lock:
            data = read_member_rows(state.graph, feeds, state.members, batch_axis)
            found = [self.member(k).gradients(data.of(k), batch_axis) for k in range(self.members)]
        return {name: np.stack([own[name] for own in found]) for name in found[0]}

    def evaluate(
        self,
        data: Any,
        batch_size: int = 1024,
        batch_axis: str | None = None,
        reduce: Any = None,
    ) -> Any:
        """Loss and metrics in inference mode, averaged by rows: (members,) each, or reduced."""
        return reduced(evaluate_members(self._every, data, batch_size, batch_axis), reduce)


def check_seeds(value: Any) -> Any:
    """A seed, or a list of a seed for each member."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [check_seed(seed) for seed in value]
    return check_seed(value)


def members_of(state: Any) -> MembersState:
    """The state of a session that has members."""
    assert isinstance(state, MembersState)
    return state
