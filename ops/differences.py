"""Differences of neighbours, weighted means, and what else NumPy computes of few slices."""

from __future__ import annotations

from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph import Node
from staticflow.ops.assemble import stack
from staticflow.ops.coerce import as_nodes, broadcast, floating
from staticflow.ops.compare import not_equal
from staticflow.ops.ordering import sort
from staticflow.ops.public import public
from staticflow.ops.reductions import max as largest
from staticflow.ops.reductions import min as smallest
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, moveaxis, node_of, ravel
from staticflow.ops.slices import slice_axis
from staticflow.ops.statistics import mean
from staticflow.types import normalise_axis


@public()
def diff(x: Any, n: int = 1, axis: int = -1) -> Node:
    """The differences of neighbours along an axis, taken n times: x[1:] - x[:-1]."""
    node = node_of(x)
    axis = normalise_axis(axis, node.ndim, "diff")
    for _ in range(n):
        size = node.shape[axis]
        if size == 0:
            return node
        node = slice_axis(node, axis, 1, size) - slice_axis(node, axis, 0, size - 1)
    return node


@public()
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The largest minus the smallest element along axes."""
    return largest(x, axis, keepdims) - smallest(x, axis, keepdims)


@public()
def average(x: Any, axis: int | None = None, weights: Any = None) -> Node:
    """The mean along an axis, with `weights` of x's shape, or of its size along the axis."""
    node = floating("average", x)
    if weights is None:
        return mean(node, axis)
    weight = node_of(weights)
    if weight.ndim == 1 and node.ndim > 1 and axis is not None:
        places = [k for k in range(node.ndim) if k != normalise_axis(axis, node.ndim, "average")]
        weight = expand_dims(weight, tuple(places))
    node, weight = broadcast("average", as_nodes([node, weight]))
    return total(node * weight, axis) / total(weight, axis)


@public()
def cross(a: Any, b: Any) -> Node:
    """The vector product of vectors of three numbers, along the last axis."""
    a, b = broadcast("cross", as_nodes([a, b]))
    if not a.ndim or a.shape[-1] != 3:
        fail(ShapeError, "cross: the last axis has three numbers", got=str(a.type))
    u, v = ([x[..., k] for k in range(3)] for x in (a, b))
    turns = ((1, 2), (2, 0), (0, 1))
    return stack([u[i] * v[j] - u[j] * v[i] for i, j in turns], -1)


@public()
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Node:
    """The integral along an axis by the trapezoidal rule, at points x or at distances dx."""
    node = floating("trapezoid", y)
    axis = normalise_axis(axis, node.ndim, "trapezoid")
    node = moveaxis(node, axis, -1)
    means = 0.5 * (node[..., 1:] + node[..., :-1])
    if x is None:
        return total(means, -1) * dx
    points = node_of(x)
    steps = diff(moveaxis(points, axis, -1) if points.ndim > 1 else points)
    return total(means * steps, -1)


@public()
def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The middle element in order along an axis of known size, or the mean of the two middle."""
    node = floating("median", x)
    if axis is None:
        middle = median(ravel(node), 0)
        return expand_dims(middle, tuple(range(node.ndim))) if keepdims else middle
    axis = normalise_axis(axis, node.ndim, "median")
    size = node.shape[axis]
    if not isinstance(size, int) or size == 0:
        fail(ShapeError, "median: the size of the axis must be known, and not 0", str(node.type))
    ordered = sort(node, axis)
    return mean(slice_axis(ordered, axis, (size - 1) // 2, size // 2 + 1), axis, keepdims)


@public()
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """How many elements along axes are not 0; int64."""
    return total(not_equal(x, 0), axis, keepdims)
