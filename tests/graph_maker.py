"""Random graphs over the op table, made by a stream of choices that hypothesis can shrink.

An EXACT graph computes on small whole numbers with ops that round nothing, so that results must be
equal bit for bit whatever the order of additions: it may compare, choose and index by computed
values. A SMOOTH graph uses the other functions, only continuous ones, and agrees within rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import Node, ops
from staticflow.dims import Dim, evaluate
from staticflow.errors import ShapeError
from staticflow.graph import toposort
from staticflow.interpret import interpret

Choose = Callable[[int], int]  # a number below the given one
Array = NDArray[Any]
FLOATS = ("float32", "float64")
LIMIT = 8.0  # exact graphs stay within, so that no sum of products rounds
SIZES: tuple[Any, ...] = ("a", "b", "c", 1, 2, 3, 4, 6)


@dataclass
class Graph:
    """A graph under construction, and what its sizes must keep."""

    choose: Choose
    prefix: str
    exact: bool
    dtype: str
    lead: str = ""  # a dimension that leads most inputs, as rows do, and stands nowhere else
    nodes: list[Node] = field(default_factory=list)
    leaves: list[Node] = field(default_factory=list)
    bounds: dict[str, Any] = field(default_factory=dict)  # of index inputs
    positive: set[str] = field(default_factory=set)  # dimensions that must not be 0

    def one_of(self, entries: Any) -> Any:
        items = list(entries)
        return items[self.choose(len(items))]

    def leaf(self, shape: tuple[Any, ...], dtype: str) -> Node:
        if any(isinstance(n, Dim) and n.name in (None, self.lead or None) for n in shape[1:]) or (
            shape and isinstance(shape[0], Dim) and shape[0].name is None
        ):
            raise ShapeError("the shape of an input is names and ints, the leading one for rows")
        node = sf.input(f"{self.prefix}{len(self.leaves)}", shape, dtype)
        self.leaves.append(node)
        self.nodes.append(node)
        return node

    def axis(self, x: Node) -> int:
        return self.choose(x.ndim)

    def floats(self) -> list[Node]:
        return [x for x in self.nodes if x.dtype in FLOATS]

    def need(self, *dims: Any) -> None:
        """These sizes must be at least 1."""
        for dim in dims:
            if isinstance(dim, Dim):
                self.positive |= dim.names


def make_graph(choose: Choose, prefix: str, length: int, exact: bool, lead: str = "") -> Graph:
    """A graph of about `length` nodes beside its leaves."""
    graph = Graph(choose, prefix, exact, FLOATS[choose(2)], lead)
    for _ in range(1 + choose(2)):
        rank = choose(4)
        shape = tuple(graph.one_of(SIZES) for _ in range(rank))
        graph.leaf((lead, *shape[1:]) if lead and choose(4) else shape, graph.dtype)
    if exact and choose(2):
        graph.leaf(graph.one_of(graph.nodes).shape, ("bool", "int64", "int32")[choose(3)])
    rules = EXACT if exact else SMOOTH
    made = 0
    for _ in range(4 * length):
        if made == length:
            break
        try:
            node = rules[choose(len(rules))](graph)
        except ShapeError:
            continue
        if node is not None and node.ndim <= 4:
            graph.nodes.append(node)
            made += 1
    return graph


def outputs_of(graph: Graph) -> list[Node]:
    """Some nodes of a graph, always the last."""
    chosen = [graph.one_of(graph.nodes) for _ in range(graph.choose(3))]
    return [*chosen, graph.nodes[-1]]


def values_for(graph: Graph, sizes: dict[str, int], rng: np.random.Generator) -> dict[Node, Array]:
    """Arrays for the leaves: whole numbers for exact graphs; in various layouts, some read-only."""
    values = {}
    for node in graph.leaves:
        shape = tuple(evaluate(n, sizes) for n in node.shape)
        if node.dtype == "bool":
            array = rng.integers(0, 2, shape).astype(bool)
        elif node.name in graph.bounds:
            bound = max(evaluate(graph.bounds[node.name], sizes), 1)
            array = rng.integers(-bound, bound, shape)
        elif graph.exact or node.dtype not in FLOATS:
            array = rng.integers(-2, 3, shape)
        else:
            array = rng.uniform(-2, 2, shape)
        values[node] = _laid_out(np.asarray(array, node.dtype), rng)
    return values


def _laid_out(array: Array, rng: np.random.Generator) -> Array:
    """The same values in C order, in Fortran order, or as a view with steps."""
    kind = rng.integers(4) if array.ndim else 0
    if kind == 1:
        array = np.asfortranarray(array)
    elif kind == 2:
        wide = np.zeros([2 * n for n in array.shape], array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        array = view
    elif kind == 3:
        array = array.copy()
        array.flags.writeable = False
    return array


# Rules: each makes a node of nodes there are, or None where it cannot


def _tame(graph: Graph, x: Node) -> Node:
    return ops.clip(x, -LIMIT, LIMIT) if graph.exact and x.dtype in FLOATS else x


def _pick(graph: Graph, rank: int = 0) -> Node | None:
    fitting = [x for x in graph.floats() if x.ndim >= rank]
    return graph.one_of(fitting) if fitting else None


def _exact_unary(graph: Graph) -> Node | None:
    x = _pick(graph)
    assert x is not None
    function = graph.one_of(
        (ops.negative, ops.abs, ops.relu, ops.sign, ops.square, ops.floor, ops.copysign)
    )
    if function is ops.copysign:
        return ops.copysign(x, graph.one_of((-1.0, 1.0)))
    return _tame(graph, function(x))


def _smooth_unary(graph: Graph) -> Node | None:
    x = _pick(graph)
    assert x is not None
    return graph.one_of(SMOOTH_UNARY)(x)


SMOOTH_UNARY: tuple[Callable[[Node], Node], ...] = (
    ops.tanh, ops.sigmoid, ops.sin, ops.cos, ops.softplus, ops.erf, ops.arctan, ops.negative,
    ops.gelu, ops.silu, ops.arcsinh, ops.softsign,
    lambda x: ops.exp(-ops.square(x)),
    lambda x: ops.sqrt(1.0 + ops.square(x)),
    lambda x: ops.log1p(ops.square(x)),
    lambda x: 1.0 / (2.0 + ops.cos(x)),
    lambda x: x * 0.5 + 1.0,
    lambda x: ops.power(1.5 + ops.sin(x), 1.7),
)  # fmt: skip


def _partner(graph: Graph, x: Node) -> Node:
    """An operand for x: a node that may broadcast with it, or x again."""
    fitting = [y for y in graph.floats() if _broadcasts(x, y)]
    return graph.one_of([*fitting, x])


def _broadcasts(x: Node, y: Node) -> bool:
    pairs = zip(reversed(x.shape), reversed(y.shape), strict=False)
    return all(m == n or m == 1 or n == 1 for m, n in pairs)


def _exact_binary(graph: Graph) -> Node | None:
    x = _pick(graph)
    assert x is not None
    y: Any = graph.one_of((_partner(graph, x), _partner(graph, x), 2.0, -1))
    function = graph.one_of((ops.add, ops.subtract, ops.multiply, ops.maximum, ops.minimum))
    return _tame(graph, function(x, y) if graph.choose(2) else function(y, x))


def _smooth_binary(graph: Graph) -> Node | None:
    x = _pick(graph)
    assert x is not None
    y = _partner(graph, x)
    forms: tuple[Callable[[], Node], ...] = (
        lambda: x + y,
        lambda: x - y,
        lambda: ops.sin(x) * y,
        lambda: x / (1.0 + ops.square(y)),
        lambda: ops.logaddexp(x, y),
        lambda: ops.hypot(x, 1.0 + ops.abs(y)),
    )
    return graph.one_of(forms)()


def _compare(graph: Graph) -> Node | None:
    x = _pick(graph)
    assert x is not None
    function = graph.one_of((ops.less, ops.equal, ops.greater_equal, ops.not_equal))
    return function(x, _partner(graph, x))


def _boolean(graph: Graph) -> Node | None:
    masks = [x for x in graph.nodes if x.dtype == "bool"]
    if not masks:
        return None
    x = graph.one_of(masks)
    if x.ndim and graph.choose(2):
        function = graph.one_of((ops.any, ops.all, ops.sum))
        return function(x, axis=graph.axis(x), keepdims=bool(graph.choose(2)))
    y = graph.one_of([m for m in masks if _broadcasts(x, m)])
    function = graph.one_of((ops.logical_and, ops.logical_or, ops.logical_xor))
    return ops.logical_not(function(x, y))


def _convert(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if not graph.exact and x.dtype not in FLOATS:
        return None
    return x.astype(graph.one_of(FLOATS if not graph.exact else (*FLOATS, "int64", "int32")))


def _choice(graph: Graph) -> Node | None:
    masks = [x for x in graph.nodes if x.dtype == "bool"]
    x = _pick(graph)
    fitting = [m for m in masks if x is not None and _broadcasts(x, m)]
    if x is None or not fitting:
        return None
    return ops.where(graph.one_of(fitting), x, graph.one_of((_partner(graph, x), 0.0)))


def _axes(graph: Graph, x: Node) -> Any:
    if graph.choose(4) == 0:
        return None
    axes = tuple(k for k in range(x.ndim) if graph.choose(2))
    return axes or (graph.axis(x),)


def _exact_reduction(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None:
        return None
    function = graph.one_of((ops.sum, ops.sum, ops.max, ops.min, ops.prod))
    if function is ops.prod:
        x = ops.sign(x)
    axes = _axes(graph, x)
    if function in (ops.max, ops.min):
        graph.need(*x.shape)
    return _tame(graph, function(x, axis=axes, keepdims=bool(graph.choose(2))))


def _position(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None:
        return None
    axis = graph.axis(x)
    graph.need(x.shape[axis])
    return graph.one_of((ops.argmax, ops.argmin))(x, axis=axis)


def _smooth_reduction(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None:
        return None
    function = graph.one_of((ops.sum, ops.mean, ops.var, ops.logsumexp))
    axes = _axes(graph, x)
    if function is not ops.sum:
        graph.need(*x.shape)
    return ops.softsign(function(x, axis=axes, keepdims=bool(graph.choose(2))))


def _row_wise(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None:
        return None
    axis = graph.axis(x) - x.ndim
    graph.need(x.shape[axis])
    function = graph.one_of((ops.softmax, ops.log_softmax, ops.layer_norm))
    return function(x, axis=axis)


def _transpose(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    order = list(range(x.ndim))
    for k in range(x.ndim):
        other = k + graph.choose(x.ndim - k)
        order[k], order[other] = order[other], order[k]
    return ops.transpose(x, order) if x.ndim else None


def _reshape(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if x.ndim < 1:
        return None
    axis = graph.axis(x)
    size = x.shape[axis]
    if graph.choose(2) and x.ndim > 1:
        axis = max(axis, 1)
        merged = x.shape[axis - 1] * size
        return ops.reshape(x, (*x.shape[: axis - 1], merged, *x.shape[axis + 1 :]))
    if isinstance(size, int) and size > 1 and size % 2 == 0:
        return ops.reshape(x, (*x.shape[:axis], 2, size // 2, *x.shape[axis + 1 :]))
    return ops.reshape(x, (-1,))


def _slice(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if x.ndim < 1:
        return None
    axis = graph.axis(x)
    size = x.shape[axis]
    index: list[Any] = [slice(None)] * x.ndim
    if isinstance(size, int):
        step = graph.one_of((1, 1, 2, 3, -1, -2))
        start, stop = graph.choose(size + 1), graph.choose(size + 1)
        free = graph.choose(2)
        index[axis] = slice(start, None if free else stop, step)
        if graph.choose(4) == 0 and size:
            index[axis] = graph.choose(size) - graph.choose(2) * size
    else:
        form = graph.choose(4)
        if form > 1:
            graph.need(size)
            if size.name is None:
                return None
        index[axis] = (slice(None, None, -1), None, slice(1, None), slice(None, -1))[form]
        if form == 1:
            index.insert(axis, slice(None))
    return x[tuple(index)]


def _arrange(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if x.ndim < 1:
        return None
    axis = graph.axis(x)
    function = graph.choose(6)
    if function == 0:
        return ops.flip(x, axis)
    if function == 1:
        if not isinstance(x.shape[axis], int):
            return None
        return ops.roll(x, graph.choose(5) - 2, axis)
    if function == 2:
        return ops.repeat(x, 2, axis)
    if function == 3:
        return ops.tile(x, (2,) * x.ndim) if x.ndim < 3 else None
    if function == 4 and x.ndim == 2:
        return graph.one_of((ops.tril, ops.triu))(x)
    return ops.expand_dims(x, axis)


def _assemble(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if x.ndim < 1 or x.dtype == "bool":
        return None
    axis = graph.axis(x)
    if graph.choose(3) == 0:
        widths = [(graph.choose(3), graph.choose(2)) for _ in range(x.ndim)]
        return ops.pad(x, widths, float(graph.choose(2)))
    others = [
        y for y in graph.nodes
        if y.ndim == x.ndim and y.dtype == x.dtype
        and all(k == axis or m == n for k, (m, n) in enumerate(zip(x.shape, y.shape, strict=True)))
    ]  # fmt: skip
    parts = [graph.one_of(others) for _ in range(1 + graph.choose(3))]
    if graph.choose(3) == 0 and x.ndim < 3:
        return ops.stack([y for y in parts if y.shape == x.shape] + [x], axis)
    return ops.concatenate([x, *parts], axis)


def _matmul(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None:
        return None
    fitting = [
        y for y in graph.floats()
        if y.ndim and y.shape[max(y.ndim - 2, 0)] == x.shape[-1] and _batches(x, y)
    ]  # fmt: skip
    y = graph.one_of([*fitting, ops.swapaxes(x, -1, -2) if x.ndim > 1 else x])
    z = ops.matmul(x, y)
    return _tame(graph, z) if graph.exact else ops.softsign(z)


def _batches(x: Node, y: Node) -> bool:
    pairs = zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)
    return all(m == n or m == 1 or n == 1 for m, n in pairs)


def _gather(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    if x is None or x.ndim > 3:
        return None
    axis = graph.axis(x)
    size = x.shape[axis]
    graph.need(size)
    if size == 0:
        return None
    if graph.choose(2):
        shape = list(x.shape)
        shape[axis] = graph.one_of((1, 3, "a"))
        index = graph.leaf(tuple(shape), "int64")
        graph.bounds[index.name] = size
        return ops.take_along_axis(x, index, axis)
    index = graph.leaf((graph.one_of(SIZES),) * graph.choose(3), graph.one_of(("int32", "int64")))
    graph.bounds[index.name] = size
    return ops.take(x, index, axis)


def _computed_gather(graph: Graph) -> Node | None:
    x = _pick(graph, 1)
    whole = [y for y in graph.nodes if y.dtype in ("int32", "int64") and y.ndim < 3]
    if x is None or not whole or x.ndim > 2:
        return None
    axis = graph.axis(x)
    graph.need(x.shape[axis])
    return ops.take(x, 1 * graph.one_of(whole), axis)


def _one_hot(graph: Graph) -> Node | None:
    whole = [y for y in graph.nodes if y.dtype in ("int32", "int64") and y.ndim < 3]
    if not whole:
        return None
    return ops.one_hot(graph.one_of(whole), graph.one_of((1, 3, 5)), graph.dtype)


def _scan(graph: Graph) -> Node | None:
    """A loop over the leading axis of a node, with a carry and a few ops in its body."""
    x = _pick(graph, 1)
    if x is None or x.ndim > 3:
        return None
    rest = x.shape[1:]
    fitting = [y for y in graph.floats() if y.dtype == x.dtype and _fills(y, rest)]
    first = ops.broadcast_to(graph.one_of(fitting), rest) if fitting else ops.zeros(rest, x.dtype)
    outside = graph.one_of([*fitting, first])
    kinds = tuple(graph.choose(6) for _ in range(3))

    def combine(kind: int, a: Node, b: Node) -> Node:
        forms: tuple[Callable[[], Node], ...] = (
            lambda: a + b,
            lambda: a * ops.tanh(b) if not graph.exact else ops.maximum(a, b),
            lambda: ops.minimum(a, b) if graph.exact else ops.sin(a) - b,
            lambda: a - b * outside,
            lambda: ops.where(ops.less(a, 0.0), b, a) if graph.exact else ops.logaddexp(a, b),
            lambda: a + (ops.sum(b, axis=-1, keepdims=True) if b.ndim else b),
        )
        return forms[kind]()

    def step(carry: Node, element: Node) -> tuple[Node, Node]:
        state = combine(kinds[0], carry, element)
        state = ops.clip(state, -LIMIT, LIMIT) if graph.exact else ops.softsign(state)
        return state, combine(kinds[1], combine(kinds[2], element, state), carry)

    last, ys = sf.scan(step, first, x, reverse=bool(graph.choose(2)))
    return graph.one_of((last, _tame(graph, ys), _tame(graph, ys)))


def _fills(x: Node, shape: tuple[Any, ...]) -> bool:
    """Whether x can be repeated to a shape."""
    pairs = zip(reversed(x.shape), reversed(shape), strict=False)
    return x.ndim <= len(shape) and all(m == n or m == 1 for m, n in pairs)


def _shared(graph: Graph) -> None:
    """A new operand in the shape of another, so that graphs have wide fan-in."""
    graph.leaf(graph.one_of(graph.nodes).shape, graph.dtype)
    return None


BOTH = (
    _transpose, _reshape, _slice, _arrange, _assemble, _matmul, _gather, _one_hot, _scan, _shared,
    _convert,
)  # fmt: skip
EXACT = (
    *BOTH, _exact_unary, _exact_unary, _exact_binary, _exact_binary, _exact_binary,
    _exact_reduction, _exact_reduction, _compare, _boolean, _choice, _position, _computed_gather,
)  # fmt: skip
SMOOTH = (
    *BOTH, _smooth_unary, _smooth_unary, _smooth_unary, _smooth_binary, _smooth_binary,
    _smooth_binary, _smooth_reduction, _smooth_reduction, _row_wise, _row_wise,
)  # fmt: skip


def sizes_for(graph: Graph, choose: Choose, entries: tuple[int, ...] = (0, 1, 2, 3, 5, 7)) -> Any:
    """Values of the named dimensions; empty ones only where every op has a value for them."""
    names = ("a", "b", "c", *((graph.lead,) if graph.lead else ()))
    return {
        name: max(entries[choose(len(entries))], 2 if name in graph.positive else 0)
        for name in names
    }


def tolerance(graph: Graph, outputs: list[Node], values: dict[Node, Array]) -> tuple[float, float]:
    """Relative and absolute, by the unit of rounding and the largest number on the way."""
    if graph.exact:
        return 0.0, 0.0
    order = [node for node in toposort(outputs) if not isinstance(node.type, tuple)]
    largest = 1.0
    for array in interpret(order, values, training=False):
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else np.zeros(0)
        largest = max(largest, float(np.abs(finite).max(initial=0.0)))
    single = any(node.dtype == "float32" for node in order)
    relative = 200 * float(np.finfo("float32" if single else "float64").eps)
    return relative, relative * largest


def assert_agree(graph: Graph, outputs: list[Node], values: dict[Node, Array], found: Any) -> None:
    """Compare arrays with what NumPy computes for the graph, node by node."""
    relative, absolute = tolerance(graph, outputs, values)
    for node, expected, array in zip(
        outputs, interpret(outputs, values, training=False), found, strict=True
    ):
        assert array.dtype == expected.dtype == node.dtype
        np.testing.assert_allclose(array, expected, relative, absolute)


def with_gradients(graph: Graph, outputs: list[Node]) -> list[Node]:
    """The last output, and the gradients of the sum of its sines by all float inputs."""
    y = outputs[-1]
    inputs = [x for x in graph.leaves if x.dtype in FLOATS]
    return [y, *sf.grad(ops.sum(ops.sin(y)), inputs)] if y.dtype in FLOATS else [y]
