"""Addition at run-time indices, the counterpart of `take`."""

from __future__ import annotations

from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.types import normalise_axis
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, broadcast_to_shape, common_dtype, integral
from staticflow.ops.indexing import ScatterAdd, check_known
from staticflow.ops.public import public
from staticflow.ops.shape import moveaxis, transpose


@public(Kind.SCATTER)
def scatter_add(x: Any, indices: Any, values: Any, axis: int = 0) -> Node:
    """x with `values` added at integer indices along `axis`; an index that occurs several times
    collects all of its values, which have, or broadcast to, the shape of take(x, indices, axis).
    """
    nodes = as_nodes([x, values])
    dtype = common_dtype("scatter_add", nodes, "number")
    base, added = (cast(node, dtype) for node in nodes)
    axis = normalise_axis(axis, base.ndim, "scatter_add")
    index = integral("scatter_add: the indices", indices)
    check_known("scatter_add", index, base, axis)
    if base.shape[axis] == 0 and 0 not in index.shape:
        fail(ShapeError, f"scatter_add: axis {axis} has no element to add to", str(base.type))
    shape = (*base.shape[:axis], *index.shape, *base.shape[axis + 1 :])
    rows = broadcast_to_shape(added, shape, "scatter_add: the values")
    first = range(axis, axis + index.ndim)
    rows = transpose(rows, [*first, *(k for k in range(len(shape)) if k not in first)])
    return base + moveaxis(apply(ScatterAdd(0, base.shape[axis]), rows, index), 0, axis)
