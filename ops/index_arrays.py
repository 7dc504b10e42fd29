"""Index arrays within square brackets: what `getitem` makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import product
from staticflow.graph.leaves import Const
from staticflow.graph.node import Node, apply
from staticflow.ops.arithmetic import clip
from staticflow.ops.coerce import broadcast, integral
from staticflow.ops.compare import less, where
from staticflow.ops.counting import SizeOf
from staticflow.ops.indexing import check_known, take
from staticflow.ops.shape import reshape, transpose


def is_index_array(entry: Any) -> bool:
    """Whether an entry of an index is an array, a list or a node."""
    return isinstance(entry, Node | np.ndarray | list)


def without_masks(index: tuple[Any, ...], x: Node) -> tuple[Any, ...]:
    """The index with the places of each mask's true elements, an array for each of its axes."""
    entries: list[Any] = []
    axis = 0
    for place, entry in enumerate(index):
        value = None
        if is_index_array(entry) and not isinstance(entry, Node):
            value = np.asarray(entry)
            if not value.size and value.dtype != bool:  # [] would be of floats
                value = value.astype(np.int64)
        if isinstance(entry, Node) and entry.dtype == "bool":
            fail(
                GraphError,
                "indexing: the size of a selection by a mask is not known at declaration",
                do="use ops.where to keep the shape, or a NumPy array as the mask",
            )
        if value is None or value.dtype != bool:
            entries.append(entry if value is None else value)
            axis = x.ndim - _axes_of(index[place + 1 :]) if entry is Ellipsis else axis
            axis += _axes_of((entry,))
            continue
        _check_mask(value, x, axis)
        entries.extend(np.nonzero(value))
        axis += value.ndim
    return tuple(entries)


def _axes_of(entries: tuple[Any, ...]) -> int:
    """How many axes the entries of an index are for."""
    several = {id(e): np.ndim(e) for e in entries if isinstance(e, np.ndarray | list)
               and np.asarray(e).dtype == bool}  # fmt: skip
    return sum(several.get(id(e), e is not None and e is not Ellipsis) for e in entries)


def _check_mask(mask: Any, x: Node, axis: int) -> None:
    covered = x.shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        fail(
            ShapeError,
            "indexing: the mask does not have the sizes of the axes that it is for",
            got=f"{mask.shape} for {x.type}",
            do="give it their sizes, which must be integers",
        )


def gather_at(x: Node, indices: Mapping[int, Any], first: bool) -> Node:
    """The elements of x at index arrays for some axes, which broadcast with each other.

    Their common axes come first, or in the place of the axes that they are for.
    """
    axes = sorted(indices)
    given = [integral("indexing: the index", indices[axis]) for axis in axes]
    for axis, index in zip(axes, given, strict=True):
        check_known("indexing", index, x, axis)
    nodes = broadcast("indexing", given)
    place = 0 if first else axes[0]
    rest = [k for k in range(x.ndim) if k not in axes]
    x = transpose(x, [*rest[:place], *axes, *rest[place:]])
    if len(axes) == 1:
        return take(x, nodes[0], place)
    flat: Node | None = None
    for k, index in enumerate(nodes):
        size = apply(SizeOf(x.shape[place + k], index.dtype))
        inside = where(less(index, 0), index + size, index)
        if not isinstance(index.op, Const):  # beyond one axis is not in the next row
            inside = clip(inside, 0, size - 1)
        flat = inside if flat is None else flat * size + inside
    end = place + len(axes)
    merged = (*x.shape[:place], product(x.shape[place:end]), *x.shape[end:])
    return take(reshape(x, merged), flat, place)
