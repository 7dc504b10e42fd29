"""How elementwise ops and reductions are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticflow.compiler.formula.reader import Reader, Rules, Seen, full, renumbered
from staticflow.compiler.formula.terms import ALL, Cut, Term
from staticflow.graph.dims import product
from staticflow.graph.kinds import Map, Reduce
from staticflow.graph.node import Node
from staticflow.graph.types import INTEGERS
from staticflow.ops.accumulate import RunningSum
from staticflow.ops.cast import is_conversion
from staticflow.ops.counting import Iota, SizeOf

COMPARISONS = {
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=",
}  # fmt: skip
ARITHMETIC: Mapping[str, Callable[..., Term]] = {
    "add": lambda m, x, y: m.total([x, y]),
    "subtract": lambda m, x, y: m.total([x, m.scaled(-1, y)]),
    "multiply": lambda m, x, y: m.times(x, y),
    "divide": lambda m, x, y: m.product([(x, 1), (y, -1)]),
    "negative": lambda m, x: m.scaled(-1, x),
    "square": lambda m, x: m.product([(x, 2)]),
    "sqrt": lambda m, x: m.product([(x, 0.5)]),
    "reciprocal": lambda m, x: m.product([(x, -1)]),
}
# Of rows that only integers have.
NAMES = {"integer_floor_divide": "floor_divide", "integer_mod": "mod"}


def elementwise(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, Map)
    axes = sorted({k for x in node.inputs for k in reader.seen[x].present})
    values = [reader.aligned(x, axes) for x in node.inputs]
    term = _operator(reader, node, values)
    if term is None:
        shape = tuple(node.shape[k] for k in axes)
        term = reader.m.call(NAMES.get(node.op.name, node.op.name), shape, values)
    return Seen(term, tuple(axes.index(k) if k in axes else None for k in range(node.ndim)))


def _operator(reader: Reader, node: Node, values: Sequence[Term]) -> Term | None:
    name = node.op.name
    if name in ARITHMETIC:
        return ARITHMETIC[name](reader.m, *values)
    if name in COMPARISONS:
        shape = reader.m.times(*values).shape
        return reader.m.make("compare", shape, values, (COMPARISONS[name],))
    if name in ("power", "integer_power"):
        base, exponent = values
        if exponent.head == "number":
            return reader.m.product([(base, exponent.value)])
        return reader.m.make("power", reader.m.times(base, exponent).shape, values)
    if is_conversion(node):
        narrows = node.inputs[0].type.is_float and not node.type.is_float
        if narrows and node.dtype in INTEGERS:
            return reader.m.call(node.dtype, values[0].shape, values)
        return None if narrows else values[0]
    return None


def reduction(reader: Reader, node: Node) -> Seen:
    (x,) = node.inputs
    assert isinstance(node.op, Reduce)
    seen, name = reader.seen[x], node.op.name
    repeated = [n for k in node.op.axes if seen.axes[k] is None and (n := x.shape[k]) != 1]
    if name == "prod" and repeated:
        seen = full(reader.whole(x))
        repeated = []
    gone = [a for k in node.op.axes if (a := seen.axes[k]) is not None]
    term = reader.m.reduce(name, seen.term, gone)
    if name == "sum":
        term = reader.m.times(reader.m.size(product(repeated)), term)
    kept = [k for k in range(x.ndim) if k not in node.op.axes]
    return Seen(term, renumbered([seen.axes[k] for k in kept]))


def iota(reader: Reader, node: Node) -> Seen:
    return full(reader.m.call("arange", node.shape, [reader.m.size(node.shape[0])]))


def running_sum(reader: Reader, node: Node) -> Seen:
    """cumsum along the last axis; of one from the end, of the elements in reverse."""
    assert isinstance(node.op, RunningSum)
    m, x = reader.m, reader.whole(node.inputs[0])
    last = x.ndim - 1
    turned = (*(ALL,) * last, Cut(x.shape[last] - 1, None, -1))
    if node.op.reverse:
        x = m.make("part", x.shape, [x], turned)
    found = m.call("cumsum", x.shape, [x], f"axis={last}" if last else "", (last,))
    return full(m.make("part", x.shape, [found], turned) if node.op.reverse else found)


def size(reader: Reader, node: Node) -> Seen:
    assert isinstance(node.op, SizeOf)
    return full(reader.m.size(node.op.dim))


MAP_RULES: Rules = {
    Map: elementwise, Reduce: reduction, Iota: iota, SizeOf: size, RunningSum: running_sum,
}  # fmt: skip
