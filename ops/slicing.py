"""Indexing with square brackets: integers, slices, None, Ellipsis, and integer arrays or nodes.

    x[1:, -1]      a view             x[ids]            rows at run-time indices
    x[..., None]   an inserted axis   x[rows, columns]  one element for each pair of indices

Bounds of a named axis are taken as they are: `x[:, :-1]` over `time` has size `time - 1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.dims import AnyDim, product
from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph import Node, apply
from staticflow.op import Kind
from staticflow.ops.coerce import broadcast, integral
from staticflow.ops.compare import less, where
from staticflow.ops.counting import SizeOf
from staticflow.ops.indexing import take
from staticflow.ops.public import public
from staticflow.ops.shape import reshape
from staticflow.ops.slices import slice_axis
from staticflow.ops.views import Expand, Squeeze


@public(Kind.VIEW, "getitem")
def getitem(x: Node, index: Any) -> Node:
    """x[index]: integers, slices, None and Ellipsis make a view; integer arrays make a gather."""
    entries = _complete(x, index if isinstance(index, tuple) else (index,))
    dropped: list[int] = []
    inserted: list[int] = []
    gathers: dict[int, Node] = {}
    axis = position = 0
    for entry in entries:
        if entry is None:
            inserted.append(position)
            position += 1
            continue
        if isinstance(entry, slice):
            x = _slice(x, axis, entry)
        elif _is_integer(entry):
            x = _element(x, axis, int(entry))
            dropped.append(axis)
            position -= 1
        else:
            gathers[axis - len(dropped)] = _index_node(entry)
        axis, position = axis + 1, position + 1
    x = apply(Squeeze(tuple(dropped)), x) if dropped else x
    if gathers and inserted:
        fail(
            GraphError,
            "indexing: None beside an index array is not supported",
            do="insert the axis afterwards with [..., None]",
        )
    x = _gather(x, gathers) if gathers else x
    return apply(Expand(tuple(inserted)), x) if inserted else x


def _complete(x: Node, index: tuple[Any, ...]) -> list[Any]:
    """The index with its Ellipsis, or its end, filled up by full slices."""
    used = sum(1 for entry in index if entry is not None and entry is not Ellipsis)
    dots = [k for k, entry in enumerate(index) if entry is Ellipsis]
    if len(dots) > 1 or used > x.ndim:
        fail(
            ShapeError,
            "indexing: too many indices" if used > x.ndim else "indexing: more than one Ellipsis",
            got=f"{used} indices for {x.type}",
        )
    split = dots[0] if dots else len(index)
    rest = [slice(None)] * (x.ndim - used)
    return [*index[:split], *rest, *index[split + 1 :]]


def _is_integer(entry: Any) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool | np.bool_)


def _element(x: Node, axis: int, index: int) -> Node:
    size = x.shape[axis]
    if isinstance(size, int) and not -size <= index < size:
        fail(ShapeError, f"indexing: {index} is out of range for axis {axis}", str(x.type))
    start = index if index >= 0 else size + index
    return slice_axis(x, axis, start, start + 1)


def _slice(x: Node, axis: int, bounds: slice) -> Node:
    size = x.shape[axis]
    step = 1 if bounds.step is None else int(bounds.step)
    if step == 0:
        fail(ShapeError, "indexing: a step cannot be 0")
    if isinstance(size, int) and _all_ints(bounds):
        low, high, step = bounds.indices(size)
        high = max(high, low) if step > 0 else min(high, low)
        return slice_axis(x, axis, low, high, step)
    if abs(step) != 1:
        fail(
            ShapeError,
            f"indexing: a step of {step} along axis {axis} needs an integer size",
            got=str(x.type),
            do="reshape the axis into (n, step) and take [:, 0]",
        )
    first: AnyDim = 0 if step > 0 else size - 1
    last: AnyDim = size if step > 0 else -1
    start = first if bounds.start is None else _bound(bounds.start, size)
    stop = last if bounds.stop is None else _bound(bounds.stop, size)
    return slice_axis(x, axis, start, stop, step)


def _all_ints(bounds: slice) -> bool:
    return all(b is None or _is_integer(b) for b in (bounds.start, bounds.stop))


def _bound(bound: Any, size: AnyDim) -> AnyDim:
    """A bound along a named axis; a negative one counts from the end."""
    if _is_integer(bound):
        return int(bound) if bound >= 0 else size + int(bound)
    return bound  # type: ignore[no-any-return]


def _index_node(entry: Any) -> Node:
    if (entry.dtype if isinstance(entry, Node) else np.asarray(entry).dtype.name) == "bool":
        fail(
            GraphError,
            "indexing: the size of a selection by a mask is not known when the graph is declared",
            do="use ops.where to keep the shape",
        )
    return integral("indexing: the index", entry)


def _gather(x: Node, gathers: dict[int, Node]) -> Node:
    """Take at index arrays along neighbouring axes, which are merged into one."""
    axes = sorted(gathers)
    first, last = axes[0], axes[-1]
    if axes != list(range(first, last + 1)):
        fail(
            GraphError,
            "indexing: index arrays must stand next to each other",
            got=f"index arrays for axes {axes}",
            do="move the axes together with ops.moveaxis",
        )
    indices = broadcast("indexing", [gathers[axis] for axis in axes])
    if len(axes) == 1:
        return take(x, indices[0], first)
    flat: Node | None = None
    for axis, index in zip(axes, indices, strict=True):
        size = apply(SizeOf(x.shape[axis], index.dtype))
        inside = where(less(index, 0), index + size, index)
        flat = inside if flat is None else flat * size + inside
    merged = (*x.shape[:first], product(x.shape[k] for k in axes), *x.shape[last + 1 :])
    return take(reshape(x, merged), flat, first)
