"""The values of matrix expressions at given points, by NumPy: how lines are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from staticflow.compiler.formula.terms import Cut
from staticflow.graph.dims import evaluate
from staticflow.graph.node import Array
from staticflow.session.derivation.expr import (
    Expr,
    d,
)
from staticflow.session.derivation.slopes import reference

STEP = 3e-5  # so small that few kinks lie within it; rounding leaves ten digits
DIFFERENCES = ((2 / 3, 1), (-2 / 3, -1), (-1 / 12, 2), (1 / 12, -2))


def _scipy(name: str) -> Callable[..., Any]:
    """A function of scipy.linalg, which takes a quarter of a second to be imported."""
    found: Callable[..., Any] = getattr(import_module("scipy.linalg"), name)
    return found


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "positive": lambda x: (x > 0).astype(float),
    "equal": lambda x, y: (x == y).astype(float),
    "det": lambda x: np.reshape(np.linalg.det(x), (1, 1)),
    "logdet": lambda x: np.reshape(np.linalg.slogdet(x)[1], (1, 1)),
    "norm": lambda x: np.reshape(np.sqrt(np.sum(x * x)), (1, 1)),
    "norm_2": lambda x: np.reshape(np.linalg.norm(x, 2), (1, 1)),
    "norm_nuc": lambda x: np.reshape(np.linalg.norm(x, "nuc"), (1, 1)),
    "prod": lambda x: np.reshape(np.prod(x), (1, 1)),
    "diagonal": lambda x: np.diagonal(x)[:, None],
    "low": lambda x: np.tril(x) - np.diag(np.diagonal(x)) / 2,
    "kron": np.kron,
    "tril": lambda x, *k: np.tril(x, int(k[0][0, 0]) if k else 0),
    "sort": lambda x: np.sort(x, axis=0),
    "order": lambda x, n: np.eye(len(x))[np.argsort(x[:, 0])],
    "clip": np.clip,
    "leaky_relu": lambda x, slope: np.where(x >= 0, x, slope * x),
    "huber": lambda x, c: np.where(np.abs(x) < c, x * x / 2, c * (np.abs(x) - c / 2)),
    "spread": lambda x, epsilon: _spread(x, epsilon),
    "layer_norm": lambda x, epsilon: (x - _mean(x)) / _spread(x, epsilon),
    "orthogonal_factor": lambda x: np.linalg.qr(x)[0],
    "triangular_factor": lambda x: np.linalg.qr(x)[1],
    "gaps": lambda x, n: _gaps(np.linalg.eigh(x)[0]),
    "vec": lambda x: x.T.reshape(-1, 1),
    "pinv": np.linalg.pinv,
    "cholesky": np.linalg.cholesky,
    "eigenvalues": lambda x: np.linalg.eigh(x)[0][:, None],
    "eigenvectors": lambda x: np.linalg.eigh(x)[1],
    "left_vectors": lambda x: np.linalg.svd(x, full_matrices=False)[0],
    "singular_values": lambda x: np.linalg.svd(x, full_matrices=False)[1][:, None],
    "right_vectors": lambda x: np.linalg.svd(x, full_matrices=False)[2],
    "expm": lambda x: _scipy("expm")(x),
    "expm_frechet": lambda x, t: _scipy("expm_frechet")(x, t, compute_expm=False),
    "trace_expm": lambda x: np.reshape(np.trace(_scipy("expm")(x)), (1, 1)),
    "logsumexp": lambda x: _logsumexp(x),
    "softmax": lambda x: np.exp(x - _logsumexp(x)),
    "log_softmax": lambda x: x - _logsumexp(x),
}


def value_of(name: str) -> Callable[..., Any]:
    """A function of matrices in NumPy: one of those above, or an elementwise op."""
    return FUNCTIONS[name] if name in FUNCTIONS else reference(name)


def _logsumexp(x: Array) -> Array:
    """Of a column, or of each row of a matrix."""
    axis = 0 if x.shape[1] == 1 else 1
    top = x.max(axis=axis, keepdims=True)
    found: Array = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return found


def _mean(x: Array) -> Array:
    """Of a column, or of each row of a matrix."""
    found: Array = x.mean(axis=0 if x.shape[1] == 1 else 1, keepdims=True)
    return found


def _spread(x: Array, epsilon: Array) -> Array:
    found: Array = np.sqrt(_mean((x - _mean(x)) ** 2) + epsilon)
    return found


def _gaps(values: Array) -> Array:
    """1 / (l[j] - l[i]), and zeros on the diagonal."""
    one = np.eye(len(values))
    found: Array = 1 / (values - values[:, None] + one) - one
    return found


class Values:
    """Computes expressions, given the values of symbols and of what was not taken apart.

    The value of d(...) is found by differences along dX, and so by none of the rules.
    """

    def __init__(
        self, known: Mapping[Expr, Array], sizes: Mapping[str, int], moving: Expr | None = None
    ) -> None:
        self.sizes = sizes
        self.moving = moving
        self._found: dict[Expr, Array] = dict(known)
        self._symbols = dict(known)

    def give(self, symbol: Expr, value: Array) -> None:
        """Set the value of a symbol, unless it has one."""
        self._found.setdefault(symbol, value)
        self._symbols.setdefault(symbol, value)

    def toward(self, symbol: Expr | None) -> Values:
        """The same values, where this symbol is what changes."""
        return Values(self._symbols, self.sizes, symbol)

    def of(self, x: Expr) -> Array:
        """The value as a matrix."""
        if x not in self._found:
            shape = tuple(evaluate(n, self.sizes) for n in x.shape)
            value = self._change(x.args[0]) if x.head == "d" else self._value(x, shape)
            self._found[x] = np.broadcast_to(np.asarray(value, np.float64), shape)
        return self._found[x]

    def _change(self, x: Expr) -> Array:
        """The change of a value along dX, of fourth order in the step."""
        assert self.moving is not None, "nothing changes"
        change = self._symbols[d(self.moving)]
        total = np.zeros(())
        for weight, step in DIFFERENCES:
            moved = self._symbols[self.moving] + step * STEP * change
            total = total + weight * Values({**self._symbols, self.moving: moved}, self.sizes).of(x)
        return total / STEP

    def _value(self, x: Expr, shape: tuple[int, ...]) -> Any:
        args = [self.of(a) for a in x.args]
        if x.head in ("number", "ones", "zero"):
            return np.full(shape, {"ones": 1.0, "zero": 0.0}.get(x.head, x.attr))
        if x.head == "size":
            return evaluate(x.attr, self.sizes)
        if x.head == "eye":
            return np.eye(shape[0])
        if x.head == "permutation":
            return _permutation(*(evaluate(n, self.sizes) for n in x.attr))
        if x.head == "select":
            return np.eye(shape[1])[self._taken(x.attr)].reshape(shape)
        if x.head == "fn":
            return self._function(x, args, shape)
        if x.head == "pow":
            return args[0] ** x.attr
        return OPERATIONS[x.head](*args)

    def _taken(self, taken: Any) -> Any:
        """A place or a cut of an axis, where sizes are numbers."""
        if not isinstance(taken, Cut):
            return evaluate(taken, self.sizes)
        stop = None if taken.stop is None else evaluate(taken.stop, self.sizes)
        return slice(evaluate(taken.start, self.sizes), stop, taken.step)

    def _function(self, x: Expr, args: Sequence[Array], shape: tuple[int, ...]) -> Any:
        if x.attr in ("max", "min"):
            own = np.max if x.attr == "max" else np.min
            return own(args[0], axis=None if shape == (1, 1) else 1, keepdims=True)
        if x.attr == "one_hot":
            return np.eye(shape[1])[args[0].astype(int)[:, 0]]
        return value_of(x.attr)(*args)


def _permutation(rows: int, columns: int) -> Array:
    """The matrix that turns vec(A) into vec(A.T), of A with so many rows and columns."""
    places = np.arange(rows * columns).reshape(columns, rows).T.reshape(-1)
    return np.eye(rows * columns)[places]


def _matmul(*args: Array) -> Any:
    return args[0] if len(args) == 1 else np.linalg.multi_dot(args)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "sum": lambda *args: sum(args),
    "scale": lambda s, x: s[0, 0] * x,
    "mul": _matmul,
    "chain": _matmul,
    "had": lambda *args: np.prod(args, axis=0),
    "T": lambda x: x.T,
    "inv": np.linalg.inv,
    "tr": lambda x: np.reshape(np.trace(x), (1, 1)),
    "total": lambda x: np.reshape(np.sum(x), (1, 1)),
    "diag": lambda x: np.diag(x[:, 0]),
}
