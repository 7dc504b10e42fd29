"""Random graphs over the op table, made by a stream of choices that hypothesis can shrink.

An EXACT graph computes on small whole numbers with ops that round nothing, so that results must be
equal bit for bit whatever the order of additions: it may compare, choose and index by computed
values. A SMOOTH graph uses the other functions, only continuous ones, and agrees within rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import staticflow as sf
from staticflow import Node, ops
from staticflow.errors import ShapeError
from staticflow.graph.dims import evaluate
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from tests.fuzz.graphs.arrangements import (
    arrange,
    assemble,
    computed_gather,
    gather,
    one_hot,
    reshape,
    shared,
    slice_of,
    transpose,
)
from tests.fuzz.graphs.builder import FLOATS, SIZES, Array, Choose, Graph
from tests.fuzz.graphs.functions import (
    boolean,
    chosen,
    compared,
    convert,
    exact_binary,
    exact_reduction,
    exact_unary,
    position,
    row_wise,
    smooth_binary,
    smooth_reduction,
    smooth_unary,
)
from tests.fuzz.graphs.loops import matmul, scanned


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


BOTH = (
    transpose, reshape, slice_of, arrange, assemble, matmul, gather, one_hot, scanned, shared,
    convert,
)  # fmt: skip
EXACT = (
    *BOTH, exact_unary, exact_unary, exact_binary, exact_binary, exact_binary,
    exact_reduction, exact_reduction, compared, boolean, chosen, position, computed_gather,
)  # fmt: skip
SMOOTH = (
    *BOTH, smooth_unary, smooth_unary, smooth_unary, smooth_binary, smooth_binary,
    smooth_binary, smooth_reduction, smooth_reduction, row_wise, row_wise,
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
