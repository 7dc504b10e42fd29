"""The attributes of a session that can be assigned: each counts from the next step on, or refuses.

    session.optimizer = sf.optim.SGD(1e-3)     # from the next step; in a callback, the next epoch
    session.loss = other                       # GraphError: make a new session

An optimizer of the same kind goes on with what the last one has gathered; another kind begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.checks import check_integer
from staticflow.errors import GraphError, fail
from staticflow.learning_rates import Constant
from staticflow.optim import Optimizer
from staticflow.slots import make_slots
from staticflow.structure import flatten

if TYPE_CHECKING:
    from staticflow.session import Session

_NEW = "make another session, with params=session.params to go on with its values"
_FIXED = {
    "loss": _NEW,
    "metrics": _NEW,
    "outputs": _NEW,
    "inputs": _NEW,
    "params": "write into it, as in session.params['w'][...] = 0, or use session.load_params",
    "states": "write into it, as in session.states['h'][...] = 0, or use session.load_params",
}


class LiveAttributes:
    """The base of sessions; `_made` is set when one is complete."""

    _made = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and not name.startswith("_"):
            value = _accepted(self, name, value)
        object.__setattr__(self, name, value)


class FixedDict(dict[str, Any]):
    """A dict that cannot be changed, as what it says has been compiled."""

    def _refuse(self, *args: Any, **options: Any) -> Any:
        fail(GraphError, "the outputs and metrics of a session cannot be changed", do=_NEW)

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def named_outputs(outputs: Any) -> Any:
    """The outputs of a session as they were given, names in a dict that stays as it is."""
    if outputs is None:
        return FixedDict()
    flatten(outputs)
    return FixedDict(outputs) if isinstance(outputs, Mapping) else outputs


def check_optimizer(optimizer: Any) -> Optimizer | None:
    """An optimizer, or None."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        fail(
            GraphError,
            "the optimizer must be one of sf.optim",
            got=repr(optimizer)[:80],
            do="pass optimizer=sf.optim.Adam(1e-3), for example",
        )
    return optimizer


def _accepted(session: Any, name: str, value: Any) -> Any:
    """What an attribute is set to, after all that follows from it has been done."""
    if name in _FIXED:
        fail(GraphError, f"session.{name} cannot be assigned", do=_FIXED[name])
    if name not in _CHANGES:
        fail(
            GraphError,
            f"a session has no attribute {name!r}",
            do=f"it can be told {', '.join(_CHANGES)}; the learning rate is the optimizer's, and "
            "session.extra takes what you want to keep with it",
        )
    with session._lock:
        return _CHANGES[name](session, value)


def _optimizer(session: Session, value: Any) -> Optimizer | None:
    new, old = check_optimizer(value), session.optimizer
    if new is not None and old is not None and _without_rate(new) == _without_rate(old):
        return new  # the rate is read at each step
    slots, extras = ({}, {}) if new is None else make_slots(session._params, session._trained, new)
    if new is not None and (isinstance(new, type(old)) or isinstance(old, type(new))):
        for name in slots.keys() & session._slots.keys():
            slots[name][:] = session._slots[name]
    session._slots, session._extras = slots, extras
    session.forget_programs()
    return new


def _without_rate(optimizer: Optimizer) -> Optimizer:
    """The optimizer with a base rate of 0, if its rate is a number."""
    constant = isinstance(optimizer.schedule, Constant)
    return replace(optimizer, lr=0.0) if constant else optimizer


def _seed(session: Session, value: Any) -> int:
    seed = check_integer("the seed", value, 0, "pass seed=0, for example")
    session._seed_cell[0] = seed
    session._rng = np.random.default_rng(seed)
    return seed


def _threads(session: Session, value: Any) -> int:
    threads = check_integer("threads", value, 1, "set it to 1 or more")
    session.forget_fetches()
    return threads


def _check_numerics(session: Session, value: Any) -> bool:
    session.forget_programs()
    session.forget_fetches()
    return bool(value)


def _count(session: Session, value: Any) -> int:
    return check_integer("a number of steps, epochs or runs", value, 0, "set it to 0 or more")


def _extra(session: Session, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        fail(GraphError, "session.extra is a dict of plain data", got=type(value).__name__)
    return value


_CHANGES: dict[str, Callable[[Session, Any], Any]] = {
    "optimizer": _optimizer,
    "seed": _seed,
    "threads": _threads,
    "check_numerics": _check_numerics,
    "step_count": _count,
    "epoch_count": _count,
    "run_count": _count,
    "extra": _extra,
}
