"""Training on any number of shards, whatever the cost model says, and two runs compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import staticflow as sf
from staticflow.compiler.cost_model import Choice, Work
from staticflow.training import trainer as training
from tests.support.small_nets import values

Array = NDArray[Any]
Made = tuple[sf.Node, dict[str, sf.Node], dict[str, Array]]  # loss, metrics, data


def force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the threads of a session all be used."""

    def choose(work: Work, threads: int, rows: int, reason: str) -> Choice:
        return Choice(1 if reason else threads, 1e9, 1e9, reason)

    monkeypatch.setattr(training, "choose_shards", choose)
    monkeypatch.setattr(training, "granted_threads", lambda: 16)


Run = tuple[list[dict[str, float]], dict[str, Array]]


def train(
    make: Callable[[], Made],
    threads: int,
    optimizer: Any = None,
    batch_size: int = 13,
    blocked: bool = False,
) -> Run:
    """The logs and final values; batches of 13 rows leave 6 for the last."""
    loss, metrics, fed = make()
    session = sf.Session(
        loss=loss,
        metrics=metrics,
        optimizer=optimizer or sf.optim.SGD(0.1),
        threads=threads,
        seed=3,
    )
    history = session.fit(fed, epochs=2, batch_size=batch_size, progress=False, batch_axis="batch")
    (trainer,) = session._state.trainers.values()
    assert trainer.blocked == blocked
    assert len(trainer.shards) == threads, trainer.choice.reason
    return history.epochs, values(session)


def assert_close(run: Run, other: Run) -> None:
    for log, expected in zip(run[0], other[0], strict=True):
        assert log == pytest.approx(expected, rel=2e-5, abs=1e-6)
    for name, array in other[1].items():
        np.testing.assert_allclose(run[1][name], array, 2e-4, 5e-6, err_msg=name)
