"""ONNX's operators in ours: how a node of the one is written with the other.

A writer takes a `Call`: the node's attributes, its inputs as nodes of ours (None where one is left
out), and the same as arrays, for what is part of a graph of ours: axes, shapes, sizes. Writers are
of what ONNX has and NumPy's vocabulary can say; quantised, image, string and sequence operators,
and models such as Attention, are none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow import Node, ops

Array = np.ndarray[Any, Any]
Result = Any  # a node, or a sequence of them
DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # ONNX's numbers of ours


@dataclass(frozen=True)
class Call:
    """A node of a model, over nodes of ours."""

    attributes: Mapping[str, Any]
    nodes: Sequence[Node | None]
    arrays: Sequence[Array | None]
    outputs: int

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def integers(self, place: int, name: str = "") -> tuple[int, ...] | None:
        """An input that is a list of numbers, or an attribute that older versions have for it."""
        if len(self.arrays) > place and self.arrays[place] is not None:
            return tuple(int(n) for n in np.ravel(self.arrays[place]))
        given = self.attributes.get(name)
        return None if given is None else tuple(given)

    def __getitem__(self, place: int) -> Any:
        return self.nodes[place] if place < len(self.nodes) else None


SourceWriter = Callable[[Call], Result]


def _same(op: Callable[..., Node]) -> SourceWriter:
    return lambda c: op(*c.nodes)


def _fold(op: Callable[..., Node]) -> SourceWriter:
    def write(c: Call) -> Node:
        first, *rest = c.nodes
        for other in rest:
            first = op(first, other)
        assert first is not None
        return first

    return write


def _mean(c: Call) -> Node:
    return _fold(ops.add)(c) / len(c.nodes)


def _reduction(op: Callable[..., Node]) -> SourceWriter:
    def write(c: Call) -> Node:
        axes, keepdims = c.integers(1, "axes"), bool(c.attribute("keepdims", 1))
        if not axes and c.attribute("noop_with_empty_axes", 0):
            return op(c[0][None], 0)
        return op(c[0], axes or None, keepdims)

    return write


def _chosen(op: Callable[..., Node]) -> SourceWriter:
    def write(c: Call) -> Node:
        x, axis = c[0], c.attribute("axis", 0)
        last = bool(c.attribute("select_last_index", 0))
        found = op(ops.flip(x, axis) if last else x, axis, bool(c.attribute("keepdims", 1)))
        return x.shape[axis] - 1 - found if last else found

    return write


def _integer_div(c: Call) -> Node:
    """Integers are divided towards zero."""
    x, y = c[0], c[1]
    return x / y if x.type.is_float else ops.sign(x) * ops.sign(y) * (ops.abs(x) // ops.abs(y))


def _clip(c: Call) -> Node:
    x = c[0] if c[1] is None else ops.maximum(c[0], c[1])
    return x if c[2] is None else ops.minimum(x, c[2])


def _gemm(c: Call) -> Node:
    a = c[0].T if c.attribute("transA", 0) else c[0]
    b = c[1].T if c.attribute("transB", 0) else c[1]
    product = c.attribute("alpha", 1.0) * (a @ b)
    return product if c[2] is None else product + c.attribute("beta", 1.0) * c[2]


def _pad(c: Call) -> Node:
    pads, axes = c.integers(1) or (), c.integers(3)
    x = c[0]
    axes = tuple(range(x.ndim)) if axes is None else tuple(a % x.ndim for a in axes)
    width = [(0, 0)] * x.ndim
    for k, axis in enumerate(axes):
        width[axis] = (pads[k], pads[k + len(axes)])
    mode = c.attribute("mode", "constant")
    if mode == "constant":
        return ops.pad(x, width, constant_values=0 if c[2] is None else c.arrays[2].item())
    return ops.pad(x, width, mode)


def _slice(c: Call) -> Node:
    starts, ends = c.integers(1), c.integers(2)
    assert starts is not None and ends is not None
    axes = c.integers(3) or tuple(range(len(starts)))
    steps = c.integers(4) or (1,) * len(starts)
    index = [slice(None)] * c[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before = step < 0 and end < -c[0].shape[axis]
        index[axis] = slice(start, None if before else end, step)
    return c[0][tuple(index)]


def _squeeze(c: Call) -> Node:
    return ops.squeeze(c[0], c.integers(1, "axes"))


def _reshape(c: Call) -> Node:
    shape = c.integers(1) or ()
    if not c.attribute("allowzero", 0):
        shape = tuple(c[0].shape[k] if n == 0 else n for k, n in enumerate(shape))
    return ops.reshape(c[0], shape)


def _flatten(c: Call) -> Node:
    axis = c.attribute("axis", 1)
    axis = axis + c[0].ndim if axis < 0 else axis
    return ops.reshape(c[0], (int(np.prod(c[0].shape[:axis])), -1))


def _expand(c: Call) -> Node:
    shape = np.broadcast_shapes(c[0].shape, c.integers(1) or ())
    return ops.broadcast_to(c[0], shape)


def _top_k(c: Call) -> Result:
    (k,) = c.integers(1) or (1,)
    axis, x = c.attribute("axis", -1), ops.moveaxis(c[0], c.attribute("axis", -1), -1)
    order = ops.argsort(x, -1, descending=bool(c.attribute("largest", 1)))[..., :k]
    found = ops.take_along_axis(x, order, -1), order
    return [ops.moveaxis(y, -1, axis) for y in found]


def _split(c: Call) -> Result:
    axis, parts = c.attribute("axis", 0), c.integers(1, "split")
    size = c[0].shape[axis]
    if parts is None:
        step = -(-size // c.attribute("num_outputs", c.outputs))
        places = list(range(step, size, step))
    else:
        places = list(np.cumsum(parts)[:-1])
    return ops.split(c[0], [int(n) for n in places], axis)


def _one_hot(c: Call) -> Node:
    (depth,) = c.integers(1) or (1,)
    index = c[0] if not c[0].type.is_float else c[0].astype("int64")
    hot = ops.equal(ops.mod(index, depth)[..., None], ops.arange(depth, dtype=index.dtype))
    inside = ops.logical_and(index >= -depth, index < depth)[..., None]
    wanted = ops.where(ops.logical_and(hot, inside), c[2][1], c[2][0])
    return ops.moveaxis(wanted, -1, c.attribute("axis", -1))


def _cumsum(op: Callable[..., Node], first: float) -> SourceWriter:
    def write(c: Call) -> Node:
        (axis,) = c.integers(1) or (0,)
        x, back = c[0], bool(c.attribute("reverse", 0))
        x = ops.flip(x, axis) if back else x
        total = op(x, axis, dtype=x.dtype)
        if c.attribute("exclusive", 0):
            width = [(0, 0)] * x.ndim
            width[axis] = (1, 0)
            index = [slice(None)] * x.ndim
            index[axis] = slice(0, -1)
            total = ops.pad(total[tuple(index)], width, constant_values=first)
        return ops.flip(total, axis) if back else total

    return write


def _trilu(c: Call) -> Node:
    (k,) = c.integers(1) or (0,)
    return ops.triu(c[0], k) if c.attribute("upper", 1) else ops.tril(c[0], k)


def _layer_norm(c: Call) -> Result:
    axis, x = c.attribute("axis", -1), c[0]
    axes = tuple(range(axis % x.ndim, x.ndim))
    middle = ops.mean(x, axes, keepdims=True)
    scale = 1 / ops.sqrt(ops.var(x, axes, keepdims=True) + c.attribute("epsilon", 1e-5))
    y = (x - middle) * scale * c[1]
    return [y if c[2] is None else y + c[2], middle, scale][: c.outputs]


def _batch_norm(c: Call) -> Node:
    x, eps = c[0], c.attribute("epsilon", 1e-5)
    scale, shift, mean, var = (c[k][(..., *[None] * (x.ndim - 2))] for k in range(1, 5))
    return scale * (x - mean) / ops.sqrt(var + eps) + shift


def _gather(c: Call) -> Node:
    return ops.take(c[0], c[1], c.attribute("axis", 0))


def _is_inf(c: Call) -> Node:
    low = bool(c.attribute("detect_negative", 1))
    high = bool(c.attribute("detect_positive", 1))
    if low and high:
        return ops.isinf(c[0])
    return ops.isneginf(c[0]) if low else ops.isposinf(c[0])


def _arange(c: Call) -> Node:
    start, stop, step = (a.item() for a in c.arrays if a is not None)
    return ops.arange(start, stop, step, dtype=c[0].dtype)


def _eye(c: Call) -> Node:
    dtype = DTYPES.get(c.attribute("dtype", 0), c[0].dtype)
    return ops.eye(*c[0].shape, k=c.attribute("k", 0), dtype=dtype)


def _gelu(c: Call) -> Node:
    return ops.gelu(c[0], approximate=c.attribute("approximate", "none") == "tanh")


def _hardmax(c: Call) -> Node:
    x, axis = c[0], c.attribute("axis", -1)
    last = ops.moveaxis(x, axis, -1)
    hot = ops.equal(ops.argmax(last, -1)[..., None], ops.arange(last.shape[-1]).astype("int64"))
    return ops.moveaxis(hot.astype(x.dtype), -1, axis)


def _shrink(c: Call) -> Node:
    x, bias, limit = c[0], c.attribute("bias", 0.0), c.attribute("lambd", 0.5)
    return ops.where(x < -limit, x + bias, ops.where(x > limit, x - bias, 0.0))


def _lp(c: Call) -> Node:
    axis, p = c.attribute("axis", -1), c.attribute("p", 2)
    size = ops.sum(ops.abs(c[0]) ** p, axis, keepdims=True) ** (1 / p)
    empty = ops.equal(size, 0)
    return ops.where(empty, 0.0, c[0] / ops.where(empty, 1.0, size))


def _activation(op: str, **defaults: float) -> SourceWriter:
    return lambda c: getattr(ops, op)(c[0], *(c.attribute(k, v) for k, v in defaults.items()))


def _hard_sigmoid(c: Call) -> Node:
    return ops.clip(c.attribute("alpha", 0.2) * c[0] + c.attribute("beta", 0.5), 0.0, 1.0)


def _selu(c: Call) -> Node:
    a, g = c.attribute("alpha", 1.67326319), c.attribute("gamma", 1.05070102)
    return g * ops.where(c[0] > 0, c[0], a * ops.expm1(ops.minimum(c[0], 0.0)))


def _celu(c: Call) -> Node:
    a = c.attribute("alpha", 1.0)
    return ops.maximum(c[0], 0.0) + ops.minimum(a * ops.expm1(c[0] / a), 0.0)


def _identity(c: Call) -> Node:
    return ops.positive(c[0])


# Node tests of settings that are none of ours, and why.
OTHER_SETTINGS = {
    "test_batchnorm_example_training_mode": "three outputs, with running means",
    "test_batchnorm_epsilon_training_mode": "three outputs, with running means",
    "test_reduce_max_empty_set": "the largest of nothing is refused, as by NumPy",
    "test_reduce_max_empty_set_bool": "the largest of nothing is refused, as by NumPy",
    "test_reduce_min_empty_set": "the smallest of nothing is refused, as by NumPy",
}

SAME = {
    "Abs": ops.abs, "Acos": ops.arccos, "Acosh": ops.arccosh, "Add": ops.add,
    "And": ops.logical_and, "Asin": ops.arcsin, "Asinh": ops.arcsinh, "Atan": ops.arctan,
    "Atanh": ops.arctanh, "BitwiseAnd": ops.bitwise_and, "BitwiseNot": ops.bitwise_not,
    "BitwiseOr": ops.bitwise_or, "BitwiseXor": ops.bitwise_xor, "Ceil": ops.ceil, "Cos": ops.cos,
    "Cosh": ops.cosh, "Det": ops.linalg.det, "Equal": ops.equal, "Erf": ops.erf, "Exp": ops.exp,
    "Floor": ops.floor, "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal,
    "IsNaN": ops.isnan, "Less": ops.less, "LessOrEqual": ops.less_equal, "Log": ops.log,
    "MatMul": ops.matmul, "Mish": ops.mish, "Mul": ops.multiply, "Neg": ops.negative,
    "Not": ops.logical_not, "Or": ops.logical_or, "Reciprocal": ops.reciprocal, "Relu": ops.relu,
    "Round": ops.rint, "Sigmoid": ops.sigmoid, "Sign": ops.sign, "Sin": ops.sin, "Sinh": ops.sinh,
    "Softplus": ops.softplus, "Softsign": ops.softsign, "Sqrt": ops.sqrt, "Sub": ops.subtract,
    "Tan": ops.tan, "Tanh": ops.tanh, "Where": ops.where, "Xor": ops.logical_xor,
}  # fmt: skip
WRITERS: Mapping[str, SourceWriter] = {
    **{name: _same(op) for name, op in SAME.items()},
    "ArgMax": _chosen(ops.argmax), "ArgMin": _chosen(ops.argmin),
    "BatchNormalization": _batch_norm,
    "BitShift": lambda c: (ops.left_shift if c.attribute("direction") == "LEFT" else
                           ops.right_shift)(c[0], c[1]),
    "Cast": lambda c: c[0].astype(DTYPES[c.attribute("to")]),
    "CastLike": lambda c: c[0].astype(c[1].dtype),
    "Celu": _celu, "Clip": _clip,
    "Concat": lambda c: ops.concatenate(list(c.nodes), c.attribute("axis")),
    "CumProd": _cumsum(ops.cumprod, 1), "CumSum": _cumsum(ops.cumsum, 0), "Div": _integer_div,
    "Einsum": lambda c: ops.einsum(c.attribute("equation"), *c.nodes),
    "Elu": _activation("elu", alpha=1.0), "Expand": _expand, "EyeLike": _eye, "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": lambda c: ops.take_along_axis(c[0], c[1], c.attribute("axis", 0)),
    "Gelu": _gelu, "Gemm": _gemm,
    "GlobalAveragePool": lambda c: ops.mean(c[0], tuple(range(2, c[0].ndim)), True),
    "GlobalMaxPool": lambda c: ops.max(c[0], tuple(range(2, c[0].ndim)), True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda c: c[0] * ops.clip(c[0] / 6 + 0.5, 0.0, 1.0), "Hardmax": _hardmax,
    "Identity": _identity, "IsInf": _is_inf, "LayerNormalization": _layer_norm,
    "LeakyRelu": _activation("leaky_relu", alpha=0.01),
    "LogSoftmax": lambda c: ops.log_softmax(c[0], c.attribute("axis", -1)),
    "LpNormalization": _lp, "Max": _fold(ops.maximum), "Mean": _mean, "Min": _fold(ops.minimum),
    "Mod": lambda c: (ops.fmod if c.attribute("fmod", 0) else ops.mod)(c[0], c[1]),
    "OneHot": _one_hot,
    "PRelu": lambda c: ops.where(c[0] >= 0, c[0], c[1] * c[0]), "Pad": _pad,
    "Pow": lambda c: ops.power(c[0], c[1]).astype(c[0].dtype),
    "Range": _arange,
    "ReduceL1": _reduction(lambda x, *a: ops.sum(ops.abs(x), *a)),
    "ReduceL2": _reduction(lambda x, *a: ops.sqrt(ops.sum(ops.square(x), *a))),
    "ReduceLogSum": _reduction(lambda x, *a: ops.log(ops.sum(x, *a))),
    "ReduceLogSumExp": _reduction(ops.logsumexp), "ReduceMax": _reduction(ops.max),
    "ReduceMean": _reduction(ops.mean), "ReduceMin": _reduction(ops.min),
    "ReduceProd": _reduction(ops.prod), "ReduceSum": _reduction(ops.sum),
    "ReduceSumSquare": _reduction(lambda x, *a: ops.sum(ops.square(x), *a)),
    "Reshape": _reshape, "Selu": _selu, "Shrink": _shrink, "Slice": _slice,
    "Softmax": lambda c: ops.softmax(c[0], c.attribute("axis", -1)), "Split": _split,
    "Squeeze": _squeeze, "Sum": _fold(ops.add),
    "Swish": lambda c: c[0] * ops.sigmoid(c.attribute("alpha", 1.0) * c[0]),
    "ThresholdedRelu": lambda c: ops.where(c[0] > c.attribute("alpha", 1.0), c[0], 0.0),
    "Tile": lambda c: ops.tile(c[0], c.integers(1)), "TopK": _top_k,
    "Transpose": lambda c: ops.transpose(c[0], c.attribute("perm")), "Trilu": _trilu,
    "Unsqueeze": lambda c: ops.expand_dims(c[0], c.integers(1, "axes")),
}  # fmt: skip
