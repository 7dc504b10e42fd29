"""Jacobians of few rows, which are written out pass by pass, as the one pass that they repeat.

    stack([A @ (eye(4)[0] * x), A @ (eye(4)[1] * x), ..])      a scan over the rows of eye(4)

So a formula is the same whether sizes are small ints, large ones or names: the scan becomes
operations on whole arrays, as it does for all other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Node, Op
from staticflow.graph.traversal import rebuild, toposort, with_inputs
from staticflow.ops.assemble import Concat
from staticflow.ops.control_flow.scan import scan
from staticflow.ops.slices import Slice
from staticflow.ops.views import Expand, Squeeze


def rolled(roots: Sequence[Node]) -> list[Node]:
    """The same values, with a scan for each stack of passes over the rows of one matrix."""

    def replace(node: Node, inputs: tuple[Node, ...]) -> Node:
        renewed = with_inputs(node, inputs)
        found = _as_scan(renewed)
        return renewed if found is None else found

    return rebuild(roots, replace)


def _as_scan(node: Node) -> Node | None:
    op = node.op
    if not isinstance(op, Concat) or op.axis != 0 or len(node.inputs) < 2:
        return None
    if not all(isinstance(x.op, Expand) and x.op.axes == (0,) for x in node.inputs):
        return None
    passes = [x.inputs[0] for x in node.inputs]
    rows = [_rows(one) for one in passes]
    for basis, first in rows[0].items():
        if basis.shape[0] != len(passes) or len(basis.shape) != 2 or basis.shape[1] != len(passes):
            continue
        units = [found.get(basis) for found in rows]
        if first is None or any(_place(unit) != k for k, unit in enumerate(units)):
            continue
        if all(_same(passes[0], one, first, unit) for one, unit in zip(passes, units, strict=True)):
            return _scan(passes[0], basis, first)
    return None


def _rows(root: Node) -> Mapping[Node, Node]:
    """For each matrix of which a pass takes a row, that row."""
    return {x.inputs[0].inputs[0]: x for x in toposort([root]) if _place(x) is not None}


def _place(x: Node | None) -> int | None:
    """k, of the row E[k] of a matrix."""
    if x is None or not isinstance(x.op, Squeeze) or x.op.axes != (0,):
        return None
    op = x.inputs[0].op
    if not isinstance(op, Slice) or len(op.starts) != 2 or op.full != (False, True):
        return None
    start = op.starts[0]
    return start if isinstance(start, int) else None


def _same(a: Node, b: Node, unit: Node, other: Node | None) -> bool:
    """Whether b is a with another row for its unit."""
    known: set[tuple[Node, Node]] = set()
    waiting = [(a, b)]
    while waiting:
        pair = waiting.pop()
        x, y = pair
        if x is y or pair in known or (x is unit and y is other):
            continue
        if x.type != y.type or not _same_op(x.op, y.op):
            return False
        known.add(pair)
        waiting += zip(x.inputs, y.inputs, strict=True)
    return True


def _same_op(a: Op, b: Op) -> bool:
    if isinstance(a, Const) and isinstance(b, Const):
        return np.array_equal(a.value, b.value, equal_nan=a.value.dtype.kind == "f")
    return not isinstance(a, Leaf) and a == b


def _scan(one: Node, basis: Node, unit: Node) -> Node:
    def step(_: None, row: Node) -> tuple[None, Node]:
        def put_in(node: Node, inputs: tuple[Node, ...]) -> Node:
            return row if node is unit else with_inputs(node, inputs)

        return None, rebuild([one], put_in)[0]

    stacked: Node = scan(step, None, basis)[1]
    return stacked
