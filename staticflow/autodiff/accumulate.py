"""The two sweeps over a graph: cotangents from its outputs back, tangents from its inputs forward.

Reverse mode walks the graph from `ys` backwards and adds up, for every node between `wrt` and `ys`,
the cotangents that its users give it. Nodes that do not depend on `wrt` are never visited. What
several passes share, such as a scalar operand's cotangent being a sum, is handled here and in no
rule of an op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from staticflow.errors import attributed
from staticflow.graph.kinds import Part
from staticflow.graph.leaves import Input
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.traversal import toposort
from staticflow.graph.types import TensorType
from staticflow.ops import broadcast_to, zeros

Gathered = dict[int, Node]  # the cotangents of an op's outputs, by their number


def pull_back(ys: Sequence[Node], gs: Sequence[Node], wrt: Sequence[Node]) -> list[Node]:
    """Cotangents of `wrt`, given those of `ys`: zeros where a node does not reach."""
    found = cotangents_of(wrt, ys, gs)
    return [zeros(x.shape, x.dtype) if g is None else g for x, g in zip(wrt, found, strict=True)]


def cotangents_of(wrt: Sequence[Node], ys: Sequence[Node], gs: Sequence[Node]) -> list[Node | None]:
    """Cotangents of `wrt`, given those of `ys`: None where a node does not reach."""
    order = toposort(ys)
    active = _reached_from(wrt, order)
    cotangents: dict[Node, Any] = {}
    for y, g in zip(ys, gs, strict=True):
        _accumulate(cotangents, y, g)
    for node in reversed(order):
        if node in active and node in cotangents and node.inputs:
            with attributed(node.where):
                _pull_through(node, active, cotangents)
    return [cotangents.get(x) for x in wrt]


def _pull_through(node: Node, active: set[Node], cotangents: dict[Node, Any]) -> None:
    """Hand a node's cotangent on to its inputs."""
    if isinstance(node.op, Part):
        gathered: Gathered = cotangents.setdefault(node.inputs[0], {})
        _accumulate(gathered, node.op.index, cotangents[node])
        return
    g = cotangents[node]
    if isinstance(node.type, tuple):
        g = tuple(g[k] if k in g else zeros(t.shape, t.dtype) for k, t in enumerate(node.type))
    for x, cotangent in zip(node.inputs, node.op.vjp(g, node, *node.inputs), strict=True):
        if cotangent is not None and x in active:
            # A scalar constant that was used for every element collects from all of them.
            _accumulate(cotangents, x, cotangent.sum() if cotangent.ndim > x.ndim else cotangent)


def _accumulate(sums: dict[Any, Any], key: Any, term: Node) -> None:
    sums[key] = sums[key] + term if key in sums else term


def _reached_from(wrt: Sequence[Node], order: Sequence[Node]) -> set[Node]:
    """The nodes of `order` that depend on `wrt` through floats."""
    active = set(wrt)
    for node in order:
        if is_float(node) and any(x in active for x in node.inputs):
            active.add(node)
    return active


def is_float(node: Node) -> bool:
    """Whether a node, or one of its several outputs, has derivatives."""
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return any(t.is_float for t in types)


def push_forward(ys: Sequence[Node], wrt: Sequence[Node], ts: Sequence[Node]) -> list[Node]:
    """Tangents of `ys`, given those of `wrt`: zeros where `wrt` does not reach."""
    order = toposort(ys)
    active = _reached_from(wrt, order)
    given: dict[Node, Node] = {}
    for x, t in zip(wrt, ts, strict=True):
        _accumulate(given, x, t)
    tangents: dict[Node, Any] = {}
    for node in order:
        if node not in active:
            continue
        with attributed(node.where):
            tangent = _push_through(node, tangents)
        if node in given:
            tangent = given[node] if tangent is None else tangent + given[node]
        if tangent is not None:
            tangents[node] = tangent
    return [tangents[y] if y in tangents else zeros(y.shape, y.dtype) for y in ys]


def _push_through(node: Node, tangents: Mapping[Node, Any]) -> Any:
    """The tangent of a node, given those of its inputs; None for zero."""
    moved: list[Any] = [tangents.get(x) for x in node.inputs]
    if all(t is None for t in moved):
        return None
    if isinstance(node.op, Part):
        return moved[0][node.op.index]
    if node.op.kind is Kind.MAP:
        # A scalar constant among arrays moves every element alike.
        moved = [None if t is None else broadcast_to(t, node.shape) for t in moved]
    tangent = node.op.jvp(moved, node, *node.inputs)
    return _by_transposition(node, moved) if tangent is NotImplemented else tangent


def _by_transposition(node: Node, moved: Sequence[Any]) -> Any:
    """J @ t as the transpose of g -> g @ J, which is linear in a stand-in for g."""
    several = isinstance(node.type, tuple)
    types: tuple[TensorType, ...] = node.type if several else (node.type,)
    stand_ins = [apply(Input("cotangent", t)) for t in types]
    g = tuple(stand_ins) if several else stand_ins[0]
    backward = node.op.vjp(g, node, *node.inputs)
    pairs = zip(backward, moved, strict=True)
    linked = [(c, t) for c, t in pairs if c is not None and t is not None]
    forward = pull_back([c for c, _ in linked], [t for _, t in linked], stand_ins)
    return tuple(forward) if several else forward[0]
