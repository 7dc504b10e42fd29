"""Checks on what a session is given: losses that are scalars, labels and indices that are in range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.dims import AnyDim
from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph import Input, Node, toposort
from staticflow.op import Kind

Array = NDArray[Any]


@dataclass(frozen=True)
class IndexLimit:
    """The values of an input must be at least `low` and below `high`."""

    name: str
    low: int
    high: int
    used_by: Node


def check_loss(loss: Any, what: str = "the loss") -> None:
    """Refuse anything but a float scalar node."""
    if not isinstance(loss, Node):
        fail(GraphError, f"{what} must be a node", got=type(loss).__name__)
    if loss.shape != ():
        fail(
            ShapeError,
            f"{what} must be a scalar",
            got=str(loss.type),
            do="take its mean or sum",
        )
    if not loss.type.is_float:
        fail(DTypeError, f"{what} must be a float", got=str(loss.type))


def index_limits(outputs: Sequence[Node]) -> list[IndexLimit]:
    """The ranges that labels and indices must keep, for inputs that are used as such directly."""
    limits: dict[tuple[str, int, int], IndexLimit] = {}
    for node in toposort(outputs):
        for x, low, high in _bounds(node):
            source = _source(x)
            if isinstance(source.op, Input) and isinstance(high, int):
                limits[(source.name, low, high)] = IndexLimit(source.name, low, high, node)
    return list(limits.values())


def _bounds(node: Node) -> list[tuple[Node, int, AnyDim]]:
    op: Any = node.op
    if node.op.kind is Kind.ALIAS and hasattr(op, "limit"):
        return [(node.inputs[0], 0, op.limit)]
    if node.op.kind is Kind.GATHER:
        size = node.inputs[0].shape[op.axis]
        return [(node.inputs[1], -size if isinstance(size, int) else 0, size)]
    return []


def _source(node: Node) -> Node:
    """Where index values come from, through views and casts."""
    while node.op.kind in (Kind.VIEW, Kind.ALIAS) or node.op.name == "astype":
        node = node.inputs[0]
    return node


def check_indices(limits: Sequence[IndexLimit], arrays: Mapping[str, Array]) -> None:
    """Refuse indices out of range, naming the first."""
    for limit in limits:
        array = arrays.get(limit.name)
        if array is None or array.size == 0:
            continue
        if array.min() >= limit.low and array.max() < limit.high:
            continue
        bad = np.argwhere((array < limit.low) | (array >= limit.high))[0]
        position = tuple(int(i) for i in bad)
        fail(
            GraphError,
            f"input {limit.name!r}: an index is out of range 0..{limit.high - 1}",
            got=f"{array[position]} at position {position}",
            do=f"check the labels; they are used at {limit.used_by.where}",
        )
