"""A session that shows torn steps: each takes the same from all parameters, and counts itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.compiler.cost_model import Choice, Work

Array = NDArray[Any]
RATE = 2.0**-20


def counted(threads: int = 2, more: sf.Node | float = 0.0) -> sf.Session:
    """Each step subtracts RATE from every element of `a` and `b`, and adds 1 to `steps`.

    `more` is added to the loss, and must not depend on a parameter.
    """
    x = sf.input("x", ("batch", 8))
    a = sf.param("a", (3000,), init="ones")
    b = sf.param("b", (40, 50), init="ones")
    steps = sf.state("steps", ())
    sf.update(steps, steps + 1.0)
    loss = x[:, 0].mean() * (a.sum() + b.sum()) + more
    outputs = {"a": a + 0.0, "b": b + 0.0, "steps": steps + 0.0, "y": x * a[0]}
    return sf.Session(loss=loss, outputs=outputs, optimizer=sf.optim.SGD(RATE), threads=threads)


def steps_in(a: Array, b: Array) -> int:
    """How many steps the parameters have made; each element must have made the same."""
    taken = (1.0 - np.concatenate([np.ravel(a), np.ravel(b)]).astype(np.float64)) / RATE
    assert taken.min() == taken.max(), f"a torn step: {taken.min()} to {taken.max()} steps"
    return round(float(taken[0]))


def assert_whole(session: sf.Session, steps: int | None = None) -> int:
    """A session that nobody else uses has made a whole number of steps, by all accounts."""
    found = steps_in(session.params["a"], session.params["b"])
    assert found == session.step_count == int(session.states["steps"])
    assert steps in (None, found)
    return found


def fed(rows: int) -> dict[str, Array]:
    return {"x": np.ones((rows, 8), np.float32)}


def use_all_threads(work: Work, threads: int, rows: int, reason: str) -> Choice:
    """In the place of the cost model, which would leave such short steps on one."""
    return Choice(1 if reason else threads, 1e9, 1e9, reason)
