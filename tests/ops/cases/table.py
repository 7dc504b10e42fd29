"""One or more cases for every op that is no row of the elementwise table.

A case calls the op on nodes and says what NumPy gives for the same arrays. Floats are float64, so
that derivatives can be compared with finite differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticflow import ops
from staticflow.ops.slicing import getitem
from tests.ops.cases.case import Array, Case, f, i
from tests.ops.cases.numpy_functions import NUMPY_CASES
from tests.ops.cases.numpy_keywords import KEYWORD_CASES


def _softmax(x: Array, axis: Any = -1) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _erf(x: Array) -> Array:
    import math

    return np.asarray(np.vectorize(math.erf)(x))


def _huber(y: Array, t: Array) -> Any:
    d = np.abs(y - t)
    return np.mean(np.where(d < 1, d * d / 2, d - 0.5))


def _layer_norm(x: Array, scale: Array, shift: Array) -> Array:
    distance = x - x.mean(-1, keepdims=True)
    return np.asarray(distance / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift)


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(x))


def _added(x: Array, k: Array, v: Array, axis: int = 0) -> Array:
    out = x.copy()
    np.add.at(out, (slice(None),) * axis + (k,), v)
    return out


def _eye_rows(labels: Array) -> Array:
    return np.eye(5, dtype=np.float32)[labels]


def _cross_entropy(x: Array, t: Array) -> Array:
    return np.asarray(-np.log(np.take_along_axis(_softmax(x), t[..., None], -1))[..., 0])


A, B, C = f(3, 4), f(3, 4, seed=1), f(2, 3, 4)
ROWS = i(5, below=3)

VIEWS = (
    Case("astype", lambda x: ops.astype(x, "float32"), lambda x: x.astype("f4"), (A,),
         smooth=False),
    Case("astype", lambda x: ops.astype(x, "int64"), lambda x: x.astype("i8"), (A,), label="int"),
    Case("astype", lambda x: ops.astype(x, bool), lambda x: x != 0, (A * (A > 0),), label="bool"),
    Case("transpose", ops.transpose, np.transpose, (C,)),
    Case("transpose", lambda x: ops.transpose(x, (1, -1, 0)), lambda x: x.transpose(1, 2, 0), (C,),
         label="axes"),
    Case("swapaxes", lambda x: ops.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), (C,)),
    Case("moveaxis", lambda x: ops.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), (C,)),
    Case("expand_dims", lambda x: ops.expand_dims(x, (0, 2)), lambda x: x[None, :, None], (A,)),
    Case("squeeze", ops.squeeze, np.squeeze, (f(1, 3, 1),)),
    Case("squeeze", lambda x: ops.squeeze(x, 0), lambda x: x[0], (f(1, 3, 1),), label="axis"),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, (2, 3, 4)),
         lambda x: np.broadcast_to(x, (2, 3, 4)), (f(3, 1),)),
    Case("reshape", lambda x: ops.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), (C,)),
    Case("reshape", lambda x: ops.reshape(x.T, (3, 8)), lambda x: x.T.reshape(3, 8), (C,),
         label="uneven"),
    Case("reshape", lambda x: x.reshape(1, 6, 1, 4), lambda x: x.reshape(1, 6, 1, 4), (C,),
         label="ones"),
    Case("reshape", lambda x: x.reshape(0, 7), lambda x: x.reshape(0, 7), (f(3, 0),),
         label="empty"),
    Case("ravel", ops.ravel, np.ravel, (C,)),
    Case("flip", ops.flip, np.flip, (A,)),
    Case("flip", lambda x: ops.flip(x, 1), lambda x: np.flip(x, 1), (A,), label="axis"),
    Case("roll", lambda x: ops.roll(x, 2, 1), lambda x: np.roll(x, 2, 1), (A,)),
    Case("roll", lambda x: ops.roll(x, -5), lambda x: np.roll(x, -5), (A,), label="flat"),
    Case("repeat", lambda x: ops.repeat(x, 3, 0), lambda x: np.repeat(x, 3, 0), (A,)),
    Case("repeat", lambda x: ops.repeat(x, 2), lambda x: np.repeat(x, 2), (A,), label="flat"),
    Case("tile", lambda x: ops.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), (A,)),
    Case("split", lambda x: ops.concatenate(ops.split(x, 2, 1)[::-1], 1),
         lambda x: np.concatenate(np.split(x, 2, 1)[::-1], 1), (A,)),
    Case("split", lambda x: ops.split(x, [1, 3], 1)[1] * 2.0, lambda x: x[:, 1:3] * 2, (A,),
         label="positions"),
)  # fmt: skip

INDICES: tuple[Any, ...] = (
    0, -1, slice(1, None), slice(None, -1), slice(None, None, -1), slice(2, 0, -1), slice(1, 1),
    (slice(None), slice(None, None, 2)), (slice(None), slice(None, None, -2)), (..., 1), (None, 1),
    (1, ..., None), (slice(0, 2), None, slice(1, 3)), (1, 2), (Ellipsis, slice(-3, None)),
    (slice(None), slice(3, 0, -2)),
)  # fmt: skip


def _index_case(index: Any) -> Case:
    return Case("getitem", lambda x: x[index], lambda x: x[index], (A,), label=str(index))


SLICES = tuple(_index_case(index) for index in INDICES)

D = f(4, 3, 5, 3)
ADVANCED: dict[str, Callable[[Any], Any]] = {
    "0,:,k": lambda k: (0, slice(None), k),
    ":,0,k": lambda k: (slice(None), 0, k),
    "k,:,k": lambda k: (k, slice(None), k),
    "k,:,:,0": lambda k: (k, slice(None), slice(None), 0),
    ":,k,:,k": lambda k: (slice(None), k, slice(None), k),
    "k,None,k": lambda k: (k, None, k),
    "None,k": lambda k: (None, k),
    ":,None,k": lambda k: (slice(None), None, k),
    "...,k": lambda k: (..., k),
    "k,...,1": lambda k: (k, ..., 1),
    ":,k,k[:,None]": lambda k: (slice(None), k, k[:, None]),
    "1,k,k": lambda k: (1, k, k),
    "::-1,k,1:,2": lambda k: (slice(None, None, -1), k, slice(1, None), 2),
    "list": lambda k: ([0, 2, 2], slice(None), [1, 0, 1]),
}
ODD = np.arange(3) % 2 == 1
MASKS: dict[str, Any] = {
    "first": np.array([True, False]), "second": (slice(None), ODD), "all": C > 0.3,
    "two": np.array([[True, False, True], [False, False, True]]), "list": [True, False],
    "last": (..., np.array([True, True, False, True])), "none": np.zeros(2, bool),
    "and integer": (1, ODD), "apart": (np.array([True, True]), slice(1), [0, 3]),
    "zero dots": (slice(None), ODD, ..., 1),
}  # fmt: skip

GATHERS = (
    Case("getitem", lambda x, k: x[k], lambda x, k: x[k], (A, ROWS), label="rows"),
    Case("getitem", lambda x, k: getitem(x, (slice(None), k)), lambda x, k: x[:, k], (A, ROWS),
         label="columns"),
    Case("getitem", lambda x, j, k: x[j, k], lambda x, j, k: x[j, k],
         (A, ROWS, i(5, below=4, seed=2) - 4), label="pairs"),
    *(Case("getitem", lambda x, k, at=at: x[at(k)], lambda x, k, at=at: x[at(k)], (D, ROWS),
           label=t) for t, at in ADVANCED.items()),
    *(Case("getitem", lambda x, m=m: x[m], lambda x, m=m: x[m], (C,), label=f"mask {t}")
      for t, m in MASKS.items()),
    Case("take", lambda x, k: ops.take(x, k, 1), lambda x, k: np.take(x, k, 1),
         (C, i(2, 2, below=3))),
    Case("take", ops.take, np.take, (C, i(3, below=24)), label="flat"),
    Case("take", lambda x, k: ops.take(x, k, 0), lambda x, k: np.take(x, k, 0), (A, ROWS - 3),
         label="negative"),
    Case("embedding", ops.embedding, lambda t, k: t[k], (A, i(2, 3, below=3))),
    Case("take_along_axis", ops.take_along_axis, lambda x, k: np.take_along_axis(x, k, -1),
         (A, i(3, 2, below=4))),
    Case("take_along_axis", lambda x, k: ops.take_along_axis(x, k, 0),
         lambda x, k: np.take_along_axis(x, k, 0), (A, i(5, 4, below=3)), label="first"),
    Case("scatter_add", ops.scatter_add, _added, (A, i(2, 2, below=3) - 3, f(2, 2, 4))),
    Case("scatter_add", lambda x, k, v: ops.scatter_add(x, k, v, 1),
         lambda x, k, v: _added(x, k, v, 1), (C, ROWS, f(2, 5, 4)), label="axis"),
    Case("scatter_add", lambda x, k: ops.scatter_add(x, k, 1.5),
         lambda x, k: _added(x, k, np.float64(1.5)), (A, ROWS), label="number"),
    Case("one_hot", lambda k: ops.one_hot(k, 5), _eye_rows, (i(2, 3, below=5),)),
)  # fmt: skip

ASSEMBLIES = (
    Case("concatenate", lambda x, y: ops.concatenate([x, y, x], 1),
         lambda x, y: np.concatenate([x, y, x], 1), (A, B)),
    Case("stack", lambda x, y: ops.stack([x, y], -1), lambda x, y: np.stack([x, y], -1), (A, B)),
    Case("pad", lambda x: ops.pad(x, ((1, 0), (2, 3)), 0.5),
         lambda x: np.pad(x, ((1, 0), (2, 3)), constant_values=0.5), (A,)),
    Case("pad", lambda x: ops.pad(x, 1), lambda x: np.pad(x, 1), (A,), label="all"),
    Case("tril", ops.tril, np.tril, (C,)),
    Case("triu", lambda x: ops.triu(x, 1), lambda x: np.triu(x, 1), (A,)),
)  # fmt: skip

PRODUCTS = (
    Case("matmul", ops.matmul, np.matmul, (A, f(4, 2))),
    Case("matmul", ops.matmul, np.matmul, (C, f(4, 2)), label="rows"),
    Case("matmul", ops.matmul, np.matmul, (C, f(2, 4, 3)), label="batch"),
    Case("matmul", ops.matmul, np.matmul, (A, f(2, 4, 3)), label="broadcast-left"),
    Case("matmul", ops.matmul, np.matmul, (f(2, 1, 3, 4), f(5, 4, 2)), label="broadcast-both"),
    Case("matmul", ops.matmul, np.matmul, (f(4), f(4, 3)), label="vector-matrix"),
    Case("matmul", ops.matmul, np.matmul, (A, f(4)), label="matrix-vector"),
    Case("matmul", ops.matmul, np.matmul, (f(4), f(4, seed=1)), label="vectors"),
    Case("matmul", ops.matmul, np.matmul, (f(3), f(2, 3, 4)), label="vector-batch"),
    Case("matmul", ops.matmul, np.matmul, (f(3, 0), f(0, 2)), label="empty"),
    Case("dot", ops.dot, np.dot, (C, f(5, 4, 2))),
    Case("dot", ops.dot, np.dot, (A, f(4)), label="vector"),
    Case("dot", ops.dot, np.dot, (f(), A), label="scalar"),
    Case("tensordot", lambda x, y: ops.tensordot(x, y, ((1, 2), (0, 1))),
         lambda x, y: np.tensordot(x, y, ((1, 2), (0, 1))), (C, f(3, 4, 2))),
    Case("tensordot", lambda x, y: ops.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0),
         (f(2), f(3)), label="outer"),
    Case("inner", ops.inner, np.inner, (C, A)),
    Case("vdot", ops.vdot, np.vdot, (A, B)),
    Case("outer", ops.outer, np.outer, (A, f(2))),
)  # fmt: skip

STATISTICS = (
    Case("mean", lambda x: ops.mean(x, 1), lambda x: np.mean(x, 1), (A,)),
    Case("mean", lambda x: x.mean((0, 2), keepdims=True),
         lambda x: x.mean((0, 2), keepdims=True), (C,), label="axes"),
    Case("var", lambda x: ops.var(x, 1, ddof=1), lambda x: np.var(x, 1, ddof=1), (A,)),
    Case("std", ops.std, np.std, (A,)),
    Case("logsumexp", lambda x: ops.logsumexp(x, 1), lambda x: np.log(np.exp(x).sum(1)), (A,)),
    Case("logsumexp", ops.logsumexp, lambda x: np.max(x), (np.array([1e3, -np.inf, 0.0]),),
         smooth=False, label="large"),
    Case("argmax", lambda x: ops.argmax(x, 1), lambda x: np.argmax(x, 1), (A,)),
    Case("argmax", ops.argmax, np.argmax, (np.array([[1.0, 3.0], [3.0, np.nan]]),), label="nan"),
    Case("argmax", ops.argmax, np.argmax, (np.array([[1, 3], [3, 2]]),), label="tie"),
    Case("argmin", lambda x: ops.argmin(x, 0, keepdims=True),
         lambda x: np.argmin(x, 0, keepdims=True), (A,)),
)  # fmt: skip


def _reduction(name: str, values: Array, axis: Any) -> Case:
    def call(x: Any) -> Any:
        return getattr(ops, name)(x, axis=axis)

    def expected(x: Any) -> Any:
        return getattr(np, name)(x, axis=axis)

    return Case(name, call, expected, (values,), label=f"{axis}")


REDUCTIONS = tuple(
    _reduction(name, values, axis)
    for name, values in (
        ("sum", C), ("prod", f(2, 3, 2)), ("max", C), ("min", C),
        ("any", C > 1.0), ("all", C > -1.0),
    )
    for axis in (None, 0, -1, (0, 2))
)  # fmt: skip

ACTIVATIONS = (
    Case("clip", lambda x: ops.clip(x, -1.0, 1.0), lambda x: np.clip(x, -1, 1), (A,)),
    Case("leaky_relu", ops.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), (A,)),
    Case("elu", ops.elu, _elu, (A,)),
    Case("selu", ops.selu, lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772), (A,)),
    Case("gelu", ops.gelu, lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2, (A,)),
    Case("gelu", lambda x: ops.gelu(x, approximate=True),
         lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2, (A,),
         label="tanh"),
    Case("silu", ops.silu, lambda x: x * _sigmoid(x), (A,)),
    Case("mish", ops.mish, lambda x: x * np.tanh(np.log1p(np.exp(x))), (A,)),
    Case("hard_sigmoid", ops.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), (3 * A,)),
    Case("hard_tanh", ops.hard_tanh, lambda x: np.clip(x, -1, 1), (A,)),
    Case("softsign", ops.softsign, lambda x: x / (1 + np.abs(x)), (A,)),
    Case("log_sigmoid", ops.log_sigmoid, lambda x: np.log(_sigmoid(x)), (A,)),
    Case("softmax", ops.softmax, _softmax, (A,)),
    Case("softmax", lambda x: ops.softmax(x, (0, 1)), lambda x: _softmax(x, (0, 1)), (A,),
         label="axes"),
    Case("softmax", ops.softmax, lambda x: np.array([0.5, 0.5, 0.0]),
         (np.array([1e4, 1e4, -np.inf]),), smooth=False, label="large"),
    Case("log_softmax", ops.log_softmax, lambda x: np.log(_softmax(x)), (A,)),
    Case("round", lambda x: ops.round(x, 1), lambda x: np.round(x, 1), (A,), smooth=False),
)  # fmt: skip

LOSSES = (
    Case("softmax_cross_entropy", ops.softmax_cross_entropy, _cross_entropy,
         (A, i(3, below=4))),
    Case("softmax_cross_entropy", ops.softmax_cross_entropy, _cross_entropy,
         (C, i(2, 3, below=4)), label="sequence"),
    Case("sigmoid_binary_cross_entropy", ops.sigmoid_binary_cross_entropy,
         lambda x, t: -t * np.log(_sigmoid(x)) - (1 - t) * np.log(1 - _sigmoid(x)),
         (A, i(3, 4, below=2))),
    Case("mse", ops.mse, lambda y, t: np.mean((y - t) ** 2), (A, B)),
    Case("mae", ops.mae, lambda y, t: np.mean(np.abs(y - t)), (A, B)),
    Case("huber", ops.huber, _huber, (A, B)),
    Case("layer_norm", ops.layer_norm, _layer_norm, (A, f(4), f(4, seed=1))),
)  # fmt: skip

CREATION = (
    Case("full", lambda: ops.full((2, 3), 1.5), lambda: np.full((2, 3), 1.5, "f4")),
    Case("zeros", lambda: ops.zeros((2, 0)), lambda: np.zeros((2, 0), "f4")),
    Case("ones", lambda: ops.ones(3, "int32"), lambda: np.ones(3, "i4")),
    Case("full_like", lambda x: ops.full_like(x, 2), lambda x: np.full_like(x, 2), (A,)),
    Case("zeros_like", ops.zeros_like, np.zeros_like, (A,)),
    Case("ones_like", ops.ones_like, np.ones_like, (A,)),
    Case("arange", lambda: ops.arange(5), lambda: np.arange(5)),
    Case("arange", lambda: ops.arange(2, 7, dtype="int32"), lambda: np.arange(2, 7, dtype="i4"),
         label="start"),
    Case("arange", lambda: ops.arange(5.0, 0.0, -1.5), lambda: np.arange(5, 0, -1.5, dtype="f4"),
         label="step"),
    Case("linspace", lambda: ops.linspace(-1.0, 2.0, 7), lambda: np.linspace(-1, 2, 7, dtype="f4")),
    Case("eye", lambda: ops.eye(3, 4, 1), lambda: np.eye(3, 4, 1, dtype="f4")),
)  # fmt: skip

# These have no value of their own to compare with NumPy's; tests of their own are in test_table.py.
SPECIAL = ("uniform", "normal", "bernoulli", "categorical", "dropout", "by_mode", "stop_gradient")

CASES: tuple[Case, ...] = (
    *VIEWS, *SLICES, *GATHERS, *ASSEMBLIES, *PRODUCTS, *STATISTICS, *REDUCTIONS, *ACTIVATIONS,
    *LOSSES, *CREATION, *NUMPY_CASES, *KEYWORD_CASES,
)  # fmt: skip

__all__ = ["CASES", "SPECIAL", "Array", "Case", "f", "i"]
