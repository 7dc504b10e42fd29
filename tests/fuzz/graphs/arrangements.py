"""Rules for random graphs that move, repeat, gather and join elements.

Each rule makes a node of nodes there are, or None where it cannot.
"""

from __future__ import annotations

from typing import Any

from staticflow import Node, ops
from tests.fuzz.graphs.builder import SIZES, Graph, pick


def transpose(graph: Graph) -> Node | None:
    x = graph.one_of(graph.nodes)
    order = list(range(x.ndim))
    for k in range(x.ndim):
        other = k + graph.choose(x.ndim - k)
        order[k], order[other] = order[other], order[k]
    return ops.transpose(x, order) if x.ndim else None


def reshape(graph: Graph) -> Node | None:
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


def slice_of(graph: Graph) -> Node | None:
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


def arrange(graph: Graph) -> Node | None:
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


def assemble(graph: Graph) -> Node | None:
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


def gather(graph: Graph) -> Node | None:
    x = pick(graph, 1)
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


def computed_gather(graph: Graph) -> Node | None:
    x = pick(graph, 1)
    whole = [y for y in graph.nodes if y.dtype in ("int32", "int64") and y.ndim < 3]
    if x is None or not whole or x.ndim > 2:
        return None
    axis = graph.axis(x)
    graph.need(x.shape[axis])
    return ops.take(x, 1 * graph.one_of(whole), axis)


def one_hot(graph: Graph) -> Node | None:
    whole = [y for y in graph.nodes if y.dtype in ("int32", "int64") and y.ndim < 3]
    if not whole:
        return None
    return ops.one_hot(graph.one_of(whole), graph.one_of((1, 3, 5)), graph.dtype)


def shared(graph: Graph) -> None:
    """A new operand in the shape of another, so that graphs have wide fan-in."""
    graph.leaf(graph.one_of(graph.nodes).shape, graph.dtype)
    return None
