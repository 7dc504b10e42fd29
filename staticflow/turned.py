"""Turn matrices once before a loop, not in each of its steps.

    for t: h = dz_t @ w.T           w' = w.T, copied;  for t: h = dz_t @ w'

A product reads the rows of its right operand along vectors. One that is given as a transpose is
turned on its way in, which takes as long again as the product itself if there are few rows on the
left; and those of one step of a recurrent net are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.bodies import Slot, slot, substitute
from staticflow.graph import Node, apply, parts, toposort, with_inputs
from staticflow.loop_passes import map_bodies, rebuild_loops
from staticflow.op import Kind
from staticflow.ops.turning import Turn
from staticflow.ops.views import Transpose
from staticflow.recurrence import Scan


def turn_before(roots: Sequence[Node]) -> list[Node]:
    """Move transposes that are right operands of products out of every scan, inner ones first."""
    return rebuild_loops(map_bodies(roots, lambda op, body: turn_before(body)), _turned)


def _turned(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
    op = node.op
    if not isinstance(op, Scan):
        return list(parts(with_inputs(node, inputs)))
    fixed = dict(zip(op.consts, op.split(inputs)[2], strict=True))
    found = [x for x in _operands(op.body) if _is_turned(x, fixed)]
    new = {x: slot(f"{x.inputs[0].name} turned", x.type) for x in found}
    body = substitute(op.body, {**{s: s for s in op.slots}, **new})
    count = len(op.next)
    smaller = replace(
        op,
        consts=(*op.consts, *new.values()),
        next=tuple(body[:count]),
        ys=tuple(body[count:]),
    )
    outside = [apply(Turn(), fixed.get(x.inputs[0], x.inputs[0]), where=x.where) for x in found]
    return list(parts(apply(smaller, *inputs, *outside, where=node.where)))


def _operands(body: Sequence[Node]) -> list[Node]:
    """The right operands of products, and what inner loops read, each once."""
    found: dict[Node, None] = {}
    for node in toposort(body):
        if node.op.kind is Kind.CONTRACT:
            found[node.inputs[1]] = None
        elif node.op.kind is Kind.LOOP:
            found.update(dict.fromkeys(node.inputs))
    return list(found)


def _is_turned(x: Node, fixed: dict[Node, Node]) -> bool:
    """Whether a value is the transpose of one that no step changes."""
    if not isinstance(x.op, Transpose | Turn) or x.ndim != 2:
        return False
    (matrix,) = x.inputs
    free = matrix.op.kind is Kind.LEAF and not isinstance(matrix.op, Slot)
    return matrix in fixed or free
