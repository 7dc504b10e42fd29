"""NumPy's further ways to join arrays, by `concatenate`, and to give them axes for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.graph.node import Kind, Node
from staticflow.ops.assemble import concatenate
from staticflow.ops.coerce import as_nodes
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, node_of, ravel


@public(Kind.VIEW)
def atleast_1d(*x: Any) -> Any:
    """x with at least one axis; of several arrays, a tuple of them."""
    return _each(x, 1)


@public(Kind.VIEW)
def atleast_2d(*x: Any) -> Any:
    """x with at least two axes; a vector becomes a row; of several arrays, a tuple of them."""
    return _each(x, 2)


@public(Kind.VIEW)
def atleast_3d(*x: Any) -> Any:
    """x with at least three axes; a vector becomes (1, n, 1), a matrix (m, n, 1); of several
    arrays, a tuple of them.
    """
    return _each(x, 3)


def _each(arrays: Sequence[Any], least: int) -> Any:
    results = tuple(_with_axes(node_of(x), least) for x in arrays)
    return results[0] if len(results) == 1 else results


def _with_axes(x: Node, least: int) -> Node:
    """x with at least so many axes; a vector becomes a row, a matrix one of columns of one."""
    if least > 0 and x.ndim == 0:
        x = expand_dims(x, 0)
    if least > 1 and x.ndim == 1:
        x = expand_dims(x, 0)
    return expand_dims(x, 2) if least > 2 and x.ndim == 2 else x


@public(Kind.ASSEMBLE)
def hstack(arrays: Sequence[Any]) -> Node:
    """The arrays side by side: along the second axis, or the first of vectors."""
    parts = [_with_axes(x, 1) for x in as_nodes(list(arrays))]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


@public(Kind.ASSEMBLE)
def vstack(arrays: Sequence[Any]) -> Node:
    """The arrays on top of each other, along the first axis; vectors are rows."""
    return concatenate([_with_axes(x, 2) for x in as_nodes(list(arrays))], 0)


@public(Kind.ASSEMBLE)
def dstack(arrays: Sequence[Any]) -> Node:
    """The arrays behind each other, along the third axis."""
    return concatenate([_with_axes(x, 3) for x in as_nodes(list(arrays))], 2)


@public(Kind.ASSEMBLE)
def column_stack(arrays: Sequence[Any]) -> Node:
    """Vectors as columns, and matrices, side by side."""
    parts = [_with_axes(x, 1) for x in as_nodes(list(arrays))]
    return concatenate([expand_dims(x, 1) if x.ndim == 1 else x for x in parts], 1)


@public(Kind.ASSEMBLE)
def append(x: Any, values: Any, axis: int | None = None) -> Node:
    """x and then `values` along an axis; of all elements in order if axis is None."""
    parts = as_nodes([x, values])
    return concatenate([ravel(p) for p in parts] if axis is None else parts, axis or 0)
