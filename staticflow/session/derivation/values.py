"""The values of matrix expressions at given points, by NumPy: how lines are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticflow.graph.dims import evaluate
from staticflow.graph.node import Array
from staticflow.session.derivation.matrix import Expr, d

STEP = 1e-3
DIFFERENCES = ((2 / 3, 1), (-2 / 3, -1), (-1 / 12, 2), (1 / 12, -2))
FUNCTIONS: Mapping[str, Callable[[Array], Any]] = {
    **{name: getattr(np, name) for name in (
        "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs", "log1p", "expm1",
        "arctan", "sign", "floor", "ceil", "round",
    )},
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "relu": lambda x: np.maximum(x, 0),
    "positive": lambda x: (x > 0).astype(float),
    "det": lambda x: np.reshape(np.linalg.det(x), (1, 1)),
    "logdet": lambda x: np.reshape(np.linalg.slogdet(x)[1], (1, 1)),
    "norm": lambda x: np.reshape(np.sqrt(np.sum(x * x)), (1, 1)),
    "diagonal": lambda x: np.diagonal(x)[:, None],
    "logsumexp": lambda x: _logsumexp(x),
    "softmax": lambda x: np.exp(x - _logsumexp(x)),
    "log_softmax": lambda x: x - _logsumexp(x),
}  # fmt: skip


def _logsumexp(x: Array) -> Array:
    """Of a column, or of each row of a matrix."""
    axis = 0 if x.shape[1] == 1 else 1
    top = x.max(axis=axis, keepdims=True)
    found: Array = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
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
        if x.head == "fn":
            return FUNCTIONS[x.attr](*args)
        if x.head == "pow":
            return args[0] ** x.attr
        return OPERATIONS[x.head](*args)


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
