"""Simplify a graph: share equal nodes, fold constants, apply rewrite rules, drop what is unused.

    %3 = multiply(%1, %2)   %4 = multiply(%1, %2)   %5 = add(%3, 0)   %6 = subtract(%4, -(-%5))
->  %3 = multiply(%1, %2)   %6 = subtract(%3, %3)

The graph is rebuilt from its leaves on. Each node is INTERNED: the first with an op and inputs
stands for all. Then the rules for its op are tried; what one puts in its place is settled in the
same way, until no rule applies. The rules themselves are a table in `staticflow.ops.rewrites`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from staticflow.errors import attributed
from staticflow.kinds import Map
from staticflow.leaves import Const, Hyper
from staticflow.node import Kind, Node
from staticflow.ops.alias import ByMode
from staticflow.ops.coerce import fold, is_scalar_const, stretch
from staticflow.ops.rewrites import RULES
from staticflow.ops.rules import Rule
from staticflow.traversal import rebuild, with_inputs


def resolve_mode(roots: Sequence[Node], training: bool) -> list[Node]:
    """Choose at every ByMode what training, or what inference computes."""

    def choose(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, ByMode):
            return inputs[node.op.select(training)]
        return with_inputs(node, inputs)

    return rebuild(roots, choose)


def simplify(roots: Sequence[Node]) -> list[Node]:
    """The same values by fewer nodes. Simplifying again changes nothing."""
    rules = _by_head(RULES)
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
            simpler = None if own in settled else _rewrite(own, rules)
            if simpler is None:
                settled[node] = settled.setdefault(own, own)
            else:
                became[node] = became[own] = simpler
                stack += [node, own]
    return [settled[root] for root in roots]


def _by_head(rules: Sequence[Rule]) -> dict[str | Kind, list[Rule]]:
    table: dict[str | Kind, list[Rule]] = {}
    for rule in rules:
        table.setdefault(rule.head, []).append(rule)
    return table


def _identity(node: Node) -> Hashable:
    """What two nodes must share to be one: a leaf is itself only, but for scalar constants and the
    values that a session sets.
    """
    if isinstance(node.op, Const) and is_scalar_const(node):
        return ("const", node.dtype, node.op.value.tobytes())
    if isinstance(node.op, Hyper):
        return ("hyper", node.op.label)
    return (node.op, node.inputs)


def _rewrite(node: Node, rules: Mapping[str | Kind, Sequence[Rule]]) -> Node | None:
    """What the first rule that applies makes of a node, of the node's type."""
    op = node.op
    with attributed(node.where):
        if isinstance(op, Map) and all(is_scalar_const(x) for x in node.inputs):
            return fold(op, node.inputs)
        for rule in (*rules.get(op.name, ()), *rules.get(op.kind, ())):
            simpler = rule.rewrite(node)
            if simpler is not None:
                simpler = stretch(simpler, node.shape)
                assert simpler.type == node.type, f"{rule.reason}: {simpler} for {node}"
                return simpler
    return None
