"""ONNX's softmax, norms, pooling over everything, and losses with ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import staticflow.ops as ops
from staticflow.graph.dims import product
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import Call


def _along(function: Callable[[Node, int], Node]) -> Writer:
    """Along an axis; before opset 13 along all axes from one on, taken as one."""

    def write(c: Call) -> Any:
        x = c[0]
        if c.version >= 13:
            return function(x, c.attribute("axis", -1))
        axis = c.attribute("axis", 1) % max(x.ndim, 1)
        shape = (product(x.shape[:axis]), product(x.shape[axis:]))
        return ops.reshape(function(ops.reshape(x, shape), -1), x.shape)

    return write


def _hardmax(x: Node, axis: int) -> Node:
    last = ops.moveaxis(x, axis, -1)
    hot = ops.equal(ops.argmax(last, -1)[..., None], ops.arange(last.shape[-1]).astype("int64"))
    return ops.moveaxis(hot.astype(x.dtype), -1, axis)


def _lp(c: Call) -> Any:
    axis, p = c.attribute("axis", -1), c.attribute("p", 2)
    size = ops.sum(ops.abs(c[0]) ** p, axis, keepdims=True) ** (1 / p)
    empty = ops.equal(size, 0)
    return ops.where(empty, 0.0, c[0] / ops.where(empty, 1.0, size))


def _layer_norm(c: Call) -> Any:
    axis, x = c.attribute("axis", -1), c[0]
    axes = tuple(range(axis % x.ndim, x.ndim))
    middle = ops.mean(x, axes, keepdims=True)
    scale = 1 / ops.sqrt(ops.var(x, axes, keepdims=True) + c.attribute("epsilon", 1e-5))
    y = (x - middle) * scale * c[1]
    return [y if c[2] is None else y + c[2], middle, scale][: c.outputs]


def _rms_norm(c: Call) -> Any:
    x = c[0]
    axes = tuple(range(c.attribute("axis", -1) % x.ndim, x.ndim))
    size = ops.mean(ops.square(x), axes, keepdims=True)
    return x / ops.sqrt(size + c.attribute("epsilon", 1e-5)) * c[1]


def _batch_norm(c: Call) -> Any:
    """By the running mean and variance, which are parameters that are not trained; in training mode
    by those of the batch, and the running ones, moved towards these.
    """
    for value in c.values[3:5]:
        if value is not None:
            value.trainable = False
    x, eps = c[0], c.attribute("epsilon", 1e-5)

    def spread(v: Node) -> Node:
        return v[(..., *[None] * (x.ndim - 2))]

    scale, shift, mean, var = (c[k] for k in range(1, 5))
    moved = []
    if c.attribute("training_mode", 0):
        axes, momentum = (0, *range(2, x.ndim)), c.attribute("momentum", 0.9)
        now = ops.mean(x, axes), ops.var(x, axes)
        pairs = zip((mean, var), now, strict=True)
        moved = [momentum * old + (1.0 - momentum) * new for old, new in pairs]
        mean, var = now
    y = (x - spread(mean)) * spread(scale / ops.sqrt(var + eps)) + spread(shift)
    return [y, *moved][: c.outputs]


def _standardised(x: Node, axes: tuple[int, ...], eps: float) -> Node:
    middle = ops.mean(x, axes, keepdims=True)
    return (x - middle) / ops.sqrt(ops.var(x, axes, keepdims=True) + eps)


def _instance_norm(c: Call) -> Any:
    x = c[0]
    scale, shift = (c[k][(..., *[None] * (x.ndim - 2))] for k in (1, 2))
    return _standardised(x, tuple(range(2, x.ndim)), c.attribute("epsilon", 1e-5)) * scale + shift


def _group_norm(c: Call) -> Any:
    x, groups = c[0], int(c.attribute("num_groups"))
    b, channels, *rest = x.shape
    split = ops.reshape(x, (b, groups, channels // groups, *rest))
    axes = tuple(range(2, split.ndim))
    y = _standardised(split, axes, c.attribute("epsilon", 1e-5))
    scale, shift = c[1], c[2]
    if c.version < 21:  # one for each group, then one for each channel
        scale, shift = (ops.repeat(v, channels // groups) for v in (scale, shift))
    scale, shift = (v[(..., *[None] * len(rest))] for v in (scale, shift))
    return ops.reshape(y, x.shape) * scale + shift


def _mean_variance(c: Call) -> Any:
    x, axes = c[0], tuple(c.attribute("axes", (0, 2, 3)))
    return (x - ops.mean(x, axes, keepdims=True)) / (ops.std(x, axes, keepdims=True) + 1e-9)


def _pooled(function: Callable[..., Node]) -> Writer:
    return lambda c: function(c[0], tuple(range(2, c[0].ndim)), True)


def _weighed(c: Call, logs: Node, labels: Node, weights: Node | None) -> Node:
    """Minus the logarithm of each label's class, classes along axis 1, as the reduction says."""
    ignored = c.attribute("ignore_index")
    kept = None if ignored is None else ops.not_equal(labels, ignored)
    safe = labels if kept is None else ops.where(kept, labels, 0)
    rows = ops.moveaxis(logs, 1, -1)
    losses = -ops.take_along_axis(rows, safe[..., None], -1)[..., 0]
    scale = ops.ones_like(losses) if weights is None else ops.take(weights, safe, 0)
    if kept is not None:
        scale = ops.where(kept, scale, 0.0)
    how = c.attribute("reduction", "mean")
    if how == "none":
        return losses * scale
    total = ops.sum(losses * scale)
    return total if how == "sum" else total / ops.sum(scale)


def _likelihood(c: Call) -> Any:
    return _weighed(c, c[0], c[1], c[2])


def _cross_entropy(c: Call) -> Any:
    logs = ops.log_softmax(c[0], 1)
    loss = _weighed(c, logs, c[1], c[2])
    return loss if c.outputs == 1 else [loss, logs]


NORMS: Mapping[str, Writer] = {
    "BatchNormalization": _batch_norm, "GlobalAveragePool": _pooled(ops.mean),
    "GlobalMaxPool": _pooled(ops.max), "GroupNormalization": _group_norm,
    "Hardmax": _along(_hardmax), "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm, "LogSoftmax": _along(ops.log_softmax),
    "LpNormalization": _lp, "MeanVarianceNormalization": _mean_variance,
    "NegativeLogLikelihoodLoss": _likelihood, "RMSNormalization": _rms_norm,
    "Softmax": _along(ops.softmax), "SoftmaxCrossEntropyLoss": _cross_entropy,
}  # fmt: skip
