"""Reductions along axes: the rows of their table, and the functions that users call.

`axis` is None for all axes, an int or a tuple; `keepdims` keeps the reduced axes with size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph import Node, apply
from staticflow.op import Kind, Reduce, ReduceRow
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, spread_along
from staticflow.ops.compare import equal, where
from staticflow.ops.counting import iota_like
from staticflow.ops.public import public
from staticflow.ops.views import Expand
from staticflow.types import normalise_axes

Axes = tuple[int, ...]


def _sum_cotangent(g: Node, y: Node, x: Node, axes: Axes) -> Sequence[Node | None]:
    return (spread_along(g, x.shape, axes),)


def _extreme_cotangent(g: Node, y: Node, x: Node, axes: Axes) -> Sequence[Node | None]:
    """Elements that tie for the extreme share its cotangent equally."""
    chosen = cast(equal(x, spread_along(y, x.shape, axes)), x.dtype)
    share = g / reduce(SUM, chosen, axes)
    return (chosen * spread_along(share, x.shape, axes),)


def _product_cotangent(g: Node, y: Node, x: Node, axes: Axes) -> Sequence[Node | None]:
    """g times the product of the other elements, formed as such: zeros need no special case.

    Takes n steps for each of n elements, fused, without a matrix in memory. Over several axes, the
    product is taken one axis at a time.
    """
    *outer, axis = axes
    if outer:
        inner = reduce(PROD, x, (axis,))
        (g,) = _product_cotangent(g, y, inner, tuple(outer))  # type: ignore[assignment]
    wide = (*x.shape[:axis], x.shape[axis], *x.shape[axis:])  # axis: which one; axis + 1: factors
    factors = spread_along(x, wide, (axis,))
    same = equal(iota_like(wide, axis), iota_like(wide, axis + 1))
    others = reduce(PROD, where(same, 1.0, factors), (axis + 1,))
    return (spread_along(g, x.shape, (axis,)) * others,)


SUM = ReduceRow(
    "sum", "({acc} + {x})", "{t}(0)", np.sum, _sum_cotangent,
    "The sum along axes.", linear=True, formula="1")  # fmt: skip

PROD = ReduceRow(
    "prod", "({acc} * {x})", "{t}(1)", np.prod, _product_cotangent,
    "The product along axes.", points=(0.0, 2.0, 0.0),
    formula="the product of the others")  # fmt: skip

MAX = ReduceRow(
    "max", "({x} if ({x} > {acc} or {x} != {x}) else {acc})", "lowest_{t}",
    np.max, _extreme_cotangent,
    "The largest element along axes; NaN if any is.", empty=False,
    points=(1.0, np.nan, 3.0), formula="x = y, shared by ties")  # fmt: skip

MIN = ReduceRow(
    "min", "({x} if ({x} < {acc} or {x} != {x}) else {acc})", "highest_{t}",
    np.min, _extreme_cotangent,
    "The smallest element along axes; NaN if any is.", empty=False,
    points=(1.0, np.nan, -3.0), formula="x = y, shared by ties")  # fmt: skip

ANY = ReduceRow(
    "any", "({acc} | {x})", "b1(False)", np.any, None,
    "Whether any element along axes is true, that is, not 0.", "bool")  # fmt: skip

ALL = ReduceRow(
    "all", "({acc} & {x})", "b1(True)", np.all, None,
    "Whether all elements along axes are true, that is, not 0.", "bool")  # fmt: skip


def reduce(row: ReduceRow, x: Node, axes: Axes) -> Node:
    """The node of a reduction; `x` itself if there is no axis to reduce."""
    empty = [axis for axis in axes if x.shape[axis] == 0]
    if empty and not row.empty:
        fail(
            ShapeError,
            f"{row.name}: no element to choose from along axis {empty[0]}",
            got=str(x.type),
            do="give the axis a size above 0",
        )
    return apply(Reduce(row, axes), x) if axes else x


def _reduce(row: ReduceRow, x: Any, axis: Any, keepdims: bool) -> Node:
    node = as_nodes([x])[0]
    axes = normalise_axes(axis, node.ndim, row.name)
    if row.domain == "bool":
        node = cast(node, "bool")
    result = reduce(row, node, axes)
    return apply(Expand(axes), result) if keepdims and axes else result


@public(Kind.REDUCE, "sum", SUM)
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The sum along axes; integers and booleans add up in int64, as in NumPy."""
    return _reduce(SUM, _wide(x), axis, keepdims)


@public(Kind.REDUCE, "", PROD)
def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The product along axes; integers and booleans multiply in int64, as in NumPy."""
    return _reduce(PROD, _wide(x), axis, keepdims)


@public(Kind.REDUCE, "max", MAX)
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The largest element along axes; NaN if any is."""
    return _extreme(MAX, x, axis, keepdims)


@public(Kind.REDUCE, "min", MIN)
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The smallest element along axes; NaN if any is."""
    return _extreme(MIN, x, axis, keepdims)


@public(Kind.REDUCE, "", ANY)
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Whether any element along axes is true, that is, not 0."""
    return _reduce(ANY, x, axis, keepdims)


@public(Kind.REDUCE, "", ALL)
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Whether all elements along axes are true, that is, not 0."""
    return _reduce(ALL, x, axis, keepdims)


def _wide(x: Any) -> Node:
    node = as_nodes([x])[0]
    return node if node.type.is_float else cast(node, "int64")


def _extreme(row: ReduceRow, x: Any, axis: Any, keepdims: bool) -> Node:
    node = as_nodes([x])[0]
    if node.dtype != "bool":
        return _reduce(row, node, axis, keepdims)
    return cast(_reduce(row, cast(node, "int32"), axis, keepdims), "bool")
