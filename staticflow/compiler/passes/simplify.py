"""Simplify a graph: share equal nodes, fold constants, apply rewrite rules, drop what is unused.

    %3 = multiply(%1, %2)   %4 = multiply(%1, %2)   %5 = add(%3, 0)   %6 = subtract(%4, -(-%5))
->  %3 = multiply(%1, %2)   %6 = subtract(%3, %3)

The graph is rebuilt from its leaves on. Each node is INTERNED: the first with an op and inputs
stands for all. Then the rules for its op are tried; what one puts in its place is settled in the
same way, until no rule applies. The rules are a table (`rewriting`) that ops fill.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from staticflow.errors import attributed
from staticflow.graph.kinds import Map
from staticflow.graph.leaves import Const, Hyper, fold, is_scalar_const
from staticflow.graph.node import Node, operator
from staticflow.graph.rewriting import REWRITES
from staticflow.graph.traversal import rebuild, with_inputs
from staticflow.graph.types import Shape


def resolve_mode(roots: Sequence[Node], training: bool) -> list[Node]:
    """Choose at every op that selects what training, or what inference computes."""

    def choose(node: Node, inputs: tuple[Node, ...]) -> Node:
        chosen = node.op.select(training)
        return with_inputs(node, inputs) if chosen is None else inputs[chosen]

    return rebuild(roots, choose)


def simplify(roots: Sequence[Node]) -> list[Node]:
    """The same values by fewer nodes. Simplifying again changes nothing."""
    interned: dict[Hashable, Node] = {}
    settled: dict[Node, Node] = {}
    became: dict[Node, Node] = {}  # by a rule, and not settled yet
    stack = list(reversed(roots))
    while stack:
        node = stack[-1]
        needed = (became[node],) if node in became else node.inputs
        waiting = [x for x in needed if x not in settled]
        if waiting:
            stack += reversed(waiting)
            continue
        stack.pop()
        if node in became:
            settled[node] = settled[became[node]]
        elif node not in settled:
            own = with_inputs(node, tuple(settled[x] for x in node.inputs))
            own = interned.setdefault(_identity(own), own)
            simpler = None if own in settled else _rewrite(own)
            if simpler is None:
                settled[node] = settled.setdefault(own, own)
            else:
                became[node] = became[own] = simpler
                stack += [node, own]
    return [settled[root] for root in roots]


def _identity(node: Node) -> Hashable:
    """What two nodes must share to be one: a leaf is itself only, but for scalar constants and the
    values that a session sets.
    """
    if isinstance(node.op, Const) and is_scalar_const(node):
        return ("const", node.dtype, node.op.value.tobytes())
    if isinstance(node.op, Hyper):
        return ("hyper", node.op.label)
    return (node.op, node.inputs)


def _rewrite(node: Node) -> Node | None:
    """What the first rule that applies makes of a node, of the node's type."""
    op = node.op
    with attributed(node.where):
        if isinstance(op, Map) and all(is_scalar_const(x) for x in node.inputs):
            return fold(op, node.inputs)
        for rule in (*REWRITES.get(op.name, ()), *REWRITES.get(op.kind, ())):
            simpler = rule.rewrite(node)
            if simpler is not None:
                result = _repeated(simpler, node.shape)
                assert result.type == node.type, f"{rule.reason}: {simpler} for {node}"
                return result
    return None


def _repeated(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else operator("broadcast_to")(x, shape)
