"""A training loop for 16-64-64-1 written by hand in Numba, with its sizes as constants: the floor.

One thread. Products go four rows and four terms at a time with the columns innermost; Adam is one
loop over the flat parameters. Every array is contiguous to the compiler, or nothing vectorises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from benchmarks import data
from benchmarks.contender import Forms, Job
from benchmarks.workloads import FNN, LEARNING_RATE, Workload

ROW = FNN((16, 64, 64, 1), 32)
BATCH, IN, HIDDEN = ROW.batch, ROW.sizes[0], ROW.sizes[1]
W1 = IN * HIDDEN
W2 = W1 + HIDDEN
B2 = W2 + HIDDEN * HIDDEN
W3 = B2 + HIDDEN
B3 = W3 + HIDDEN
COUNT = B3 + 1
# Moments of a unit that has died decay into the denormals, which are slow, and stay there.
TINY = np.float32(1e-37)
FAST = {"reassoc", "contract", "arcp", "nsz"}
jit = njit(fastmath=FAST, error_model="numpy", nogil=True)


@jit  # type: ignore[untyped-decorator]
def _multiply_add(rows: int, terms: int, x: Any, w: Any, out: Any) -> None:
    """out += x @ w, with HIDDEN columns."""
    for i in range(0, rows, 4):
        for k in range(0, terms, 4):
            a0, a1, a2, a3 = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
            b0, b1, b2, b3 = x[i + 1, k], x[i + 1, k + 1], x[i + 1, k + 2], x[i + 1, k + 3]
            c0, c1, c2, c3 = x[i + 2, k], x[i + 2, k + 1], x[i + 2, k + 2], x[i + 2, k + 3]
            d0, d1, d2, d3 = x[i + 3, k], x[i + 3, k + 1], x[i + 3, k + 2], x[i + 3, k + 3]
            for j in range(HIDDEN):
                w0, w1, w2, w3 = w[k, j], w[k + 1, j], w[k + 2, j], w[k + 3, j]
                out[i, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[i + 1, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                out[i + 2, j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                out[i + 3, j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3


@jit  # type: ignore[untyped-decorator]
def _layer(terms: int, x: Any, w: Any, bias: Any, out: Any) -> None:
    for i in range(BATCH):
        for j in range(HIDDEN):
            out[i, j] = bias[j]
    _multiply_add(BATCH, terms, x, w, out)
    for i in range(BATCH):
        for j in range(HIDDEN):
            out[i, j] = max(out[i, j], np.float32(0))


@jit  # type: ignore[untyped-decorator]
def _gradients_of_layer(terms: int, x: Any, dz: Any, transposed: Any, dw: Any, db: Any) -> None:
    """dw = x.T @ dz and db = the sum of dz's rows; `transposed` is scratch for x.T."""
    for k in range(terms):
        for i in range(BATCH):
            transposed[k, i] = x[i, k]
    dw[:] = np.float32(0)
    db[:] = np.float32(0)
    _multiply_add(terms, BATCH, transposed, dz, dw)
    for i in range(BATCH):
        for j in range(HIDDEN):
            db[j] += dz[i, j]


@jit  # type: ignore[untyped-decorator]
def _head(h: Any, target: Any, p: Any, g: Any, dz: Any) -> Any:
    """The last layer's output, the loss, and the gradients that follow from them."""
    loss = np.float32(0)
    g[W3:COUNT] = np.float32(0)
    for i in range(BATCH):
        y = np.float32(0)
        for j in range(HIDDEN):
            y += h[i, j] * p[W3 + j]
        error = y + p[B3] - target[i, 0]
        loss += error * error
        dy = np.float32(2 / BATCH) * error
        for j in range(HIDDEN):
            g[W3 + j] += dy * h[i, j]
            dz[i, j] = dy * p[W3 + j] if h[i, j] > 0 else np.float32(0)
        g[B3] += dy
    return loss / np.float32(BATCH)


