"""Functions of one number, each a row: name, loop body, NumPy's function, derivative, meaning.

The derivative is written with the cotangent `g`, the result `y` and the operand `x`. Where it can
be had from `y`, `x` need not be kept for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from staticflow.graph.kinds import MapRow
from staticflow.graph.node import Array, Node
from staticflow.ops.compare import greater, greater_equal, where
from staticflow.ops.public import declare_row

Function = Callable[..., Node]
Derivative = Callable[[Any, Any, Any], Node] | None
EDGES = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)
LARGE = (*EDGES, 30.0, -30.0, 1e4, -1e4)
UNIT = (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, np.nan)
WHOLE = (*EDGES, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997)


def _row(
    name: str, body: str, reference: Callable[..., Any], derivative: Derivative, doc: str,
    formula: str = "0", domain: str = "float", points: tuple[float, ...] = EDGES,
    sample: tuple[float, float] = (-3.0, 3.0), cost: int = 10, symbol: str = "", linear: str = "",
    whole: bool = False, large: str = "",
) -> Function:  # fmt: skip
    rule = None if derivative is None else lambda g, y, x: (derivative(g, y, x),)
    beyond = MapRow(large, "x", f"{large}_{{t}}({{x}})", reference, None, doc) if large else None
    row = MapRow(
        name, "x", body, reference, rule, doc, domain,
        points=points, sample=sample, cost=cost, linear=linear, formula=formula,
        whole=whole, large=beyond,
    )  # fmt: skip
    return declare_row(row, symbol)


# Exponentials and logarithms

exp = _row("exp", "exp_{t}({x})", np.exp,
    lambda g, y, x: g * y,
    "e^x.", "y", points=LARGE)  # fmt: skip

exp2 = _row("exp2", "exp2_{t}({x})", np.exp2,
    lambda g, y, x: g * y * math.log(2.0),
    "2^x.", "log(2) y", points=LARGE)  # fmt: skip

expm1 = _row("expm1", "expm1_{t}({x})", np.expm1,
    lambda g, y, x: g * (y + 1.0),
    "e^x - 1, accurate near 0.", "y + 1", points=(*LARGE, 1e-10))  # fmt: skip

log = _row("log", "log_{t}({x})", np.log,
    lambda g, y, x: g / x,
    "The natural logarithm.", "1/x", sample=(0.1, 9.0))  # fmt: skip

log2 = _row("log2", "log2_{t}({x})", np.log2,
    lambda g, y, x: g * math.log2(math.e) / x,
    "The logarithm to base 2.", "1/(log(2) x)", sample=(0.1, 9.0))  # fmt: skip

log10 = _row("log10", "log10_{t}({x})", np.log10,
    lambda g, y, x: g * math.log10(math.e) / x,
    "The logarithm to base 10.", "1/(log(10) x)", sample=(0.1, 9.0))  # fmt: skip

log1p = _row("log1p", "log1p_{t}({x})", np.log1p,
    lambda g, y, x: g / (x + 1.0),
    "log(1 + x), accurate near 0.", "1/(1+x)",
    points=(*EDGES, 1e-10), sample=(-0.9, 9.0))  # fmt: skip

# Powers and roots

square = _row("square", "({x} * {x})", np.square,
    lambda g, y, x: 2.0 * g * x,
    "x^2.", "2x", domain="number", cost=1)  # fmt: skip

reciprocal = _row("reciprocal", "({t}(1) / {x})", np.reciprocal,
    lambda g, y, x: -g * y * y,
    "1/x.", "-y^2", cost=4)  # fmt: skip

sqrt = _row("sqrt", "sqrt_{t}({x})", np.sqrt,
    lambda g, y, x: 0.5 * g / y,
    "The square root; NaN below 0.", "1/(2y)", sample=(0.1, 9.0), cost=6)  # fmt: skip

cbrt = _row("cbrt", "cbrt_{t}({x})", np.cbrt,
    lambda g, y, x: g / (3.0 * y * y),
    "The cube root.", "1/(3y^2)", sample=(0.1, 9.0), cost=20)  # fmt: skip

# Trigonometric and hyperbolic functions and their inverses

sin = _row("sin", "sin_{t}({x})", np.sin,
    lambda g, y, x: g * cos(x),
    "The sine of radians.", "cos(x)", points=(*EDGES, 100.0), large="sin_far")  # fmt: skip

cos: Function = _row("cos", "cos_{t}({x})", np.cos,
    lambda g, y, x: -g * sin(x),
    "The cosine of radians.", "-sin(x)", points=(*EDGES, 100.0), large="cos_far")  # fmt: skip

tan = _row("tan", "tan_{t}({x})", np.tan,
    lambda g, y, x: g * (1.0 + y * y),
    "The tangent of radians.", "1 + y^2", sample=(-1.2, 1.2), cost=16, large="tan_far")  # fmt: skip

arcsin = _row("arcsin", "arcsin_{t}({x})", np.arcsin,
    lambda g, y, x: g / sqrt((1.0 - x) * (1.0 + x)),
    "The angle whose sine is x.", "1/sqrt(1-x^2)", points=UNIT, sample=(-0.9, 0.9))  # fmt: skip

arccos = _row("arccos", "arccos_{t}({x})", np.arccos,
    lambda g, y, x: -g / sqrt((1.0 - x) * (1.0 + x)),
    "The angle whose cosine is x.", "-1/sqrt(1-x^2)", points=UNIT, sample=(-0.9, 0.9))  # fmt: skip

arctan = _row("arctan", "arctan_{t}({x})", np.arctan,
    lambda g, y, x: g / (1.0 + x * x),
    "The angle whose tangent is x.", "1/(1+x^2)", points=LARGE)  # fmt: skip

sinh = _row("sinh", "sinh_{t}({x})", np.sinh,
    lambda g, y, x: g * cosh(x),
    "(e^x - e^-x) / 2.", "cosh(x)", points=(*EDGES, 1e-5, 30.0))  # fmt: skip

cosh: Function = _row("cosh", "cosh_{t}({x})", np.cosh,
    lambda g, y, x: g * sinh(x),
    "(e^x + e^-x) / 2.", "sinh(x)", points=(*EDGES, 30.0))  # fmt: skip

tanh = _row("tanh", "tanh_{t}({x})", np.tanh,
    lambda g, y, x: g * (1.0 - y * y),
    "sinh(x) / cosh(x).", "1 - y^2", points=(*LARGE, 1e-5))  # fmt: skip

arcsinh = _row("arcsinh", "arcsinh_{t}({x})", np.arcsinh,
    lambda g, y, x: g / sqrt(x * x + 1.0),
    "The inverse of sinh.", "1/sqrt(x^2+1)", points=LARGE)  # fmt: skip

arccosh = _row("arccosh", "arccosh_{t}({x})", np.arccosh,
    lambda g, y, x: g / sqrt((x - 1.0) * (x + 1.0)),
    "The inverse of cosh; NaN below 1.", "1/sqrt(x^2-1)",
    points=LARGE, sample=(1.1, 9.0))  # fmt: skip

arctanh = _row("arctanh", "arctanh_{t}({x})", np.arctanh,
    lambda g, y, x: g / ((1.0 - x) * (1.0 + x)),
    "The inverse of tanh.", "1/(1-x^2)", points=UNIT, sample=(-0.9, 0.9))  # fmt: skip

# The error function, which NumPy does not have: the reference goes element by element


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


def _erfc(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erfc, otypes=[x.dtype])(x))


erf = _row("erf", "erf_{t}({x})", _erf,
    lambda g, y, x: g * (2.0 / math.sqrt(math.pi)) * exp(-x * x),
    "The error function, 2/sqrt(pi) times the integral of e^(-s^2) from 0 to x.",
    "2/sqrt(pi) e^(-x^2)", points=LARGE, cost=16)  # fmt: skip

erfc = _row("erfc", "erfc_{t}({x})", _erfc,
    lambda g, y, x: g * (-2.0 / math.sqrt(math.pi)) * exp(-x * x),
    "1 - erf(x), accurate for large x.", "-2/sqrt(pi) e^(-x^2)", points=LARGE, cost=20)  # fmt: skip

# Sign and rounding

abs = _row("abs", "abs({x})", np.abs,
    lambda g, y, x: upwards(g, x),
    "The magnitude of x.", "1 for x >= 0, else -1", domain="number", cost=1,
    symbol="abs")  # fmt: skip


def upwards(g: Node, x: Node) -> Node:
    """g where x >= 0, else -g: the slope of |x| times g, and at 0, as in JAX, that of the right."""
    return where(greater_equal(x, 0), g, -g)


sign = _row("sign",
    "({t}({x} > {t}(0)) - {t}({x} < {t}(0)) if {x} == {x} else {x})", np.sign, None,
    "-1, 0 or 1 with the sign of x; NaN for NaN.", domain="number", cost=2)  # fmt: skip

floor = _row("floor", "floor_{t}({x})", np.floor, None,
    "The largest integer not above x.", points=WHOLE, cost=1, whole=True)  # fmt: skip

ceil = _row("ceil", "ceil_{t}({x})", np.ceil, None,
    "The smallest integer not below x.", points=WHOLE, cost=1, whole=True)  # fmt: skip

trunc = _row("trunc", "trunc_{t}({x})", np.trunc, None,
    "The integer next to x towards 0.", points=WHOLE, cost=1, whole=True)  # fmt: skip

rint = _row("rint", "rint_{t}({x})", np.rint, None,
    "The integer nearest to x, the even one of two.", points=WHOLE, cost=1, whole=True)  # fmt: skip

# Activations with a loop body of their own


def _relu(x: Array) -> Array:
    return np.maximum(x, np.zeros((), x.dtype))


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small), x.dtype)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, np.zeros((), x.dtype))


relu = _row("relu", "({t}(0) if {x} < {t}(0) else {x})", _relu,
    lambda g, y, x: where(greater(y, 0), g, 0.0),
    "max(x, 0).", "y > 0", domain="number", cost=1)  # fmt: skip

sigmoid = _row("sigmoid", "sigmoid_{t}({x})", _sigmoid,
    lambda g, y, x: g * y * (1.0 - y),
    "1 / (1 + e^-x).", "y (1-y)", points=LARGE)  # fmt: skip

softplus = _row("softplus", "softplus_{t}({x})", _softplus,
    lambda g, y, x: g * sigmoid(x),
    "log(1 + e^x) without overflow.", "sigmoid(x)", points=LARGE, cost=16)  # fmt: skip
