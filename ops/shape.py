"""Functions that rearrange axes; all but an uneven reshape are views and cost nothing."""

from __future__ import annotations

from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import AnyDim, divide, product
from staticflow.graph.kinds import Map
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.types import Shape, as_dtype, as_shape, normalise_axes, normalise_axis
from staticflow.ops.cast import CASTS, cast
from staticflow.ops.coerce import as_nodes, broadcast_to_shape, met
from staticflow.ops.public import public
from staticflow.ops.views import Expand, Reshape, Squeeze, Transpose


def node_of(x: Any) -> Node:
    """`x` as a node."""
    return as_nodes([x])[0]


@public(Kind.MAP, "astype")
def astype(x: Any, dtype: Any) -> Node:
    """x converted to `dtype`: towards zero from float to integer, `x != 0` to bool."""
    node, target = node_of(x), as_dtype(dtype)
    if node.weak is not None and node.dtype == target:
        return apply(Map(CASTS[target]), node)  # as it is from now on, whatever it meets
    return cast(met(node, target), target)


@public(Kind.VIEW, "transpose")
def transpose(x: Any, axes: Any = None) -> Node:
    """x with its axes in the order `axes`, reversed by default."""
    node = node_of(x)
    perm = tuple(range(node.ndim))[::-1]
    if axes is not None:
        perm = tuple(normalise_axis(axis, node.ndim, "transpose") for axis in axes)
    if sorted(perm) != list(range(node.ndim)):
        fail(
            ShapeError,
            "transpose: axes must name every axis once",
            got=f"axes {axes} for {node.type}",
        )
    return node if perm == tuple(range(node.ndim)) else apply(Transpose(perm), node)


@public(Kind.VIEW)
def swapaxes(x: Any, axis1: int, axis2: int) -> Node:
    """x with two axes exchanged."""
    node = node_of(x)
    perm = list(range(node.ndim))
    first, second = (normalise_axis(axis, node.ndim, "swapaxes") for axis in (axis1, axis2))
    perm[first], perm[second] = perm[second], perm[first]
    return transpose(node, perm)


