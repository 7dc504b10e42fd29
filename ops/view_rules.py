"""Rewrite rules for views, and for maps and reductions of views.

Chains of one kind of view become one, or vanish; broadcasts move from the operands of a map to its
result, so that a row's value is computed once for the row. Transposes move from the operands of a
map to the product that reads the result, which takes them as they are.
"""

from __future__ import annotations

from staticflow.graph.kinds import Map, Reduce
from staticflow.graph.leaves import is_scalar_const
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.rewriting import RewriteRule
from staticflow.ops.contraction import Dot
from staticflow.ops.rules import uniform_value
from staticflow.ops.shape import expand_dims, reshape, squeeze, swapaxes, transpose
from staticflow.ops.slices import Slice
from staticflow.ops.views import Broadcast, Expand, Reshape, Squeeze, Transpose, spread

MAPS_DEEP = 4  # so far a product looks for transposes


def _transpose(node: Node) -> Node | None:
    (x,) = node.inputs
    assert isinstance(node.op, Transpose)
    perm = node.op.perm
    if isinstance(x.op, Transpose):
        return transpose(x.inputs[0], [x.op.perm[axis] for axis in perm])
    if isinstance(x.op, Broadcast):
        axes = tuple(perm.index(axis) for axis in x.op.axes)
        if list(axes) == sorted(axes):
            return apply(Broadcast(node.shape, axes), x.inputs[0])
    if isinstance(x.op, Dot) and perm == (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2):
        a, b = x.inputs
        return apply(x.op, swapaxes(b, -1, -2), swapaxes(a, -1, -2))
    return None


def _expand(node: Node) -> Node | None:
    (x,) = node.inputs
    assert isinstance(node.op, Expand)
    if not isinstance(x.op, Expand):
        return None
    kept = [k for k in range(node.ndim) if k not in node.op.axes]
    inner = tuple(kept[k] for k in x.op.axes)
    return expand_dims(x.inputs[0], (*node.op.axes, *inner))


def _squeeze(node: Node) -> Node | None:
    (x,) = node.inputs
    assert isinstance(node.op, Squeeze)
    dropped = node.op.axes
    if isinstance(x.op, Squeeze):
        kept = [k for k in range(x.inputs[0].ndim) if k not in x.op.axes]
        return squeeze(x.inputs[0], (*x.op.axes, *(kept[k] for k in dropped)))
    if isinstance(x.op, Broadcast) and set(dropped) <= set(x.op.new_axes):
        left = [k for k in range(x.ndim) if k not in dropped]
        axes = tuple(left.index(k) for k in x.op.axes)
        return spread(x.inputs[0], node.shape, axes)
    if isinstance(x.op, Expand) and set(dropped) & set(x.op.axes):
        return _cancel(x, x.op.axes, dropped)
    if isinstance(x.op, Transpose):
        axes = tuple(x.op.perm[k] for k in dropped)
        order = [k for k in x.op.perm if k not in axes]
        return transpose(squeeze(x.inputs[0], axes), [sorted(order).index(k) for k in order])
    return None


def _cancel(x: Node, inserted: tuple[int, ...], dropped: tuple[int, ...]) -> Node:
    """Drop axes of which some have just been inserted."""
    source = x.inputs[0]
    old = [k for k in range(x.ndim) if k not in inserted]  # where the source's axes are
    source = squeeze(source, tuple(old.index(k) for k in dropped if k in old))
    left = [k for k in range(x.ndim) if k not in dropped]
    return expand_dims(source, tuple(left.index(k) for k in inserted if k in left))


def _broadcast(node: Node) -> Node | None:
    (x,) = node.inputs
    assert isinstance(node.op, Broadcast)
    if not isinstance(x.op, Broadcast):
        return None
    axes = tuple(node.op.axes[k] for k in x.op.axes)
    return apply(Broadcast(node.shape, axes), x.inputs[0])


def _reshape(node: Node) -> Node | None:
    (x,) = node.inputs
    if isinstance(x.op, Reshape | Expand):
        return reshape(x.inputs[0], node.shape)
    return None


