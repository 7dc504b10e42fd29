"""Compute a result that no kernel reads as soon as its operands are there.

    dW2 = h1.T @ dz2      h1 and dz2 are in the cache now, and their memory is free for dz1
    dh1 = dz2 @ W2.T

In a training step these are the gradients of the weights. Otherwise all of them would come last,
and every activation and every gradient of one would have to be kept until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.lowering.fusion import Group
from staticflow.graph.kinds import Part
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import through_views


def results_early(groups: Sequence[Group]) -> list[Group]:
    """The groups in another order that keeps operands before their users."""
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    operands = [
        {home[root] for n in group.nodes for root in _roots(n) if root in home} - {i}
        for i, group in enumerate(groups)
    ]
    used = set().union(*operands) if operands else set()
    behind: dict[int, list[Group]] = {}
    for i, group in enumerate(groups):
        if _moves(group, i, operands, used):
            behind.setdefault(max(operands[i]), []).append(group)
    ordered: list[Group] = []
    for i, group in enumerate(groups):
        if not _moves(group, i, operands, used):
            ordered += [group, *behind.get(i, [])]
    return ordered


def _roots(node: Node) -> list[Node]:
    """What a node reads, behind views; a value of a loop is the loop's."""
    roots = [through_views(x)[0] for x in node.inputs]
    return [root.inputs[0] if isinstance(root.op, Part) else root for root in roots]


def _moves(group: Group, i: int, operands: Sequence[set[int]], used: set[int]) -> bool:
    return group.kind is Kind.CONTRACT and i not in used and bool(operands[i])
