"""PyTensor in Numba mode: a compiled step with everything in shared variables, called in a loop."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from threadpoolctl import threadpool_limits

from benchmarks import calculus_pytensor, data
from benchmarks.contender import Forms, Job
from benchmarks.workloads import FNN, LEARNING_RATE, Calculus, Workload

ACTIVATIONS = {"relu": lambda x: pt.maximum(x, 0), "tanh": pt.tanh}


def _adam(parameters: list[Any], gradients: list[Any], dtype: str) -> list[tuple[Any, Any]]:
    one = np.asarray(1, dtype)
    beta1, beta2 = np.asarray(0.9, dtype), np.asarray(0.999, dtype)
    rate, epsilon = np.asarray(LEARNING_RATE, dtype), np.asarray(1e-8, dtype)
    count = pytensor.shared(np.asarray(0, dtype))
    t = count + one
    updates = [(count, t)]
    for p, g in zip(parameters, gradients, strict=True):
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in range(2))
        m_new = beta1 * m + (one - beta1) * g
        v_new = beta2 * v + (one - beta2) * g * g
        scale = pt.sqrt(v_new / (one - beta2**t)) + epsilon
        updates += [(m, m_new), (v, v_new), (p, p - rate * m_new / (one - beta1**t) / scale)]
    return updates


@lru_cache(maxsize=1)
def _compiled(w: FNN) -> tuple[Any, list[Any], list[Any]]:
    """The step from a minibatch's index to its loss, and the shared variables it changes."""
    batches = data.fnn_batches(w)
    xs, ys = pytensor.shared(batches.x), pytensor.shared(batches.y)
    parameters = [pytensor.shared(a) for layer in data.fnn_weights(w) for a in layer]
    k = pt.lscalar()
    x = xs[k]
    for i in range(0, len(parameters), 2):
        x = pt.dot(x, parameters[i]) + parameters[i + 1]
        if i + 2 < len(parameters):
            x = ACTIVATIONS[w.activation](x)
    loss = pt.mean((x - ys[k]) ** 2)
    updates = _adam(parameters, pytensor.grad(loss, parameters), w.dtype)
    step = pytensor.function([k], loss, updates=updates, mode="NUMBA", trust_input=True)
    changed = [variable for variable, _ in updates]
    return step, changed, [np.array(v.get_value()) for v in changed]


class PyTensorJob(Job):
    def __init__(self, w: FNN, threads: int) -> None:
        self._threads = threads
        self._step, self._changed, self._initial = _compiled(w)
        self._indices = [np.array(k, np.int64) for k in range(w.batches)]

    def run(self, steps: int) -> None:
        step, indices = self._step, self._indices
        with threadpool_limits(self._threads):
            for k in range(steps):
                step(indices[k % len(indices)])

    def check(self, steps: int) -> tuple[float, float]:
        for variable, value in zip(self._changed, self._initial, strict=True):
            variable.set_value(value.copy())
        losses = [float(self._step(self._indices[k % len(self._indices)])) for k in range(steps)]
        return losses[0], losses[-1]


def forms(w: Workload) -> Forms:
    pytensor.config.floatX = w.dtype
    if isinstance(w, Calculus):
        yield from calculus_pytensor.forms(w)
        return
    assert isinstance(w, FNN)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        yield f"{threads} thread{'s'[: threads > 1]}", partial(PyTensorJob, w, threads)