@public(Kind.VIEW)
def moveaxis(x: Any, source: Any, destination: Any) -> Node:
    """x with axis `source` moved to position `destination`, or several; the others keep their
    order.
    """
    node = node_of(x)
    moved, places = (_axis_list(node, axes) for axes in (source, destination))
    if len(moved) != len(places):
        fail(ShapeError, "moveaxis: needs a position for each axis", f"{source} to {destination}")
    perm = [axis for axis in range(node.ndim) if axis not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        perm.insert(place, axis)
    return transpose(node, perm)


def _axis_list(x: Node, axes: Any) -> list[int]:
    entries = axes if isinstance(axes, tuple | list) else (axes,)
    found = [normalise_axis(axis, x.ndim, "moveaxis") for axis in entries]
    if len(set(found)) != len(found):
        fail(ShapeError, "moveaxis: an axis is given twice", got=str(axes))
    return found


@public(Kind.VIEW)
def expand_dims(x: Any, axis: Any) -> Node:
    """x with axes of size 1 inserted at positions `axis` of the result."""
    node = node_of(x)
    entries = axis if isinstance(axis, tuple | list) else (axis,)
    axes = normalise_axes(tuple(entries), node.ndim + len(entries), "expand_dims")
    return apply(Expand(axes), node) if axes else node


@public(Kind.VIEW)
def squeeze(x: Any, axis: Any = None) -> Node:
    """x without the given axes of size 1, by default without all that are known to be 1."""
    node = node_of(x)
    axes = tuple(k for k, n in enumerate(node.shape) if n == 1)
    if axis is not None:
        axes = normalise_axes(axis, node.ndim, "squeeze")
    wide = [k for k in axes if node.shape[k] != 1]
    if wide:
        fail(
            ShapeError,
            f"squeeze: axis {wide[0]} has size {node.shape[wide[0]]}",
            got=str(node.type),
            do="squeeze axes of size 1 only, or index the axis with [..., 0]",
        )
    return apply(Squeeze(axes), node) if axes else node


@public(Kind.VIEW, "broadcast_to")
def broadcast_to(x: Any, shape: Any) -> Node:
    """x repeated to `shape` along missing axes and axes of size 1."""
    return broadcast_to_shape(node_of(x), as_shape(shape), "broadcast_to")


@public(Kind.VIEW, "reshape")
def reshape(x: Any, shape: Any, order: str = "C") -> Node:
    """x with its elements, in row-major order, in another shape; one size may be -1.

    With order "F", elements are read and placed with the first index changing fastest.
    """
    node = node_of(x)
    if _is_reversed("reshape", order):
        entries = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        return transpose(reshape(transpose(node), entries[::-1]))
    target = _target_shape(node, shape)
    if target == node.shape:
        return node
    narrow = tuple(k for k, n in enumerate(node.shape) if n == 1)
    if narrow:
        node = apply(Squeeze(narrow), node)
    wide = tuple(n for n in target if n != 1)
    if wide != node.shape:
        node = apply(Reshape(wide, _groups(node.shape, wide)), node)
    ones = tuple(k for k, n in enumerate(target) if n == 1)
    return apply(Expand(ones), node) if ones else node


@public(Kind.VIEW)
def ravel(x: Any, order: str = "C") -> Node:
    """The elements in row-major order as a vector; in column-major order with order "F"."""
    node = transpose(x) if _is_reversed("ravel", order) else node_of(x)
    return reshape(node, (product(node.shape),))


def _is_reversed(what: str, order: str) -> bool:
    """Whether the first index changes fastest."""
    if order not in ("C", "F"):
        fail(
            ShapeError,
            f"{what}: order is 'C' or 'F'",
            got=repr(order),
            do="choose one: a node has no order in memory that 'A' or 'K' could mean",
        )
    return order == "F"


def _target_shape(x: Node, shape: Any) -> Shape:
    """The wanted shape with -1 filled in; the number of elements must agree."""
    entries = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    open_axes = [k for k, n in enumerate(entries) if isinstance(n, int) and n == -1]
    total = product(x.shape)
    known = as_shape(tuple(n for k, n in enumerate(entries) if k not in open_axes))
    rest: AnyDim | None = divide(total, product(known)) if len(open_axes) == 1 else 1
    if len(open_axes) > 1 or rest is None or (not open_axes and product(known) != total):
        fail(
            ShapeError,
            "reshape: the number of elements differs",
            got=f"{x.type} to ({', '.join(map(str, entries))})",
            do=f"give sizes whose product is {total}; one of them may be -1",
        )
    sizes = iter(known)
    return tuple(rest if k in open_axes else next(sizes) for k in range(len(entries)))


def _groups(old: Shape, new: Shape) -> tuple[tuple[int, int], ...]:
    """Pair the shortest runs of axes with equal products; no entry is 1."""
    groups: list[tuple[int, int]] = []
    first = done = 0
    while first < len(old) or done < len(new):
        run = _first_run(old[first:], new[done:])
        groups.append(run)
        first, done = first + run[0], done + run[1]
    return tuple(groups)


def _first_run(old: Shape, new: Shape) -> tuple[int, int]:
    taken = given = 1
    while product(old[:taken]) != product(new[:given]):
        left, right = product(old[:taken]), product(new[:given])
        if given < len(new) and _is_below(right, left):
            given += 1
        elif taken < len(old) and _is_below(left, right):
            taken += 1
        else:
            return len(old), len(new)
    return (len(old), len(new)) if 0 in old + new else (taken, given)


def _is_below(a: AnyDim, b: AnyDim) -> bool:
    """Whether `a` needs more factors to become `b`, as far as the names tell."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    return divide(b, a) is not None
