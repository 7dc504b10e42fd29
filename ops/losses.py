"""Losses. Those over classes give one loss for each row; the others are means over all elements."""

from __future__ import annotations

from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph import Node
from staticflow.ops.alias import bounded
from staticflow.ops.arithmetic import maximum
from staticflow.ops.coerce import floating, integral, operands, spread_along
from staticflow.ops.compare import equal, less, where
from staticflow.ops.counting import iota_like
from staticflow.ops.elementwise import abs as magnitude
from staticflow.ops.elementwise import exp, log, log1p, square
from staticflow.ops.public import public
from staticflow.ops.reductions import SUM, reduce
from staticflow.ops.statistics import mean, peak


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
    labels = bounded(labels, logits.shape[last])
    position = iota_like(logits.shape, last, labels.dtype)
    chosen = equal(position, spread_along(labels, logits.shape, (last,)))
    shifted = logits - spread_along(peak(logits, (last,)), logits.shape, (last,))
    total = reduce(SUM, exp(shifted), (last,))
    return log(total) - reduce(SUM, where(chosen, shifted, 0.0), (last,))


@public()
def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Node:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) for each element, without overflow."""
    x, t = _pair("sigmoid_binary_cross_entropy", logits, labels)
    return maximum(x, 0.0) - x * t + log1p(exp(-magnitude(x)))


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
    """Prediction and target of equal shapes: a loss that broadcasts by accident is a trap."""
    x, target = operands(what, "xy", (y, t), "float")
    return x, target
