"""Loops of many small steps, written once for staticflow and for JAX, and their data.

    scalar carries    a chain of states, each pulled to its neighbour (as in jax issue 40150)
    small matrices    a 3 x 3 covariance from step to step (as in jax issue 36799)
    lorenz            Runge-Kutta steps of three numbers
    hodgkin-huxley    eight compartments of a nerve, four states each

A library is what both have: exp, tanh, sqrt, log, stack, concatenate, outer, zeros and scan. A
program gives all its results, and the scalar whose gradient is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workloads import Loops

Arrays = dict[str, np.ndarray]
TIME_STEP, COMPARTMENTS, STIMULATED = 0.025, 8, 2000
REST = (-65.3, 0.05, 0.6, 0.32)


class Library(NamedTuple):
    """What a program needs."""

    exp: Callable[..., Any]
    tanh: Callable[..., Any]
    sqrt: Callable[..., Any]
    log: Callable[..., Any]
    stack: Callable[..., Any]
    concatenate: Callable[..., Any]
    outer: Callable[..., Any]
    full: Callable[..., Any]  # of a shape and a value, float64
    scan: Callable[..., Any]


def arrays(w: Loops) -> Arrays:
    """The arrays of a row by name, those first by which the gradient is."""
    rng = np.random.default_rng(1)
    match w.problem:
        case "scalar carries":
            return {"theta": rng.normal(0.5, 0.1, w.size), "u": rng.normal(size=w.rows)}
        case "small matrices":
            n, t = w.size, w.rows
            a = rng.normal(0, 0.3, (t, n, n)) + 0.5 * np.eye(n)
            p, q = rng.normal(0, 0.3, (2, t, n))
            return {"d": rng.uniform(2, 3, t), "p": p, "q": q, "a": a}
        case "lorenz":
            return {"start": np.array([0.0, 1.0, 1.05])}
        case _:
            current = np.where(np.arange(w.rows) < STIMULATED, 10.0, 0.0)
            return {"g": np.array([120.0, 36.0, 0.3]), "i": current}


def by(w: Loops) -> tuple[str, ...]:
    """The arrays by which the gradient is."""
    return {"small matrices": ("d", "p", "q", "a"), "lorenz": ("start",),
            "scalar carries": ("theta",)}.get(w.problem, ("g",))  # fmt: skip


def program(w: Loops, lib: Library, x: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """All results of a row, and the scalar."""
    return _PROGRAMS[w.problem](w, lib, x)


def _chain(w: Loops, lib: Library, x: Mapping[str, Any]) -> tuple[list[Any], Any]:
    theta = x["theta"]

    def step(carry: Any, u: Any) -> Any:
        new = []
        for k, own in enumerate(carry):
            left = carry[k - 1] if k else u
            new.append(own + 0.1 * theta[k] * (lib.tanh(left) - own) * lib.exp(-own * own))
        error = new[-1] - u
        return tuple(new), error * error

    zero = lib.full((), 0.0)
    loss = lib.scan(step, tuple(zero for _ in range(w.size)), x["u"])[1].sum()
    return [loss], loss


def _matrices(w: Loops, lib: Library, x: Mapping[str, Any]) -> tuple[list[Any], Any]:
    def step(f: Any, row: Any) -> Any:
        d, p, q, a = row
        af = a @ f
        c = lib.sqrt(d - p @ f @ p)
        v = (q - af @ p) / c
        return af @ a.T + lib.outer(v, v), (c, v)

    given = (x["d"], x["p"], x["q"], x["a"])
    c, v = lib.scan(step, lib.full((w.size, w.size), 0.0), given)[1]
    return [c, v], lib.log(c).sum()


def _lorenz(w: Loops, lib: Library, x: Mapping[str, Any]) -> tuple[list[Any], Any]:
    def slope(y: Any) -> Any:
        rates = [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]]
        return lib.stack(rates)

    def step(y: Any, _: Any) -> Any:
        h = 0.001
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        k4 = slope(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    path = lib.scan(step, x["start"], None, length=w.rows)[1]
    return [path], (path[:, 0] ** 2).mean()


def _nerve(w: Loops, lib: Library, x: Mapping[str, Any]) -> tuple[list[Any], Any]:
    exp, g, dt = lib.exp, x["g"], TIME_STEP
    at = np.zeros(COMPARTMENTS)
    at[0] = 1.0

    def rate(v: Any, scale: float) -> Any:
        return v / (1 - exp(-v / scale))

    def step(carry: Any, current: Any) -> Any:
        v, *gates = carry
        rates = (
            (0.1 * rate(v + 40, 10), 4 * exp(-(v + 65) / 18)),
            (0.07 * exp(-(v + 65) / 20), 1 / (1 + exp(-(v + 35) / 10))),
            (0.01 * rate(v + 55, 10), 0.125 * exp(-(v + 65) / 80)),
        )
        m, h, n = (
            x + (a / (a + b) - x) * (1 - exp(-dt * (a + b)))
            for x, (a, b) in zip(gates, rates, strict=True)
        )
        left = lib.concatenate([v[:1], v[:-1]])
        right = lib.concatenate([v[1:], v[-1:]])
        lost = g[0] * m**3 * h * (v - 50) + g[1] * n**4 * (v + 77) + g[2] * (v + 54.4)
        v = v + dt * (current * at - lost + 0.5 * (left + right - 2 * v))
        return (v, m, h, n), v

    rest = tuple(lib.full((COMPARTMENTS,), value) for value in REST)
    voltage = lib.scan(step, rest, x["i"])[1]
    return [voltage], (voltage[:, -1] ** 2).mean()


_PROGRAMS: dict[str, Callable[..., tuple[list[Any], Any]]] = {
    "scalar carries": _chain,
    "small matrices": _matrices,
    "lorenz": _lorenz,
    "hodgkin-huxley": _nerve,
}
