"""Arithmetic of two operands, and what lies behind the operators.

Each row is the whole op: its loop body, NumPy's function, and the cotangents of its operands given
the result's cotangent `g` and the result `z`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, fail
from staticflow.graph.kinds import MapRow
from staticflow.graph.leaves import Const, is_scalar_const
from staticflow.graph.node import Array, Kind, Node
from staticflow.ops.coerce import as_nodes, operands
from staticflow.ops.compare import equal, greater, logical_and, logical_not, where
from staticflow.ops.elementwise import abs as magnitude
from staticflow.ops.elementwise import exp, floor, log, reciprocal, sqrt, square, upwards
from staticflow.ops.public import declare_row, mapped, public

TIES = ((1.0, 1.0), (np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (0.0, -0.0))
ZEROS = ((0.0, 2.0), (2.0, 0.0), (0.0, 0.0), (np.inf, 2.0), (np.nan, 1.0))
SIGNS = ((7.0, 2.0), (-7.0, 2.0), (7.0, -2.0), (-7.0, -2.0), (6.5, 2.0))

add = declare_row(MapRow(
    "add", "xy", "({x} + {y})", np.add,
    lambda g, z, x, y: (g, g),
    "x + y.", points=ZEROS, linear="joint", adds=True, formula="1, 1"), "add")  # fmt: skip

subtract = declare_row(MapRow(
    "subtract", "xy", "({x} - {y})", np.subtract,
    lambda g, z, x, y: (g, -g),
    "x - y.", points=ZEROS, linear="joint", formula="1, -1"), "sub")  # fmt: skip

multiply = declare_row(MapRow(
    "multiply", "xy", "({x} * {y})", np.multiply,
    lambda g, z, x, y: (g * y, g * x),
    "x y.", points=ZEROS, linear="each", formula="y, x"), "mul")  # fmt: skip

divide = declare_row(MapRow(
    "divide", "xy", "({x} / {y})", np.divide,
    lambda g, z, x, y: (g / y, -(g * z) / y),
    "x / y, of floats.", "float", points=ZEROS, linear="first", cost=4,
    formula="1/y, -z/y"), "truediv")  # fmt: skip

negative = declare_row(MapRow(
    "negative", "x", "(-{x})", np.negative,
    lambda g, y, x: (-g,),
    "-x.", points=(0.0, np.inf, np.nan), linear="joint", formula="-1"), "neg")  # fmt: skip

maximum = declare_row(MapRow(
    "maximum", "xy", "({x} if ({x} > {y} or {x} != {x}) else {y})", np.maximum,
    lambda g, z, x, y: (_share(g, x, y), _share(g, y, x)),
    "The larger of x and y; NaN if either is.", points=TIES,
    formula="x > y, y > x, half each where equal"))  # fmt: skip

minimum = declare_row(MapRow(
    "minimum", "xy", "({x} if ({x} < {y} or {x} != {x}) else {y})", np.minimum,
    lambda g, z, x, y: (_share(g, y, x), _share(g, x, y)),
    "The smaller of x and y; NaN if either is.", points=TIES,
    formula="x < y, y < x, half each where equal"))  # fmt: skip

arctan2 = declare_row(MapRow(
    "arctan2", "xy", "arctan2_{t}({x}, {y})", np.arctan2,
    lambda g, z, x, y: (g * y / (x * x + y * y), -(g * x) / (x * x + y * y)),
    "The angle of the point with abscissa y and ordinate x.", "float", cost=16,
    points=((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-0.0, -1.0), (-1.0, -1.0), (np.nan, 1.0)),
    formula="y/(x^2+y^2), -x/(x^2+y^2)"))  # fmt: skip

hypot = declare_row(MapRow(
    "hypot", "xy", "hypot_{t}({x}, {y})", np.hypot,
    lambda g, z, x, y: (_leg(g, x, z), _leg(g, y, z)),
    "sqrt(x^2 + y^2) without overflow.", "float", cost=12,
    points=((0.0, 3.0), (1e30, 1e30), (np.inf, 1.0), (0.0, 0.0)),
    formula="x/z, y/z, half each where both are 0"))  # fmt: skip

logaddexp = declare_row(MapRow(
    "logaddexp", "xy",
    "(({x} if {x} > {y} else {y})"
    " + (softplus_{t}(-abs({x} - {y})) if {x} != {y} else {t}(0.6931471805599453)))",
    np.logaddexp,
    lambda g, z, x, y: (g * _weight(x, z), g * _weight(y, z)),
    "log(e^x + e^y) without overflow.", "float", cost=20,
    points=((500.0, 500.0), (-1000.0, 0.0), (0.0, -np.inf), (np.inf, np.inf), (np.nan, 0.0)),
    formula="e^(x-z), e^(y-z)"))  # fmt: skip

copysign: Callable[..., Node] = declare_row(MapRow(
    "copysign", "xy", "math.copysign({x}, {y})", np.copysign,
    lambda g, z, x, y: (upwards(g, x) * copysign(1.0, y), None),
    "|x| with the sign of y.", "float", points=((1.0, -0.0), (-2.0, 0.0), (0.0, 2.0)), cost=2,
    formula="the sign of x y, with x = 0 as positive; 0"))  # fmt: skip


def _integer_power(x: Array, y: Array) -> Array:
    whole = np.power(x, np.where(y < 0, 0, y))
    sign = np.where(y & 1, x, 1)
    return np.where(y < 0, np.where(abs(x) == 1, sign, 0), whole)


INTEGER_POWER = MapRow(
    "integer_power", "xy", "integer_power({x}, {y})", _integer_power, None,
    "x^y of integers; below 0 as 1 / x^-y towards 0, and 0 of 0.", sample=(0.0, 4.0),
    points=((2, 3), (0, 0), (-2, 3), (2, -1), (-1, -3), (-1, -2), (1, -2), (0, -1)), cost=16,
    formula="0, 0")  # fmt: skip

FLOAT_POWER = MapRow(
    "power", "xy", "pow_{t}({x}, {y})", np.power,
    lambda g, z, x, y: (g * _power_slope(x, y), g * z * where(equal(x, 0), 0.0, log(x))),
    "x^y. x^0 is 1 for every x, with slope 0, where JAX's slope at 0 is NaN.",
    "float", sample=(0.1, 3.0), cost=24,
    points=((0.0, 2.0), (0.0, 0.0), (-2.0, 3.0), (-2.0, 2.0), (2.0, -1.0), (np.nan, 0.0)),
    formula="y x^(y-1), log(x) z", integers=INTEGER_POWER)  # fmt: skip

left_shift = declare_row(MapRow(
    "left_shift", "xy", "(({x} << ({y} & 63)) if ({y} & -64) == 0 else 0)", np.left_shift, None,
    "The bits of an integer y places higher; 0 where all are shifted out.", "whole",
    sample=(0.0, 9.0), points=((3, 4), (-5, 2), (1, 40), (3, 62), (1, 70), (7, -1)),
    formula="0, 0"), "lshift")  # fmt: skip

right_shift = declare_row(MapRow(
    "right_shift", "xy", "({x} >> ({y} if ({y} & -64) == 0 else 63))", np.right_shift, None,
    "The bits of an integer y places lower, the sign coming in; floor(x / 2^y).", "whole",
    sample=(0.0, 9.0), points=((300, 4), (-5, 1), (-1, 40), (1, 70), (-7, 70), (-7, -1), (7, -1)),
    formula="0, 0"), "rshift")  # fmt: skip

INTEGER_QUOTIENT = MapRow(
    "integer_floor_divide", "xy", "({x} // {y})", np.floor_divide, None,
    "The largest integer not above x / y.", points=SIGNS, cost=12, formula="0, 0")  # fmt: skip

FLOAT_QUOTIENT = MapRow(
    "floor_divide", "xy", "floor_divide_{t}({x}, {y})", np.floor_divide, None,
    "The largest integer not above x / y.", "float", points=SIGNS, cost=12,
    formula="0, 0", integers=INTEGER_QUOTIENT)  # fmt: skip

INTEGER_REMAINDER = MapRow(
    "integer_mod", "xy", "({x} % {y})", np.mod, None,
    "The remainder x - floor(x/y) y, with the sign of y.", points=SIGNS, cost=12,
    formula="0, 0")  # fmt: skip

FLOAT_REMAINDER = MapRow(
    "mod", "xy", "remainder_{t}({x}, {y})", np.mod,
    lambda g, z, x, y: (g, -(g * floor(x / y))),
    "The remainder x - floor(x/y) y, with the sign of y.", "float", points=SIGNS, cost=12,
    formula="1, -floor(x/y)", integers=INTEGER_REMAINDER)  # fmt: skip

SPECIAL_POWERS = {2.0: square, 0.5: sqrt, -1.0: reciprocal}


@public(Kind.MAP, "floordiv", FLOAT_QUOTIENT)
def floor_divide(x: Any, y: Any) -> Node:
    """The largest integer not above x / y."""
    return _by_dtype(FLOAT_QUOTIENT, operands("floor_divide", "xy", (x, y)))


@public(Kind.MAP, "mod", FLOAT_REMAINDER)
def mod(x: Any, y: Any) -> Node:
    """The remainder x - floor(x/y) y, with the sign of y."""
    return _by_dtype(FLOAT_REMAINDER, operands("mod", "xy", (x, y)))


@public(Kind.MAP, "pow", FLOAT_POWER)
def power(x: Any, y: Any) -> Node:
    """x^y. The exponents 2, 1/2 and -1 become square, sqrt and reciprocal.

    x^0 is 1 for every x, with slope 0 (in JAX, the slope at 0 is NaN). Integers to a computed power
    below 0 are 1 / x^-y towards 0; one that is written down is refused.
    """
    base, exponent = operands("power", "xy", (x, y))
    fixed = None
    if isinstance(exponent.op, Const) and is_scalar_const(exponent):
        fixed = float(exponent.op.value)
    if base.type.is_float:
        special = None if fixed is None else SPECIAL_POWERS.get(fixed)
        if special is not None:
            return special(base)
        if base.weak is not None and fixed is not None and fixed < 0:
            return reciprocal(power(base, -fixed))  # which stays a float beside integers
        return mapped(FLOAT_POWER, (base, exponent))
    if fixed is not None and fixed < 0:
        fail(
            DTypeError,
            "power: integers have no negative powers",
            got=f"{base.type} to the {fixed:g}",
            do="use .astype('float64'), or a float exponent",
        )
    return mapped(INTEGER_POWER, (base, exponent))


def _by_dtype(row: MapRow, nodes: tuple[Node, ...]) -> Node:
    assert row.integers is not None
    return mapped(row if nodes[0].type.is_float else row.integers, nodes)


def _power_slope(x: Node, y: Node) -> Any:
    """y x^(y-1), also where y is 0 and x^(y-1) infinite or NaN; elsewhere it goes on with y."""
    if isinstance(y.op, Const) and is_scalar_const(y):
        exponent = float(y.op.value)
        return exponent * power(x, exponent - 1.0) if exponent else 0.0
    corner = logical_and(equal(y, 0), logical_not(greater(magnitude(x), 0)))
    return where(corner, 0.0, y * power(where(corner, 1.0, x), y - 1.0))


def _leg(g: Node, x: Node, z: Node) -> Node:
    """What a leg gets of the cotangent of the hypotenuse z; at z = 0 half of it."""
    return where(equal(z, 0), 0.5 * g, g * x / z)


def _weight(x: Node, z: Node) -> Node:
    """e^(x - z), also where both are infinite."""
    return exp(where(equal(x, z), 0.0, x - z))


def _share(g: Node, x: Node, y: Node) -> Node:
    """What `x` gets of the cotangent of the larger of `x` and `y`."""
    return where(greater(x, y), g, where(equal(x, y), 0.5 * g, 0.0))


@public()
def clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Node:
    """min(max(x, a_min), a_max), the bounds also as min= and max=; None does not bind."""
    low, high = a_min if min is None else min, a_max if max is None else max
    node = as_nodes([x])[0] if low is None else maximum(x, low)
    return node if high is None else minimum(node, high)
