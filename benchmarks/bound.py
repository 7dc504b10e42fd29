"""The least time a step can take: FLOPs over the peak, compulsory traffic over bandwidth.

Counted from the shapes: a matrix product of the forward pass is done twice more going back (for the
weights and for the input; the first layer needs no gradient of its input). Traffic is what any Adam
step must move: parameters and both moments read and written, the minibatch read once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.workloads import FNN, RNN, Calculus, Ensemble, Infer, Loops, Ode, Stream, Workload

if TYPE_CHECKING:
    from benchmarks.machine_peak import Peak


def _fnn_products(sizes: tuple[int, ...], batch: int) -> list[int]:
    return [2 * batch * a * b for a, b in pairwise(sizes)]


def _rnn_products(w: RNN) -> tuple[int, int]:
    """FLOPs of the first layer's input products, and of all others, forward."""
    rows, gates = w.batch * w.time, w.gates * w.hidden
    first = rest = 0
    for layer in range(w.layers):
        width = w.features if layer == 0 else w.hidden * w.directions
        products = 2 * rows * gates * width * w.directions
        first, rest = (first + products, rest) if layer == 0 else (first, rest + products)
        rest += 2 * rows * gates * w.hidden * w.directions
    return first, rest + 2 * w.batch * w.hidden * w.directions


def _calculus_flops(w: Calculus) -> float:
    """The products that a derivative cannot do without; a symmetric result counts in full."""
    n, rows = w.size, w.rows
    match w.problem:
        case "exp gradient by X":
            return 3 * rows * n
        case "exp gradient by b":
            return 4 * rows * n
        case "tanh net jacobian":
            return 8 * n**2 + 6 * n**3
        case "logistic hessian":
            return 2 * rows * n * (n + 1)
        case "logistic hvp":
            return 6 * rows * n
        case "gaussian likelihood":
            return n**3  # the factor, and the inverse of the covariance from it
        case _:
            return rows * 3 * 4 * 4**3  # two products and their derivatives


def _calculus_words(w: Calculus) -> int:
    """The numbers that are read or written once at least."""
    n, rows = w.size, w.rows
    match w.problem:
        case "exp gradient by X":
            return 2 * rows * n
        case "tanh net jacobian":
            return 5 * n**2
        case "gaussian likelihood" | "kalman filter":
            return 2 * n + 2 * rows
        case _:
            return rows * n


def step_flops(w: Workload) -> float:
    """Multiplications and additions of the matrix products of one step or call."""
    match w:
        case Calculus():
            return _calculus_flops(w)
        case Ensemble():
            return w.members * step_flops(w.net)
        case Loops():
            return 0.0  # functions, of which a bound by products knows nothing
        case FNN():
            first, *rest = _fnn_products(w.sizes, w.batch)
            return 2 * first + 3 * sum(rest)
        case RNN():
            first, others = _rnn_products(w)
            return 2 * first + 3 * others
        case Infer():
            return sum(_fnn_products(w.sizes, w.batch))
        case Ode():
            return 4 * sum(_fnn_products(w.sizes, 1))
        case Stream():
            return 2 * 4 * w.hidden * (w.features + w.hidden) + 2 * w.hidden


def parameters(w: Workload) -> int:
    match w:
        case Calculus() | Loops():
            return 0
        case Ensemble():
            return w.members * parameters(w.net)
        case FNN() | Infer() | Ode():
            return sum((a + 1) * b for a, b in pairwise(w.sizes))
        case RNN():
            widths = [w.features] + [w.hidden * w.directions] * (w.layers - 1)
            gates = w.gates * w.hidden * w.directions
            cells = sum(gates * (width + w.hidden + 2) for width in widths)
            return cells + w.hidden * w.directions + 1
        case Stream():
            return 4 * w.hidden * (w.features + w.hidden + 2) + w.hidden + 1


def step_bytes(w: Workload) -> int:
    """Compulsory traffic of a step or call."""
    word = 8 if w.dtype == "float64" else 4
    match w:
        case Calculus():
            return word * _calculus_words(w)
        case Ensemble():
            return w.members * step_bytes(w.net)
        case Loops():
            return word * w.rows
        case FNN():
            return word * (6 * parameters(w) + w.batch * (w.sizes[0] + w.sizes[-1]))
        case RNN():
            return word * (6 * parameters(w) + w.batch * (w.time * w.features + 1))
        case Infer():
            return word * (parameters(w) + w.batch * (w.sizes[0] + w.sizes[-1]))
        case Stream():
            return word * (parameters(w) + 4 * w.hidden + w.features)
        case Ode():
            return word * (parameters(w) + 2 * w.sizes[0])


def least_seconds(w: Workload, peak: Peak) -> float:
    """No step of this shape can be faster on this machine, whoever computes it."""
    compute = step_flops(w) / peak.flops[w.dtype][-1]
    traffic = step_bytes(w) / peak.bandwidth_for(step_bytes(w))
    return max(compute, traffic)
