"""How views are seen: most of them only by where axes are."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.formula.reader import Reader, Rules, Seen, full, renumbered
from staticflow.compiler.formula.terms import ALL, Cut, Term, shape_text
from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Node
from staticflow.ops.contraction import Dot
from staticflow.ops.linalg_diagonal import Diagonal
from staticflow.ops.slices import Slice
from staticflow.ops.views import Broadcast, Expand, Reshape, Squeeze, Transpose


def transpose(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Transpose)
    seen = reader.seen[node.inputs[0]]
    return Seen(seen.term, tuple(seen.axes[k] for k in node.op.perm))


def expand(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Expand)
    seen = reader.seen[node.inputs[0]]
    old = iter(seen.axes)
    new = node.op.axes
    return Seen(seen.term, tuple(None if k in new else next(old) for k in range(node.ndim)))


def squeeze(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Squeeze)
    return _squeezed(reader, reader.seen[node.inputs[0]], node.op.axes)


def _squeezed(reader: Reader, seen: Seen, axes: Sequence[int]) -> Seen:
    gone = [a for k in axes if (a := seen.axes[k]) is not None]
    term = _first(reader, seen.term, gone) if gone else seen.term
    return Seen(term, renumbered([a for k, a in enumerate(seen.axes) if k not in axes]))


def _first(reader: Reader, term: Term, axes: Sequence[int]) -> Term:
    """The only element along axes of size 1; of x[1:2], that is x[1]."""
    sliced = term.head == "part" and len(term.args) == 1 and len(term.attrs) == term.ndim
    inner = term.args[0] if sliced and term.args[0].ndim == term.ndim else term
    entries = (ALL,) * term.ndim if inner is term else term.attrs
    taken = [e.start if k in axes and isinstance(e, Cut) else e for k, e in enumerate(entries)]
    shape = tuple(n for k, n in enumerate(term.shape) if k not in axes)
    return reader.m.make("part", shape, [inner], tuple(taken))


def broadcast(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Broadcast)
    seen = reader.seen[node.inputs[0]]
    axes: list[int | None] = [None] * node.ndim
    for axis, place in zip(seen.axes, node.op.axes, strict=True):
        axes[place] = axis
    return Seen(seen.term, tuple(axes))


def reshape(reader: Reader, node: Node) -> Seen:
    (x,) = node.inputs
    if [n for n in x.shape if n != 1] == [n for n in node.shape if n != 1]:
        ones = [k for k, n in enumerate(x.shape) if n == 1]
        seen = _squeezed(reader, reader.seen[x], ones)
        old = iter(seen.axes)
        return Seen(seen.term, tuple(None if n == 1 else next(old) for n in node.shape))
    if reader.seen[x].term.ndim == 0:
        return Seen(reader.seen[x].term, (None,) * node.ndim)
    product = x.inputs[0] if isinstance(x.op, Squeeze) else x
    if isinstance(product.op, Dot) and isinstance(product.inputs[0].op, Reshape):
        found = _of_stack(reader, node, product)
        if found is not None:
            return full(found)
    term = reader.m.before_reshape(reader.whole(x))
    if term.shape == node.shape:
        return full(term)
    return full(reader.m.call("reshape", node.shape, [term], shape_text(node.shape)))


def _of_stack(reader: Reader, node: Node, product: Node) -> Term | None:
    """A stack of matrices times a matrix, or a vector, which was one matrix for the product."""
    rows, other = product.inputs
    (source,) = rows.inputs
    if source.ndim < 3 or source.shape[-1] != rows.shape[-1]:
        return None
    if source.shape[:-1] == node.shape[:-1]:
        return reader.m.matmul(reader.whole(source), reader.whole(other))
    if source.shape[:-1] != node.shape or product.shape[-1] != 1 or source.ndim > 3:
        return None
    seen = reader.seen[other]
    vector = reader.whole_of(Seen(seen.term, seen.axes[:-1]), other.shape[:-1])
    return _times_vector(reader, reader.whole(source), vector)


def _times_vector(reader: Reader, stack: Term, vector: Term) -> Term:
    """Sums along the last axis, term by term."""
    m = reader.m
    terms = stack.args if stack.head == "sum" else (stack,)
    products = [m.times(t, vector) for t in terms]
    if any(p.shape != stack.shape for p in products):
        return m.matmul(stack, vector)
    return m.total(m.reduce("sum", p, (2,)) for p in products)


def sliced(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Slice)
    seen, op = reader.seen[node.inputs[0]], node.op
    taken = [ALL] * seen.term.ndim
    shape = list(seen.term.shape)
    for k, place in enumerate(seen.axes):
        if place is not None and not op.full[k]:
            taken[place] = _cut(op.starts[k], op.stops[k], op.steps[k])
            shape[place] = node.shape[k]
    if all(entry == ALL for entry in taken):
        return seen
    return Seen(reader.m.make("part", tuple(shape), [seen.term], tuple(taken)), seen.axes)


def diagonal(reader: Reader, node: Node) -> Seen:
    (x,) = node.inputs
    options = "0, -2, -1" if x.ndim > 2 else ""
    return full(reader.m.call("diagonal", node.shape, [reader.whole(x)], options))


def _cut(start: AnyDim, stop: AnyDim | None, step: int) -> Cut:
    return Cut(start, None if stop == -1 and step < 0 else stop, step)


VIEW_RULES: Rules = {
    Transpose: transpose, Expand: expand, Squeeze: squeeze, Broadcast: broadcast,
    Reshape: reshape, Slice: sliced, Diagonal: diagonal,
}  # fmt: skip
