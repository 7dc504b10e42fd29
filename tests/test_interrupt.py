"""Ctrl-C: within 0.2 s, with the parameters of a whole number of steps, whatever is running."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_nets import assert_same, data, regression, values

import staticflow as sf
from staticflow import models, ops

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")
LATENCY = 0.2
FED = data(640)


def interrupt(call: Callable[[], Any], when: Callable[[], bool], delay: float) -> float:
    """Send SIGINT some time after `when` holds; returns how long the call went on after it."""
    sent: list[float] = []
    give_up = threading.Event()

    def send() -> None:
        while not when() and not give_up.is_set():
            time.sleep(0.001)
        time.sleep(delay)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.perf_counter() - sent[0]
    finally:
        give_up.set()
        sender.join()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_long_fit_stops_after_a_whole_step(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaying as many steps gives the same bits."""
    from test_placement import force

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
