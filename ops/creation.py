"""Arrays that follow from their shape; sizes may be names."""

from __future__ import annotations

import math
import operator
from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.leaves import const
from staticflow.graph.node import Kind, Node
from staticflow.graph.types import as_dtype, as_shape, is_whole
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, broadcast_to_shape, met
from staticflow.ops.compare import equal, greater_equal, masked
from staticflow.ops.counting import iota, iota_like
from staticflow.ops.public import public
from staticflow.ops.shape import node_of


@public(Kind.VIEW)
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Node:
    """An array of `shape` with every element `fill_value`."""
    if dtype is not None and isinstance(fill_value, bool | int | float):
        node = const(fill_value, dtype)
    else:
        node = as_nodes([fill_value])[0]
        node = node if dtype is None else cast(met(node, as_dtype(dtype)), dtype)
    return broadcast_to_shape(node, as_shape(shape), "full")


@public(Kind.VIEW)
def zeros(shape: Any, dtype: Any = "float32") -> Node:
    """An array of zeros."""
    return full(shape, 0, dtype)


@public(Kind.VIEW)
def ones(shape: Any, dtype: Any = "float32") -> Node:
    """An array of ones."""
    return full(shape, 1, dtype)


@public(Kind.VIEW)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Node:
    """An array of x's shape, and by default of its dtype, with every element `fill_value`."""
    node = node_of(x)
    return full(node.shape, fill_value, node.dtype if dtype is None else dtype)


@public(Kind.VIEW)
def zeros_like(x: Any, dtype: Any = None) -> Node:
    """Zeros of x's shape, and by default of its dtype."""
    return full_like(x, 0, dtype)


@public(Kind.VIEW)
def ones_like(x: Any, dtype: Any = None) -> Node:
    """Ones of x's shape, and by default of its dtype."""
    return full_like(x, 1, dtype)


@public(Kind.MAP)
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Node:
    """start, start + step, ... below stop; from 0 below `start` if there is no stop.

    With step 1 the bounds may be named sizes. Integers make int64, floats float32.
    """
    if stop is None:
        start, stop = 0, start
    integral = not any(isinstance(v, float) for v in (start, stop, step))
    target = as_dtype(dtype or ("int64" if integral else "float32"))
    if step == 1 and integral:
        first, last = _bound(start), _bound(stop)
        return _shifted(iota(_length(first, last), target), first)
    if not all(isinstance(v, int | float) for v in (start, stop, step)) or step == 0:
        fail(ShapeError, "arange: a step other than 1 needs numbers as bounds",
             f"arange({start}, {stop}, {step})")  # fmt: skip
    if integral:
        return cast(iota(max(0, -((start - stop) // step))) * step + start, target)
    size = max(0, math.ceil((stop - start) / step))  # as NumPy rounds it
    return cast(cast(iota(size), "float64") * float(step) + float(start), target)


def _bound(value: Any) -> AnyDim:
    """A number, which may be negative, or a size."""
    return operator.index(value) if is_whole(value) else as_shape(value)[0]


def _length(first: AnyDim, last: AnyDim) -> AnyDim:
    length = last - first
    return max(0, length) if isinstance(length, int) else length


def _shifted(index: Node, first: AnyDim) -> Node:
    if not isinstance(first, int):
        fail(ShapeError, "arange: the start must be a number", str(first))
    return index + first if first else index


@public(Kind.MAP)
def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = "float32") -> Node:
    """N rows and M columns, as many if M is None: 1 where column - row = k, else 0."""
    shape = (*as_shape(N), *as_shape(N if M is None else M))
    return cast(equal(iota_like(shape, 0) + k, iota_like(shape, 1)), dtype)


@public(Kind.MAP)
def identity(n: Any, dtype: Any = "float32") -> Node:
    """The identity matrix of n rows."""
    return eye(n, dtype=dtype)


@public(Kind.MAP)
def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = "float32") -> Node:
    """N rows and M columns, as many if M is None: 1 where column - row <= k, else 0."""
    shape = (*as_shape(N), *as_shape(N if M is None else M))
    return cast(greater_equal(iota_like(shape, 0) + k, iota_like(shape, 1)), dtype)


@public(Kind.MAP)
def tril(x: Any, k: int = 0) -> Node:
    """x where column - row <= k, else 0."""
    node = _matrix("tril", x)
    row, column = (iota_like(node.shape, node.ndim - axis) for axis in (2, 1))
    return masked(greater_equal(row + k, column), node)


@public(Kind.MAP)
def triu(x: Any, k: int = 0) -> Node:
    """x where column - row >= k, else 0."""
    node = _matrix("triu", x)
    row, column = (iota_like(node.shape, node.ndim - axis) for axis in (2, 1))
    return masked(greater_equal(column, row + k), node)


def _matrix(what: str, x: Any) -> Node:
    node = node_of(x)
    if node.ndim < 2:
        fail(ShapeError, f"{what}: needs a matrix", str(node.type))
    return node
