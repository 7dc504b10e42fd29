"""Arrange the products of a loop's step, so that as few as possible depend on its carries.

    concat([x, h]) @ w                    ->  x @ w[:k] + h @ w[k:]
    h @ u_i, h @ u_f, h @ u_o             ->  z = h @ concat([u_i, u_f, u_o]), and parts of z

The product with x then leaves the loop as one product over all steps, and what is left is one
product a step. This is done when a scan is declared, so that its derivatives inherit it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.traversal import dependents, toposort, with_inputs
from staticflow.ops.assemble import Concat
from staticflow.ops.slices import slice_axis
from staticflow.ops.views import Expand


def arrange_products(
    outputs: Sequence[Node], carries: Sequence[Node], xs: Sequence[Node], following: int
) -> list[Node]:
    """The same step; its first `following` outputs are the next carries."""
    outputs = _split(outputs, carries, xs)
    return _join(outputs, [*carries, *xs], outputs[:following])


def _rebuild_inside(
    outputs: Sequence[Node],
    inside: set[Node],
    change: Callable[[Node, Mapping[Node, Node]], Node | None],
) -> list[Node]:
    """Rebuild the nodes inside a step; `change(node, new)` gives one its successor, or None."""
    new: dict[Node, Node] = {}
    for node in toposort(outputs):
        new[node] = node
        if node in inside and node.inputs:
            changed = change(node, new)
            own = with_inputs(node, tuple(new[x] for x in node.inputs))
            new[node] = own if changed is None else changed
    return [new[node] for node in outputs]


def _inner_axis(side: int) -> int:
    """The axis of a product's operand that is summed over: of the left, and of the right."""
    return 1 - side


def _split(outputs: Sequence[Node], carries: Sequence[Node], xs: Sequence[Node]) -> list[Node]:
    """Split the products of concatenations of which one part needs a carry and another does not."""
    carried = dependents(carries, outputs)
    inside = carried | dependents(xs, outputs)

    def change(node: Node, new: Mapping[Node, Node]) -> Node | None:
        if node.op.kind is not Kind.CONTRACT or node.ndim != 2:
            return None
        for side in (0, 1):
            parts = _parts(node.inputs[side], _inner_axis(side))
            if len({part in carried for part, _ in parts}) > 1:
                return _sum_of_parts(node, side, parts, carried, new)
        return None

    return _rebuild_inside(outputs, inside, change)


def _parts(x: Node, axis: int) -> list[tuple[Node, list[Node]]]:
    """The parts of a concatenation along an axis of a matrix, and the views that make a matrix."""
    root, views = _root(x)
    if not isinstance(root.op, Concat) or len(views) > 1:
        return []
    if views and not (isinstance(views[0].op, Expand) and root.ndim == 1):
        return []
    moved = 1 - views[0].op.axes[0] if views and isinstance(views[0].op, Expand) else root.op.axis
    return [(part, views) for part in root.inputs] if moved == axis else []


def _sum_of_parts(
    node: Node,
    side: int,
    parts: Sequence[tuple[Node, list[Node]]],
    carried: set[Node],
    new: Mapping[Node, Node],
) -> Node:
    """A product for each run of parts that need a carry, and of those that do not."""
    axis = _inner_axis(side)
    other = new[node.inputs[1 - side]]
    start: AnyDim = 0
    total: Node | None = None
    for _, run in groupby(parts, lambda part: part[0] in carried):
        pieces = [_viewed(new[part], views) for part, views in run]
        joined = pieces[0] if len(pieces) == 1 else apply(Concat(axis), *pieces, where=node.where)
        stop = start + joined.shape[axis]
        operands = [joined, slice_axis(other, 1 - axis, start, stop)]
        term = apply(node.op, *(operands if side == 0 else reversed(operands)), where=node.where)
        total = term if total is None else total + term
        start = stop
    assert total is not None
    return total


def _viewed(x: Node, views: Sequence[Node]) -> Node:
    for view in views:
        x = apply(view.op, x, where=view.where)
    return x


@dataclass
class _Family:
    """Products that share their operand on one side, with weights of their own on the other."""

    side: int  # of the shared operand
    weights: list[Node]
    product: Node | None = None

    @property
    def axis(self) -> int:
        """The axis of the result along which the members lie side by side."""
        return 1 - self.side

    def member(self, weight: Node, shared: Node, like: Node) -> Node:
        """One of the products, as a part of the common one."""
        if self.product is None:
            joined = apply(Concat(self.axis), *self.weights, where=like.where)
            pair = (shared, joined) if self.side == 0 else (joined, shared)
            self.product = apply(like.op, *pair, where=like.where)
        start: AnyDim = 0
        for other in self.weights[: self.weights.index(weight)]:
            start = start + other.shape[self.axis]
        return slice_axis(self.product, self.axis, start, start + weight.shape[self.axis])


def _join(
    outputs: Sequence[Node], body_inputs: Sequence[Node], following: Sequence[Node]
) -> list[Node]:
    """Make one product of those of one value with several weights that no step changes."""
    inside = dependents(body_inputs, outputs)
    recurrent, learning = set(toposort(following)), _differentiated(outputs)
    families: dict[Any, _Family] = {}
    home: dict[Node, _Family] = {}
    for node in toposort(outputs):
        if node not in inside or node.op.kind is not Kind.CONTRACT or node.ndim != 2:
            continue
        for side in (0, 1):
            shared, weight = node.inputs[side], node.inputs[1 - side]
            if shared in inside and weight not in inside:
                # What the next carries do not need may be computed behind the loop.
                # What has no derivative stays apart: its weights shall not seem to be learnt.
                key = (side, _place(shared), node in recurrent, node in learning)
                family = families.setdefault(key, _Family(side, []))
                home[node] = family
                if weight not in family.weights:
                    family.weights.append(weight)

    def change(node: Node, new: Mapping[Node, Node]) -> Node | None:
        family = home.get(node)
        if family is None or len(family.weights) < 2:
            return None
        shared, weight = node.inputs[family.side], node.inputs[1 - family.side]
        return family.member(weight, new[shared], node)

    return _rebuild_inside(outputs, inside, change)


def _differentiated(outputs: Sequence[Node]) -> set[Node]:
    """The nodes that a derivative of the outputs may pass through."""
    found = {node for node in outputs if node.type.is_float}
    for node in reversed(toposort(outputs)):
        if node in found and not node.op.stops_derivatives:
            found.update(x for x in node.inputs if isinstance(x.type, tuple) or x.type.is_float)
    return found


def _place(x: Node) -> Any:
    """What equal views of one value have in common."""
    root, views = _root(x)
    return (root, *(view.op for view in views))


def _root(x: Node) -> tuple[Node, list[Node]]:
    """The value that views show, and the views; what stops a gradient is no view."""
    views: list[Node] = []
    while x.op.kind is Kind.VIEW:
        views.append(x)
        x = x.inputs[0]
    return x, views[::-1]
