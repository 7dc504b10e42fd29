"""Smooth functions made of parts that have kinks, each with a reference of 50 digits.

`call` takes a vector node and gives a scalar; `reference` takes a list of mpmath's numbers. `order`
is how many derivatives exist at the points: where the function itself has but one, that one is
checked. No step away from a point is smaller than `nearest`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp, mpf

from staticflow import ops

Numbers = Sequence[Any]


@dataclass(frozen=True)
class Special:
    """A function of a few numbers at points where its parts have kinks."""

    op: str
    call: Callable[[Any], Any]
    reference: Callable[[Numbers], Any]
    points: tuple[tuple[float, ...], ...]
    order: int = 2
    label: str = ""
    nearest: float = 0.0

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op


def unary(
    op: str, reference: Callable[[Any], Any], *points: float, order: int = 2, label: str = ""
) -> Special:
    """A function of one number."""
    return Special(op, lambda x: getattr(ops, op)(x[0]), lambda v: reference(v[0]),
                   tuple((p,) for p in points), order, label)  # fmt: skip


def binary(op: str, reference: Callable[..., Any], *points: tuple[float, float]) -> Special:
    """A function of two numbers."""
    return Special(op, lambda x: getattr(ops, op)(x[0], x[1]), lambda v: reference(*v), points)


def _gelu_tanh(x: Any) -> Any:
    return x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3))) / 2


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _bce(x: Any, t: Any) -> Any:
    return mp.log1p(mp.exp(x)) - x * t if x < 0 else x * (1 - t) + mp.log1p(mp.exp(-x))


NEAR = (0.0, -0.0, 1e-9, -1e-9, 1.0, -1.0, 20.0, -20.0)
SMALL = (0.0, -0.0, 1e-9, -1e-9, 1e-4, -1e-4, 0.5, -0.5)
UNARY = (
    unary("softplus", lambda x: mp.log1p(mp.exp(x)), *NEAR),
    unary("sigmoid", _sigmoid, *NEAR),
    unary("log_sigmoid", lambda x: -mp.log1p(mp.exp(-x)), *NEAR),
    unary("silu", lambda x: x * _sigmoid(x), *NEAR),
    unary("mish", lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), *NEAR),
    unary("gelu", lambda x: x * (1 + mp.erf(x / mp.sqrt(2))) / 2, 0.0, -0.0, 1e-9, 1.0, -1.0),
    Special("gelu", lambda x: ops.gelu(x[0], approximate=True), lambda v: _gelu_tanh(v[0]),
            ((0.0,), (-0.0,), (1e-9,), (1.0,), (-1.0,)), label="tanh"),
    unary("softsign", lambda x: x / (1 + abs(x)), 0.0, -0.0, 1e-30, order=1, label="at 0"),
    unary("softsign", lambda x: x / (1 + abs(x)), 1.0, -1.0, 0.25),
    unary("elu", lambda x: mp.expm1(x), 0.0, -0.0, -1e-30, order=1, label="at 0"),
    unary("elu", lambda x: x if x > 0 else mp.expm1(x), 1.0, -1.0),
    unary("sinc", lambda x: mp.sincpi(x), 0.0, -0.0, 1e-9, 0.25, -0.25, 0.2499999, 0.3, 1.5),
    *(unary(op, getattr(mp, op), *SMALL) for op in ("tanh", "sinh", "cosh", "expm1", "log1p",
                                                    "erf", "erfc", "sin", "cos", "tan", "exp")),
    unary("arcsinh", mp.asinh, *SMALL, 1.0, -1.0), unary("arctan", mp.atan, *SMALL, 1.0, -1.0),
    unary("arctanh", mp.atanh, *SMALL), unary("arcsin", mp.asin, *SMALL),
    unary("arccos", mp.acos, *SMALL), unary("exp2", lambda x: mpf(2) ** x, *SMALL),
    unary("square", lambda x: x * x, *SMALL), unary("cbrt", mp.cbrt, 1.0, 0.125),
    unary("logit", lambda x: mp.log(x / (1 - x)), 0.5, 0.25),
    # A step away would be one onto the pole.
    Special("logit", lambda x: ops.logit(x[0]), lambda v: mp.log(v[0] / (1 - v[0])), ((1e-9,),),
            label="near 0", nearest=math.inf),
    *(Special("power", lambda x, k=k: ops.power(x[0], k), lambda v, k=k: v[0] ** k,
              ((0.0,), (-0.0,), (1.0,), (-2.0,)), label=f"{k}") for k in (0, 1, 2, 3, 4)),
    # k (k - 1) x^(k - 2) has a factor beyond float64 at 1e-300, also where k is 0.
    *(Special("power", lambda x, k=k: ops.power(x[0], ops.stop_gradient(0.0 * x[0] + k)),
              lambda v, k=k: v[0] ** k, ((0.0,), (-0.0,), (1.0,), (-2.0,)),
              label=f"node {k}", nearest=1e-100)
      for k in (0, 1, 2, 3, 4)),
    unary("abs", abs, 1.0, -1.0, 1e-30), unary("fabs", abs, 1.0, -1.0, 1e-30),
    unary("relu", lambda x: x if x > 0 else 0 * x, 1.0, -1.0, 1e-30),
    unary("nan_to_num", lambda x: x, 0.0, 1.0, -1e30),
)  # fmt: skip

TIES = ((0.0, 0.0), (1.0, 1.0), (-2.0, 5.0), (5.0, -2.0), (1.0, 1.0 + 1e-9), (0.0, -0.0))
AXES = ((0.0, 3.0), (3.0, 0.0), (-3.0, 0.0), (0.0, -3.0), (1.0, 1.0), (-0.0, 2.0))
LOGITS = (
    (0.0, 0.0), (0.0, 1.0), (0.0, 0.5), (-0.0, 0.3), (1e-9, 1.0), (-1e-9, 0.0), (40.0, 1.0),
    (-40.0, 0.0), (30.0, 0.0), (3.0, 0.25),
)  # fmt: skip
EXTREMES = (("maximum", max), ("fmax", max), ("minimum", min), ("fmin", min))
BINARY = (
    binary("logaddexp", lambda x, y: mp.log(mp.exp(x) + mp.exp(y)), *TIES),
    binary("logaddexp2", lambda x, y: mp.log(mpf(2) ** x + mpf(2) ** y, 2), *TIES),
    binary("hypot", lambda x, y: mp.sqrt(x * x + y * y), *AXES),
    binary("arctan2", mp.atan2, (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0), (1.0, -1.0), (-0.0, 2.0)),
    binary("power", lambda x, y: x**y, (2.0, 0.0), (2.0, 1.0), (2.0, 2.0), (1.0, 0.0),
           (0.5, -1.0)),
    binary("float_power", lambda x, y: x**y, (2.0, 0.0), (2.0, 1.0), (1.0, 0.0)),
    binary("mod", lambda x, y: x - mp.floor(x / y) * y, (7.5, 2.0), (-7.5, 2.0), (0.5, -2.0)),
    binary("fmod", mp.fmod, (7.5, 2.0), (0.5, 2.0)),
    binary("copysign", lambda x, y: abs(x) * mp.sign(y), (1.0, 2.0), (-1.0, 2.0), (1.0, -2.0)),
    binary("divide", lambda x, y: x / y, (0.0, 2.0), (1.0, -2.0)),
    binary("multiply", lambda x, y: x * y, (0.0, 0.0), (0.0, 2.0)),
    *(binary(op, lambda x, y, best=best: best(x, y), (1.0, 2.0), (2.0, 1.0))
      for op, best in EXTREMES),
    # A step away would be one onto the tie, where no derivative exists.
    *(Special(op, lambda x, op=op: getattr(ops, op)(x[0], x[1]), lambda v, best=best: best(*v),
              ((0.0, 1e-30),), label="near a tie", nearest=math.inf) for op, best in EXTREMES),
    binary("sigmoid_binary_cross_entropy", _bce, *LOGITS),
    binary("mse", lambda y, t: (y - t) ** 2, (0.0, 0.0), (1.0, 1.0), (1.0, -2.0)),
    binary("mae", lambda y, t: abs(y - t), (1.0, -2.0), (-1.0, 2.0)),
    binary("huber", lambda y, t: (y - t) ** 2 / 2, (0.0, 0.0), (1.0, 1.0), (1.0, 0.5), (0.5, 1.0)),
    Special("huber", lambda x: ops.huber(x[0], x[1]),
            lambda v: abs(v[0] - v[1]) - 0.5, ((1.0, 0.0), (0.0, 1.0)), order=1, label="at delta"),
    Special("huber", lambda x: ops.huber(x[0], x[1], 0.5),
            lambda v: (abs(v[0] - v[1]) - mpf(1) / 4) / 2, ((3.0, 0.0), (0.0, 1.0)), label="far"),
)  # fmt: skip


def _norm(v: Numbers) -> Any:
    return mp.sqrt(sum(x * x for x in v))


def _var(v: Numbers) -> Any:
    middle = sum(v) / len(v)
    return sum((x - middle) ** 2 for x in v) / len(v)


def _lse(v: Numbers) -> Any:
    return mp.log(sum(mp.exp(x) for x in v))


def _prod(v: Numbers) -> Any:
    found = mpf(1)
    for x in v:
        found = found * x
    return found


def _layer_norm(v: Numbers) -> Any:
    middle, spread = sum(v) / len(v), mp.sqrt(_var(v) + mpf(1) / 4)
    return _weighted([(x - middle) / spread for x in v])


def _weighted(v: Numbers) -> Any:
    return sum(x * (k + 1) for k, x in enumerate(v))


def _sums(v: Numbers) -> list[Any]:
    return [sum(v[: k + 1]) for k in range(len(v))]


def _products(v: Numbers) -> list[Any]:
    return [_prod(v[: k + 1]) for k in range(len(v))]


def summed(y: Any) -> Any:
    """The elements, the k-th of them k times."""
    return (y * np.arange(1.0, y.shape[0] + 1)).sum()


def vector(op: str, reference: Callable[[Numbers], Any], *points: tuple[float, ...],
           whole: bool = True, **options: Any) -> Special:  # fmt: skip
    """A function of a vector, or the weighted sum of its result."""

    def call(x: Any) -> Any:
        y = getattr(ops, op)(x, **options)
        return y if whole else summed(y)

    return Special(op, call, reference, points)


EQUAL = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (5.0, 5.0, -3.0), (0.0, -0.0, 1.0), (2.0, 1.0, 2.0))
ZEROS = ((0.0, 2.0, 3.0), (0.0, 0.0, 3.0), (0.0, 0.0, 0.0), (1.0, -2.0, 0.0))
VECTORS = (
    vector("logsumexp", _lse, *EQUAL), vector("norm", _norm, (0.0, 3.0, 0.0), (1.0, -1.0, 0.0)),
    vector("softmax", lambda v: _weighted([mp.exp(x) for x in v]) / sum(mp.exp(x) for x in v),
           *EQUAL, whole=False),
    vector("log_softmax", lambda v: _weighted([x - _lse(v) for x in v]), *EQUAL, whole=False),
    Special("softmax_cross_entropy",
            lambda x: ops.softmax_cross_entropy(x.reshape(1, 3), np.array([1])).sum(),
            lambda v: _lse(v) - v[1], EQUAL),
    vector("prod", _prod, *ZEROS), vector("nanprod", _prod, *ZEROS),
    vector("cumprod", lambda v: _weighted(_products(v)), *ZEROS, whole=False),
    vector("nancumprod", lambda v: _weighted(_products(v)), *ZEROS, whole=False),
    vector("nancumsum", lambda v: _weighted(_sums(v)), *ZEROS, whole=False),
    vector("nansum", sum, *ZEROS), vector("nanmean", lambda v: sum(v) / len(v), *ZEROS),
    *(vector(op, _var, *ZEROS) for op in ("var", "nanvar")),
    *(vector(op, lambda v: mp.sqrt(_var(v)), *(p for p in ZEROS if any(p)))
      for op in ("std", "nanstd")),
    vector("layer_norm", _layer_norm, *EQUAL, whole=False, epsilon=0.25),
    vector("median", lambda v: sorted(v)[1], (0.0, 2.0, 1.0), (-1.0, 0.0, 3.0)),
    vector("quantile", lambda v: sum(sorted(v)[:2]) / 2, (0.0, 2.0, 1.0), q=0.25),
    *(vector(op, best, (0.0, 2.0, 1.0)) for op, best in
      (("max", max), ("min", min), ("nanmax", max), ("nanmin", min),
       ("ptp", lambda v: max(v) - min(v)))),
)  # fmt: skip


def _square(v: Numbers) -> Any:
    n = round(len(v) ** 0.5)
    return mp.matrix([[v[n * i + k] for k in range(n)] for i in range(n)])


def _at(reference: Callable[[Any], Any]) -> Callable[[Numbers], Any]:
    """A sum over the elements of a function of a matrix, the k-th of them k times."""
    return lambda v: _weighted([x for row in reference(_square(v)).tolist() for x in row])


def matrix(op: str, reference: Callable[[Numbers], Any], *points: tuple[float, ...],
           whole: bool = False, place: int | None = None) -> Special:  # fmt: skip
    """A function of a square matrix, or the weighted sum of its result."""

    def call(x: Any) -> Any:
        n = round(x.shape[0] ** 0.5)
        y = getattr(ops, op)(x.reshape(n, n))
        y = y if place is None else y[place]
        return y if whole else summed(y.reshape(-1))

    return Special(op, call, reference, points)


SWAPPED, PLAIN, DOWN = (0.0, 1.0, 1.0, 0.0), (2.0, 1.0, 0.0, 3.0), (1.0, 0.0, 0.0, -1.0)
THREE = (0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 4.0, -3.0, 8.0)
FLAT = ((1.0, 2.0, 2.0, 4.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 2.0), (1.0,) * 9)
MATRICES = (
    matrix("det", lambda v: mp.det(_square(v)), SWAPPED, PLAIN, DOWN, THREE, whole=True),
    Special("det", lambda x: ops.det(x.reshape(2, 2)), lambda v: v[0] * v[3] - v[1] * v[2],
            FLAT[:3], label="singular"),
    matrix("slogdet", lambda v: mp.log(abs(mp.det(_square(v)))), SWAPPED, PLAIN, DOWN, THREE,
           whole=True, place=1),
    matrix("logdet", lambda v: mp.log(mp.det(_square(v))), PLAIN, (1.0, 0.0, 0.0, 1.0), whole=True),
    matrix("inv", _at(lambda m: m**-1), SWAPPED, PLAIN, DOWN),
    matrix("expm", _at(mp.expm), (0.0,) * 4, SWAPPED, PLAIN, (0.0, 1.0, 0.0, 0.0)),
    matrix("trace", lambda v: v[0] + v[3], SWAPPED, FLAT[1], whole=True),
    matrix("diagonal", lambda v: v[0] + 2 * v[3], SWAPPED, FLAT[1]),
    matrix("diag", lambda v: v[0] + 2 * v[3], SWAPPED, FLAT[1]),
    Special("solve_triangular",
            lambda x: summed(ops.solve_triangular(x.reshape(2, 2), np.array([1.0, 2.0]))),
            lambda v: (1 - v[1] * 2 / v[3]) / v[0] + 4 / v[3], (PLAIN, DOWN)),
    Special("pinv", lambda x: summed(ops.pinv(x.reshape(2, 2)).reshape(-1)),
            _at(lambda m: m**-1), (PLAIN, SWAPPED)),
    Special("cholesky", lambda x: summed(ops.cholesky(x.reshape(2, 2) @ x.reshape(2, 2).T)[1]),
            lambda v: _row_of_cholesky(_square(v) * _square(v).T), (PLAIN, DOWN, SWAPPED)),
)  # fmt: skip


def _row_of_cholesky(m: Any) -> Any:
    first = m[1, 0] / mp.sqrt(m[0, 0])
    return first + 2 * mp.sqrt(m[1, 1] - first * first)


SPECIALS = (*UNARY, *BINARY, *VECTORS, *MATRICES)
