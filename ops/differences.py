"""Differences of neighbours, weighted means, and what else NumPy computes of few slices."""

from __future__ import annotations

from typing import Any

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.node import Node
from staticflow.graph.types import Shape, normalise_axis
from staticflow.ops.assemble import concatenate, stack
from staticflow.ops.coerce import as_nodes, broadcast, broadcast_to_shape, floating
from staticflow.ops.compare import not_equal
from staticflow.ops.public import public
from staticflow.ops.reductions import max as largest
from staticflow.ops.reductions import min as smallest
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, moveaxis, node_of, transpose
from staticflow.ops.slices import slice_axis
from staticflow.ops.statistics import mean


@public()
def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Node:
    """The differences of neighbours along an axis, taken n times: x[1:] - x[:-1]; of booleans,
    whether they differ. What is given to prepend and append counts as part of x.
    """
    node = node_of(x)
    axis = normalise_axis(axis, node.ndim, "diff")
    if n < 0:
        fail(GraphError, "diff: n must not be negative", got=str(n))
    if prepend is not None or append is not None:
        edge = (*node.shape[:axis], 1, *node.shape[axis + 1 :])
        parts = [node if part is node else _edge(part, edge) for part in (prepend, node, append)
                 if part is not None]  # fmt: skip
        node = concatenate(parts, axis)
    for _ in range(n):
        size = node.shape[axis]
        if size == 0:
            return node
        after, before = slice_axis(node, axis, 1, size), slice_axis(node, axis, 0, size - 1)
        node = not_equal(after, before) if node.dtype == "bool" else after - before
    return node


def _edge(value: Any, shape: Shape) -> Node:
    """What stands before or behind an array; a number is one element for each row."""
    part = node_of(value)
    return broadcast_to_shape(part, shape, "diff") if part.ndim == 0 else part


@public()
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The largest minus the smallest element along axes."""
    return largest(x, axis, keepdims) - smallest(x, axis, keepdims)


@public()
def average(x: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Node:
    """The mean along axes, with `weights` of x's shape, or of its sizes along the axes."""
    node = floating("average", x)
    if weights is None:
        return mean(node, axis, keepdims)
    weight = _along(node, node_of(weights), axis)
    node, weight = broadcast("average", as_nodes([node, weight]))
    return total(node * weight, axis, keepdims) / total(weight, axis, keepdims)


def _along(x: Node, weight: Node, axis: Any) -> Node:
    """Weights of x's sizes along the axes that are given, as an array that broadcasts to x."""
    if weight.shape == x.shape:
        return weight
    entries = axis if isinstance(axis, tuple | list) else () if axis is None else (axis,)
    axes = [normalise_axis(k, x.ndim, "average") for k in entries]
    if not axes or weight.shape != tuple(x.shape[k] for k in axes):
        fail(
            ShapeError,
            "average: the weights have neither x's shape nor its sizes along the axes",
            got=f"{weight.type} for {x.type} along {axis}",
            do="give axis=, and a weight for each element along it",
        )
    weight = transpose(weight, sorted(range(len(axes)), key=axes.__getitem__))
    return expand_dims(weight, tuple(k for k in range(x.ndim) if k not in axes))


@public()
def cross(a: Any, b: Any, axis: int = -1) -> Node:
    """The vector product of vectors of three numbers, along an axis."""
    first, second = (_vectors(x, axis) for x in as_nodes([a, b]))
    first, second = broadcast("cross", [first, second])
    u, v = ([x[..., k] for k in range(3)] for x in (first, second))
    turns = ((1, 2), (2, 0), (0, 1))
    return moveaxis(stack([u[i] * v[j] - u[j] * v[i] for i, j in turns], -1), -1, axis)


def _vectors(x: Node, axis: int) -> Node:
    """x with its axis of three numbers last."""
    axis = normalise_axis(axis, x.ndim, "cross")
    if x.shape[axis] != 3:
        fail(ShapeError, f"cross: axis {axis} must have three numbers", str(x.type))
    return moveaxis(x, axis, -1)


@public()
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Node:
    """The integral along an axis by the trapezoidal rule, at points x or at distances dx."""
    node = floating("trapezoid", y)
    along = normalise_axis(axis, node.ndim, "trapezoid")
    ahead = (slice(None),) * along
    means = 0.5 * (node[(*ahead, slice(1, None))] + node[(*ahead, slice(None, -1))])
    if x is None:
        return total(means, along) * dx
    points = node_of(x)
    if points.ndim == 1:
        steps = expand_dims(diff(points), tuple(k for k in range(node.ndim) if k != along))
    else:  # they may have more axes than y
        steps = diff(points, axis=axis)
    return total(means * steps, axis)


@public()
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """How many elements along axes are not 0; int64."""
    return total(not_equal(x, 0), axis, keepdims)
