"""Ctrl-C: within 0.2 s, with the parameters of a whole number of steps, whatever is running."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numba
import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.session.run import nan_guard
from staticflow.training.trainer import Trainer
from tests.support.interrupt import LATENCY, interrupt
from tests.support.sharding import force
from tests.support.small_nets import assert_same, data, regression, values

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")
FED = data(640)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_long_fit_stops_after_a_whole_step(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaying as many steps gives the same bits."""
    if threads > 1:
        force(monkeypatch)
    session = regression(sf.optim.Adam(1e-3), threads=threads)
    session.fit(FED, batch_size=32, progress=False)
    running = threading.Event()

    def fit() -> None:
        running.set()
        session.fit(FED, epochs=10**7, batch_size=32, shuffle=False, progress=False)

    assert interrupt(fit, running.is_set, 0.3) < LATENCY
    steps = session.step_count
    assert steps > 20
    twin = regression(sf.optim.Adam(1e-3), threads=threads)
    twin.fit(FED, batch_size=32, progress=False)
    epochs, rest = divmod(steps - 20, 20)
    options: dict[str, Any] = {"batch_size": 32, "shuffle": False, "progress": False}
    twin.fit(FED, epochs=epochs, **options)
    if rest:
        twin.fit({name: array[: 32 * rest] for name, array in FED.items()}, **options)
    assert twin.step_count == steps
    assert_same(values(session), values(twin))
    session.fit(FED, **options)
    twin.fit(FED, **options)
    assert_same(values(session), values(twin))


@pytest.mark.parametrize("how", ["fit", "step"])
def test_an_interrupt_between_two_runs_counts_no_step_twice(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the next run is to begin, and knows of nothing but the one before."""
    session = regression(sf.optim.SGD(1e-3), threads=1)
    batch = {name: array[:32] for name, array in FED.items()}
    session.step(batch)
    run, runs = Trainer.run, []

    def interrupted(*args: Any, **options: Any) -> int:
        runs.append(args)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return run(*args, **options)

    monkeypatch.setattr(Trainer, "run", interrupted)
    monkeypatch.setattr(nan_guard, "CALL_NS", 0.0)  # a run for each step
    with pytest.raises(KeyboardInterrupt):
        if how == "fit":
            session.fit(FED, batch_size=32, progress=False)
        else:
            session.step(batch)
            session.step(batch)
    assert session.step_count == 2


@pytest.mark.parametrize("how", ["fit", "step"])
def test_one_long_step_is_left_undone(how: str) -> None:
    """A step of about a second, most of it in three products and their gradients."""
    width, rows = 2304, 1152
    x = sf.input("x", ("batch", width))
    y = models.FNN([width, width, width, 1], activation="tanh")(x)
    session = sf.Session(loss=ops.square(y).mean(), optimizer=sf.optim.SGD(1e-3), threads=2)
    fed = {"x": np.ones((rows, width), np.float32)}
    running = threading.Event()

    def call() -> None:
        running.set()
        for _ in range(100):
            session.fit(fed, batch_size=4096, progress=False) if how == "fit" else session.step(fed)

    session.fit(fed, batch_size=4096, progress=False)  # touches all memory for the first time,
    session.step(fed)  # which may take longer than computing
    before, steps = values(session), session.step_count
    assert interrupt(call, running.is_set, 0.2) < LATENCY
    assert all(np.isfinite(array).all() for array in values(session).values())
    if session.step_count == steps:
        assert_same(values(session), before)


def test_an_interrupt_in_a_callback_ends_the_fit() -> None:
    session = regression()

    def callback(session: sf.Session, log: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        session.fit(FED, epochs=3, batch_size=32, callbacks=[callback], progress=False)
        time.sleep(1)
    assert session.step_count == 20
    session.fit(FED, batch_size=32, progress=False)
    assert session.step_count == 40


def fit_is_interrupted(session: sf.Session, fed: dict[str, Any]) -> float:
    """How long a fit of one epoch goes on after Ctrl-C."""
    session.fit({name: array[:8] for name, array in fed.items()}, batch_size=1, progress=False)
    running = threading.Event()

    def fit() -> None:
        running.set()
        session.fit(fed, batch_size=1, progress=False)

    return interrupt(fit, running.is_set, 0.3)


def test_steps_of_native_calls_are_interrupted() -> None:
    """They were taken for steps of 10 us, and a fit of them for a short call."""
    x = sf.input("x", ("batch", 1))
    a = sf.param("a", (200, 200), init=np.eye(200, dtype="f4") * 3)
    loss = ops.mean(x) * 1e-6 + ops.linalg.slogdet(a)[1] * 1e-3
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(1e-6), threads=2)
    assert fit_is_interrupted(session, {"x": np.zeros((4000, 1), "f4")}) < LATENCY


@numba.njit
def slow(x: Any) -> Any:
    """Some milliseconds for a single element."""
    total = 0.0
    for i in range(300_000):
        total += np.sin(x.flat[0] + i)
    return x + total * 0


def test_steps_that_no_model_knows_are_interrupted() -> None:
    """A user's function may take any time; so may a loop until something is so."""
    x, w = sf.input("x", ("batch", 1)), sf.param("w", (1,))
    called = sf.custom_op(slow, vjp=lambda g, y, x: (g,))
    session = sf.Session(loss=called(x * w).mean(), optimizer=sf.optim.SGD(1e-6))
    assert fit_is_interrupted(session, {"x": np.zeros((1000, 1), "f4")}) < LATENCY


def test_one_long_step_without_products_is_left_undone() -> None:
    """Batch norm needs all rows at once, so that the step is not cut into blocks of them."""
    x = sf.input("x", ("batch", 64))
    scale = sf.param("scale", (64,), init="ones")
    y = x * scale
    for _ in range(10):
        y = ops.sin((y - y.mean(axis=0)) / (ops.std(y, axis=0) + 1e-3))
    session = sf.Session(loss=ops.square(y).mean(), optimizer=sf.optim.SGD(1e-3), threads=2)
    fed = {"x": np.random.default_rng(0).standard_normal((200_000, 64)).astype("f4")}
    session.step(fed)
    before, steps = values(session), session.step_count
    running = threading.Event()

    def step() -> None:
        running.set()
        while True:
            session.step(fed)

    assert interrupt(step, running.is_set, 0.3) < LATENCY
    if session.step_count == steps:
        assert_same(values(session), before)
