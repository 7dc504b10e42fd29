"""How products, assemblies, gathers and solutions of systems are seen."""

from __future__ import annotations

from staticflow.compiler.formula.reader import Reader, Rules, Seen, full, renumbered
from staticflow.compiler.formula.terms import shape_text
from staticflow.graph.branch_ops import Branch
from staticflow.graph.kinds import Part
from staticflow.graph.node import Node
from staticflow.ops.assemble import Concat
from staticflow.ops.contraction import Dot
from staticflow.ops.indexing import Take
from staticflow.ops.slices import Pad


def dot(reader: Reader, node: Node) -> Seen:
    a, b = node.inputs
    inner = a.ndim - 1
    left, right = reader.seen[a], reader.seen[b]
    if left.axes[-1] is None or right.axes[-2] is None:
        return _outer(reader, node, left, right)
    batch = sorted({k for s in (left, right) for k in s.present if k < inner - 1})
    if not batch:
        term = reader.m.matmul(reader.in_order(left), reader.in_order(right))
        kept = [left.axes[-2] is not None, right.axes[-1] is not None]
    else:
        first, second = (
            reader.aligned(x, [*batch, inner - 1, inner])
            if {inner - 1, inner} <= set(reader.seen[x].present)
            else reader.whole(x)
            for x in (a, b)
        )
        batch = batch if max(first.ndim, second.ndim) < node.ndim else list(range(inner - 1))
        term, kept = reader.m.matmul(first, second), [True, True]
    there = [*batch, *(k for k, is_there in zip((inner - 1, inner), kept, strict=True)
                       if is_there)]  # fmt: skip
    return Seen(term, tuple(there.index(k) if k in there else None for k in range(node.ndim)))


def _outer(reader: Reader, node: Node, left: Seen, right: Seen) -> Seen:
    """A product along an axis that one factor, or both, only repeat: no sum over both."""
    a, b = node.inputs
    if left.axes[-1] is None and right.axes[-2] is None:
        count = reader.m.size(a.shape[-1])
    else:
        count = reader.m.number(1)
    left, right = _summed(reader, left, a.ndim - 1), _summed(reader, right, b.ndim - 2)
    left = Seen(left.term, (*left.axes, None))
    right = Seen(right.term, (*right.axes[:-1], None, right.axes[-1]))
    axes = sorted({*left.present, *right.present})
    first, second = (
        reader.m.place(reader.in_order(s), [axes.index(k) for k in s.present], len(axes))
        for s in (left, right)
    )
    term = reader.m.times(count, first, second)
    last = node.ndim - 1
    if left.present == (last - 1,) and right.present == (last,):
        shape = (a.shape[-2], b.shape[-1])
        (p, x), (q, y) = (reader.m.unscaled(reader.in_order(s)) for s in (left, right))
        term = reader.m.times(count, p, q, reader.m.call("outer", shape, [x, y]))
    return Seen(term, tuple(axes.index(k) if k in axes else None for k in range(node.ndim)))


def _summed(reader: Reader, seen: Seen, axis: int) -> Seen:
    place = seen.axes[axis]
    term = seen.term if place is None else reader.m.reduce("sum", seen.term, [place])
    return Seen(term, renumbered([a for k, a in enumerate(seen.axes) if k != axis]))


def take(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Take)
    x, index = (reader.whole(x) for x in node.inputs)
    if node.op.axis:
        options = f"axis={node.op.axis}"
        return full(reader.m.call("take", node.shape, [x, index], options))
    return full(reader.m.make("part", node.shape, [x, index]))


def concat(reader: Reader, node: Node) -> Seen:
    args = [reader.whole(x) for x in node.inputs]
    assert isinstance(node.op, Concat)
    axis = node.op.axis
    return full(reader.m.call("concatenate", node.shape, args, f"axis={axis}", (axis,)))


def pad(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Pad)
    widths = zip(node.op.before, node.op.after, strict=True)
    options = shape_text(tuple(shape_text(pair) for pair in widths))
    if node.op.value:
        options += f", constant_values={node.op.value:g}"
    return full(reader.m.call("pad", node.shape, [reader.whole(node.inputs[0])], options))


def part(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Part)
    if isinstance(node.inputs[0].op, Branch):
        return _branch(reader, node, node.inputs[0].op, node.op.index)
    known = reader.outputs.get((node.inputs[0], node.op.index))
    if known is not None:
        return full(known)
    source = reader.seen[node.inputs[0]].term
    return full(reader.m.make("part", node.shape, [source], (node.op.index,)))


def _branch(reader: Reader, node: Node, op: Branch, index: int) -> Seen:
    """where(condition, then, otherwise)"""
    outer = dict(zip(op.body_inputs, node.inputs[0].inputs, strict=True))
    choice = reader.whole(node.inputs[0].inputs[0])
    bodies = [region[index] for region in op.regions]
    seen = [reader.inside(body, outer) for body in bodies]
    if not any(s.present for s in seen):
        first, other = (s.term for s in seen)
        return Seen(reader.m.call("where", (), [choice, first, other]), (None,) * node.ndim)
    whole = [reader.whole_of(s, node.shape) for s in seen]
    return full(reader.m.call("where", node.shape, [choice, *whole]))


PRODUCT_RULES: Rules = {
    Dot: dot, Take: take, Concat: concat, Pad: pad, Part: part,
}  # fmt: skip
