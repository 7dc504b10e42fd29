"""The attributes of a session that can be assigned: each counts from the next step on, or refuses.

    session.optimizer = sf.optim.SGD(1e-3)     # from the next step; in a callback, the next epoch
    session.loss = other                       # GraphError: make a new session

An optimizer of the same kind goes on with what the last one has gathered; another kind begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from staticflow.errors import GraphError, fail
from staticflow.graph.foreign_names import OF_SESSIONS, unknown
from staticflow.session.run.fetch import Fetches
from staticflow.session.state.graph import NEW_SESSION
from staticflow.session.state.session_state import (
    SessionState,
    check_optimizer,
    check_seed,
    check_threads,
)

T = TypeVar("T")
_FIXED = {
    "loss": NEW_SESSION,
    "metrics": NEW_SESSION,
    "outputs": NEW_SESSION,
    "inputs": NEW_SESSION,
    "params": "write into it, as in session.params['w'][...] = 0, or use session.load_params",
    "states": "write into it, as in session.states['h'][...] = 0, or use session.load_params",
}


class LiveAttributes:
    """The base of sessions: what it holds shows as attributes (`Live`), and there are no others."""

    _fetches: Fetches

    if not TYPE_CHECKING:  # for a type checker, a session has what is written in it

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown("a session", name, OF_SESSIONS, type(self).__name__)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in _FIXED and name not in _CHANGES:
            fail(
                GraphError,
                f"a session has no attribute {name!r}",
                do=f"it can be told {', '.join(_CHANGES)}; the learning rate is the optimizer's, "
                "and session.extra takes what you want to keep with it",
            )
        super().__setattr__(name, value)


class Live(Generic[T]):
    """An attribute that stands in the session's state."""

    def __init__(self, read: Callable[[SessionState], T]) -> None:
        self._read = read
        self._name = ""

    def __set_name__(self, owner: type[LiveAttributes], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, session: None, owner: type[LiveAttributes]) -> Live[T]: ...

    @overload
    def __get__(self, session: LiveAttributes, owner: type[LiveAttributes]) -> T: ...

    def __get__(self, session: LiveAttributes | None, owner: type[LiveAttributes]) -> T | Live[T]:
        return self if session is None else self._read(session._fetches.state)

    def __set__(self, session: LiveAttributes, value: Any) -> None:
        _assign(session._fetches, self._name, value)


def _assign(fetches: Fetches, name: str, value: Any) -> None:
    """Set an attribute, and do all that follows from it."""
    if name in _FIXED:
        fail(GraphError, f"session.{name} cannot be assigned", do=_FIXED[name])
    with fetches.state.lock:
        _CHANGES[name](fetches.state, value)
        if name in _IN_FETCHES:
            fetches.forget()


def _set_optimizer(state: SessionState, value: Any) -> None:
    state.set_optimizer(check_optimizer(value))


def _set_seed(state: SessionState, value: Any) -> None:
    state.set_seed(check_seed(value))


def _set_threads(state: SessionState, value: Any) -> None:
    state.threads = check_threads(value, "set it to 1 or more")


def _set_check_numerics(state: SessionState, value: Any) -> None:
    state.check_numerics = bool(value)
    state.forget_programs()


def _set_step_count(state: SessionState, value: Any) -> None:
    state.set_count("step_count", value)


def _set_epoch_count(state: SessionState, value: Any) -> None:
    state.set_count("epoch_count", value)


def _set_run_count(state: SessionState, value: Any) -> None:
    state.set_count("run_count", value)


def _set_extra(state: SessionState, value: Any) -> None:
    if not isinstance(value, dict):
        fail(GraphError, "session.extra is a dict of plain data", got=type(value).__name__)
    state.extra = value


_CHANGES: dict[str, Callable[[SessionState, Any], None]] = {
    "optimizer": _set_optimizer,
    "seed": _set_seed,
    "threads": _set_threads,
    "check_numerics": _set_check_numerics,
    "step_count": _set_step_count,
    "epoch_count": _set_epoch_count,
    "run_count": _set_run_count,
    "extra": _set_extra,
}
_IN_FETCHES = ("threads", "check_numerics")  # what compiled fetches depend on