def _slice(node: Node) -> Node | None:
    """A slice of a slice, as long as both go forward one by one."""
    (x,) = node.inputs
    assert isinstance(node.op, Slice)
    inner = x.op
    if not isinstance(inner, Slice) or {*node.op.steps, *inner.steps} != {1}:
        return None
    starts = tuple(p + q for p, q in zip(node.op.starts, inner.starts, strict=True))
    bounds = zip(node.op.stops, inner.starts, inner.stops, strict=True)
    stops = tuple(last if stop is None else first + stop for stop, first, last in bounds)
    return apply(Slice(starts, stops, node.op.steps), x.inputs[0])


def _map(node: Node) -> Node | None:
    """A constant needs no repeating beside arrays; what all operands repeat, the result repeats."""
    if not isinstance(node.op, Map):
        return None
    values = [x for x in node.inputs if not is_scalar_const(x)]
    plain = [x for x in values if uniform_value(x) is None]
    if plain and len(plain) < len(values):
        return apply(node.op, *(x if x in plain else _scalar(x) for x in node.inputs))
    first = values[0].op if values else None
    if not isinstance(first, Broadcast) or any(x.op != first for x in values):
        return None
    small = apply(node.op, *(x.inputs[0] if x in values else x for x in node.inputs))
    return apply(Broadcast(node.shape, first.axes), small)


def _dot_of_turned(node: Node) -> Node | None:
    """A product takes turned operands as they are; the maps they come from go in memory's order."""
    operands = [_turned(x, MAPS_DEEP) if isinstance(x.op, Map) else None for x in node.inputs]
    if not any(found is not None and found[1] for found in operands):
        return None
    pairs = zip(operands, node.inputs, strict=True)
    return apply(
        node.op,
        *(swapaxes(found[0], -1, -2) if found and found[1] else own for found, own in pairs),
    )


def _turned(x: Node, depth: int) -> tuple[Node, bool] | None:
    """The transpose of a matrix where it costs nothing, and whether that saves a transpose."""
    if is_scalar_const(x):
        return x, False
    if x.ndim != 2:
        return None
    if isinstance(x.op, Transpose):
        return x.inputs[0], True
    if isinstance(x.op, Broadcast):
        turned = _transpose(apply(Transpose((1, 0)), x))
        return None if turned is None else (turned, False)
    if not isinstance(x.op, Map) or depth == 0:
        return None
    inputs = [_turned(y, depth - 1) for y in x.inputs]
    known = [found for found in inputs if found is not None]
    if len(known) < len(inputs):
        return None
    return apply(x.op, *(y for y, _ in known)), any(saves for _, saves in known)


def _scalar(x: Node) -> Node:
    while not is_scalar_const(x):
        (x,) = x.inputs
    return x


def _reduce(node: Node) -> Node | None:
    """A reduction of a reduction of the same kind is one."""
    (x,) = node.inputs
    assert isinstance(node.op, Reduce)
    if not isinstance(x.op, Reduce) or x.op.row is not node.op.row:
        return None
    kept = [k for k in range(x.inputs[0].ndim) if k not in x.op.axes]
    axes = sorted((*x.op.axes, *(kept[k] for k in node.op.axes)))
    return apply(Reduce(node.op.row, tuple(axes)), x.inputs[0])


VIEW_RULES = (
    RewriteRule("dot", "turn what a product reads, not what was mapped before", _dot_of_turned),
    RewriteRule(
        "transpose", "transposes compose, and pass through broadcasts and products", _transpose
    ),
    RewriteRule("expand", "insertions of axes compose", _expand),
    RewriteRule("squeeze", "an axis that is inserted and dropped was never there", _squeeze),
    RewriteRule("broadcast", "repetitions compose", _broadcast),
    RewriteRule("reshape", "only the last of several reshapes counts", _reshape),
    RewriteRule("slice", "a slice of a slice is a slice", _slice),
    RewriteRule(Kind.MAP, "repeat results, not operands", _map),
    RewriteRule(Kind.REDUCE, "reductions of one kind compose", _reduce),
)
