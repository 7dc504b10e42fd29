"""NumPy's further ways to join arrays, by `concatenate`, and to give them axes for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.graph import Node
from staticflow.op import Kind
from staticflow.ops.assemble import concatenate
from staticflow.ops.coerce import as_nodes
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, node_of, ravel


@public(Kind.VIEW)
def atleast_1d(x: Any) -> Node:
    """x with at least one axis."""
    node = node_of(x)
    return expand_dims(node, 0) if node.ndim == 0 else node


@public(Kind.VIEW)
def atleast_2d(x: Any) -> Node:
    """x with at least two axes; a vector becomes a row."""
    node = atleast_1d(x)
    return expand_dims(node, 0) if node.ndim == 1 else node


@public(Kind.VIEW)
def atleast_3d(x: Any) -> Node:
    """x with at least three axes; a vector becomes (1, n, 1), a matrix (m, n, 1)."""
    node = atleast_2d(x)
    return expand_dims(node, 2) if node.ndim == 2 else node


@public(Kind.ASSEMBLE)
def hstack(arrays: Sequence[Any]) -> Node:
    """The arrays side by side: along the second axis, or the first of vectors."""
    parts = [atleast_1d(x) for x in as_nodes(list(arrays))]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


@public(Kind.ASSEMBLE)
def vstack(arrays: Sequence[Any]) -> Node:
    """The arrays on top of each other, along the first axis; vectors are rows."""
    return concatenate([atleast_2d(x) for x in as_nodes(list(arrays))], 0)


@public(Kind.ASSEMBLE)
def dstack(arrays: Sequence[Any]) -> Node:
    """The arrays behind each other, along the third axis."""
    return concatenate([atleast_3d(x) for x in as_nodes(list(arrays))], 2)


@public(Kind.ASSEMBLE)
def column_stack(arrays: Sequence[Any]) -> Node:
    """Vectors as columns, and matrices, side by side."""
    parts = [atleast_1d(x) for x in as_nodes(list(arrays))]
    return concatenate([expand_dims(x, 1) if x.ndim == 1 else x for x in parts], 1)


@public(Kind.ASSEMBLE)
def append(x: Any, values: Any, axis: int | None = None) -> Node:
    """x and then `values` along an axis; of all elements in order if axis is None."""
    parts = as_nodes([x, values])
    return concatenate([ravel(p) for p in parts] if axis is None else parts, axis or 0)
