"""The tables of docs/reliability.md, row by row: what waits for what, and what is the same bits."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.training import trainer as training
from tests.support.counted_steps import assert_whole, counted, fed, steps_in, use_all_threads
from tests.support.small_nets import assert_same, data, regression, values
from tests.support.threads import together

WIDTH = 1024


def slow_steps() -> tuple[sf.Session, dict[str, Any]]:
    """A counting session whose steps take some 30 ms, and a batch for it."""
    z = sf.input("z", ("batch", WIDTH))
    w = sf.param("w", (WIDTH, WIDTH), trainable=False)
    h = ops.tanh(ops.tanh(z @ w) @ w)
    session = counted(1, more=h.mean())
    return session, {**fed(512), "z": np.ones((512, WIDTH), np.float32)}


@contextmanager
def fitting(session: sf.Session, feeds: dict[str, Any]) -> Iterator[threading.Event]:
    """A fit that goes on in another thread, one step an epoch, until the block is left."""
    begun, stop = threading.Event(), threading.Event()

    def callback(session: sf.Session, log: dict[str, float]) -> bool:
        begun.set()
        return stop.is_set()

    def fit() -> None:
        session.fit(feeds, epochs=10**6, batch_size=512, callbacks=callback, progress=False)

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        assert begun.wait(60)
        yield stop
    finally:
        stop.set()
        thread.join()


def test_run_waits_for_one_step_of_a_fit_at_most() -> None:
    """Hardly more than one step is made between the call and its result."""
    session, feeds = slow_steps()
    session.step(feeds)
    session.run(["a", "b", "steps"])
    seen = []
    with fitting(session, feeds):
        for _ in range(15):
            before = int(session.states["steps"])
            a, b, steps = session.run(["a", "b", "steps"])
            assert steps_in(a, b) == int(steps)
            seen.append(int(steps) - before)
            time.sleep(0.01)
        a, steps = session.run(("a", "steps"))  # compiled now
        assert steps_in(a, a) == int(steps)
        assert session.evaluate(feeds, batch_size=128)["loss"] > 0.0
    assert np.median(seen) <= 1 and max(seen) <= 3, seen


@pytest.mark.parametrize(
    "call",
    [
        lambda s, path: copy.deepcopy(s),
        lambda s, path: pickle.loads(pickle.dumps(s)),
        lambda s, path: (s.save(path), sf.Session.load(path))[1],
    ],
    ids=["copy", "pickle", "save"],
)
def test_copies_wait_for_a_fit(call: Callable[..., sf.Session], tmp_path: Path) -> None:
    """They hold whole steps, all of the fit under way among them."""
    session = counted(2)
    made: list[sf.Session] = []
    copier = threading.Thread(target=lambda: made.append(call(session, tmp_path / "model.sf")))
    with fitting(session, fed(16)) as stop:
        copier.start()
        time.sleep(0.2)
        assert not made
        stop.set()
    copier.join()
    assert_whole(made[0], assert_whole(session))


def test_training_calls_are_made_one_after_the_other() -> None:
    session = counted(2)
    session.step(fed(4))
    together(
        *[lambda: session.fit(fed(64), epochs=5, batch_size=8, progress=False)] * 2,
        *[lambda: [session.step(fed(4)) for _ in range(20)]] * 2,
        *[lambda: [session.gradients(fed(4)) for _ in range(20)]] * 2,
    )
    assert_whole(session, 1 + 2 * 40 + 2 * 20)


def test_a_callback_may_call_everything(tmp_path: Path) -> None:
    """The fit that called it waits."""
    session = counted(2)
    done: list[int] = []

    def callback(session: sf.Session, log: dict[str, float]) -> None:
        a, b, steps = session.run(["a", "b", "steps"])
        assert steps_in(a, b) == int(steps) == session.step_count
        session.evaluate(fed(4))
        session.gradients(fed(4))
        session.step(fed(4))
        session.save(tmp_path / "model.sf")
        assert_whole(sf.Session.load(tmp_path / "model.sf"), session.step_count)
        assert_whole(copy.deepcopy(session), session.step_count)
        done.append(session.step_count)

    session.fit(fed(16), epochs=3, batch_size=8, callbacks=callback, progress=False)
    assert done == [3, 6, 9]
    assert_whole(session, 9)


def test_a_session_of_its_own_waits_for_nobody() -> None:
    session, feeds = slow_steps()
    other = regression(threads=1)
    other.fit(data(20), batch_size=10, progress=False)
    with fitting(session, feeds):
        started = session.step_count
        for _ in range(50):
            other.step(data(20))
            other.run("y", {"x": data(20)["x"]})
        copy.deepcopy(other)
    assert other.step_count == 52 and session.step_count >= started


def test_jitted_functions_run_while_a_fit_trains() -> None:
    """They see the parameters as they are, which may be between two steps of one array."""
    session = counted(2)
    y = session.jit("y")
    x = np.ones((3, 8), np.float32)
    with fitting(session, fed(16)):
        found = [y(x) for _ in range(200)]
    assert all(np.isfinite(value).all() and (value > 0.5).all() for value in found)


def wide(threads: int) -> tuple[sf.Session, list[np.ndarray]]:
    x = sf.input("x", ("batch", 256))
    session = sf.Session(outputs={"y": models.FNN([256, 512, 300, 10])(x)}, threads=threads, seed=3)
    rng = np.random.default_rng(0)
    return session, [
        rng.standard_normal((rows, 256)).astype(np.float32) for rows in (1, 7, 16, 40, 200, 777)
    ]


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_runs_have_the_bits_of_one_caller(threads: int) -> None:
    """Whoever calls, whoever helps, whatever else runs."""
    session, inputs = wide(threads)
    expected = [session.run("y", {"x": x}) for x in inputs]

    def calls() -> None:
        for _ in range(15):
            for x, y in zip(inputs, expected, strict=True):
                np.testing.assert_array_equal(session.run("y", {"x": x}), y)

    together(*[calls] * 6)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_fits_have_the_same_bits_again(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same number of threads; alone, or while others run and train."""
    monkeypatch.setattr(training, "choose_shards", use_all_threads)

    def trained() -> dict[str, Any]:
        session = regression(sf.optim.Adam(1e-2), threads=threads)
        session.fit(data(83), epochs=3, batch_size=16, progress=False)
        return values(session)

    expected, found = trained(), list[dict[str, Any]]()
    together(*[lambda: found.append(trained())] * 4)
    for other in found:
        assert_same(other, expected)


def test_other_numbers_of_threads_differ_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """And draw the same: `thread_counts` has dropout on all numbers of threads."""
    monkeypatch.setattr(training, "choose_shards", use_all_threads)
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    y = models.FNN([4, 16, 1], activation="tanh", dropout=0.4)(x)
    found = []
    for threads in (1, 2, 3, 7):
        session = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.SGD(0.1), threads=threads)
        session.fit(data(40), epochs=2, batch_size=8, shuffle=False, progress=False)
        found.append(values(session))
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_allclose(other[name], array, 1e-4, 1e-6, err_msg=name)


def test_copies_go_on_with_the_same_bits(tmp_path: Path) -> None:
    session = regression(sf.optim.Adam(1e-2), threads=1)
    session.fit(data(50), batch_size=16, progress=False)
    session.save(tmp_path / "model.sf")
    others = [
        copy.deepcopy(session), pickle.loads(pickle.dumps(session)),
        sf.Session.load(tmp_path / "model.sf"),
    ]  # fmt: skip
    for one in (session, *others):
        one.fit(data(50), epochs=2, batch_size=16, progress=False)
        assert_same(values(one), values(session))
