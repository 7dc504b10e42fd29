"""Where the system gives no more threads, work goes on with those that there are."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models
from tests.support.sharding import force
from tests.support.small_nets import data, regression, values

FED = data(200)


@pytest.fixture(params=[0, 1, 3])
def few_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many threads can still be started."""
    left = [request.param]
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    return int(request.param)


def train(session: sf.Session) -> dict[str, Any]:
    session.fit(FED, epochs=3, batch_size=32, progress=False)
    session.step(FED)
    return values(session)


def test_fit_goes_on(monkeypatch: pytest.MonkeyPatch, few_threads: int) -> None:
    force(monkeypatch)
    expected = train(regression(threads=1))
    found = train(regression(threads=4))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, 1e-4, 1e-6, err_msg=name)


def test_run_goes_on(few_threads: int) -> None:
    """Products large enough for helpers, in few rows and in many."""
    x = sf.input("x", ("batch", 784))
    y = models.FNN([784, 512, 512, 10])(x)
    one = sf.Session(outputs={"y": y}, threads=1)
    many = sf.Session(outputs={"y": y}, threads=4, params=one.params)
    for rows in (1, 10, 100, 700):
        fed = {"x": np.random.default_rng(rows).standard_normal((rows, 784)).astype(np.float32)}
        np.testing.assert_allclose(many.run("y", fed), one.run("y", fed), 1e-4, 1e-5)


def test_a_function_goes_on(few_threads: int) -> None:
    a, b = sf.input("a", ("m", "k")), sf.input("b", ("k", "n"))
    f = sf.function([a, b], a @ b)
    x = np.random.default_rng(0).standard_normal((700, 700)).astype(np.float32)
    np.testing.assert_allclose(f(x, x), x @ x, 1e-3, 1e-3)
