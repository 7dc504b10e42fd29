"""Values that follow from parameters alone, computed at export: sums of biases, turned weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from staticflow.graph.kinds import View
from staticflow.graph.leaves import Const, Param, State, const
from staticflow.graph.loop_op import substitute
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import leaves, toposort
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array
from staticflow.runtime.interpreter import interpret

_KINDS = (Kind.MAP, Kind.REDUCE, Kind.VIEW, Kind.ALIAS, Kind.CONTRACT, Kind.ASSEMBLE)


def folded(roots: Sequence[Node], values: Mapping[str, Array], given: Sequence[Node]) -> list[Node]:
    """The roots with constants for what parameters, states and constants determine.

    `given` are leaves that others hand over. No constant is larger than what it is computed from.
    """
    order = toposort(roots)
    known: dict[Node, int] = {}  # elements of the leaves that a node is computed from
    for node in order:
        if node in given or not isinstance(node.type, TensorType):
            continue
        if isinstance(node.op, Param | State | Const):
            known[node] = _count(node) or 0
        elif _foldable(node) and all(x in known for x in node.inputs):
            known[node] = sum(known[x] for x in node.inputs)
    wanted = [
        node
        for node in dict.fromkeys(
            x for user in order if user not in known for x in user.inputs if x in known
        )
        if not isinstance(node.op, Param | State | Const) and (_count(node) or 0) <= known[node]
    ]
    if not wanted:
        return list(roots)
    env = {x: values[x.name] for x in leaves(wanted, Param) + leaves(wanted, State)}
    arrays = interpret(wanted, env, training=False)
    return substitute(
        roots, {node: const(a, node.dtype) for node, a in zip(wanted, arrays, strict=True)}
    )


def _foldable(node: Node) -> bool:
    if node.op.kind not in _KINDS or node.op.implicit or not node.inputs:
        return False
    repeats = isinstance(node.op, View) and node.op.repeats
    return not repeats and _count(node) is not None and not node.op.is_random


def _count(node: Node) -> int | None:
    """How many elements there are, if the shape tells."""
    sizes = [n for n in node.shape if isinstance(n, int)]
    return prod(sizes) if len(sizes) == node.ndim else None
