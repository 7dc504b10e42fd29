"""Runs in one thread during a fit in another see whole steps, and hold it up for no longer."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.native.threads.read_gate import Gate, ReadGate

ROWS = np.ones((512, 64), np.float32)


def twins(threads: int) -> sf.Session:
    """Two parameters that each step changes alike; the output is their difference."""
    x = sf.input("x", ("batch", 64))
    a, b = (sf.param(name, (64,), "zeros") for name in "ab")
    difference = (a - b).sum() + ops.sum(x, axis=1) * 0
    return sf.Session(
        loss=(x @ a).mean() + (x @ b).mean(),
        outputs={"difference": difference},
        optimizer=sf.optim.SGD(0.01),
        threads=threads,
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_step_is_seen_half_made(threads: int) -> None:
    net = twins(threads)
    net.run("difference", {"x": ROWS[:3]})
    stop = threading.Event()
    seen: list[bool] = []

    def read(rows: int) -> None:
        while not stop.is_set():
            seen.append(bool(np.all(net.run("difference", {"x": ROWS[:rows]}) == 0)))

    readers = [threading.Thread(target=read, args=(rows,)) for rows in (3, 100, 512)]
    for reader in readers:
        reader.start()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        net.fit({"x": ROWS}, epochs=3, batch_size=32, progress=False)
    stop.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 20 and all(seen)
    words = net._state.gate._words
    assert words[Gate.FITTING] == 0 and words[Gate.TICKETS] == words[Gate.LEFT]


def test_a_reader_waits_for_one_step_and_the_fit_for_those_who_read() -> None:
    """By hand: a reader inside keeps the loop from its next step, which goes on when it leaves."""
    net = twins(1)
    net.fit({"x": ROWS}, epochs=1, progress=False)
    net._state.gate.enter()
    fit = threading.Thread(
        target=net.fit, args=({"x": ROWS},), kwargs={"epochs": 50, "progress": False}
    )
    fit.start()
    before = net.params["a"].copy()
    time.sleep(0.2)
    np.testing.assert_array_equal(net.params["a"], before)
    assert fit.is_alive()
    net._state.gate.leave()
    fit.join(30)
    assert not fit.is_alive() and (net.params["a"] != before).all()


def test_what_is_put_back_is_seen_as_a_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader inside keeps the guard against NaN from putting back; later ones wait for it."""
    x = sf.input("x", ("batch",))
    a, b = (sf.param(name, (100_000,), "ones") for name in "ab")
    difference = ops.sum(a - b) + 0 * ops.sum(x)
    loss = ops.mean(ops.sqrt(ops.square(ops.sum(a) * x))) + ops.mean(
        ops.sqrt(ops.square(ops.sum(b) * x))
    )
    net = sf.Session(loss=loss, outputs={"d": difference}, optimizer=sf.optim.SGD(1e-9), threads=1)
    entered, order = threading.Event(), list[str]()
    writing = ReadGate.writing

    def write(gate: ReadGate) -> AbstractContextManager[None]:
        gate.enter()  # as a reader that came a moment before
        entered.set()
        return writing(gate)

    monkeypatch.setattr(ReadGate, "writing", write)

    def fit() -> None:
        with pytest.warns(RuntimeWarning, match="are again those of step"):
            net.fit({"x": np.array([1.0, 1.0, 0.0])}, 1, 1, shuffle=False, progress=False)
        order.append("fit")

    def read() -> None:
        assert net.run("d", {"x": np.ones(1)}) == 0
        order.append("read")

    net.run("d", {"x": np.ones(1)})
    threads = [threading.Thread(target=fit), threading.Thread(target=read)]
    threads[0].start()
    assert entered.wait(60)
    time.sleep(0.1)
    threads[1].start()
    time.sleep(0.2)
    assert not order and np.isnan(net.params["a"]).all()
    net._state.gate.leave()
    for thread in threads:
        thread.join(30)
    assert sorted(order) == ["fit", "read"] and np.isfinite(net.params["a"]).all()


def test_a_fit_that_waits_for_a_reader_can_be_interrupted() -> None:
    net = twins(1)
    net.fit({"x": ROWS}, epochs=1, progress=False)
    done = net.step_count
    net._state.gate.enter()
    try:
        threading.Timer(0.3, _interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            net.fit({"x": ROWS}, epochs=10_000, progress=False)
    finally:
        net._state.gate.leave()
    assert net.step_count == done
    net.fit({"x": ROWS}, epochs=1, progress=False)


def _interrupt_main() -> None:
    import _thread

    _thread.interrupt_main()


def test_a_gate_without_a_fit_admits_at_once() -> None:
    gate = ReadGate()
    with gate.reading(), gate.reading():
        pass
    with gate.fitting():
        assert gate._words[Gate.FITTING] == 1
    with gate.reading():
        assert gate._words[Gate.FITTING] == 0
