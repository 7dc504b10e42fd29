"""Functions that take an array apart, or put it together again in another order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim, floor_divide
from staticflow.graph.node import Kind, Node
from staticflow.graph.types import Shape, is_whole, normalise_axis
from staticflow.ops.assemble import concatenate
from staticflow.ops.coerce import broadcast_to_shape
from staticflow.ops.indexing import take
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, node_of, reshape, swapaxes
from staticflow.ops.slices import flip_axis, slice_axis


def _with(shape: Shape, axis: int, size: AnyDim) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


@public(Kind.VIEW)
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Node]:
    """Parts of x along an axis: that many equal ones, or between the given positions."""
    node = node_of(x)
    axis = normalise_axis(axis, node.ndim, "split")
    size = node.shape[axis]
    parts = indices_or_sections
    if is_whole(parts):
        if not isinstance(size, int) or parts < 1 or size % parts:
            fail(
                ShapeError,
                f"split: axis {axis} does not divide into {parts} equal parts",
                got=str(node.type),
                do="give the positions at which to split",
            )
        parts = range(size // parts, size, size // parts or 1)
    return _between(node, axis, [0, *parts, size])


@public(Kind.VIEW)
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Node]:
    """Parts of x along an axis as of `split`; where they can't be equal, the first are longer."""
    node = node_of(x)
    axis = normalise_axis(axis, node.ndim, "array_split")
    size, parts = node.shape[axis], indices_or_sections
    if not is_whole(parts) or not isinstance(size, int) or parts < 1:
        return split(node, parts, axis)
    each, longer = divmod(size, parts)
    return _between(node, axis, [k * each + min(k, longer) for k in range(parts + 1)])


def _between(x: Node, axis: int, edges: Sequence[AnyDim]) -> list[Node]:
    """The slices of x between positions; a negative one counts from the end."""
    ahead = (slice(None),) * axis
    last = len(edges) - 1
    stops = [None if k == last else edge for k, edge in enumerate(edges)]
    return [x[(*ahead, slice(a, b))] for a, b in pairwise(stops)]


@public(Kind.VIEW)
def vsplit(x: Any, indices_or_sections: Any) -> list[Node]:
    """Parts of x, of two axes or more, along the first axis, as of `split`."""
    node = node_of(x)
    if node.ndim < 2:
        fail(ShapeError, "vsplit: needs two axes or more", str(node.type), "use ops.split")
    return split(node, indices_or_sections, 0)


@public(Kind.VIEW)
def hsplit(x: Any, indices_or_sections: Any) -> list[Node]:
    """Parts of x along the second axis, or the first of a vector, as of `split`."""
    node = node_of(x)
    return split(node, indices_or_sections, 0 if node.ndim == 1 else 1)


@public(Kind.VIEW)
def dsplit(x: Any, indices_or_sections: Any) -> list[Node]:
    """Parts of x along the third axis, as of `split`."""
    return split(x, indices_or_sections, 2)


@public(Kind.VIEW)
def flip(x: Any, axis: Any = None) -> Node:
    """x backwards along the given axes, by default along all."""
    node = node_of(x)
    axes = range(node.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    for k in axes:
        node = flip_axis(node, normalise_axis(k, node.ndim, "flip"))
    return node


@public(Kind.VIEW)
def flipud(x: Any) -> Node:
    """x backwards along the first axis."""
    return flip(x, 0)


@public(Kind.VIEW)
def fliplr(x: Any) -> Node:
    """x backwards along the second axis."""
    return flip(x, 1)


@public(Kind.VIEW)
def rot90(x: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Node:
    """x turned k times by 90 degrees, from the first of the axes towards the second."""
    node = node_of(x)
    first, second = (normalise_axis(a, node.ndim, "rot90") for a in axes)
    if k % 4 == 2:
        return flip(node, (first, second))
    if k % 4 == 3:
        return flip(swapaxes(node, first, second), second)
    return flip(swapaxes(node, first, second), first) if k % 4 else node


@public(Kind.ASSEMBLE)
def roll(x: Any, shift: Any, axis: Any = None) -> Node:
    """x moved on by `shift` along an axis, or each of several, what leaves at the end coming in at
    the start.
    """
    node = node_of(x)
    if axis is None:
        return reshape(roll(reshape(node, (-1,)), shift, 0), node.shape)
    if isinstance(shift, tuple | list) or isinstance(axis, tuple | list):
        for by, along in zip(*_pairs(shift, axis), strict=True):
            node = roll(node, by, along)
        return node
    if not is_whole(shift) and not isinstance(shift, Dim):
        fail(DTypeError, "roll: a shift is an integer", got=repr(shift))
    axis = normalise_axis(axis, node.ndim, "roll")
    size = node.shape[axis]
    if shift == 0 or size == 0:
        return node
    shift = shift - size * floor_divide(shift, size)  # as shift % size
    if shift == 0:
        return node
    cut = size - shift
    return concatenate([slice_axis(node, axis, cut, size), slice_axis(node, axis, 0, cut)], axis)


def _pairs(shift: Any, axis: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Shifts and axes, of which one may stand for all."""
    shifts, axes = (v if isinstance(v, tuple | list) else (v,) for v in (shift, axis))
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        fail(ShapeError, "roll: needs one shift for each axis", got=f"{shift} and {axis}")
    return list(shifts) * (len(axes) if len(shifts) == 1 else 1), list(axes) * (
        len(shifts) if len(axes) == 1 else 1
    )


@public(Kind.VIEW)
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Node:
    """Each element `repeats` times along an axis, or each as often as its own number says; of all
    elements in order if axis is None.
    """
    node = node_of(x)
    if axis is None:
        return repeat(reshape(node, (-1,)), repeats, 0)
    axis = normalise_axis(axis, node.ndim, "repeat")
    if isinstance(repeats, tuple | list | np.ndarray):
        return _repeat_each(node, np.asarray(repeats), axis)
    wide = (*node.shape[: axis + 1], repeats, *node.shape[axis + 1 :])
    shape = _with(node.shape, axis, node.shape[axis] * repeats)
    return reshape(broadcast_to_shape(expand_dims(node, axis + 1), wide, "repeat"), shape)


def _repeat_each(x: Node, counts: Any, axis: int) -> Node:
    size: Any = x.shape[axis]
    if counts.size == 1:
        return repeat(x, int(counts.reshape(())), axis)
    if counts.shape != (size,) or counts.dtype.kind not in "iu" or (counts < 0).any():
        fail(
            ShapeError,
            f"repeat: needs one number from 0 on for each element along axis {axis}",
            got=f"{counts.tolist()} for {x.type}",
        )
    return take(x, np.repeat(np.arange(size), counts), axis)


@public(Kind.VIEW)
def tile(x: Any, reps: Any) -> Node:
    """The whole of x `reps` times along each axis."""
    node = node_of(x)
    counts = tuple(reps) if isinstance(reps, tuple | list) else (reps,)
    counts = (1,) * (node.ndim - len(counts)) + counts
    node = expand_dims(node, tuple(range(len(counts) - node.ndim)))
    for axis, count in enumerate(counts):
        wide = (*node.shape[:axis], count, *node.shape[axis:])
        shape = _with(node.shape, axis, node.shape[axis] * count)
        node = reshape(broadcast_to_shape(expand_dims(node, axis), wide, "tile"), shape)
    return node
