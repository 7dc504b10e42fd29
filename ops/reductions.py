"""Reductions along axes: the rows of their table, and the functions that users call.

`axis` is None for all axes, an int or a tuple; `keepdims` keeps the reduced axes with size 1.
Elements where the condition `where` is false take no part, and `initial` is one more element of
each result. `dtype` is what x is converted to before it adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.kinds import Reduce, ReduceRow
from staticflow.graph.node import Array, Kind, Node, apply
from staticflow.graph.types import normalise_axes
from staticflow.ops.alias import sized
from staticflow.ops.arithmetic import maximum, minimum
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, broadcast_to_shape
from staticflow.ops.compare import equal
from staticflow.ops.compare import where as choose
from staticflow.ops.counting import iota_like
from staticflow.ops.public import public
from staticflow.ops.views import Expand, spread_along

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
    others = reduce(PROD, choose(same, 1.0, factors), (axis + 1,))
    return (spread_along(g, x.shape, (axis,)) * others,)


def _largest(x: Array, axis: Axes) -> Any:
    """As compiled: of no element, the lowest number of the dtype."""
    return np.max(x, axis=axis, initial=_bound(x, -1))


def _smallest(x: Array, axis: Axes) -> Any:
    return np.min(x, axis=axis, initial=_bound(x, 1))


def _bound(x: Array, sign: int) -> Any:
    if x.dtype.kind == "f":
        return sign * np.inf
    return np.iinfo(x.dtype).min if sign < 0 else np.iinfo(x.dtype).max


SUM = ReduceRow(
    "sum", "({acc} + {x})", "{t}(0)", np.sum, _sum_cotangent,
    "The sum along axes.", linear=True, formula="1")  # fmt: skip

PROD = ReduceRow(
    "prod", "({acc} * {x})", "{t}(1)", np.prod, _product_cotangent,
    "The product along axes.", points=(0.0, 2.0, 0.0),
    formula="the product of the others")  # fmt: skip

MAX = ReduceRow(
    "max", "({x} if ({x} > {acc} or {x} != {x}) else {acc})", "lowest_{t}",
    _largest, _extreme_cotangent,
    "The largest element along axes; NaN if any is.", empty=False,
    points=(1.0, np.nan, 3.0), formula="x = y, shared by ties")  # fmt: skip

MIN = ReduceRow(
    "min", "({x} if ({x} < {acc} or {x} != {x}) else {acc})", "highest_{t}",
    _smallest, _extreme_cotangent,
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


def kept(y: Node, axes: Axes, keepdims: Any) -> Node:
    """A reduced value, with its lost axes as axes of size 1 if they are wanted."""
    if not isinstance(keepdims, bool | np.bool_ | int):
        fail(
            ShapeError,
            "keepdims: must be True or False",
            got=repr(keepdims),
            do="give dtype, where and initial by their names",
        )
    return apply(Expand(axes), y) if keepdims and axes else y


def chosen(x: Node, where: Any, neutral: Any) -> Node:
    """x with `neutral` in place of the elements that take no part."""
    if where is None or where is True:
        return x
    mask = broadcast_to_shape(as_nodes([where])[0], x.shape, "where")
    return choose(mask, x, neutral)


def _reduce(row: ReduceRow, x: Node, axis: Any, keepdims: bool) -> Node:
    axes = normalise_axes(axis, x.ndim, row.name)
    return kept(reduce(row, x, axes), axes, keepdims)


@public(Kind.REDUCE, "", SUM)
def sum(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    initial: Any = None,
    where: Any = None,
) -> Node:
    """The sum along axes; integers and booleans add up in int64, as in NumPy."""
    total = _gathered(SUM, chosen(_typed(x, dtype), where, 0), axis, keepdims, dtype)
    return total if initial is None else total + initial


@public(Kind.REDUCE, "", PROD)
def prod(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    initial: Any = None,
    where: Any = None,
) -> Node:
    """The product along axes; integers and booleans multiply in int64, as in NumPy."""
    product = _gathered(PROD, chosen(_typed(x, dtype), where, 1), axis, keepdims, dtype)
    return product if initial is None else product * initial


@public(Kind.REDUCE, "", MAX)
def max(
    x: Any, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = None
) -> Node:
    """The largest element along axes; NaN if any is."""
    return _extreme(MAX, x, axis, keepdims, initial, where)


@public(Kind.REDUCE, "", MIN)
def min(
    x: Any, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = None
) -> Node:
    """The smallest element along axes; NaN if any is."""
    return _extreme(MIN, x, axis, keepdims, initial, where)


@public(Kind.REDUCE, "", ANY)
def any(x: Any, axis: Any = None, keepdims: bool = False, *, where: Any = None) -> Node:
    """Whether any element along axes is true, that is, not 0."""
    return _reduce(ANY, chosen(_truth(x), where, False), axis, keepdims)


@public(Kind.REDUCE, "", ALL)
def all(x: Any, axis: Any = None, keepdims: bool = False, *, where: Any = None) -> Node:
    """Whether all elements along axes are true, that is, not 0."""
    return _reduce(ALL, chosen(_truth(x), where, True), axis, keepdims)


def _truth(x: Any) -> Node:
    return cast(as_nodes([x])[0], "bool")


def _typed(x: Any, dtype: Any) -> Node:
    """x in the dtype that it adds up in: floats in their own, all others in int64."""
    node = as_nodes([x])[0]
    node = node if dtype is None else cast(node, dtype)
    return node if node.type.is_float else cast(node, "int64")


def _gathered(row: ReduceRow, x: Node, axis: Any, keepdims: bool, dtype: Any) -> Node:
    """A sum or product, in the dtype that is asked for."""
    result = _reduce(row, x, axis, keepdims)
    return result if dtype is None else cast(result, dtype)


def _extreme(row: ReduceRow, x: Any, axis: Any, keepdims: bool, first: Any, where: Any) -> Node:
    node = as_nodes([x])[0]
    if node.dtype == "bool":
        first = None if first is None else cast(as_nodes([first])[0], "int32")
        return cast(_extreme(row, cast(node, "int32"), axis, keepdims, first, where), "bool")
    if first is None:
        if not (where is None or where is True):
            fail(
                ShapeError,
                f"{row.name}: where= leaves no element to choose from if it is false throughout",
                do="give initial=, the result for that case",
            )
        axes = normalise_axes(axis, node.ndim, row.name)
        node = sized(row.name, node, *(node.shape[k] - 1 for k in axes))
        return _reduce(row, node, axis, keepdims)
    node = chosen(node, where, first)
    axes = normalise_axes(axis, node.ndim, row.name)
    if 0 in [node.shape[k] for k in axes]:
        rest = tuple(n for k, n in enumerate(node.shape) if k not in axes)
        value = broadcast_to_shape(as_nodes([node, first])[1], rest, row.name)
        return kept(cast(value, node.dtype), axes, keepdims)
    result = kept(reduce(row, node, axes), axes, keepdims)
    return maximum(result, first) if row is MAX else minimum(result, first)
