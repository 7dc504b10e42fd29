"""Further functions of single numbers that NumPy has, made of those of the tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, fail
from staticflow.graph.leaves import as_node
from staticflow.graph.node import Kind, Node
from staticflow.graph.types import INTEGERS
from staticflow.ops.arithmetic import floor_divide, logaddexp, mod, power
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, floating, operands
from staticflow.ops.compare import (
    equal,
    greater,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    not_equal,
    where,
)
from staticflow.ops.elementwise import abs as absolute
from staticflow.ops.elementwise import log, log1p, rint, sin
from staticflow.ops.public import public
from staticflow.ops.reductions import all as every

_LOG_2 = math.log(2.0)
_NEAR = 0.25  # where sinc is its series, whose terms behind the tenth are below a rounding
_TERMS = 10


@public()
def deg2rad(x: Any) -> Node:
    """Degrees in radians."""
    return floating("deg2rad", x) * (math.pi / 180.0)


@public()
def rad2deg(x: Any) -> Node:
    """Radians in degrees."""
    return floating("rad2deg", x) * (180.0 / math.pi)


@public(Kind.MAP)
def round(x: Any, decimals: int = 0) -> Node:
    """x rounded to a number of decimals, halves to the even neighbour."""
    node = as_nodes([x])[0]
    if node.dtype in INTEGERS:
        return node if decimals >= 0 else cast(round(cast(node, "float64"), decimals), node.dtype)
    node = floating("round", node)
    unit = 10.0**decimals if decimals > 0 else 10.0**-decimals
    if not decimals:
        return rint(node)
    return rint(node * unit) / unit if decimals > 0 else rint(node / unit) * unit


@public()
def fabs(x: Any) -> Node:
    """The magnitude of x, as a float."""
    return absolute(floating("fabs", x))


@public()
def positive(x: Any) -> Node:
    """x itself, of numbers."""
    return operands("positive", "x", [x])[0]


@public()
def heaviside(x: Any, y: Any) -> Node:
    """0 below 0, 1 above 0, and y at 0."""
    x, y = operands("heaviside", "xy", [x, y], "float")
    return where(isnan(x), x, where(less(x, 0), 0.0, where(greater(x, 0), 1.0, y)))


@public()
def logaddexp2(x: Any, y: Any) -> Node:
    """log2(2^x + 2^y) without overflow."""
    x, y = operands("logaddexp2", "xy", [x, y], "float")
    return logaddexp(x * _LOG_2, y * _LOG_2) * (1.0 / _LOG_2)


@public()
def fmax(x: Any, y: Any) -> Node:
    """The larger of x and y; the other one if one is NaN."""
    x, y = operands("fmax", "xy", [x, y])
    return where(greater(x, y) | isnan(y), x, y)


@public()
def fmin(x: Any, y: Any) -> Node:
    """The smaller of x and y; the other one if one is NaN."""
    x, y = operands("fmin", "xy", [x, y])
    return where(less(x, y) | isnan(y), x, y)


@public()
def fmod(x: Any, y: Any) -> Node:
    """The remainder of x / y with the sign of x."""
    x, y = operands("fmod", "xy", [x, y])
    if not x.type.is_float:  # whose lowest number has no magnitude
        rest = mod(x, y)
        return where((less(x, 0) ^ less(y, 0)) & not_equal(rest, 0), rest - y, rest)
    size = absolute(y)
    return where(less(x, 0), -mod(-x, size), mod(x, size))


@public(Kind.MAP)
def divmod(x: Any, y: Any) -> tuple[Node, Node]:
    """(x // y, x % y)."""
    return floor_divide(x, y), mod(x, y)


@public()
def float_power(x: Any, y: Any) -> Node:
    """x^y computed in float64, whatever the operands are."""
    return power(*(cast(as_node(v, "float64"), "float64") for v in (x, y)))


@public()
def isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Node:
    """Whether |a - b| <= atol + rtol |b|, or both are the same infinity; NaN is close to NaN only
    with `equal_nan`. Integers are compared as float64.
    """
    a, b = as_nodes([v if isinstance(v, int | float) else _exact(v) for v in (a, b)])
    a, b = _exact(a), _exact(b)
    near = less_equal(absolute(a - b), atol + rtol * absolute(b)) & isfinite(b)
    near = near | equal(a, b)
    return near | (isnan(a) & isnan(b)) if equal_nan else near


def _exact(x: Any) -> Node:
    """x as a float that no integer of it is rounded by much in."""
    node = as_node(x)
    return node if node.type.is_float else cast(node, "float64")


@public()
def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Node:
    """Whether all elements of a and b are close, as in isclose."""
    return every(isclose(a, b, rtol, atol, equal_nan))


@public()
def sinc(x: Any) -> Node:
    """sin(pi x) / (pi x), 1 at 0, where all derivatives exist as well."""
    x = floating("sinc", x)
    near = less(absolute(x), _NEAR)
    turn = math.pi * where(near, 1.0, x)
    square = (math.pi * where(near, x, 0.0)) ** 2
    series = 1.0 - square * (1.0 / (2 * _TERMS * (2 * _TERMS + 1)))
    for k in range(_TERMS - 1, 0, -1):
        series = 1.0 - square * series * (1.0 / (2 * k * (2 * k + 1)))
    return where(near, series, sin(turn) / turn)


@public()
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Node:
    """x with numbers for NaN and the infinities, for these the largest of the dtype by default.

    `copy` is NumPy's and without effect: a node never changes.
    """
    if not isinstance(copy, bool):
        fail(DTypeError, "nan_to_num: copy is True or False", repr(copy), "write nan=..., as NumPy")
    node = as_nodes([x])[0]
    if not node.type.is_float:
        return node
    largest = float(np.finfo(node.dtype).max)
    high = largest if posinf is None else float(posinf)
    low = -largest if neginf is None else float(neginf)
    node = where(isnan(node), nan, node)
    return where(greater(node, largest), high, where(less(node, -largest), low, node))


@public()
def isposinf(x: Any) -> Node:
    """Whether x is plus infinity."""
    node = operands("isposinf", "x", [x])[0]
    return isinf(node) & greater(node, 0)


@public()
def isneginf(x: Any) -> Node:
    """Whether x is minus infinity."""
    node = operands("isneginf", "x", [x])[0]
    return isinf(node) & less(node, 0)


@public()
def logit(x: Any) -> Node:
    """log(x / (1 - x)), the inverse of sigmoid."""
    node = floating("logit", x)
    return log(node) - log1p(-node)
