"""Rules for random graphs that compute by elements and reduce.

Each rule makes a node of nodes there are, or None where it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticflow import Node, ops
from tests.fuzz.graphs.builder import FLOATS, Graph, broadcasts, partner, pick, tame


def exact_unary(graph: Graph) -> Node | None:
    x = pick(graph)
    assert x is not None
    function = graph.one_of(
        (ops.negative, ops.abs, ops.relu, ops.sign, ops.square, ops.floor, ops.copysign)
    )
    if function is ops.copysign:
        return ops.copysign(x, graph.one_of((-1.0, 1.0)))
    return tame(graph, function(x))


def smooth_unary(graph: Graph) -> Node | None:
    x = pick(graph)
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


def exact_binary(graph: Graph) -> Node | None:
    x = pick(graph)
    assert x is not None
    y: Any = graph.one_of((partner(graph, x), partner(graph, x), 2.0, -1))
    function = graph.one_of((ops.add, ops.subtract, ops.multiply, ops.maximum, ops.minimum))
    return tame(graph, function(x, y) if graph.choose(2) else function(y, x))


def smooth_binary(graph: Graph) -> Node | None:
    x = pick(graph)
    assert x is not None
    y = partner(graph, x)
    forms: tuple[Callable[[], Node], ...] = (
        lambda: x + y,
        lambda: x - y,
        lambda: ops.sin(x) * y,
        lambda: x / (1.0 + ops.square(y)),
        lambda: ops.logaddexp(x, y),
        lambda: ops.hypot(x, 1.0 + ops.abs(y)),
    )
    return graph.one_of(forms)()


def compared(graph: Graph) -> Node | None:
    x = pick(graph)
    assert x is not None
    function = graph.one_of((ops.less, ops.equal, ops.greater_equal, ops.not_equal))
    return function(x, partner(graph, x))


def boolean(graph: Graph) -> Node | None:
    masks = [x for x in graph.nodes if x.dtype == "bool"]
    if not masks:
        return None
    x = graph.one_of(masks)
    if x.ndim and graph.choose(2):
        function = graph.one_of((ops.any, ops.all, ops.sum))
        return function(x, axis=graph.axis(x), keepdims=bool(graph.choose(2)))
    y = graph.one_of([m for m in masks if broadcasts(x, m)])
    function = graph.one_of((ops.logical_and, ops.logical_or, ops.logical_xor))
    return ops.logical_not(function(x, y))


def convert(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    if not graph.exact and x.dtype not in FLOATS:
        return None
    return x.astype(graph.one_of(FLOATS if not graph.exact else (*FLOATS, "int64", "int32")))


def chosen(graph: Graph) -> Node | None:
    masks = [x for x in graph.nodes if x.dtype == "bool"]
    x = pick(graph)
    fitting = [m for m in masks if x is not None and broadcasts(x, m)]
    if x is None or not fitting:
        return None
    return ops.where(graph.one_of(fitting), x, graph.one_of((partner(graph, x), 0.0)))


def _axes(graph: Graph, x: Node) -> Any:
    if graph.choose(4) == 0:
        return None
    axes = tuple(k for k in range(x.ndim) if graph.choose(2))
    return axes or (graph.axis(x),)


def exact_reduction(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    if x is None:
        return None
    function = graph.one_of((ops.sum, ops.sum, ops.max, ops.min, ops.prod))
    if function is ops.prod:
        x = ops.sign(x)
    axes = _axes(graph, x)
    if function in (ops.max, ops.min):
        graph.need(*x.shape)
    return tame(graph, function(x, axis=axes, keepdims=bool(graph.choose(2))))


def position(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    if x is None:
        return None
    axis = graph.axis(x)
    graph.need(x.shape[axis])
    return graph.one_of((ops.argmax, ops.argmin))(x, axis=axis)


def smooth_reduction(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    if x is None:
        return None
    function = graph.one_of((ops.sum, ops.mean, ops.var, ops.logsumexp))
    axes = _axes(graph, x)
    if function is not ops.sum:
        graph.need(*x.shape)
    return ops.softsign(function(x, axis=axes, keepdims=bool(graph.choose(2))))


def row_wise(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    if x is None:
        return None
    axis = graph.axis(x) - x.ndim
    graph.need(x.shape[axis])
    function = graph.one_of((ops.softmax, ops.log_softmax, ops.layer_norm))
    return function(x, axis=axis)
