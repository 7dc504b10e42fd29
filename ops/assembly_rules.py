"""Rewrite rules for parts and wholes.

The cotangent of a value that was split is a sum of pads, one for each part. Parts that lie side by
side are one concatenation, which is written once instead of being added up:

    pad(p, [0+6]) + pad(q, [2+4]) + pad(r, [4+2])  =  pad(concat(p, q, r), [0+2])
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Node, apply
from staticflow.graph.rewriting import RewriteRule
from staticflow.ops.arithmetic import add
from staticflow.ops.assemble import Concat
from staticflow.ops.slices import Pad, Slice, pad_edges


def _sum_of_pads(node: Node) -> Node | None:
    """Join two pads among the terms of a sum."""
    if not any(isinstance(x.op, Pad) for x in node.inputs):
        return None
    terms = _terms(node)
    pads = [t for t in terms if isinstance(t.op, Pad) and t.op.value == 0.0]
    for k, p in enumerate(pads):
        for q in pads[k + 1 :]:
            joined = _join(p, q)
            if joined is not None:
                return _total([joined, *(t for t in terms if t is not p and t is not q)])
    return None


def _terms(node: Node) -> list[Node]:
    """The terms of a nest of additions, from left to right."""
    terms: list[Node] = []
    stack = [node]
    while stack:
        term = stack.pop()
        if term.op.name == "add":
            stack += reversed(term.inputs)
        else:
            terms.append(term)
    return terms


def _total(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = add(total, term)
    return total


def _join(p: Node, q: Node) -> Node | None:
    """The sum of two pads as one pad, if their parts coincide or lie side by side."""
    assert isinstance(p.op, Pad) and isinstance(q.op, Pad)
    (x,), (y,) = p.inputs, q.inputs
    if p.op == q.op and x.type == y.type:
        return apply(p.op, add(x, y))
    differ = [k for k in range(p.ndim) if _edges(p.op, k) != _edges(q.op, k)]
    if len(differ) != 1:
        return None
    (axis,) = differ
    if p.op.before[axis] + x.shape[axis] == q.op.before[axis]:
        return _abut(axis, x, y, p.op, q.op)
    if q.op.before[axis] + y.shape[axis] == p.op.before[axis]:
        return _abut(axis, y, x, q.op, p.op)
    return None


def _edges(op: Pad, axis: int) -> tuple[AnyDim, AnyDim]:
    return op.before[axis], op.after[axis]


def _abut(axis: int, x: Node, y: Node, first: Pad, second: Pad) -> Node:
    return pad_edges(apply(Concat(axis), x, y), first.before, second.after, 0.0)


def _concat(node: Node) -> Node | None:
    """A concatenation of concatenations along the same axis."""
    if not any(x.op == node.op for x in node.inputs):
        return None
    nested = [x.inputs if x.op == node.op else (x,) for x in node.inputs]
    return apply(node.op, *(part for parts in nested for part in parts))


def _pad(node: Node) -> Node | None:
    """A pad of a pad with the same value."""
    (x,) = node.inputs
    assert isinstance(node.op, Pad)
    if not isinstance(x.op, Pad) or repr(x.op.value) != repr(node.op.value):
        return None
    before = tuple(p + q for p, q in zip(node.op.before, x.op.before, strict=True))
    after = tuple(p + q for p, q in zip(node.op.after, x.op.after, strict=True))
    return apply(Pad(before, after, x.op.value), x.inputs[0])


def _slice(node: Node) -> Node | None:
    """A slice that takes just what was padded, or just one part of a concatenation."""
    (x,) = node.inputs
    assert isinstance(node.op, Slice)
    if isinstance(x.op, Pad) and set(node.op.steps) == {1}:
        (inside,) = x.inputs
        if x.op.padded == tuple(not full for full in node.op.full):
            return inside if (x.op.before, inside.shape) == (node.op.starts, node.shape) else None
    if isinstance(x.op, Concat):
        return _part(node, node.op, x, x.op.axis)
    return None


def _part(node: Node, op: Slice, whole: Node, axis: int) -> Node | None:
    if any(full == (k == axis) for k, full in enumerate(op.full)) or op.steps[axis] != 1:
        return None
    start: AnyDim = 0
    for part in whole.inputs:
        if start == op.starts[axis] and part.shape == node.shape:
            return part
        start = start + part.shape[axis]
    return None


ASSEMBLY_RULES = (
    RewriteRule("add", "parts side by side are a concatenation", _sum_of_pads),
    RewriteRule("concat", "concatenations along one axis compose", _concat),
    RewriteRule("pad", "pads compose", _pad),
    RewriteRule("slice", "a part of a whole is the part", _slice),
)
