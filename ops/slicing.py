"""Indexing with square brackets: integers, slices, None, Ellipsis, and index arrays or nodes.

    x[1:, -1]      a view             x[ids]            rows at run-time indices
    x[..., None]   an inserted axis   x[rows, columns]  one element for each pair of indices
    x[mask]        the elements where a NumPy array of booleans is true

Bounds of a named axis are taken as they are: `x[:, :-1]` over `time` has size `time - 1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.types import is_whole
from staticflow.ops.index_arrays import gather_at, is_index_array, without_masks
from staticflow.ops.public import public
from staticflow.ops.slices import slice_axis
from staticflow.ops.views import Expand, Squeeze


@public(Kind.VIEW, "getitem")
def getitem(x: Node, index: Any) -> Node:
    """x[index]: integers, slices, None and Ellipsis make a view; integer arrays, and masks that are
    known at once, make a gather. As in NumPy, index arrays and integers that do not all stand next
    to each other put their axes first.
    """
    given = without_masks(index if isinstance(index, tuple) else (index,), x)
    entries = _complete(x, given)
    dropped: list[int] = []
    inserted: list[int] = []
    gathers: dict[int, Any] = {}
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
        elif is_index_array(entry):
            gathers[position] = entry
        else:
            fail(
                ShapeError,
                "indexing: takes integers, slices, None, Ellipsis, and arrays of them",
                got=repr(entry),
            )
        axis, position = axis + 1, position + 1
    x = apply(Squeeze(tuple(dropped)), x) if dropped else x
    x = apply(Expand(tuple(inserted)), x) if inserted else x
    return gather_at(x, gathers, first=_stand_apart(given)) if gathers else x


def _stand_apart(index: Sequence[Any]) -> bool:
    """Whether there is a slice, None or Ellipsis between integers and index arrays."""
    places = [k for k, entry in enumerate(index) if _is_integer(entry) or is_index_array(entry)]
    return places != list(range(places[0], places[-1] + 1))


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
    for bound in (bounds.start, bounds.stop, bounds.step):
        if not (bound is None or is_whole(bound) or isinstance(bound, Dim)):
            fail(DTypeError, "indexing: bounds of a slice are integers and sizes", repr(bound))
    step = 1 if bounds.step is None else int(bounds.step)
    if step == 0:
        fail(ShapeError, "indexing: a step cannot be 0")
    if isinstance(size, int) and _all_ints(bounds):
        low, high, step = bounds.indices(size)
        if low >= high if step > 0 else low <= high:
            return slice_axis(x, axis, 0, 0)
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
