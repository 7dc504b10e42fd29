"""One scan out of those that have one body and equal inputs, as a scan and its derivative have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from staticflow.graph.kinds import Part
from staticflow.graph.leaves import Const
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import rebuild, toposort, with_inputs


def merge_scans(roots: Sequence[Node]) -> list[Node]:
    """Make one scan of those that have one body and equal inputs, with all their ys."""
    order = toposort(roots)
    number = _numbered(order)
    unions: dict[int, dict[Node, None]] = {}
    for node in order:
        if isinstance(node.op, Scan):
            unions.setdefault(number[node], {}).update(dict.fromkeys(node.op.ys))
    merged: dict[int, Node] = {}

    def unite(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
            source = node.inputs[0]
            position = _index_in_union(node.op.index, node.inputs[0].op, unions[number[source]])
            return apply(Part(position), inputs[0], where=node.where)
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        if number[node] not in merged:
            op: Loop = node.op
            if isinstance(op, Scan):
                op = replace(op, ys=tuple(unions[number[node]]))
            inside = op.renewed(op.body_inputs, [merge_scans(region) for region in op.regions])
            merged[number[node]] = apply(inside, *inputs, where=node.where)
        return merged[number[node]]

    return rebuild(roots, unite)


def _index_in_union(index: int, op: Scan, ys: Iterable[Node]) -> int:
    count = len(op.carries)
    return index if index < count else count + list(ys).index(op.ys[index - count])


def _numbered(order: Sequence[Node]) -> dict[Node, int]:
    """A number for each node, equal for equal values; scans of one body and equal inputs count as
    one, however many ys they return.
    """
    numbers: dict[Node, int] = {}
    found: dict[Any, int] = {}
    for node in order:
        numbers[node] = found.setdefault(_identity(node, numbers), len(found))
    return numbers


def _identity(node: Node, numbers: dict[Node, int]) -> Any:
    inputs = tuple(numbers[x] for x in node.inputs)
    if isinstance(node.op, Scan):
        return (id(node.op.origin), node.op.reverse, inputs)
    if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
        op, index = node.inputs[0].op, node.op.index - len(node.inputs[0].op.carries)
        return (Part, inputs, node.op.index if index < 0 else op.ys[index])
    if isinstance(node.op, Const) and node.op.is_scalar:
        return (Const, node.dtype, node.op.value.tobytes())
    return (node.op, inputs)
