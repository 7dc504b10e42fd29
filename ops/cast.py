"""Conversion between dtypes: from float to integer towards zero, to bool by `x != 0`.

A float beyond the integers becomes the nearest of them, and NaN 0, as in JAX.

Every mix of dtypes is resolved by these rows when a node is made; no other op converts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from staticflow.graph.kinds import Map, MapRow
from staticflow.graph.leaves import Const, const
from staticflow.graph.node import Array, Node, apply
from staticflow.graph.types import DTYPES, FLOATS, INTEGERS, as_dtype


def _convert(x: Array, dtype: str) -> Array:
    """As NumPy, but where it gives what the processor does: the nearest integer, and 0 of NaN."""
    array = np.asarray(x)
    if dtype not in INTEGERS or array.dtype.kind != "f":
        with np.errstate(all="ignore"):
            return array.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    inside = (array >= low) & (array < -float(low))
    result = np.where(inside, array, 0).astype(dtype)
    return np.where(array >= -float(low), high, np.where(array < low, low, result)).astype(dtype)


def _target(dtype: str, *dtypes: str) -> str:
    return dtype


def _cotangent(g: Any, y: Node, x: Node) -> Sequence[Node | None]:
    """A cotangent, of y's dtype, becomes one of x's; a tangent, of x's dtype, one of y's."""
    if x.dtype not in FLOATS or y.dtype not in FLOATS:
        return (None,)
    return (cast(g, y.dtype if g.dtype == x.dtype else x.dtype),)


def _row(dtype: str) -> MapRow:
    return MapRow(
        f"astype_{dtype}", "x", "({x} != 0)" if dtype == "bool" else "{r}({x})",
        partial(_convert, dtype=dtype), _cotangent, f"The value as {dtype}.",
        domain="any", result=partial(_target, dtype), linear="joint", formula="1",
        converts=True,
    )  # fmt: skip


CASTS = {dtype: _row(dtype) for dtype in DTYPES}
_CONVERSIONS = frozenset(map(Map, CASTS.values()))


def is_conversion(node: Node) -> bool:
    """Whether a node gives its operand in a dtype."""
    return node.op in _CONVERSIONS


def cast(x: Node, dtype: Any) -> Node:
    """`x` converted to `dtype`; the node itself if it has that dtype, a constant if it is one."""
    target = as_dtype(dtype)
    if x.dtype == target:
        return x
    if isinstance(x.op, Const):
        return const(_convert(x.op.value, target))
    return apply(Map(CASTS[target]), x)