@jit  # type: ignore[untyped-decorator]
def _back(dz: Any, w: Any, transposed: Any, h: Any, out: Any) -> None:
    """out = dz @ w.T where h is positive."""
    for k in range(HIDDEN):
        for j in range(HIDDEN):
            transposed[j, k] = w[k, j]
    out[:] = np.float32(0)
    _multiply_add(BATCH, HIDDEN, dz, transposed, out)
    for i in range(BATCH):
        for j in range(HIDDEN):
            out[i, j] = out[i, j] if h[i, j] > 0 else np.float32(0)


@jit  # type: ignore[untyped-decorator]
def _adam(p: Any, g: Any, m: Any, v: Any, step: int) -> None:
    one, b1, b2 = np.float32(1), np.float32(0.9), np.float32(0.999)
    rate = np.float32(LEARNING_RATE / (1 - 0.9**step))
    scale = np.float32(1 / (1 - 0.999**step))
    for i in range(COUNT):
        mi = b1 * m[i] + (one - b1) * g[i]
        vi = b2 * v[i] + (one - b2) * g[i] * g[i]
        m[i] = mi if abs(mi) > TINY else np.float32(0)
        v[i] = vi if vi > TINY else np.float32(0)
        p[i] -= rate * mi / (np.sqrt(vi * scale) + np.float32(1e-8))


@jit  # type: ignore[untyped-decorator]
def _train(xs: Any, ys: Any, p: Any, m: Any, v: Any, done: int, steps: int, losses: Any) -> None:
    g = np.zeros(COUNT, np.float32)
    w1, w2 = p[:W1].reshape(IN, HIDDEN), p[W2:B2].reshape(HIDDEN, HIDDEN)
    g1, g2 = g[:W1].reshape(IN, HIDDEN), g[W2:B2].reshape(HIDDEN, HIDDEN)
    h1, h2 = np.empty((BATCH, HIDDEN), np.float32), np.empty((BATCH, HIDDEN), np.float32)
    z1, z2 = np.empty((BATCH, HIDDEN), np.float32), np.empty((BATCH, HIDDEN), np.float32)
    scratch = np.empty((HIDDEN, BATCH), np.float32)
    square = np.empty((HIDDEN, HIDDEN), np.float32)
    for step in range(done, done + steps):
        x, y = xs[step % len(xs)], ys[step % len(ys)]
        _layer(IN, x, w1, p[W1:W2], h1)
        _layer(HIDDEN, h1, w2, p[B2:W3], h2)
        losses[step - done] = _head(h2, y, p, g, z2)
        _gradients_of_layer(HIDDEN, h1, z2, scratch, g2, g[B2:W3])
        _back(z2, w2, square, h1, z1)
        _gradients_of_layer(IN, x, z1, scratch, g1, g[W1:W2])
        _adam(p, g, m, v, step + 1)


class FloorJob(Job):
    def __init__(self) -> None:
        batches = data.fnn_batches(ROW)
        self._x, self._y = batches.x, batches.y
        self._state = self._start()
        self._done = 0

    def _start(self) -> list[np.ndarray]:
        flat = [a.ravel() for layer in data.fnn_weights(ROW) for a in layer]
        return [np.concatenate(flat), np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)]

    def run(self, steps: int) -> None:
        losses = np.empty(steps, np.float32)
        _train(self._x, self._y, *self._state, self._done, steps, losses)
        self._done += steps

    def check(self, steps: int) -> tuple[float, float]:
        losses = np.empty(steps, np.float32)
        _train(self._x, self._y, *self._start(), 0, steps, losses)
        return float(losses[0]), float(losses[-1])


def forms(w: Workload) -> Forms:
    if isinstance(w, FNN) and (w.sizes, w.batch, w.dtype) == (ROW.sizes, ROW.batch, ROW.dtype):
        yield "1 thread", FloorJob
