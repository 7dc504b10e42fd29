"""Walk a graph, rebuild it, ask it: in which order it can be computed, and what nodes reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from staticflow.graph.dims import AnyDim
from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Kind, Node


def toposort(roots: Iterable[Node]) -> list[Node]:
    """All nodes that the roots reach, inputs before their users; without recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    stack: list[tuple[Node, int]] = [(root, 0) for root in reversed(list(roots))]
    while stack:
        node, position = stack.pop()
        if node in done:
            continue
        inputs = node.inputs
        for k in range(position, len(inputs)):
            child = inputs[k]
            if child in done:
                continue
            if child.inputs:
                stack += ((node, k + 1), (child, 0))
                break
            done.add(child)
            order.append(child)
        else:
            done.add(node)
            order.append(node)
    return order


def through_views(node: Node) -> tuple[Node, tuple[Node, ...]]:
    """The node whose elements a chain of views shows, and the views from it on."""
    views: list[Node] = []
    while node.op.kind in (Kind.VIEW, Kind.ALIAS):
        if node.op.kind is Kind.VIEW:
            views.append(node)
        node = node.inputs[0]
    return node, tuple(reversed(views))


def is_loop_part(node: Node) -> bool:
    """Whether a node is an output of a loop."""
    return node.op.kind is Kind.PART and node.inputs[0].op.kind is Kind.LOOP


def is_implicit(node: Node) -> bool:
    """Whether a value needs no buffer: a scalar constant, an index, a size."""
    return node.op.implicit


def is_zero(node: Node) -> bool:
    """Whether a node is an array of zeros, by its form."""
    root, _ = through_views(node)
    return isinstance(root.op, Const) and not np.any(root.op.value)


def rebuild(roots: Sequence[Node], replace: Callable[[Node, tuple[Node, ...]], Node]) -> list[Node]:
    """Rebuild the graph bottom-up: `replace(node, new_inputs)` gives each node's successor."""
    new: dict[Node, Node] = {}
    for node in toposort(roots):
        new[node] = replace(node, tuple(new[x] for x in node.inputs))
    return [new[root] for root in roots]


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node itself if its inputs are unchanged, else its op on the new inputs."""
    if inputs == node.inputs:
        return node
    return Node(node.op, inputs, node.type, node.where, node.label)


def leaves(roots: Iterable[Node], kind: type[Leaf]) -> list[Node]:
    """The leaves of one class, in order of first use."""
    return [node for node in toposort(roots) if isinstance(node.op, kind)]


def dims_of(node: Node) -> Sequence[AnyDim]:
    """The sizes of a node's axes, or of all outputs of an op that has several."""
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return [n for t in types for n in t.shape]


def dependents(sources: Iterable[Node], roots: Sequence[Node]) -> set[Node]:
    """The nodes that depend on any of the sources."""
    found = set(sources)
    for node in toposort(roots):
        if any(x in found for x in node.inputs):
            found.add(node)
    return found
