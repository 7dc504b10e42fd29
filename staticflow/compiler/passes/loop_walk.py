"""Walk into the bodies of loops, and rebuild them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticflow.graph.kinds import Part
from staticflow.graph.loop_op import Loop, body_input
from staticflow.graph.node import Node
from staticflow.graph.traversal import rebuild, toposort, with_inputs


def map_bodies(
    roots: Sequence[Node], change: Callable[[Any, Sequence[Node]], Sequence[Node]]
) -> list[Node]:
    """Rebuild every loop, inner ones first, with the bodies that `change(op, outputs)` gives."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        op = node.op
        regions = [list(change(op, map_bodies(region, change))) for region in op.regions]
        return Node(op.renewed(op.body_inputs, regions), inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def separate_bodies(roots: Sequence[Node]) -> list[Node]:
    """Give every body nodes of its own, so that each can be placed in memory by itself."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        op = node.op
        fresh = {s: body_input(s.name, s.type) for s in op.body_inputs}
        regions = [_copied(separate_bodies(region), fresh) for region in op.regions]
        new = op.renewed([fresh[s] for s in op.body_inputs], regions)
        return Node(new, inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def _copied(roots: Sequence[Node], fresh: dict[Node, Node]) -> list[Node]:
    new = dict(fresh)
    for node in toposort(roots):
        if node not in new:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, inputs, node.type, node.where, node.label)
    return [new[root] for root in roots]


def rebuild_loops(
    roots: Sequence[Node],
    outputs_of: Callable[[Node, tuple[Node, ...]], Sequence[Node | None]],
) -> list[Node]:
    """Rebuild a graph with other nodes for the outputs of its loops; None where nobody reads."""
    made: dict[Node, Sequence[Node | None]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and node.inputs[0] in made:
            output = made[node.inputs[0]][node.op.index]
            assert output is not None
            return output
        if isinstance(node.op, Loop):
            made[node] = outputs_of(node, inputs)
        return with_inputs(node, inputs)

    return rebuild(roots, visit)
