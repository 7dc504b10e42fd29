"""The inputs of the calculus rows, by name, the same for every contender."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.contender import CallJob
from benchmarks.workloads import Calculus

Arrays = dict[str, np.ndarray]


def _exponential(rng: np.random.Generator, w: Calculus) -> Arrays:
    x = rng.standard_normal((w.rows, w.size)) / np.sqrt(w.size)
    return {"a": rng.standard_normal(w.rows), "x": x, "b": rng.standard_normal(w.size)}


def _tanh_net(rng: np.random.Generator, w: Calculus) -> Arrays:
    layers = {f"w{i}": rng.standard_normal((w.size, w.size)) / np.sqrt(w.size) for i in range(4)}
    return {"x": rng.standard_normal(w.size), **layers}


def _logistic(rng: np.random.Generator, w: Calculus) -> Arrays:
    x = rng.standard_normal((w.rows, w.size)) / np.sqrt(w.size)
    theta, v = rng.standard_normal(w.size), rng.standard_normal(w.size)
    y = (rng.uniform(size=w.rows) < 0.5).astype(float)
    return {"x": x, "y": y, "theta": theta, "v": v}


def _gaussian(rng: np.random.Generator, w: Calculus) -> Arrays:
    place = np.sort(rng.uniform(0, 10, w.size))
    y = np.sin(place) + 0.1 * rng.standard_normal(w.size)
    return {"place": place, "y": y, "theta": np.log([1.0, 1.0, 0.3])}


def _kalman(rng: np.random.Generator, w: Calculus) -> Arrays:
    """Positions of a body in the plane that has a velocity, seen with noise."""
    advance = np.eye(4) + 0.1 * np.eye(4, k=2)
    seen = np.cumsum(rng.standard_normal((w.rows, 2)), 0) * 0.3 + rng.standard_normal((w.rows, 2))
    noise, error = np.log([0.01, 0.02, 0.1, 0.2]), np.log([1.0, 0.8])
    return {"seen": seen, "advance": advance, "noise": noise, "error": error}


_MAKERS: dict[str, Callable[[np.random.Generator, Calculus], Arrays]] = {
    "exp gradient by X": _exponential,
    "exp gradient by b": _exponential,
    "tanh net jacobian": _tanh_net,
    "logistic hessian": _logistic,
    "logistic hvp": _logistic,
    "gaussian likelihood": _gaussian,
    "kalman filter": _kalman,
}


def arrays(w: Calculus) -> Arrays:
    made = _MAKERS[w.problem](np.random.default_rng(1), w)
    return {name: np.ascontiguousarray(a, w.dtype) for name, a in made.items()}


class ResultJob(CallJob):
    """A call of which every number is checked, by two sums with random weights."""

    def __init__(self, call: Callable[[], Iterable[Any]]) -> None:
        super().__init__(call)

    def check(self, steps: int) -> tuple[float, float]:
        rng = np.random.default_rng(3)
        flat = np.concatenate([np.ravel(np.asarray(r, np.float64)) for r in self.call()])
        first, second = (float(flat @ rng.standard_normal(flat.size)) for _ in range(2))
        return first, second
