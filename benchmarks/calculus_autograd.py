"""The calculus rows in HIPS autograd: NumPy with a tape, on one thread of BLAS or on all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import autograd
import autograd.numpy as np
from autograd.scipy.linalg import solve_triangular
from threadpoolctl import threadpool_limits

from benchmarks import calculus_data
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.workloads import Calculus, Workload

Function = Callable[..., Any]


def _exponential(x: Any, b: Any, a: Any) -> Any:
    return np.dot(a, np.exp(np.dot(x, b)))


def _net(x: Any, layers: Any) -> Any:
    for w in layers:
        x = np.tanh(np.dot(x, w))
    return x


def _logistic(theta: Any, x: Any, y: Any) -> Any:
    z = np.dot(x, theta)
    return np.mean(np.logaddexp(z, 0.0) - y * z)


def _gaussian(theta: Any, place: Any, y: Any) -> Any:
    scale, length, noise = np.exp(theta)
    apart = (place[:, None] - place[None]) / length
    covariance = scale**2 * np.exp(-0.5 * apart**2) + noise**2 * np.eye(len(y))
    factor = np.linalg.cholesky(covariance)
    z = solve_triangular(factor, y, lower=True)
    return -0.5 * np.dot(z, z) - np.sum(np.log(np.diag(factor)))


def _by_cholesky(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    factor = np.linalg.cholesky(spread)
    z = solve_triangular(factor, off, lower=True)
    gain = solve_triangular(factor, gain, lower=True)
    term = -0.5 * np.dot(z, z) - np.sum(np.log(np.diag(factor)))
    return term, np.dot(z, gain), np.dot(gain.T, gain)


def _by_inverse(spread: Any, off: Any, gain: Any) -> tuple[Any, Any, Any]:
    """The inverse made symmetric: a covariance that is not is driven away from itself."""
    inverse = np.linalg.inv(spread)
    inverse = 0.5 * (inverse + inverse.T)
    z, known = np.dot(inverse, off), np.dot(gain.T, np.dot(inverse, gain))
    term = -0.5 * (np.dot(off, z) + np.linalg.slogdet(spread)[1])
    return term, np.dot(z, gain), 0.5 * (known + known.T)


def _kalman(parameters: Any, seen: Any, *, correct: Function) -> Any:
    advance, noise, error = parameters
    noise, error = np.diag(np.exp(noise)), np.diag(np.exp(error))
    mean, spread, total = np.zeros(4), np.eye(4), 0.0
    for y in seen:
        mean = np.dot(advance, mean)
        spread = np.dot(np.dot(advance, spread), advance.T) + noise
        term, shift, known = correct(spread[:2, :2] + error, y - mean[:2], spread[:2])
        mean, spread, total = mean + shift, spread - known, total + term
    return total


def _flat_kalman(packed: Any, seen: Any, *, correct: Function) -> Any:
    parameters = (np.reshape(packed[:16], (4, 4)), packed[16:20], packed[20:])
    return _kalman(parameters, seen, correct=correct)


def _with_value(function: Function, *arguments: Any) -> list[Any]:
    value, gradient = autograd.value_and_grad(function)(*arguments)
    return [value, gradient]


def _hvp(mode: str) -> Function:
    if mode == "tape over tape":
        product = autograd.hessian_vector_product(_logistic)
        return lambda theta, v, x, y: [product(theta, x, y, v)]

    def forward(theta: Any, v: Any, x: Any, y: Any) -> list[Any]:
        moved = autograd.make_jvp(autograd.grad(_logistic))(theta, x, y)
        return [moved(v)[1]]

    return forward


def _variants(w: Calculus, n: dict[str, Any]) -> Iterator[tuple[str, Function]]:
    match w.problem:
        case "exp gradient by X" | "exp gradient by b":
            gradient = autograd.grad(_exponential, 0 if w.problem.endswith("X") else 1)
            yield "", lambda: [gradient(n["x"], n["b"], n["a"])]
        case "tanh net jacobian":
            layers = [n[f"w{i}"] for i in range(4)]
            jacobian = autograd.jacobian(_net)
            yield "", lambda: [jacobian(n["x"], layers)]
        case "logistic hessian":
            hessian = autograd.hessian(_logistic)
            yield "", lambda: [hessian(n["theta"], n["x"], n["y"])]
        case "logistic hvp":
            for mode in ("tape over tape", "forward over tape"):
                yield mode, partial(_hvp(mode), n["theta"], n["v"], n["x"], n["y"])
        case "gaussian likelihood":
            yield "", partial(_with_value, _gaussian, n["theta"], n["place"], n["y"])
        case _:
            packed = np.concatenate([np.ravel(n[k]) for k in ("advance", "noise", "error")])
            for label, correct in (("cholesky", _by_cholesky), ("inverse", _by_inverse)):
                likelihood = partial(_flat_kalman, correct=correct)
                yield label, partial(_with_value, likelihood, packed, n["seen"])


class _ThreadedJob(ResultJob):
    """The limit is set around many calls, since it takes longer than a small one."""

    def __init__(self, call: Function, threads: int) -> None:
        super().__init__(call)
        self._threads = threads

    def run(self, steps: int) -> None:
        with threadpool_limits(self._threads):
            super().run(steps)


def forms(w: Workload) -> Forms:
    assert isinstance(w, Calculus)
    for label, call in _variants(w, calculus_data.arrays(w)):
        for threads in dict.fromkeys((1, os.cpu_count() or 1)):
            counted = f"{threads} thread{'s'[: threads > 1]}"
            name = ", ".join(filter(None, (label, counted)))
            yield name, partial(_ThreadedJob, call, threads)
