"""Comparison, logic and choice; all results are boolean but that of `where`, and none is varied by
a derivative.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from staticflow.graph.kinds import MapRow, boolean
from staticflow.graph.node import Node
from staticflow.ops.public import declare_row

ORDER = ((1.0, 1.0), (np.nan, 1.0), (np.nan, np.nan), (np.inf, -np.inf), (0.0, -0.0))
TRUTH = ((False, False), (False, True), (True, False), (True, True))
EDGES = (0.0, -0.0, np.inf, -np.inf, np.nan)

equal = declare_row(MapRow(
    "equal", "xy", "({x} == {y})", np.equal, None,
    "Whether x = y, as 0 or 1.", "any", boolean, points=ORDER))  # fmt: skip

not_equal = declare_row(MapRow(
    "not_equal", "xy", "({x} != {y})", np.not_equal, None,
    "Whether x differs from y, as NaN from itself.", "any", boolean, points=ORDER))  # fmt: skip

less = declare_row(MapRow(
    "less", "xy", "({x} < {y})", np.less, None,
    "Whether x < y.", "any", boolean, points=ORDER), "lt")  # fmt: skip

less_equal = declare_row(MapRow(
    "less_equal", "xy", "({x} <= {y})", np.less_equal, None,
    "Whether x <= y.", "any", boolean, points=ORDER), "le")  # fmt: skip

greater = declare_row(MapRow(
    "greater", "xy", "({x} > {y})", np.greater, None,
    "Whether x > y.", "any", boolean, points=ORDER), "gt")  # fmt: skip

greater_equal = declare_row(MapRow(
    "greater_equal", "xy", "({x} >= {y})", np.greater_equal, None,
    "Whether x >= y.", "any", boolean, points=ORDER), "ge")  # fmt: skip

logical_and = declare_row(MapRow(
    "logical_and", "xy", "({x} & {y})", np.logical_and, None,
    "Whether both are true, that is, not 0.", "bool", boolean, points=TRUTH))  # fmt: skip

logical_or = declare_row(MapRow(
    "logical_or", "xy", "({x} | {y})", np.logical_or, None,
    "Whether either is true.", "bool", boolean, points=TRUTH))  # fmt: skip

logical_xor = declare_row(MapRow(
    "logical_xor", "xy", "({x} ^ {y})", np.logical_xor, None,
    "Whether exactly one is true.", "bool", boolean, points=TRUTH))  # fmt: skip

logical_not = declare_row(MapRow(
    "logical_not", "x", "(not {x})", np.logical_not, None,
    "Whether x is false, that is, 0.", "bool", boolean, points=(False, True)))  # fmt: skip

bitwise_and = declare_row(MapRow(
    "bitwise_and", "xy", "({x} & {y})", np.bitwise_and, None,
    "The bits that both integers have; of booleans, whether both hold.",
    "integer", points=((6, 3), (-1, 5))), "and")  # fmt: skip

bitwise_or = declare_row(MapRow(
    "bitwise_or", "xy", "({x} | {y})", np.bitwise_or, None,
    "The bits that either integer has; of booleans, whether either holds.",
    "integer", points=((6, 3), (-8, 5))), "or")  # fmt: skip

bitwise_xor = declare_row(MapRow(
    "bitwise_xor", "xy", "({x} ^ {y})", np.bitwise_xor, None,
    "The bits that one of the integers has; of booleans, whether they differ.",
    "integer", points=((6, 3), (-8, 5))), "xor")  # fmt: skip

invert = declare_row(MapRow(
    "invert", "x", "({t}(-1) ^ {x})", np.invert, None,
    "The bits that an integer does not have; of a boolean, its negation.",
    "integer", points=(0, 5, -1)), "invert")  # fmt: skip

isnan = declare_row(MapRow(
    "isnan", "x", "({x} != {x})", np.isnan, None,
    "Whether x is NaN.", "number", boolean, points=EDGES))  # fmt: skip

isinf = declare_row(MapRow(
    "isinf", "x", "(abs({x}) == math.inf)", np.isinf, None,
    "Whether x is infinite.", "number", boolean, points=EDGES))  # fmt: skip

isfinite = declare_row(MapRow(
    "isfinite", "x", "(abs({x}) < math.inf)", np.isfinite, None,
    "Whether x is neither infinite nor NaN.", "number", boolean, points=EDGES))  # fmt: skip

signbit = declare_row(MapRow(
    "signbit", "x", "(math.copysign({t}(1), {x}) < 0)", np.signbit, None,
    "Whether the sign of x is negative, also that of -0.", "float", boolean,
    points=EDGES))  # fmt: skip

where: Callable[..., Node] = declare_row(MapRow(
    "where", "cxy", "({x} if {c} else {y})", np.where,
    lambda g, z, c, x, y: (None, where(c, g, 0.0), where(c, 0.0, g)),
    "x where the condition holds, else y.", "any", lambda *dtypes: dtypes[1],
    points=((True, 1.0, np.nan), (False, np.nan, 2.0)),
    formula="-, condition, not condition"))  # fmt: skip


def masked(mask: Node, x: Node) -> Node:
    """x where the mask holds, else 0, or False."""
    return where(mask, x, False if x.dtype == "bool" else 0)
