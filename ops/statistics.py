"""Means, spreads, positions of extremes, and the logarithm of a sum of exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph import Node, apply
from staticflow.ops.alias import stop_gradient
from staticflow.ops.arithmetic import divide
from staticflow.ops.cast import cast
from staticflow.ops.coerce import floating, spread_along
from staticflow.ops.compare import equal, isfinite, isnan, where
from staticflow.ops.counting import count, iota_like
from staticflow.ops.elementwise import exp, log, sqrt, square
from staticflow.ops.public import public
from staticflow.ops.reductions import MAX, MIN, SUM, reduce
from staticflow.ops.shape import expand_dims, node_of, reshape
from staticflow.ops.views import Expand
from staticflow.types import normalise_axes, normalise_axis

Axes = tuple[int, ...]


def _keep(y: Node, axes: Axes, keepdims: bool) -> Node:
    return apply(Expand(axes), y) if keepdims and axes else y


def mean_along(x: Node, axes: Axes, fewer: int = 0) -> Node:
    """The sum along axes over the number of elements less `fewer`."""
    total = reduce(SUM, x, axes)
    number = count(x.shape, axes, x.dtype)
    return divide(total, number - float(fewer) if fewer else number)


def centre(x: Node, axes: Axes) -> Node:
    """x less its mean along axes."""
    return x - spread_along(mean_along(x, axes), x.shape, axes)


@public(None, "mean")
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The mean along axes: sum(x) / n; of integers and booleans in float32."""
    node = floating("mean", x)
    axes = normalise_axes(axis, node.ndim, "mean")
    return _keep(mean_along(node, axes), axes, keepdims)


@public()
def var(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """The variance along axes: sum((x - mean)^2) / (n - ddof)."""
    node = floating("var", x)
    axes = normalise_axes(axis, node.ndim, "var")
    return _keep(mean_along(square(centre(node, axes)), axes, ddof), axes, keepdims)


@public()
def std(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """The standard deviation along axes, sqrt(var)."""
    return sqrt(var(x, axis, ddof, keepdims))


@public()
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """log(sum(e^x)) along axes, without overflow."""
    node = floating("logsumexp", x)
    axes = normalise_axes(axis, node.ndim, "logsumexp")
    largest = peak(node, axes)
    total = reduce(SUM, exp(node - spread_along(largest, node.shape, axes)), axes)
    return _keep(log(total) + largest, axes, keepdims)


def peak(x: Node, axes: Axes) -> Node:
    """The largest element along axes, to be subtracted before exp; 0 where it is infinite."""
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
    extreme = reduce(MAX if what == "argmax" else MIN, node, (axis,))
    chosen = equal(node, spread_along(extreme, node.shape, (axis,))) | isnan(node)
    none = np.iinfo(np.int64).max
    position = reduce(MIN, where(chosen, iota_like(node.shape, axis), none), (axis,))
    return _keep(position, (axis,), keepdims)
