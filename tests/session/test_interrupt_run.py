"""Ctrl-C while something long is computed without training; and while Numba is imported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.support.interrupt import LATENCY, interrupt
from tests.support.processes import run_python

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")
WIDTH = 1536


def long_run(threads: int) -> Callable[[int], Any]:
    """A run of some seconds of large products: `rows` times 30 of them."""
    x = sf.input("x", ("batch", WIDTH))
    y = models.FNN([WIDTH] * 31, activation="tanh")(x)
    session = sf.Session(outputs={"y": y.sum(axis=1)}, threads=threads)
    return lambda rows: session.run("y", {"x": np.ones((rows, WIDTH), np.float32)})


def long_function() -> Callable[[int], Any]:
    """Elementwise work, in one fused loop."""
    x = sf.input("x", ("n",), "float64")
    y = x
    for _ in range(40):
        y = ops.sin(y) + ops.exp(-y * y)
    f = sf.function([x], y.sum())
    return lambda n: f(np.ones(1000 * n))


def long_loop() -> Callable[[int], Any]:
    n = sf.input("n", (), "int64")
    last, total = sf.while_loop(
        lambda carry: carry[0] < n,
        lambda carry: (carry[0] + 1, ops.sin(carry[1]) + 1.0),
        (n * 0, sf.const(0.0, "float64")),
    )
    f = sf.function([n], [last, total])
    return lambda rounds: f(100_000 * rounds)


def long_scan() -> Callable[[int], Any]:
    x = sf.input("x", ("time", 4))
    last, _ = sf.scan(lambda h, row: (ops.tanh(h + row), row), ops.zeros((4,)), x)
    f = sf.function([x], last)
    return lambda n: f(np.ones((20_000 * n, 4), np.float32))


def long_factorisation() -> Callable[[int], Any]:
    """Many calls of one native routine, each of which is short and takes long for its bytes."""
    a = sf.input("a", ("n", 60, 60), "float64")
    f = sf.function([a], ops.svd(a)[1])
    matrix = np.random.default_rng(0).standard_normal((60, 60))
    return lambda n: f(np.broadcast_to(matrix, (4 * n, 60, 60)))


def long_sort() -> Callable[[int], Any]:
    """One call of one routine for one long row."""
    x = sf.input("x", ("n",), "float64")
    f = sf.function([x], ops.sort(ops.sin(1e6 * x))[0])
    return lambda n: f(np.linspace(0.0, 1.0, 100_000 * n))


MAKERS = {
    "run": lambda: long_run(1),
    "run with helpers": lambda: long_run(2),
    "function": long_function,
    "while_loop": long_loop,
    "scan": long_scan,
    "native routine": long_factorisation,
    "long row": long_sort,
}


@pytest.mark.parametrize("what", MAKERS)
def test_it_is_heard_in_a_long_call(what: str) -> None:
    """A call of at least 1.5 seconds ends early, and the next one is right.

    At the first, second or third time: this process may have to wait for a core that long.
    """
    call = MAKERS[what]()
    size, expected = 8, call(8)
    while _seconds(call, size) < 1.5:
        size *= 2
    running = threading.Event()

    def long() -> None:
        running.set()
        call(size)

    latencies = []
    while len(latencies) < 3 and min(latencies, default=1.0) >= LATENCY:
        running.clear()
        latencies.append(interrupt(long, running.is_set, 0.3))
    assert min(latencies) < LATENCY
    np.testing.assert_equal(call(8), expected)


def _seconds(call: Callable[[int], Any], size: int) -> float:
    started = time.perf_counter()
    call(size)
    return time.perf_counter() - started


FIRST_FIT = """
import os, signal, sys, threading, time
import numpy as np
import staticflow as sf
from tests.support.small_nets import data, regression

session, fed = regression(), data(64)

def send():
    while "numba" not in sys.modules and not ended.is_set():
        time.sleep(0.0005)
    time.sleep(float(sys.argv[1]))
    if not ended.is_set():
        os.kill(os.getpid(), signal.SIGINT)

ended = threading.Event()
sender = threading.Thread(target=send)
sender.start()
heard = 0
try:
    session.fit(fed, progress=False)
    session.jit("y")
    ended.set()
    time.sleep(0.05)
except KeyboardInterrupt:
    heard = 1
ended.set()
sender.join()
session.fit(fed, progress=False)
assert np.isfinite(session.run("y", {"x": fed["x"]})).all()
assert np.isfinite(session.jit("y")(fed["x"])).all()
print(heard, session.step_count)
"""


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3])
def test_it_leaves_no_library_half_imported(delay: float, tmp_path: Any) -> None:
    """Whenever it comes in the first fit of a process, later ones work."""
    ended = run_python(
        "-c", FIRST_FIT, str(delay), seconds=120.0, STATICFLOW_CACHE_DIR=str(tmp_path)
    )
    assert ended.status == 0, ended
    heard, steps = map(int, ended.out.split())
    assert steps in ((2, 4) if heard else (4,))
