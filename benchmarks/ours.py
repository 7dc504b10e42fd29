"""staticflow, through its public API alone, with the settings a user gets who sets nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit

import staticflow as sf
from benchmarks import calculus_ours, data, loops_ours
from benchmarks.contender import CallJob, Forms, Job
from benchmarks.workloads import (
    FNN,
    LEARNING_RATE,
    RNN,
    Calculus,
    Ensemble,
    Infer,
    Loops,
    Ode,
    Stream,
    Workload,
)
from staticflow import models, ops

THREADS = int(os.environ["BENCH_THREADS"]) if "BENCH_THREADS" in os.environ else None


class FitJob(Job):
    """Training by `fit`, one epoch for each cycle through the minibatches."""

    def __init__(self, start: Callable[[], Any], feeds: dict[str, np.ndarray], batch: int) -> None:
        self._start, self._feeds, self._batch = start, feeds, batch
        self.granule = len(feeds["x"]) // batch
        self._session = start()

    def _fit(self, session: Any, epochs: int) -> None:
        session.fit(
            self._feeds, epochs=epochs, batch_size=self._batch, shuffle=False, progress=False
        )

    def run(self, steps: int) -> None:
        self._fit(self._session, steps // self.granule)

    def check(self, steps: int) -> tuple[float, float]:
        session = self._start()
        first = {name: array[: self._batch] for name, array in self._feeds.items()}
        start = _total(session.evaluate(first, batch_size=self._batch)["loss"])
        self._fit(session, (steps - 1) // self.granule)
        return start, _total(session.evaluate(first, batch_size=self._batch)["loss"])


def _total(loss: Any) -> float:
    """A loss, or the sum of those of several nets."""
    return float(np.sum(loss))


def _feed_forward(w: FNN | Infer | Ode) -> tuple[Any, dict[str, np.ndarray]]:
    """The output node of the net on input `x`, and its weights by parameter name."""
    x = sf.input("x", ("batch", w.sizes[0]), dtype=w.dtype)
    y = models.FNN(list(w.sizes), activation=w.activation)(x)
    weights = {}
    for i, (matrix, bias) in enumerate(data.fnn_weights(w)):
        weights[f"fnn.{i}.weight"], weights[f"fnn.{i}.bias"] = matrix, bias
    return y, weights


def _training(
    y: Any, weights: dict[str, np.ndarray], dtype: str, members: int | None = None
) -> Any:
    target = sf.input("t", ("batch", y.shape[1]), dtype=dtype)
    optimizer = sf.optim.Adam(LEARNING_RATE)
    session = sf.Session(
        loss=ops.mse(y, target), optimizer=optimizer, threads=THREADS, members=members
    )
    session.load_params(weights)
    return session


def _start_fnn(w: FNN) -> Any:
    y, weights = _feed_forward(w)
    return _training(y, weights, w.dtype)


def _start_ensemble(w: Ensemble) -> Any:
    y, weights = _recurrent(w.net) if isinstance(w.net, RNN) else _feed_forward(w.net)
    return _training(y, data.by_member(w, weights), w.dtype, w.members)


def _start_rnn(w: RNN) -> Any:
    y, weights = _recurrent(w)
    return _training(y, weights, w.dtype)


def _recurrent(w: RNN) -> tuple[Any, dict[str, np.ndarray]]:
    """The output node of the net on input `x`, and its weights by parameter name."""
    x = sf.input("x", ("batch", "time", w.features), dtype=w.dtype)
    lengths = sf.input("lengths", ("batch",), dtype="int64") if w.ragged else None
    rnn = models.RNN(w.hidden, cell=w.cell, layers=w.layers, bidirectional=w.bidirectional)
    last = rnn(x, lengths=lengths)
    named = data.rnn_weights(w)
    head = {name: named.pop(name) for name in ("head.weight", "head.bias")}
    matrix, bias = (sf.param(name, a.shape, init=a, dtype=w.dtype) for name, a in head.items())
    return last @ matrix + bias, models.from_torch_state(named, rnn) | head


def _feeds(batches: data.Batches) -> dict[str, np.ndarray]:
    feeds = {"x": batches.x, "t": batches.y}
    if batches.lengths is not None:
        feeds["lengths"] = batches.lengths
    return {name: a.reshape(-1, *a.shape[2:]) for name, a in feeds.items()}


def _infer(w: Infer) -> Job:
    y, weights = _feed_forward(w)
    session = sf.Session(outputs={"y": y}, threads=THREADS)
    session.load_params(weights)
    feeds = {"x": data.infer_rows(w)}
    return CallJob(lambda: session.run("y", feeds), np.sum)


class _StreamJob(Job):
    """The cell by `session.jit`, called inside the user's own njit loop."""

    def __init__(self, w: Stream) -> None:
        step = self._compiled_step(w)
        rows = data.stream_rows(w)[:, None, None]

        @njit  # type: ignore[untyped-decorator]
        def loop(h: np.ndarray, c: np.ndarray, steps: int) -> Any:
            total = 0.0
            for k in range(steps):
                y, h, c = step(rows[k % len(rows)], h, c)
                total += y[0, 0]
            return h, c, total

        self._loop = loop
        self._state = tuple(np.zeros((1, w.hidden), w.dtype) for _ in range(2))

    @staticmethod
    def _compiled_step(w: Stream) -> Any:
        x = sf.input("x", ("batch", "time", w.features), dtype=w.dtype)
        h, c = (sf.input(name, ("batch", w.hidden), dtype=w.dtype) for name in "hc")
        rnn = models.RNN(w.hidden, cell="lstm")
        last, (h_new, c_new) = rnn(x, initial_state=(h, c), return_state=True)
        named = data.stream_weights(w)
        head = {name: named.pop(name) for name in ("head.weight", "head.bias")}
        matrix, bias = (sf.param(name, a.shape, init=a, dtype=w.dtype) for name, a in head.items())
        session = sf.Session(outputs={"y": last @ matrix + bias, "h": h_new, "c": c_new})
        session.load_params(models.from_torch_state(named, rnn) | head)
        return session.jit(("y", "h", "c"))

    def run(self, steps: int) -> None:
        *state, _ = self._loop(*self._state, steps)
        self._state = tuple(state)


