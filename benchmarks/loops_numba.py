"""The loops written by hand in Numba, with their sizes as constants: the floor of their values."""

from __future__ import annotations

from functools import partial
from math import exp, sqrt, tanh
from typing import Any

import numpy as np
from numba import njit

from benchmarks import loops_programs
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.loops_programs import COMPARTMENTS, REST, TIME_STEP
from benchmarks.workloads import Loops

SIZE = 3
jit = njit(fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy", nogil=True)


@jit  # type: ignore[untyped-decorator]
def _chain(theta: Any, u: Any) -> Any:
    states, new = np.zeros(len(theta)), np.zeros(len(theta))
    loss = 0.0
    for t in range(len(u)):
        for k in range(len(theta)):
            own = states[k]
            left = states[k - 1] if k > 0 else u[t]
            new[k] = own + 0.1 * theta[k] * (tanh(left) - own) * exp(-own * own)
        states, new = new, states
        loss += (states[-1] - u[t]) ** 2
    return loss


@jit  # type: ignore[untyped-decorator]
def _matrices(d: Any, p: Any, q: Any, a: Any) -> Any:
    count = len(d)
    f, af, fp = np.zeros((SIZE, SIZE)), np.empty((SIZE, SIZE)), np.empty(SIZE)
    c, v = np.empty(count), np.empty((count, SIZE))
    for t in range(count):
        seen = d[t]
        for i in range(SIZE):
            total = 0.0
            for j in range(SIZE):
                total += f[i, j] * p[t, j]
            fp[i] = total
            seen -= total * p[t, i]
        c[t] = sqrt(seen)
        for i in range(SIZE):
            total = q[t, i]
            for j in range(SIZE):
                total -= a[t, i, j] * fp[j]
            v[t, i] = total / c[t]
        for i in range(SIZE):
            for j in range(SIZE):
                total = 0.0
                for k in range(SIZE):
                    total += a[t, i, k] * f[k, j]
                af[i, j] = total
        for i in range(SIZE):
            for j in range(SIZE):
                total = v[t, i] * v[t, j]
                for k in range(SIZE):
                    total += af[i, k] * a[t, j, k]
                f[i, j] = total
    return c, v


@jit  # type: ignore[untyped-decorator]
def _slope(x: float, y: float, z: float) -> Any:
    return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z


@jit  # type: ignore[untyped-decorator]
def _lorenz(start: Any, count: int) -> Any:
    path, h = np.empty((count, 3)), 0.001
    x, y, z = start
    for t in range(count):
        a1, b1, c1 = _slope(x, y, z)
        a2, b2, c2 = _slope(x + h / 2 * a1, y + h / 2 * b1, z + h / 2 * c1)
        a3, b3, c3 = _slope(x + h / 2 * a2, y + h / 2 * b2, z + h / 2 * c2)
        a4, b4, c4 = _slope(x + h * a3, y + h * b3, z + h * c3)
        x += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        y += h / 6 * (b1 + 2 * b2 + 2 * b3 + b4)
        z += h / 6 * (c1 + 2 * c2 + 2 * c3 + c4)
        path[t, 0], path[t, 1], path[t, 2] = x, y, z
    return path


@jit  # type: ignore[untyped-decorator]
def _nerve(g: Any, current: Any) -> Any:
    dt = TIME_STEP
    voltage = np.empty((len(current), COMPARTMENTS))
    v, m = np.full(COMPARTMENTS, REST[0]), np.full(COMPARTMENTS, REST[1])
    h, n = np.full(COMPARTMENTS, REST[2]), np.full(COMPARTMENTS, REST[3])
    old = np.empty(COMPARTMENTS)
    for t in range(len(current)):
        for k in range(COMPARTMENTS):
            old[k] = v[k]
        for k in range(COMPARTMENTS):
            u = old[k]
            am, bm = 0.1 * (u + 40) / (1 - exp(-(u + 40) / 10)), 4 * exp(-(u + 65) / 18)
            ah, bh = 0.07 * exp(-(u + 65) / 20), 1 / (1 + exp(-(u + 35) / 10))
            an, bn = 0.01 * (u + 55) / (1 - exp(-(u + 55) / 10)), 0.125 * exp(-(u + 65) / 80)
            m[k] += (am / (am + bm) - m[k]) * (1 - exp(-dt * (am + bm)))
            h[k] += (ah / (ah + bh) - h[k]) * (1 - exp(-dt * (ah + bh)))
            n[k] += (an / (an + bn) - n[k]) * (1 - exp(-dt * (an + bn)))
            left, right = old[max(k - 1, 0)], old[min(k + 1, COMPARTMENTS - 1)]
            lost = g[0] * m[k] ** 3 * h[k] * (u - 50) + g[1] * n[k] ** 4 * (u + 77)
            lost += g[2] * (u + 54.4)
            given = current[t] if k == 0 else 0.0
            v[k] = u + dt * (given - lost + 0.5 * (left + right - 2 * u))
            voltage[t, k] = v[k]
    return voltage


def _results(w: Loops, arrays: dict[str, Any]) -> list[Any]:
    match w.problem:
        case "scalar carries":
            return [_chain(arrays["theta"], arrays["u"])]
        case "small matrices":
            return list(_matrices(*arrays.values()))
        case "lorenz":
            return [_lorenz(arrays["start"], w.rows)]
        case _:
            return [_nerve(arrays["g"], arrays["i"])]


def forms(w: Loops) -> Forms:
    if not w.gradient:
        arrays = loops_programs.arrays(w)
        yield "", lambda: ResultJob(partial(_results, w, arrays))
