"""Means, spreads, positions of extremes, and the logarithm of a sum of exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.node import Node
from staticflow.graph.types import normalise_axes, normalise_axis
from staticflow.ops.alias import sized, stop_gradient
from staticflow.ops.arithmetic import divide
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, broadcast_to_shape, floating
from staticflow.ops.compare import equal, isfinite, isnan, where
from staticflow.ops.counting import count, iota_like
from staticflow.ops.elementwise import exp, log, sqrt, square
from staticflow.ops.public import public
from staticflow.ops.reductions import MAX, MIN, SUM, chosen, kept, reduce
from staticflow.ops.shape import expand_dims, node_of, reshape
from staticflow.ops.views import spread_along

Axes = tuple[int, ...]


def mean_along(x: Node, axes: Axes, fewer: float = 0, where: Any = None) -> Node:
    """The sum along axes over the number of elements less `fewer`, of those that count."""
    if where is None or where is True:
        total, number = reduce(SUM, x, axes), count(x.shape, axes, x.dtype)
    else:
        total = reduce(SUM, chosen(x, where, 0.0), axes)
        number = reduce(SUM, chosen(_ones(x), where, 0.0), axes)
    return divide(total, number - float(fewer) if fewer else number)


def centre(x: Node, axes: Axes) -> Node:
    """x less its mean along axes."""
    return x - spread_along(mean_along(x, axes), x.shape, axes)


@public()
def mean(
    x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None, where: Any = None
) -> Node:
    """The mean along axes: sum(x) / n; of integers and booleans in float32."""
    node = _float("mean", x, dtype)
    axes = normalise_axes(axis, node.ndim, "mean")
    return kept(mean_along(node, axes, where=where), axes, keepdims)


@public()
def var(
    x: Any,
    axis: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    where: Any = None,
    correction: float | None = None,
) -> Node:
    """The variance along axes: sum((x - mean)^2) / (n - ddof); `correction` is ddof's other name.

    `where` says which elements count, `dtype` the float dtype to compute in.
    """
    if correction is not None and ddof:
        fail(ShapeError, "var: ddof and correction are one and the same", f"{ddof}, {correction}")
    node = _float("var", x, dtype)
    axes = normalise_axes(axis, node.ndim, "var")
    middle = spread_along(mean_along(node, axes, where=where), node.shape, axes)
    centred = chosen(node - middle, where, 0.0)
    fewer = ddof if correction is None else correction
    return kept(mean_along(square(centred), axes, fewer, where), axes, keepdims)


@public()
def std(
    x: Any,
    axis: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    where: Any = None,
    correction: float | None = None,
) -> Node:
    """The standard deviation along axes, sqrt(var)."""
    spread = var(x, axis, ddof, keepdims, dtype=dtype, where=where, correction=correction)
    return sqrt(spread)


def _float(what: str, x: Any, dtype: Any) -> Node:
    """x as floats, of `dtype` if one is given."""
    if dtype is None:
        return floating(what, x)
    node = cast(node_of(x), dtype)
    if not node.type.is_float:
        fail(DTypeError, f"{what}: is computed in floats", f"dtype {node.dtype}",
             "convert the result with .astype")  # fmt: skip
    return node


def _ones(x: Node) -> Node:
    """Ones of x's shape and dtype."""
    return broadcast_to_shape(as_nodes([x, 1.0])[1], x.shape, "ones")


@public()
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """log(sum(e^x)) along axes, without overflow."""
    node = floating("logsumexp", x)
    axes = normalise_axes(axis, node.ndim, "logsumexp")
    largest = peak(node, axes)
    total = reduce(SUM, exp(node - spread_along(largest, node.shape, axes)), axes)
    return kept(log(total) + largest, axes, keepdims)


def peak(x: Node, axes: Axes) -> Node:
    """The largest element along axes, to be subtracted before exp; 0 where it is infinite, or of
    no element.
    """
    if 0 in [x.shape[axis] for axis in axes]:
        rest = tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
        return broadcast_to_shape(as_nodes([x, 0.0])[1], rest, "peak")
    largest = stop_gradient(reduce(MAX, x, axes))
    return where(isfinite(largest), largest, 0.0)


@public()
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the first largest element along an axis, or of all elements in order; int64."""
    return _first("argmax", x, axis, keepdims)


@public()
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the first smallest element along an axis, or of all elements in order; int64."""
    return _first("argmin", x, axis, keepdims)


def _first(what: str, x: Any, axis: int | None, keepdims: bool) -> Node:
    node = node_of(x)
    node = cast(node, "int32") if node.dtype == "bool" else node
    if axis is None:
        first = _first(what, reshape(node, (-1,)), 0, False)
        return expand_dims(first, tuple(range(node.ndim))) if keepdims else first
    axis = normalise_axis(axis, node.ndim, what)
    if node.shape[axis] == 0:
        fail(ShapeError, f"{what}: there is no element to choose", str(node.type))
    node = sized(what, node, node.shape[axis] - 1)
    extreme = reduce(MAX if what == "argmax" else MIN, node, (axis,))
    chosen = equal(node, spread_along(extreme, node.shape, (axis,))) | isnan(node)
    none = np.iinfo(np.int64).max
    position = reduce(MIN, where(chosen, iota_like(node.shape, axis), none), (axis,))
    return kept(position, (axis,), keepdims)
