"""Medians and quantiles: between which elements, in order along axes of known size, values lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import product
from staticflow.graph.node import Node
from staticflow.graph.types import normalise_axes
from staticflow.ops.assemble import concatenate
from staticflow.ops.coerce import floating
from staticflow.ops.compare import isfinite, isnan, logical_not, where
from staticflow.ops.indexing import take_along_axis
from staticflow.ops.ordering import sort
from staticflow.ops.public import public
from staticflow.ops.reductions import any as some
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, reshape, transpose

Axes = tuple[int, ...]


@public()
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The middle element in order along axes of known size, or the mean of the two middle; NaN if
    any is.
    """
    rows, size, axes = _rows("median", x, axis)
    ordered = sort(rows, -1)
    middle = 0.5 * (ordered[..., (size - 1) // 2] + ordered[..., size // 2])
    return _kept(_or_nan(rows, middle), axes, keepdims)


@public()
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The median, along axes of known size, of the elements that are not NaN."""
    rows, _, axes = _rows("nanmedian", x, axis)
    number = total(logical_not(isnan(rows)), -1, keepdims=True)
    ordered = sort(rows, -1)  # NaN comes last, and is all there is where the number is 0
    low = take_along_axis(ordered, (number - 1) // 2, -1)
    high = take_along_axis(ordered, number // 2, -1)
    return _kept((0.5 * (low + high))[..., 0], axes, keepdims)


@public()
def quantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """What a share q of the elements along axes of known size are below, linear between elements;
    NaN if any is. The axes of `q`, numbers from 0 to 1, come first.
    """
    return _quantile("quantile", x, q, 1.0, axis, keepdims)


@public()
def percentile(x: Any, q: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The quantile for q of 100 elements."""
    return _quantile("percentile", x, q, 100.0, axis, keepdims)


def _quantile(what: str, x: Any, q: Any, whole: float, axis: Any, keepdims: bool) -> Node:
    shares = np.asarray(q, np.float64) / whole if not isinstance(q, Node) else None
    if shares is None or not ((shares >= 0.0) & (shares <= 1.0)).all():
        fail(GraphError, f"{what}: q must be numbers from 0 to {whole:g}", got=str(q))
    rows, size, axes = _rows(what, x, axis)
    ordered = sort(rows, -1)

    def at(share: float) -> Node:
        place = share * (size - 1)
        low = math.floor(place)
        between = _between(ordered[..., low], ordered[..., min(low + 1, size - 1)], place - low)
        return _kept(_or_nan(rows, between), axes, keepdims)

    found = [expand_dims(at(float(share)), 0) for share in shares.reshape(-1)]
    if not found:
        fail(ShapeError, f"{what}: q is empty", got=str(q))
    return reshape(concatenate(found), (*shares.shape, *found[0].shape[1:]))


def _between(below: Node, above: Node, share: float) -> Node:
    """What lies a share of the way from an element to the next: beside an infinity, that."""
    if share == 0.0:
        return below
    gap = above - below
    return where(isfinite(gap), below + share * gap, (1.0 - share) * below + share * above)


def _rows(what: str, x: Any, axis: Any) -> tuple[Node, int, Axes]:
    """x with the axes as one, which comes last, its size, and the axes."""
    node = floating(what, x)
    axes = normalise_axes(axis, node.ndim, what)
    rest = [k for k in range(node.ndim) if k not in axes]
    size = product(node.shape[k] for k in axes)
    if not isinstance(size, int) or size == 0:
        fail(ShapeError, f"{what}: the size of the axis must be known, and not 0", str(node.type))
    return (
        reshape(transpose(node, [*rest, *axes]), (*(node.shape[k] for k in rest), size)),
        size,
        axes,
    )


def _or_nan(rows: Node, y: Node) -> Node:
    return where(some(isnan(rows), -1), float("nan"), y)


def _kept(y: Node, axes: Axes, keepdims: bool) -> Node:
    return expand_dims(y, axes) if keepdims and axes else y
