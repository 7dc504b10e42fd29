"""What random compositions are made of: functions of a library and of values in known shapes.

A rule says which shapes its operands have (None for any; a value of another shape is folded into
it) and makes, by choices, a function `f(m, *values)` of `m`, the functions of either library. Every
rule keeps values of moderate size moderate and stays away from the edges of its domain, so that the
errors of a composition are those of rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Choose = Callable[[int], int]  # a number below the given one
Function = Callable[..., Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """`make(choose, *shapes)` gives the function of the operands that have these shapes."""

    name: str
    shapes: tuple[Shape | None, ...]
    make: Callable[..., Function]
    least: int = 0  # axes that operands of any shape must have


def constant(name: str, shapes: tuple[Shape | None, ...], function: Function) -> Rule:
    """A rule without choices."""
    return Rule(name, shapes, lambda choose, *_: function)


def one_of(choose: Choose, entries: Any) -> Any:
    """An entry by choice."""
    items = list(entries)
    return items[choose(len(items))]


def spread(shape: Shape) -> np.ndarray[Any, Any]:
    """Numbers that no two elements of a computed value differ by, so that orders are unique."""
    count = int(np.prod(shape))
    return ((np.arange(count) * 0.6180339887) % 1.0).reshape(shape)


# Elementwise functions, on their own domain or on sin(x), which is bounded.
UNARY: dict[str, Function] = {
    "tanh": lambda m, x: m.tanh(x),
    "sin": lambda m, x: m.sin(x),
    "cos": lambda m, x: m.cos(x),
    "arctan": lambda m, x: m.arctan(x),
    "arcsinh": lambda m, x: m.arcsinh(x),
    "sigmoid": lambda m, x: m.sigmoid(x),
    "softplus": lambda m, x: m.softplus(x),
    "erf": lambda m, x: m.erf(x),
    "erfc": lambda m, x: m.erfc(x),
    "gelu": lambda m, x: m.gelu(x, approximate=False),
    "silu": lambda m, x: m.silu(x),
    "elu": lambda m, x: m.elu(x),
    "selu": lambda m, x: m.selu(x),
    "mish": lambda m, x: m.mish(x),
    "softsign": lambda m, x: m.softsign(x),
    "log_sigmoid": lambda m, x: m.log_sigmoid(x),
    "leaky_relu": lambda m, x: m.leaky_relu(x),
    "relu": lambda m, x: m.relu(x),
    "hard_tanh": lambda m, x: m.hard_tanh(x),
    "hard_sigmoid": lambda m, x: m.hard_sigmoid(2.0 * x),
    "negative": lambda m, x: m.negative(x),
    "square": lambda m, x: m.square(m.sin(x)),
    "exp": lambda m, x: m.exp(m.sin(x)),
    "exp2": lambda m, x: m.exp2(m.sin(x)),
    "expm1": lambda m, x: m.expm1(m.sin(x)),
    "sinh": lambda m, x: m.sinh(m.sin(x)),
    "cosh": lambda m, x: m.cosh(m.sin(x)),
    "tan": lambda m, x: m.tan(m.sin(x)),
    "arcsin": lambda m, x: m.arcsin(0.8 * m.sin(x)),
    "arccos": lambda m, x: m.arccos(0.8 * m.sin(x)),
    "arctanh": lambda m, x: m.arctanh(0.8 * m.sin(x)),
    "arccosh": lambda m, x: m.arccosh(2.5 + m.sin(x)),
    "log": lambda m, x: m.log(1.5 + m.sin(x)),
    "log2": lambda m, x: m.log2(1.5 + m.sin(x)),
    "log10": lambda m, x: m.log10(1.5 + m.sin(x)),
    "log1p": lambda m, x: m.log1p(0.8 * m.sin(x)),
    "sqrt": lambda m, x: m.sqrt(1.5 + m.sin(x)),
    "cbrt": lambda m, x: m.cbrt(1.5 + m.sin(x)),
    "reciprocal": lambda m, x: m.reciprocal(1.5 + m.sin(x)),
    "power": lambda m, x: m.power(1.5 + m.sin(x), 1.7),
    "cube": lambda m, x: m.power(m.sin(x), 3),
    "abs": lambda m, x: m.abs(x - 0.123),
    "clip": lambda m, x: m.clip(x, -0.71, 0.73),
    "maximum of a number": lambda m, x: m.maximum(x, 0.31),
    "where": lambda m, x: m.where(x > 0.123, m.sin(x), x * x * 0.2),
    "remainder": lambda m, x: m.mod(x + 0.0123, 1.37),
    "floor": lambda m, x: x - 0.5 * m.floor(x + 0.0123),
    "sign": lambda m, x: x * m.sign(x - 0.0123),
    "stop_gradient": lambda m, x: x * m.cos(m.stop_gradient(x)),
    "scaled": lambda m, x: 1.3 * x - 0.2,
}  # fmt: skip

BINARY: dict[str, Function] = {
    "add": lambda m, x, y: x + y,
    "subtract": lambda m, x, y: x - y,
    "multiply": lambda m, x, y: m.sin(x) * y,
    "divide": lambda m, x, y: x / (1.5 + m.cos(y)),
    "maximum": lambda m, x, y: m.maximum(x, y + 0.0123),
    "minimum": lambda m, x, y: m.minimum(x, y + 0.0123),
    "hypot": lambda m, x, y: m.hypot(x, 1.0 + y * y),
    "arctan2": lambda m, x, y: m.arctan2(x, 1.5 + m.sin(y)),
    "logaddexp": lambda m, x, y: m.logaddexp(x, y),
    "power": lambda m, x, y: m.power(1.5 + m.sin(x), m.sin(y)),
    "choice": lambda m, x, y: m.where(x > y + 0.0123, x, m.sin(y)),
    "copysign": lambda m, x, y: m.copysign(m.sin(x) + 2.0, y - 0.0123),
}

TALL, WIDE, SQUARE, ROW, COLUMN = (4, 3), (3, 4), (3, 3), (3,), (4,)
BATCH = (2, 3, 3)

PRODUCTS = (
    constant("matmul", (TALL, SQUARE), lambda m, x, y: 0.4 * (x @ y)),
    constant("matmul turned", (TALL, TALL), lambda m, x, y: 0.4 * (x.T @ y)),
    constant("matmul vector", (TALL, ROW), lambda m, x, y: 0.4 * (x @ y)),
    constant("matmul batch", (BATCH, SQUARE), lambda m, x, y: 0.4 * m.matmul(x, y)),
    constant("matmul batches", (BATCH, BATCH), lambda m, x, y: 0.4 * m.matmul(x, y)),
    constant("dot", (ROW, ROW), lambda m, x, y: 0.4 * m.dot(x, y)),
    constant("inner", (TALL, ROW), lambda m, x, y: 0.4 * m.inner(x, y)),
    constant("outer", (ROW, COLUMN), lambda m, x, y: m.outer(m.sin(x), y)),
    constant("vdot", (SQUARE, SQUARE), lambda m, x, y: 0.2 * m.vdot(x, y)),
    constant("tensordot", (BATCH, SQUARE), lambda m, x, y: 0.2 * m.tensordot(x, y, 2)),
    constant("kron", ((2, 2), (2, 3)), lambda m, x, y: m.kron(m.sin(x), y)),
    constant("quadratic form", (ROW, SQUARE), lambda m, x, a: 0.2 * (x @ a @ x)),
    constant("trace of a product", (TALL, WIDE), lambda m, x, y: 0.2 * m.trace(x @ y)),
    constant("convolve", (COLUMN, ROW), lambda m, x, y: 0.4 * m.convolve(x, y)),
    Rule("convolve same", ((6,), ROW), lambda choose, *_: _convolved(one_of(choose,
         ("same", "valid", "full")))),
    constant("correlate", ((6,), ROW), lambda m, x, y: 0.4 * m.correlate(x, y, mode="same")),
    *(constant(f"einsum {text}", shapes, lambda m, *xs, text=text: 0.3 * m.einsum(text, *xs))
      for text, shapes in (
          ("ij,jk->ik", (WIDE, TALL)), ("ij,ij->", (TALL, TALL)), ("bij,bj->bi", (BATCH, (2, 3))),
          ("ii->i", (SQUARE,)), ("i,ij,j->", (COLUMN, TALL, ROW)), ("bij->ji", (BATCH,)),
          ("ij,kj,lj->ikl", ((2, 3), (2, 3), (2, 3))),
      )),
)  # fmt: skip


def _convolved(mode: str) -> Function:
    return lambda m, x, y: 0.4 * m.convolve(x, y, mode=mode)


def _dominant(m: Any, a: Any) -> Any:
    """A well-conditioned matrix."""
    return 0.3 * m.tanh(a) + np.diag([1.0, 1.5, 2.0])


def _positive(m: Any, a: Any) -> Any:
    """A symmetric positive definite matrix."""
    b = _dominant(m, a)
    return b @ m.swapaxes(b, -1, -2)


def _apart(m: Any, a: Any) -> Any:
    """A symmetric matrix whose eigenvalues are apart from each other."""
    b = 0.2 * m.tanh(a)
    return b + m.swapaxes(b, -1, -2) + np.diag([1.0, 3.0, 5.0])


def _projector(m: Any, a: Any) -> Any:
    """The projection on the first eigenvector, which does not depend on its sign."""
    v = m.eigh(_apart(m, a))[1]
    return v[:, :1] @ v[:, :1].T


def _triangular(choose: Choose, *_: Shape) -> Function:
    lower = bool(choose(2))
    return lambda m, a, b: m.solve_triangular(_dominant(m, a), b, lower=lower)


def _decomposed(m: Any, a: Any) -> Any:
    q, r = m.qr(_dominant(m, a))
    return q @ m.tanh(r)


def _of_tall(m: Any, a: Any) -> Any:
    q, r = m.qr(0.3 * m.tanh(a) + np.eye(4, 3))
    return m.concatenate([q, r], 0)


LINEAR = (
    constant("inv", (SQUARE,), lambda m, a: m.inv(_dominant(m, a))),
    constant("inv batch", (BATCH,), lambda m, a: m.inv(_dominant(m, a))),
    constant("det", (SQUARE,), lambda m, a: 0.2 * m.det(_dominant(m, a))),
    constant("det of anything", (SQUARE,), lambda m, a: m.det(m.tanh(a))),
    constant("det batch", (BATCH,), lambda m, a: 0.2 * m.det(_dominant(m, a))),
    constant("slogdet", (SQUARE,), lambda m, a: m.slogdet(_dominant(m, a))[1]),
    constant("logdet", (BATCH,), lambda m, a: m.logdet(_positive(m, a))),
    constant("solve", (SQUARE, ROW), lambda m, a, b: m.solve(_dominant(m, a), b)),
    constant("solve columns", (SQUARE, WIDE), lambda m, a, b: m.solve(_dominant(m, a), b)),
    Rule("solve_triangular", (SQUARE, WIDE), _triangular),
    constant("cholesky", (SQUARE,), lambda m, a: m.cholesky(_positive(m, a))),
    constant("cholesky batch", (BATCH,), lambda m, a: m.cholesky(_positive(m, a))),
    constant("eigvalsh", (SQUARE,), lambda m, a: 0.5 * m.eigvalsh(_apart(m, a))),
    constant("eigh", (SQUARE,), _projector),
    constant("svdvals", (SQUARE,), lambda m, a: m.svdvals(_dominant(m, a))),
    constant("qr", (SQUARE,), _decomposed),
    constant("tall qr", (TALL,), _of_tall),
    constant("expm", (SQUARE,), lambda m, a: 0.3 * m.expm(0.5 * m.tanh(a))),
    constant("matrix_power", (SQUARE,), lambda m, a: m.matrix_power(0.4 * m.tanh(a), 3)),
    constant("norm", (TALL,), lambda m, a: m.norm(a + 0.5)),
    constant("norm of rows", (TALL,), lambda m, a: m.norm(a + 0.5, axis=1)),
    constant("nuclear norm", (SQUARE,), lambda m, a: 0.3 * m.norm(_dominant(m, a), "nuc")),
    constant("trace", (SQUARE,), lambda m, a: 0.5 * m.trace(a)),
    constant("diagonal", (WIDE,), lambda m, a: m.diagonal(a)),
    constant("diag", (ROW,), lambda m, a: m.diag(a)),
    constant("diag of a matrix", (SQUARE,), lambda m, a: m.diag(m.diag(a), 1)),
)
