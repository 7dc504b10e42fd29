"""Rules for random graphs with products and loops.

Each rule makes a node of nodes there are, or None where it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import staticflow as sf
from staticflow import Node, ops
from tests.fuzz.graphs.builder import LIMIT, Graph, pick, tame


def matmul(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    if x is None:
        return None
    fitting = [
        y for y in graph.floats()
        if y.ndim and y.shape[max(y.ndim - 2, 0)] == x.shape[-1] and _batches(x, y)
    ]  # fmt: skip
    y = graph.one_of([*fitting, ops.swapaxes(x, -1, -2) if x.ndim > 1 else x])
    z = ops.matmul(x, y)
    return tame(graph, z) if graph.exact else ops.softsign(z)


def _batches(x: Node, y: Node) -> bool:
    pairs = zip(reversed(x.shape[:-2]), reversed(y.shape[:-2]), strict=False)
    return all(m == n or m == 1 or n == 1 for m, n in pairs)


def scanned(graph: Graph) -> Node | None:
    """A loop over the leading axis of a node, with a carry and a few ops in its body."""
    x = pick(graph, 1)
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
    return graph.one_of((last, tame(graph, ys), tame(graph, ys)))


def _fills(x: Node, shape: tuple[Any, ...]) -> bool:
    """Whether x can be repeated to a shape."""
    pairs = zip(reversed(x.shape), reversed(shape), strict=False)
    return x.ndim <= len(shape) and all(m == n or m == 1 for m, n in pairs)
