"""Normalisation of activations, and dropout."""

from __future__ import annotations

from typing import Any

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.node import Node
from staticflow.graph.types import broadcast_shapes, normalise_axes
from staticflow.ops.alias import by_mode
from staticflow.ops.coerce import as_nodes, floating
from staticflow.ops.compare import less, where
from staticflow.ops.elementwise import sqrt, square
from staticflow.ops.public import public
from staticflow.ops.random import uniform
from staticflow.ops.statistics import centre, mean_along
from staticflow.ops.views import spread_along


@public()
def layer_norm(
    x: Any, scale: Any = None, shift: Any = None, axis: Any = -1, epsilon: float = 1e-5
) -> Node:
    """(x - mean) / sqrt(var + epsilon) along axes, times `scale`, plus `shift`."""
    node = floating("layer_norm", x)
    axes = normalise_axes(axis, node.ndim, "layer_norm")
    distance = centre(node, axes)
    spread = 1.0 / sqrt(mean_along(square(distance), axes) + epsilon)
    y = distance * spread_along(spread, node.shape, axes)
    y = y if scale is None else y * _within(node, "scale", scale)
    return y if shift is None else y + _within(node, "shift", shift)


def _within(x: Node, what: str, value: Any) -> Node:
    """A scale or shift, which must not give the result further axes or sizes than x has."""
    part = as_nodes([x, value])[1]
    if broadcast_shapes([x.shape, part.shape], f"layer_norm: the {what}") != x.shape:
        fail(ShapeError, f"layer_norm: the {what} must broadcast to x", f"{part.type} for {x.type}")
    return part


@public()
def dropout(x: Any, rate: Any) -> Node:
    """In training, each element is 0 with probability `rate`, else x / (1 - rate); else x.

    The rate is a number below 1, or a float scalar of the graph, such as a state.
    """
    node = floating("dropout", x)
    if isinstance(rate, Node):
        return _dropout(node, _scalar_rate(rate).astype("float64"))
    if not 0.0 <= rate < 1.0:
        fail(GraphError, "dropout: the rate is a probability below 1", got=str(rate))
    if rate == 0.0:
        return node
    return _dropout(node, rate)


def _dropout(x: Node, rate: Any) -> Node:
    below, scale = 1.0 - rate, 1.0 / (1.0 - rate)
    if isinstance(rate, Node):
        below, scale = below.astype(x.dtype), scale.astype(x.dtype)
    kept = less(uniform(x.shape, dtype=x.dtype), below)
    return by_mode(where(kept, x * scale, 0.0), x)


def _scalar_rate(rate: Node) -> Node:
    if rate.shape or not rate.type.is_float:
        fail(ShapeError, "dropout: a rate of the graph is a float scalar", got=str(rate.type))
    return rate
