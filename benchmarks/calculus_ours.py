"""The calculus rows in staticflow: one `sf.function` of NumPy arrays each."""

from __future__ import annotations

from functools import partial
from typing import Any

import staticflow as sf
from benchmarks import calculus_data
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.workloads import Calculus
from staticflow import ops

Nodes = dict[str, Any]


def _exponential(n: Nodes) -> Any:
    return n["a"] @ ops.exp(n["x"] @ n["b"])


def _net(n: Nodes) -> Any:
    h = n["x"]
    for i in range(4):
        h = ops.tanh(h @ n[f"w{i}"])
    return h


def _logistic(n: Nodes) -> Any:
    z = n["x"] @ n["theta"]
    return (ops.softplus(z) - n["y"] * z).mean()


def _gaussian(n: Nodes) -> Any:
    place, theta, y = n["place"], n["theta"], n["y"]
    scale, length, noise = (ops.exp(theta[i]) for i in range(3))
    apart = (ops.expand_dims(place, 1) - ops.expand_dims(place, 0)) / length
    covariance = scale**2 * ops.exp(-0.5 * apart**2) + noise**2 * ops.eye(y.shape[0], dtype=y.dtype)
    factor = ops.cholesky(covariance)
    z = ops.solve_triangular(factor, y, lower=True)
    return -0.5 * (z @ z) - ops.log(ops.diagonal(factor)).sum()


def _kalman(n: Nodes) -> Any:
    """The log likelihood of the observations, up to its constant."""
    advance, noise, error = n["advance"], ops.exp(n["noise"]), ops.exp(n["error"])
    dtype = advance.dtype

    def step(carry: Any, y: Any) -> tuple[Any, Any]:
        mean, spread, total = carry
        mean, spread = advance @ mean, advance @ spread @ advance.T + ops.diag(noise)
        factor = ops.cholesky(spread[:2, :2] + ops.diag(error))
        z = ops.solve_triangular(factor, y - mean[:2], lower=True)
        gain = ops.solve_triangular(factor, spread[:2], lower=True)
        total = total - 0.5 * (z @ z) - ops.log(ops.diagonal(factor)).sum()
        return (mean + z @ gain, spread - gain.T @ gain, total), None

    start = (ops.zeros((4,), dtype), ops.eye(4, dtype=dtype), ops.zeros((), dtype))
    (_, _, total), _ = sf.scan(step, start, n["seen"])
    return total


def _outputs(problem: str, n: Nodes) -> list[Any]:
    match problem:
        case "exp gradient by X":
            return [sf.grad(_exponential(n), n["x"])]
        case "exp gradient by b":
            return [sf.grad(_exponential(n), n["b"])]
        case "tanh net jacobian":
            return [sf.jacobian(_net(n), n["x"])]
        case "logistic hessian":
            return [sf.hessian(_logistic(n), n["theta"])]
        case "logistic hvp":
            return [sf.hvp(_logistic(n), n["theta"], n["v"])]
        case "gaussian likelihood":
            value = _gaussian(n)
            return [value, sf.grad(value, n["theta"])]
        case _:
            value = _kalman(n)
            return [value, *sf.grad(value, [n["advance"], n["noise"], n["error"]])]


def _job(w: Calculus) -> ResultJob:
    feeds = calculus_data.arrays(w)
    nodes = {name: sf.input(name, a.shape, dtype=w.dtype) for name, a in feeds.items()}
    f = sf.function(list(nodes.values()), _outputs(w.problem, nodes))
    return ResultJob(partial(f, *feeds.values()))


def forms(w: Calculus) -> Forms:
    yield "", partial(_job, w)
