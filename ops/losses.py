"""Losses. Those over classes give one loss for each row; the others are means over all elements.

Those of a prediction and a target take them in equal shapes, or one of them as a scalar: that
(n, 1) beside (n,) makes a table of n by n is a trap that nobody means.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.kinds import MapRow
from staticflow.graph.node import Array, Kind, Node
from staticflow.ops.alias import bounded, sized
from staticflow.ops.coerce import as_nodes, floating, integral, operands
from staticflow.ops.compare import equal, greater_equal, less, where
from staticflow.ops.counting import iota_like
from staticflow.ops.elementwise import abs as magnitude
from staticflow.ops.elementwise import exp, log, sigmoid, square
from staticflow.ops.public import mapped, public
from staticflow.ops.reductions import SUM, reduce
from staticflow.ops.statistics import mean, peak
from staticflow.ops.views import spread_along


def _binary(x: Array, t: Array) -> Array:
    ahead = (x > 0).astype(x.dtype)
    return np.asarray(x * (ahead - t) + np.log1p(np.exp(-np.abs(x))))


def _binary_slopes(g: Any, z: Node, x: Node, t: Node) -> tuple[Node, Node]:
    """sigmoid(x) - t and -x; above 0 from the other side, where it is small at a target of 1.

    Both sides are smooth, and meet at 0 in all derivatives.
    """
    ahead = greater_equal(x, 0)
    rest = sigmoid(where(ahead, -x, x))
    return g * where(ahead, (1.0 - t) - rest, rest - t), -(g * x)


BINARY = MapRow(
    "sigmoid_binary_cross_entropy", "xy",
    "({x} * (({t}(1) if {x} > {t}(0) else {t}(0)) - {y}) + softplus_{t}(-abs({x})))",
    _binary, _binary_slopes, "The binary cross entropy of the logit x and the target y.", "float",
    points=((0.0, 0.0), (0.0, 1.0), (-0.0, 0.5), (40.0, 1.0), (-40.0, 0.0), (np.nan, 1.0)), cost=20,
    formula="sigmoid(x) - y, -x")  # fmt: skip


@public()
def softmax_cross_entropy(logits: Any, labels: Any) -> Node:
    """-log(softmax(logits)[label]): (..., C) and integer labels (...) -> (...).

    Labels outside 0 ... C - 1 are refused when they are fed.
    """
    logits = floating("softmax_cross_entropy", logits)
    labels = integral("softmax_cross_entropy: the labels", labels)
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        fail(
            ShapeError,
            "softmax_cross_entropy: needs one label for each row of logits",
            got=f"logits {logits.type} and labels {labels.type}",
            do="give logits (..., classes) and integer labels (...)",
        )
    last = logits.ndim - 1
    classes = logits.shape[last]
    if classes == 0 and 0 not in labels.shape:
        fail(ShapeError, "softmax_cross_entropy: there is no class", str(logits.type))
    logits = sized("softmax_cross_entropy", logits, classes - 1)
    labels = bounded(labels, classes)
    position = iota_like(logits.shape, last, labels.dtype)
    chosen = equal(position, spread_along(labels, logits.shape, (last,)))
    shifted = logits - spread_along(peak(logits, (last,)), logits.shape, (last,))
    total = reduce(SUM, exp(shifted), (last,))
    return log(total) - reduce(SUM, where(chosen, shifted, 0.0), (last,))


@public(Kind.MAP, row=BINARY)
def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Node:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) for each element, without overflow."""
    return mapped(BINARY, _pair("sigmoid_binary_cross_entropy", logits, labels))


@public()
def mse(y: Any, t: Any) -> Node:
    """The mean of (y - t)^2 over all elements, a scalar."""
    return mean(square(_difference("mse", y, t)))


@public()
def mae(y: Any, t: Any) -> Node:
    """The mean of |y - t| over all elements, a scalar."""
    return mean(magnitude(_difference("mae", y, t)))


@public()
def huber(y: Any, t: Any, delta: float = 1.0) -> Node:
    """The mean over all elements of d^2/2 where d = |y - t| < delta, else delta (d - delta/2)."""
    distance = magnitude(_difference("huber", y, t))
    near, far = 0.5 * square(distance), delta * (distance - 0.5 * delta)
    return mean(where(less(distance, delta), near, far))


def _difference(what: str, y: Any, t: Any) -> Node:
    x, target = _pair(what, y, t)
    return x - target


def _pair(what: str, y: Any, t: Any) -> tuple[Node, Node]:
    """Prediction and target, of equal shapes unless one is a scalar, as floats of one dtype."""
    first, second = as_nodes([y, t])
    if first.ndim and second.ndim and first.shape != second.shape:
        fail(
            ShapeError,
            f"{what}: prediction and target have different shapes",
            got=f"{first.type} and {second.type}",
            do=_remedy(first, second),
        )
    x, target = operands(what, "xy", (y, t), "float")
    return x, target


def _remedy(y: Node, t: Node) -> str:
    """How to bring two shapes together, where one has an axis of size 1 at its end."""
    for node, other, who in ((y, t, "prediction"), (t, y, "target")):
        if node.shape == (*other.shape, 1):
            return f"write [..., 0] behind the {who}, or [..., None] behind the other"
    return "reshape one of them, or ops.broadcast_to it if it is to be repeated"
