"""ONNX's elementwise operators and activations with ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import staticflow.ops as ops
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_in.values import DTYPES, Call

Writer = Callable[[Call], Any]  # a node, an array of sizes, or a sequence of them


def _same(op: Callable[..., Node]) -> Writer:
    return lambda c: op(*c.nodes)


def _fold(op: Callable[..., Node]) -> Writer:
    return lambda c: reduce(op, c.nodes)


def _mean(c: Call) -> Any:
    return reduce(ops.add, c.nodes) / len(c.nodes)


def _div(c: Call) -> Any:
    """Integers are divided towards zero."""
    x, y = c[0], c[1]
    return x / y if x.type.is_float else ops.sign(x) * ops.sign(y) * (ops.abs(x) // ops.abs(y))


def _clip(c: Call) -> Any:
    """Bounds are inputs, or attributes in older versions."""
    low = c[1] if c.has(1) else c.attribute("min")
    high = c[2] if c.has(2) else c.attribute("max")
    x = c[0] if low is None else ops.maximum(c[0], low)
    return x if high is None else ops.minimum(x, high)


def _bit_shift(c: Call) -> Any:
    left = c.attribute("direction") == "LEFT"
    return (ops.left_shift if left else ops.right_shift)(c[0], c[1])


def _cast(c: Call) -> Any:
    target = DTYPES.get(c.attribute("to"))
    if target is None:
        c.refuse("it converts to a dtype that staticflow has not", f"number {c.attribute('to')}")
    return c[0].astype(target)


def _is_inf(c: Call) -> Any:
    low = bool(c.attribute("detect_negative", 1))
    high = bool(c.attribute("detect_positive", 1))
    if low and high:
        return ops.isinf(c[0])
    if not low and not high:
        return ops.logical_and(ops.isinf(c[0]), False)
    return ops.isneginf(c[0]) if low else ops.isposinf(c[0])


def _gelu(c: Call) -> Any:
    return ops.gelu(c[0], approximate=c.attribute("approximate", "none") == "tanh")


def _shrink(c: Call) -> Any:
    x, bias, limit = c[0], c.attribute("bias", 0.0), c.attribute("lambd", 0.5)
    return ops.where(x < -limit, x + bias, ops.where(x > limit, x - bias, 0.0))


def _hard_sigmoid(c: Call) -> Any:
    return ops.clip(c.attribute("alpha", 0.2) * c[0] + c.attribute("beta", 0.5), 0.0, 1.0)


def _selu(c: Call) -> Any:
    a, g = c.attribute("alpha", 1.67326319), c.attribute("gamma", 1.05070102)
    return g * ops.where(c[0] > 0, c[0], a * ops.expm1(ops.minimum(c[0], 0.0)))


def _celu(c: Call) -> Any:
    a = c.attribute("alpha", 1.0)
    return ops.maximum(c[0], 0.0) + ops.minimum(a * ops.expm1(c[0] / a), 0.0)


def _mod(c: Call) -> Any:
    return (ops.fmod if c.attribute("fmod", 0) else ops.mod)(c[0], c[1])


def _threshold(c: Call) -> Any:
    return ops.where(c[0] > c.attribute("alpha", 1.0), c[0], 0.0)


def _dropout(c: Call) -> Any:
    """At inference x itself, and a mask that keeps all."""
    drops = not c.has(1) or bool(c.array(1).any())
    if c.has(2) and bool(c.array(2)) and drops:
        c.refuse("it drops values at inference, as its training_mode says")
    kept = ops.positive(c[0])
    return kept if c.outputs == 1 else [kept, ops.ones_like(c[0], "bool")]


def _swish(c: Call) -> Any:
    return c[0] * ops.sigmoid(c.attribute("alpha", 1.0) * c[0])


SAME: Mapping[str, Callable[..., Node]] = {
    "Abs": ops.abs, "Acos": ops.arccos, "Acosh": ops.arccosh, "Add": ops.add,
    "And": ops.logical_and, "Asin": ops.arcsin, "Asinh": ops.arcsinh, "Atan": ops.arctan,
    "Atanh": ops.arctanh, "BitwiseAnd": ops.bitwise_and, "BitwiseNot": ops.bitwise_not,
    "BitwiseOr": ops.bitwise_or, "BitwiseXor": ops.bitwise_xor, "Ceil": ops.ceil, "Cos": ops.cos,
    "Cosh": ops.cosh, "Det": ops.linalg.det, "Equal": ops.equal, "Erf": ops.erf, "Exp": ops.exp,
    "Floor": ops.floor, "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal,
    "Identity": ops.positive, "IsNaN": ops.isnan, "Less": ops.less,
    "LessOrEqual": ops.less_equal, "Log": ops.log, "MatMul": ops.matmul, "Mish": ops.mish,
    "Mul": ops.multiply, "Neg": ops.negative, "Not": ops.logical_not, "Or": ops.logical_or,
    "Reciprocal": ops.reciprocal, "Relu": ops.relu, "Round": ops.rint, "Sigmoid": ops.sigmoid,
    "Sign": ops.sign, "Sin": ops.sin, "Sinh": ops.sinh, "Softplus": ops.softplus,
    "Softsign": ops.softsign, "Sqrt": ops.sqrt, "Sub": ops.subtract, "Tan": ops.tan,
    "Tanh": ops.tanh, "Where": ops.where, "Xor": ops.logical_xor,
}  # fmt: skip
ELEMENTWISE: Mapping[str, Writer] = {
    **{name: _same(op) for name, op in SAME.items()},
    "BitShift": _bit_shift, "Cast": _cast, "CastLike": lambda c: c[0].astype(c[1].dtype),
    "Celu": _celu, "Clip": _clip, "Div": _div, "Dropout": _dropout,
    "Elu": lambda c: ops.elu(c[0], c.attribute("alpha", 1.0)), "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda c: c[0] * ops.clip(c[0] / 6 + 0.5, 0.0, 1.0), "IsInf": _is_inf,
    "LeakyRelu": lambda c: ops.leaky_relu(c[0], c.attribute("alpha", 0.01)),
    "Max": _fold(ops.maximum), "Mean": _mean, "Min": _fold(ops.minimum), "Mod": _mod,
    "PRelu": lambda c: ops.where(c[0] >= 0, c[0], c[1] * c[0]),
    "Pow": lambda c: ops.power(c[0], c[1]).astype(c[0].dtype), "Selu": _selu, "Shrink": _shrink,
    "Sum": _fold(ops.add), "Swish": _swish, "ThresholdedRelu": _threshold,
}  # fmt: skip
