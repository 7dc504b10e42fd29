"""NumPy, written the way one would by hand: fused nothing, temporaries reused in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import data
from benchmarks.contender import CallJob, Forms, Job, LoopJob
from benchmarks.workloads import Infer, Ode, Stream, Workload


def _forward(w: Infer | Ode) -> Callable[[np.ndarray], np.ndarray]:
    *hidden, (last, bias) = data.fnn_weights(w)

    def forward(x: np.ndarray) -> np.ndarray:
        for matrix, offset in hidden:
            x = x @ matrix
            x += offset
            if w.activation == "relu":
                np.maximum(x, 0, out=x)
            else:
                np.tanh(x, out=x)
        y: np.ndarray = x @ last
        y += bias
        return y

    return forward


class _InferJob(CallJob):
    def __init__(self, w: Infer, threads: int) -> None:
        self._threads = threads
        super().__init__(partial(_forward(w), data.infer_rows(w)), np.sum)

    def run(self, steps: int) -> None:
        with threadpool_limits(self._threads):
            super().run(steps)


class _StreamJob(Job):
    def __init__(self, w: Stream) -> None:
        named = data.stream_weights(w)
        self._ih, self._hh = (np.ascontiguousarray(named[f"weight_{k}_l0"].T) for k in ("ih", "hh"))
        self._bias = named["bias_ih_l0"] + named["bias_hh_l0"]
        self._head = named["head.weight"], named["head.bias"]
        self._rows = data.stream_rows(w)
        self._state = tuple(np.zeros(w.hidden, w.dtype) for _ in range(2))
        self._hidden = w.hidden

    def run(self, steps: int) -> None:
        (h, c), n, one = self._state, self._hidden, self._bias.dtype.type(1)
        matrix, bias = self._head
        for k in range(steps):
            z = self._rows[k % len(self._rows)] @ self._ih + h @ self._hh + self._bias
            gates = one / (one + np.exp(-z))
            c = gates[n : 2 * n] * c + gates[:n] * np.tanh(z[2 * n : 3 * n])
            h = gates[3 * n :] * np.tanh(c)
            float((h @ matrix + bias)[0])
        self._state = h, c


def _ode(w: Ode) -> Job:
    return LoopJob(partial(data.runge_kutta, _forward(w), data.ode_steps(w)), data.ode_start(w))


def forms(w: Workload) -> Forms:
    if isinstance(w, Ode):
        yield "", partial(_ode, w)
        return
    if isinstance(w, Stream):
        yield "", partial(_StreamJob, w)
        return
    assert isinstance(w, Infer)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        yield f"{threads} thread{'s'[: threads > 1]}", partial(_InferJob, w, threads)
