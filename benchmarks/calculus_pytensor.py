"""The calculus rows in PyTensor's Numba mode, with its own jacobian, hessian and scan.

Its Jacobians are scans over rows, or with `vectorize` one batched pass; inputs are fed, not shared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import hessian, hessian_vector_product, jacobian
from pytensor.tensor.slinalg import cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from benchmarks import calculus_data
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.workloads import Calculus

Variables = dict[str, Any]
MAKERS = {0: pt.scalar, 1: pt.vector, 2: pt.matrix}


def _net(n: Variables) -> Any:
    x = n["x"]
    for i in range(4):
        x = pt.tanh(pt.dot(x, n[f"w{i}"]))
    return x


def _logistic(n: Variables) -> Any:
    z = pt.dot(n["x"], n["theta"])
    return pt.mean(pt.softplus(z) - n["y"] * z)


def _gaussian(n: Variables) -> Any:
    place, y = n["place"], n["y"]
    scale, length, noise = (pt.exp(n["theta"][i]) for i in range(3))
    apart = (place[:, None] - place[None]) / length
    covariance = scale**2 * pt.exp(-0.5 * apart**2) + noise**2 * pt.eye(y.shape[0])
    factor = cholesky(covariance, lower=True)
    z = solve_triangular(factor, y, lower=True)
    return -0.5 * pt.dot(z, z) - pt.log(pt.diagonal(factor)).sum()


def _by_cholesky(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    factor = cholesky(spread, lower=True)
    z = solve_triangular(factor, off, lower=True)
    gain = solve_triangular(factor, gain, lower=True)
    term = -0.5 * pt.dot(z, z) - pt.log(pt.diagonal(factor)).sum()
    return term, pt.dot(z, gain), pt.dot(gain.T, gain)


def _by_hand(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    """The same with the factor of the 2 x 2 matrix written out."""
    first = pt.sqrt(spread[0, 0])
    beside = spread[1, 0] / first
    second = pt.sqrt(spread[1, 1] - beside**2)
    z0 = off[0] / first
    z1 = (off[1] - beside * z0) / second
    w0 = gain[0] / first
    w1 = (gain[1] - beside * w0) / second
    term = -0.5 * (z0**2 + z1**2) - pt.log(first) - pt.log(second)
    return term, z0 * w0 + z1 * w1, pt.outer(w0, w0) + pt.outer(w1, w1)


def _kalman(n: Variables, correct: Callable[..., Any]) -> Any:
    noise, error = pt.diag(pt.exp(n["noise"])), pt.diag(pt.exp(n["error"]))

    def step(
        y: Any, mean: Any, spread: Any, total: Any, advance: Any, noise: Any, error: Any
    ) -> Any:
        mean, spread = pt.dot(advance, mean), pt.dot(pt.dot(advance, spread), advance.T) + noise
        term, shift, known = correct(spread[:2, :2] + error, y - mean[:2], spread[:2])
        return mean + shift, spread - known, total + term

    dtype = n["seen"].dtype
    start = [np.zeros(4, dtype), np.eye(4, dtype=dtype), np.zeros((), dtype)]
    (_, _, totals) = pytensor.scan(
        step,
        sequences=[n["seen"]],
        outputs_info=[pt.as_tensor(a) for a in start],
        non_sequences=[n["advance"], noise, error],
        return_updates=False,
    )
    return totals[-1]


def _hessians(n: Variables) -> Iterator[tuple[str, list[Any]]]:
    cost, theta = _logistic(n), n["theta"]
    yield "scan", [hessian(cost, theta)]
    yield "vectorized", [jacobian(pytensor.grad(cost, theta), theta, vectorize=True)]


def _outputs(problem: str, n: Variables) -> Iterator[tuple[str, list[Any]]]:
    match problem:
        case "exp gradient by X" | "exp gradient by b":
            cost = pt.dot(n["a"], pt.exp(pt.dot(n["x"], n["b"])))
            yield "", [pytensor.grad(cost, n["x" if problem.endswith("X") else "b"])]
        case "tanh net jacobian":
            yield "scan", [jacobian(_net(n), n["x"])]
            yield "vectorized", [jacobian(_net(n), n["x"], vectorize=True)]
        case "logistic hessian":
            yield from _hessians(n)
        case "logistic hvp":
            yield "", [hessian_vector_product(_logistic(n), [n["theta"]], [n["v"]])[0]]
        case "gaussian likelihood":
            value = _gaussian(n)
            yield "", [value, pytensor.grad(value, n["theta"])]
        case _:
            parameters = [n["advance"], n["noise"], n["error"]]
            for label, correct in (("cholesky", _by_cholesky), ("by hand", _by_hand)):
                value = _kalman(n, correct)
                yield label, [value, *pytensor.grad(value, parameters)]


class _Job(ResultJob):
    def __init__(self, w: Calculus, label: str, threads: int) -> None:
        feeds = calculus_data.arrays(w)
        n = {name: MAKERS[a.ndim](name, dtype=w.dtype) for name, a in feeds.items()}
        outputs = dict(_outputs(w.problem, n))[label]
        f = pytensor.function(
            list(n.values()), outputs, mode="NUMBA", trust_input=True, on_unused_input="ignore"
        )
        super().__init__(partial(f, *feeds.values()))
        self._threads = threads

    def run(self, steps: int) -> None:
        with threadpool_limits(self._threads):
            super().run(steps)


LABELS = {
    "tanh net jacobian": ("scan", "vectorized"),
    "logistic hessian": ("scan", "vectorized"),
    "kalman filter": ("cholesky", "by hand"),
}


def forms(w: Calculus) -> Forms:
    for label in LABELS.get(w.problem, ("",)):
        for threads in dict.fromkeys((1, os.cpu_count() or 1)):
            counted = f"{threads} thread{'s'[: threads > 1]}"
            yield ", ".join(filter(None, (label, counted))), partial(_Job, w, label, threads)