class _OdeJob(Job):
    """The integrator is the user's own njit code and calls the compiled net."""

    def __init__(self, w: Ode, in_place: bool) -> None:
        y, weights = _feed_forward(w)
        session = sf.Session(outputs={"y": y})
        session.load_params(weights)
        build = _in_place if in_place else _with_new_arrays
        self._integrate = build(session.jit("y"), data.ode_steps(w))
        self._state = data.ode_start(w)

    def run(self, steps: int) -> None:
        self._state = self._integrate(self._state, steps)


def _with_new_arrays(f: Any, sizes: tuple[Any, Any, Any]) -> Any:
    advance = njit(data.runge_kutta)

    @njit  # type: ignore[untyped-decorator]
    def integrate(state: np.ndarray, steps: int) -> np.ndarray:
        for _ in range(steps):
            state = advance(f, sizes, state)
        return state

    return integrate


def _in_place(f: Any, sizes: tuple[Any, Any, Any]) -> Any:
    """The same steps as `data.runge_kutta`, in arrays that are made once."""
    h, half, sixth = sizes

    @njit  # type: ignore[untyped-decorator]
    def integrate(start: np.ndarray, steps: int) -> np.ndarray:
        state, at, k, total = start.copy(), start.copy(), start.copy(), start.copy()
        for _ in range(steps):
            f(state, k)
            for i in range(k.shape[1]):
                total[0, i] = k[0, i]
                at[0, i] = state[0, i] + half * k[0, i]
            for stage in range(2):
                f(at, k)
                further = half if stage == 0 else h
                for i in range(k.shape[1]):
                    total[0, i] += k[0, i] + k[0, i]
                    at[0, i] = state[0, i] + further * k[0, i]
            f(at, k)
            for i in range(k.shape[1]):
                state[0, i] += sixth * (total[0, i] + k[0, i])
        return state

    return integrate


def forms(w: Workload) -> Forms:
    match w:
        case FNN():
            feeds = _feeds(data.fnn_batches(w))
            yield "", partial(FitJob, partial(_start_fnn, w), feeds, w.batch)
        case RNN():
            feeds = _feeds(data.rnn_batches(w))
            yield "", partial(FitJob, partial(_start_rnn, w), feeds, w.batch)
        case Ensemble():
            net = w.net
            batches = data.fnn_batches(net) if isinstance(net, FNN) else data.rnn_batches(net)
            yield "", partial(FitJob, partial(_start_ensemble, w), _feeds(batches), net.batch)
        case Infer():
            yield "", partial(_infer, w)
        case Stream():
            yield "", partial(_StreamJob, w)
        case Ode():
            yield "new arrays", partial(_OdeJob, w, in_place=False)
            yield "in place", partial(_OdeJob, w, in_place=True)
        case Calculus():
            yield from calculus_ours.forms(w)
        case Loops():
            yield from loops_ours.forms(w)
