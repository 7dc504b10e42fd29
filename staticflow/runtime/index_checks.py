"""Checks of labels and indices: whether what is fed is in range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, evaluate
from staticflow.graph.kinds import Gather, Map, Scatter
from staticflow.graph.leaves import Input
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Kind, Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort
from staticflow.graph.types import INTEGERS

Array = NDArray[Any]


@dataclass(frozen=True)
class IndexLimit:
    """The values of an input must be at least `low` and below `high`.

    Without a name it is about computed indices: these are clamped, which takes an element to
    clamp to.
    """

    name: str | None
    low: AnyDim
    high: AnyDim
    used_by: Node
    steps: tuple[AnyDim, ...] = ()  # of the scans around it

    @property
    def uses(self) -> tuple[AnyDim, ...]:
        """Sizes that are all above 0 if anything is looked up."""
        node = self.used_by
        moved = node if node.op.kind is Kind.GATHER else node.inputs[0]
        return (*moved.shape, *self.steps)


def index_limits(outputs: Sequence[Node]) -> list[IndexLimit]:
    """The ranges that labels and indices must keep, of inputs that are used as such directly, and
    the axes that computed indices look up.
    """
    limits: dict[Any, IndexLimit] = {}
    for node, steps in _with_bodies(outputs, ()):
        for x, low, high in _bounds(node):
            source = _source(x)
            name = source.name if isinstance(source.op, Input) else None
            if name is not None or (
                node.op.kind is not Kind.ALIAS and not (isinstance(high, int) and high)
            ):
                limit = IndexLimit(name, low, high, node, steps)
                limits[(name, low, high, () if name else limit.uses)] = limit
    return list(limits.values())


def _with_bodies(
    outputs: Sequence[Node], steps: tuple[AnyDim, ...]
) -> Iterator[tuple[Node, tuple[AnyDim, ...]]]:
    """All nodes, those of loops' bodies too, with the numbers of steps of the scans around them."""
    for node in toposort(outputs):
        yield node, steps
        if isinstance(node.op, Loop):
            own = (node.op.length,) if isinstance(node.op, Scan) else ()
            yield from _with_bodies(node.op.body, (*steps, *own))


def _bounds(node: Node) -> list[tuple[Node, AnyDim, AnyDim]]:
    op = node.op
    if op.limit_of_labels is not None:
        return [(node.inputs[0], 0, op.limit_of_labels)]
    if isinstance(op, Gather):
        size = node.inputs[0].shape[op.axis]
        return [(node.inputs[1], -size, size)]
    if isinstance(op, Scatter):
        return [(node.inputs[1], -op.size, op.size)]
    return []


def _source(node: Node) -> Node:
    """Where index values come from, through views and from one integer dtype to another."""
    while node.op.kind in (Kind.VIEW, Kind.ALIAS) or _keeps_integers(node):
        node = node.inputs[0]
    return node


def _keeps_integers(node: Node) -> bool:
    """Whether a node has the integers, or the 0 and 1, of its input in another dtype."""
    if not isinstance(node.op, Map) or not node.op.row.converts:
        return False
    return node.dtype in INTEGERS and not node.inputs[0].type.is_float


def check_indices(
    limits: Sequence[IndexLimit], arrays: Mapping[str, Array], env: Mapping[str, int]
) -> None:
    """Refuse indices out of range, naming the first."""
    for limit in limits:
        low, high = evaluate(limit.low, env), evaluate(limit.high, env)
        if limit.name is None:
            _check_table(limit, high, env)
            continue
        array = arrays.get(limit.name)
        if array is None or array.size == 0:
            continue
        if array.min() >= low and array.max() < high:
            continue
        bad = np.argwhere(~((array >= low) & (array < high)))[0]
        position = tuple(int(i) for i in bad)
        fail(
            GraphError,
            f"input {limit.name!r}: an index is out of range 0..{high - 1}",
            got=f"{array[position]} at position {position}",
            do=f"check the labels; they are used at {limit.used_by.where}",
        )


def _check_table(limit: IndexLimit, size: int, env: Mapping[str, int]) -> None:
    node = limit.used_by
    if size == 0 and all(evaluate(n, env) > 0 for n in limit.uses):
        fail(
            GraphError,
            f"{node.op.name}: there is no element to take, or to add to",
            got=f"an axis of size 0 at {node.where}",
            do="feed an array with at least one element along the axis",
        )
