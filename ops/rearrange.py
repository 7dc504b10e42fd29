"""Functions that take an array apart, or put it together again in another order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from staticflow.dims import AnyDim
from staticflow.errors import ShapeError, fail
from staticflow.graph import Node
from staticflow.op import Kind
from staticflow.ops.assemble import concatenate
from staticflow.ops.coerce import broadcast_to_shape
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, node_of, reshape, swapaxes
from staticflow.ops.slices import flip_axis, slice_axis
from staticflow.types import Shape, normalise_axis


def _with(shape: Shape, axis: int, size: AnyDim) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


@public(Kind.VIEW)
def split(x: Any, sections: Any, axis: int = 0) -> list[Node]:
    """Parts of x along an axis: that many equal ones, or between the given positions."""
    node = node_of(x)
    axis = normalise_axis(axis, node.ndim, "split")
    size = node.shape[axis]
    if isinstance(sections, int):
        if not isinstance(size, int) or not sections or size % sections:
            fail(
                ShapeError,
                f"split: axis {axis} does not divide into {sections} equal parts",
                got=str(node.type),
                do="give the positions at which to split",
            )
        sections = range(size // sections, size, size // sections)
    edges: list[AnyDim] = [0, *sections, size]
    return [slice_axis(node, axis, a, b) for a, b in pairwise(edges)]


@public(Kind.VIEW)
def vsplit(x: Any, sections: Any) -> list[Node]:
    """Parts of x along the first axis, as of `split`."""
    return split(x, sections, 0)


@public(Kind.VIEW)
def hsplit(x: Any, sections: Any) -> list[Node]:
    """Parts of x along the second axis, or the first of a vector, as of `split`."""
    node = node_of(x)
    return split(node, sections, 0 if node.ndim == 1 else 1)


@public(Kind.VIEW)
def dsplit(x: Any, sections: Any) -> list[Node]:
    """Parts of x along the third axis, as of `split`."""
    return split(x, sections, 2)


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
def roll(x: Any, shift: int, axis: int | None = None) -> Node:
    """x moved on by `shift` along an axis, what leaves at the end coming in at the start."""
    node = node_of(x)
    if axis is None:
        return reshape(roll(reshape(node, (-1,)), shift, 0), node.shape)
    axis = normalise_axis(axis, node.ndim, "roll")
    size = node.shape[axis]
    shift = shift % size if isinstance(size, int) and size else shift
    if shift == 0 or size == 0:
        return node
    cut = size - shift if shift > 0 else -shift
    return concatenate([slice_axis(node, axis, cut, size), slice_axis(node, axis, 0, cut)], axis)


@public(Kind.VIEW)
def repeat(x: Any, repeats: int, axis: int | None = None) -> Node:
    """Each element `repeats` times along an axis; of all elements in order if axis is None."""
    node = node_of(x)
    if axis is None:
        return repeat(reshape(node, (-1,)), repeats, 0)
    axis = normalise_axis(axis, node.ndim, "repeat")
    wide = (*node.shape[: axis + 1], repeats, *node.shape[axis + 1 :])
    shape = _with(node.shape, axis, node.shape[axis] * repeats)
    return reshape(broadcast_to_shape(expand_dims(node, axis + 1), wide, "repeat"), shape)


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
