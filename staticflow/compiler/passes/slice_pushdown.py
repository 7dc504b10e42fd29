"""Slices move from results to operands: each part of a value is computed where it is read.

Before: a kernel stores z = x + y, (batch, 4 * hidden); another reads its four gates.
After:  the second adds the gates' parts of x and y itself; z is never stored.

Worth it where slices are all that is read of an elementwise value, and no two of them overlap: then
nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from staticflow.compiler.passes.loop_walk import map_bodies
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Map, View
from staticflow.graph.node import Node, apply
from staticflow.graph.traversal import rebuild, toposort, with_inputs

Region = tuple[tuple[AnyDim, AnyDim], ...]  # the bounds along each axis
MOST = 16  # slices of one value: every two of them are compared


def narrow(roots: Sequence[Node]) -> list[Node]:
    """Move slices to operands, here and in the bodies of loops."""
    return _narrowed(map_bodies(roots, lambda op, body: _narrowed(body)))


def _narrowed(roots: Sequence[Node]) -> list[Node]:
    found = list(roots)
    while values := _in_parts(found):

        def move(node: Node, inputs: tuple[Node, ...], values: set[Node] = values) -> Node:
            if node.inputs and node.inputs[0] in values:
                return _part(node, inputs[0])
            return with_inputs(node, inputs)

        found = rebuild(found, move)
    return found


def _in_parts(roots: Sequence[Node]) -> set[Node]:
    """The elementwise values of which only separate slices are read."""
    slices: dict[Node, list[Region]] = {}
    others = set(roots)
    for node in toposort(roots):
        region = node.op.region(node.inputs[0].shape) if isinstance(node.op, View) else None
        if region is None:
            others.update(node.inputs)
        else:
            slices.setdefault(node.inputs[0], []).append(region)
    return {
        node
        for node, parts in slices.items()
        if node not in others and _is_elementwise(node) and _are_separate(parts)
    }


def _is_elementwise(node: Node) -> bool:
    return isinstance(node.op, Map) and all(
        x.ndim == 0 or x.shape == node.shape for x in node.inputs
    )


def _are_separate(parts: Sequence[Region]) -> bool:
    if len(parts) > MOST:
        return False
    return all(any(map(_apart, a, b)) for a, b in combinations(parts, 2))


def _apart(a: tuple[AnyDim, AnyDim], b: tuple[AnyDim, AnyDim]) -> bool:
    """Whether one is known to end along an axis before the other begins."""
    gaps = (b[0] - a[1], a[0] - b[1])
    return any(isinstance(gap, int) and gap >= 0 for gap in gaps)


def _part(node: Node, whole: Node) -> Node:
    """The slice of an elementwise value, as that value of slices."""
    parts = (x if x.ndim == 0 else apply(node.op, x, where=node.where) for x in whole.inputs)
    return apply(whole.op, *parts, where=whole.where)
