"""Activations that are composed of other functions; relu, sigmoid, softplus and tanh are rows."""

from __future__ import annotations

import math
from typing import Any

from staticflow.graph.node import Node
from staticflow.graph.types import normalise_axes
from staticflow.ops.alias import stop_gradient
from staticflow.ops.arithmetic import clip, multiply
from staticflow.ops.coerce import floating
from staticflow.ops.compare import (
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    where,
)
from staticflow.ops.elementwise import erf, exp, expm1, log, sigmoid, softplus, tanh
from staticflow.ops.public import public
from staticflow.ops.reductions import SUM, reduce
from staticflow.ops.statistics import peak
from staticflow.ops.views import spread_along


@public()
def leaky_relu(x: Any, slope: float = 0.01) -> Node:
    """x from 0 on, else slope x."""
    node = floating("leaky_relu", x)
    return where(greater_equal(node, 0.0), node, slope * node)


@public()
def elu(x: Any, alpha: float = 1.0) -> Node:
    """x above 0, else alpha (e^x - 1)."""
    node = floating("elu", x)
    above = greater(node, 0.0)
    return where(above, node, alpha * expm1(where(above, 0.0, node)))


@public()
def selu(x: Any) -> Node:
    """The self-normalising elu: 1.0507 elu(x, 1.6733)."""
    return multiply(1.0507009873554805, elu(x, 1.6732632423543772))


@public()
def gelu(x: Any, approximate: bool = False) -> Node:
    """x P(Z < x) for a normal Z: x (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh."""
    node = floating("gelu", x)
    if approximate:
        inner = math.sqrt(2.0 / math.pi) * (node + 0.044715 * node * node * node)
        return 0.5 * node * (1.0 + tanh(inner))
    return 0.5 * node * (1.0 + erf(node * math.sqrt(0.5)))


@public()
def silu(x: Any) -> Node:
    """x sigmoid(x), also called swish."""
    node = floating("silu", x)
    return node * sigmoid(node)


@public()
def mish(x: Any) -> Node:
    """x tanh(softplus(x))."""
    node = floating("mish", x)
    return node * tanh(softplus(node))


@public()
def hard_sigmoid(x: Any) -> Node:
    """min(max(x / 6 + 1/2, 0), 1); at both ends the slope is 0, as in JAX."""
    return _held(floating("hard_sigmoid", x) * (1.0 / 6.0) + 0.5, 0.0, greater, less)


@public()
def hard_tanh(x: Any) -> Node:
    """min(max(x, -1), 1); at both ends the slope is 1, as in JAX."""
    return _held(floating("hard_tanh", x), -1.0, greater_equal, less_equal)


def _held(x: Node, low: float, above: Any, below: Any) -> Node:
    """x held between `low` and 1, with the slope of x where both comparisons hold, else 0."""
    inside = logical_and(above(x, low), below(x, 1.0))
    return where(inside, x, stop_gradient(clip(x, low, 1.0)))


@public()
def softsign(x: Any) -> Node:
    """x / (1 + |x|)."""
    node = floating("softsign", x)
    return node / (1.0 + abs(node))


@public()
def log_sigmoid(x: Any) -> Node:
    """log(sigmoid(x)) = -softplus(-x)."""
    return -softplus(-floating("log_sigmoid", x))


@public()
def softmax(x: Any, axis: Any = -1) -> Node:
    """e^x / sum(e^x) along axes, without overflow."""
    node = floating("softmax", x)
    axes = normalise_axes(axis, node.ndim, "softmax")
    powers = exp(node - spread_along(peak(node, axes), node.shape, axes))
    return powers / spread_along(reduce(SUM, powers, axes), node.shape, axes)


@public()
def log_softmax(x: Any, axis: Any = -1) -> Node:
    """x - log(sum(e^x)) along axes, without overflow."""
    node = floating("log_softmax", x)
    axes = normalise_axes(axis, node.ndim, "log_softmax")
    shifted = node - spread_along(peak(node, axes), node.shape, axes)
    return shifted - spread_along(log(reduce(SUM, exp(shifted), axes)), node.shape, axes)
