"""What a loop returns twice, by itself and as a part of what it assembles, is returned once.

    for t: z_t = concat([a_t, b_t]); ...        the stacks of z, of a and of b
    after: the stack of z; those of a and b are slices of it

The way back through gates that have a matrix each: their cotangents go side by side into one
product with all matrices, and one by one into the sums for their biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.passes.loop_walk import map_bodies, rebuild_loops
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Assemble, parts
from staticflow.graph.node import Node, apply, operator
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import with_inputs


def share_assemblies(roots: Sequence[Node]) -> list[Node]:
    """Take outputs of loops out of those that they are parts of, in every loop."""
    return rebuild_loops(map_bodies(roots, lambda op, body: share_assemblies(body)), _shared)


def _shared(node: Node, inputs: tuple[Node, ...]) -> Sequence[Node]:
    op = node.op
    if not isinstance(op, Scan):
        return parts(with_inputs(node, inputs))
    home = _places(op.ys)
    kept = tuple(y for y in op.ys if y not in home)
    results = parts(apply(replace(op, ys=kept), *inputs, where=node.where))
    count = len(op.carries)
    stacks = dict(zip(kept, results[count:], strict=True))
    for y, (whole, axis, start) in home.items():
        stop = start + y.shape[axis]
        stacks[y] = operator("slice_axis")(stacks[whole], axis + 1, start, stop)
    return [*results[:count], *(stacks[y] for y in op.ys)]


def _places(ys: Sequence[Node]) -> dict[Node, tuple[Node, int, AnyDim]]:
    """Which ys are parts of another one: of which, along which axis, and where they start."""
    found: dict[Node, tuple[Node, int, AnyDim]] = {}
    for whole in ys:
        axis = _joined(whole)
        if axis is None:
            continue
        start: AnyDim = 0
        for part in whole.inputs:
            if part in ys and _joined(part) is None:
                found.setdefault(part, (whole, axis, start))
            start = start + part.shape[axis]
    return found


def _joined(node: Node) -> int | None:
    """The axis along which a node's inputs lie one after the other, if they do."""
    return node.op.joined if isinstance(node.op, Assemble) else None
