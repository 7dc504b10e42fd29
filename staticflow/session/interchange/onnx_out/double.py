"""Functions that ONNX Runtime has no float64 kernel for, composed of those that it has.

arcsin, arccos, arctan and arctan2 are the formulas of `native/math`, traced into ONNX. The others
are written so that they keep their accuracy where the textbook form cancels or overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from staticflow.native.math import erf as erf_formulas
from staticflow.native.math import inverse_trig
from staticflow.session.interchange.onnx_out.builder import Tensor

LN2 = math.log(2.0)


class Form:
    """What formulas of `native/math` ask for besides operators: float64, and ONNX's operators."""

    single = False

    def __init__(self, like: Tensor) -> None:
        self.like = like

    def constant(self, value: float) -> Tensor:
        return self.like.like(value)

    def select(self, condition: Tensor, then: Any, otherwise: Any) -> Tensor:
        return self.like.builder.where(condition, self.like.like(then), self.like.like(otherwise))

    def minimum(self, x: Tensor, bound: float) -> Tensor:
        return x.op("Min", bound)

    def call(self, name: str, x: Tensor) -> Tensor:
        return x.op(name.capitalize())

    def polynomial(self, x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
        total = x * coefficients[-1] + coefficients[-2]
        for coefficient in reversed(coefficients[:-2]):
            total = total * x + coefficient
        return total


def formula(function: Any) -> Callable[..., Tensor]:
    """A formula of `native/math` as a function of tensors."""

    def traced(*xs: Tensor) -> Tensor:
        result: Tensor = function(Form(xs[0]), *xs)
        return result

    return traced


arcsin = formula(inverse_trig.arcsin)
arccos = formula(inverse_trig.arccos)
arctan = formula(inverse_trig.arctan)
arctan2 = formula(inverse_trig.arctan2)


def expm1(x: Tensor) -> Tensor:
    """tanh(x/2) (e^x + 1), which cancels nowhere."""
    return (x * 0.5).op("Tanh") * (x.op("Exp") + 1.0)


def log1p(x: Tensor) -> Tensor:
    """log(u) x / (u - 1) with u = 1 + x rounded: the error of u goes out of it (Kahan)."""
    b = x.builder
    u = x + 1.0
    plain = u.equals(1.0) | u.equals(math.inf)
    lifted = u.op("Log") * (x / b.where(plain, 1.0, u - 1.0))
    return b.where(u.equals(1.0), x, b.where(u.equals(math.inf), u, lifted))


def softplus(x: Tensor) -> Tensor:
    return x.op("Max", 0.0) + log1p((-abs(x)).op("Exp"))


def sinh(x: Tensor) -> Tensor:
    """By halves of e^(|x| / 2), so that it overflows no sooner than the result."""
    b, a = x.builder, abs(x)
    h = expm1(a)
    near = (h + h / (h + 1.0)) * 0.5
    half = (a * 0.5).op("Exp")
    return b.where(a < 20.0, near, half * 0.5 * half).copysign(x)


def cosh(x: Tensor) -> Tensor:
    half = (abs(x) * 0.5).op("Exp")
    return half * 0.5 * half + 0.5 / half / half


def arcsinh(x: Tensor) -> Tensor:
    b, a = x.builder, abs(x)
    large = a >= 2.0**60
    kept = b.where(large, 1.0, a)
    inner = log1p(kept + kept * kept / ((kept * kept + 1.0).op("Sqrt") + 1.0))
    return b.where(large, a.op("Log") + LN2, inner).copysign(x)


def arccosh(x: Tensor) -> Tensor:
    b = x.builder
    large = x >= 2.0**60
    t = b.where(large, 1.0, x - 1.0)
    return b.where(large, x.op("Log") + LN2, log1p(t + (t * (t + 2.0)).op("Sqrt")))


def arctanh(x: Tensor) -> Tensor:
    return log1p(x * 2.0 / (1.0 - x)) * 0.5


def _tail(m: Form, a: Tensor) -> Tensor:
    """erfc(a) for a >= 1/2: the coefficients are those of `native/math`."""
    bounded = m.minimum(a, 27.0)
    u = (bounded - 3.0) / (bounded + 3.0)
    factor = m.polynomial(u, erf_formulas._T8) / (bounded * 2.0 + 1.0)
    return factor * (-(bounded * bounded)).op("Exp")


_near_zero = formula(erf_formulas._near_zero)


def erf(x: Tensor) -> Tensor:
    m, a = Form(x), abs(x)
    near = _near_zero(m.minimum(a, 1.0))
    return m.select(a < 1.0, near, 1.0 - _tail(m, a.op("Max", 0.5))).copysign(x)


def erfc(x: Tensor) -> Tensor:
    m, a = Form(x), abs(x)
    tail = _tail(m, a.op("Max", 0.5))
    far = m.select(x < 0.0, 2.0 - tail, tail)
    return m.select(a < 0.5, 1.0 - _near_zero(m.select(a < 0.5, x, 0.0)), far)


def tan(x: Tensor) -> Tensor:
    return x.op("Sin") / x.op("Cos")
