"""For every op of two or more arrays: the op and NumPy's function of the same two arrays.

A case is called with two arrays, or nodes for them: floats `x` and `y`, an array of integers `k` in
place of the second where its op takes indices, or the shape of the second where it takes a shape.
What has no counterpart in NumPy has a reference here that refuses as the op's documentation says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow import ops
from staticflow.graph.kinds import MapRow
from staticflow.graph.op_table import table
from staticflow.ops.slicing import getitem

Array = NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """`call` on two nodes, `expected` on their arrays; `second` says what the second one is.

    `integers` are axes that the op wants as integers: they are never declared by a name.
    """

    op: str
    call: Callable[..., Any]
    expected: Callable[..., Any]
    second: str = "float"  # float, index, mask
    label: str = ""
    integers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op


def both(
    op: str, label: str = "", second: str = "float", integers: tuple[int, ...] = (), **options: Any
) -> Pair:
    """The function of one name in both libraries, with the same options."""
    return Pair(op, partial(getattr(ops, op), **options), partial(getattr(np, op), **options),
                second, label, integers)  # fmt: skip


def listed(op: str, label: str = "", **options: Any) -> Pair:
    """The function of one name of a list of both arrays."""
    return Pair(op, lambda x, y: getattr(ops, op)([x, y], **options),
                lambda x, y: getattr(np, op)([x, y], **options), label=label)  # fmt: skip


def equal_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two arrays of one shape, or of an array and a scalar."""

    def checked(x: Array, y: Array) -> Any:
        if x.shape != y.shape and x.ndim and y.ndim:
            raise ValueError(f"{x.shape} and {y.shape}")
        return function(x, y)

    return checked


def _row(row: MapRow) -> Pair:
    """A row of the elementwise table; integers where it takes no floats."""

    def prepared(x: Any, y: Any) -> tuple[Any, Any]:
        return (x, y) if row.domain in ("number", "float", "any") else (x > 1, y > 1)

    def call(x: Any, y: Any) -> Any:
        first, second = prepared(x, y)
        if row.domain == "whole":
            first, second = first.astype("int64"), second.astype("int64")
        return getattr(ops, row.name)(first, second)

    def expected(x: Array, y: Array) -> Any:
        first, second = prepared(x, y)
        if row.domain == "whole":
            first, second = first.astype("int64"), second.astype("int64")
        return row.reference(first, second)

    return Pair(row.name, call, expected)


def _cross_entropy(x: Array, k: Array) -> Array:
    if not x.ndim or k.shape != x.shape[:-1]:
        raise ValueError("one label for each row")
    powers = np.exp(x)
    shares = powers / powers.sum(-1, keepdims=True)
    chosen = np.take_along_axis(shares, 0 * k[..., None], -1)
    return np.asarray(-np.log(chosen)[..., 0])


def _huber(x: Array, y: Array) -> Any:
    d = np.abs(x - y)
    return np.mean(np.where(d < 1, d * d / 2, d - 0.5))


def _binary(x: Array, y: Array) -> Any:
    return np.logaddexp(0, x) - x * y


def _layer_norm(x: Array, y: Array) -> Any:
    if not x.ndim or np.broadcast_shapes(x.shape, y.shape) != x.shape:
        raise ValueError("the scale has other axes than x")
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * y


def _embedding(x: Array, k: Array) -> Array:
    if x.ndim != 2:
        raise ValueError("a table has two axes")
    return np.asarray(x[0 * k])


def _masked(x: Array, mask: Array) -> Array:
    if not mask.ndim or mask.shape != x.shape[: mask.ndim]:
        raise ValueError("a mask of no axis, by which NumPy inserts one, or of other sizes")
    return np.asarray(x[mask])


def _added(x: Array, k: Array, axis: int = 0) -> Array:
    out = x.copy()
    np.add.at(out, (slice(None),) * (axis % x.ndim) + (k,), 1.5)
    return out


def _added_rows(x: Array, y: Array) -> Array:
    out = x.copy()
    np.add.at(out, np.array([0, -1]), y)
    return out


def _cross(x: Array, y: Array, axis: int) -> Array:
    if x.shape[axis] == 2 or y.shape[axis] == 2:
        raise ValueError("vectors of two numbers, which NumPy deprecates")
    return np.cross(x, y, axis=axis)


def _triangular(x: Array, y: Array) -> Array:
    if x.ndim < 2:
        raise ValueError("no matrix")
    return np.asarray(np.linalg.solve(np.triu(x), y))


def _grid(x: Array, y: Array, **options: Any) -> Any:
    if x.ndim > 1 or y.ndim > 1:
        raise ValueError("arrays of more axes, which NumPy takes as vectors here")
    return np.meshgrid(x, y, **options)


def _full(x: Array, y: Array) -> Array:
    if x.ndim > y.ndim:
        raise ValueError("axes of size 1, which NumPy drops here")
    return np.full(y.shape, x)


def _reduced(op: str, axis: int | None, more: dict[str, float], x: Array, y: Array) -> Any:
    if axis is not None and not x.ndim:
        raise ValueError("an axis of a scalar, which NumPy's reductions take")
    return getattr(np, op)(x, axis=axis, where=y > 1, **more)


def _by_mode(x: Array, y: Array) -> Array:
    return np.broadcast_arrays(x, y)[0]


STRICT = ("sigmoid_binary_cross_entropy",)  # which do not broadcast: see LOSSES
ROWS = tuple(
    _row(entry.row) for entry in table().values()
    if isinstance(entry.row, MapRow) and len(entry.row.inputs) == 2 and entry.name not in STRICT
)  # fmt: skip

ELEMENTWISE = (
    Pair("where", lambda x, y: ops.where(x > 1, y, 2.0), lambda x, y: np.where(x > 1, y, 2.0)),
    Pair("where", lambda x, y: ops.where(y > 1, y, x), lambda x, y: np.where(y > 1, y, x),
         label="both"),
    Pair("clip", lambda x, y: ops.clip(x, 0.8, y), lambda x, y: np.clip(x, 0.8, y)),
    Pair("clip", ops.clip, lambda x, y: np.clip(x, y, None), label="from below"),
    Pair("by_mode", ops.by_mode, _by_mode),
    *(both(op) for op in ("heaviside", "logaddexp2", "fmax", "fmin", "fmod", "divmod",
                          "float_power", "isclose", "allclose")),
    *(Pair(op, lambda x, y, op=op: getattr(ops, op)(x, y, 3, dtype="float64"),
           lambda x, y, op=op: getattr(np, op)(x, y, 3)) for op in
      ("linspace", "logspace", "geomspace")),
    Pair("linspace", lambda x, y: ops.linspace(x, y, 3, axis=-1),
         lambda x, y: np.linspace(x, y, 3, axis=-1), label="last"),
    Pair("full", lambda x, y: ops.full(y.shape, x, "float64"), _full),
    Pair("full_like", lambda x, y: ops.full_like(y, x), _full),
    Pair("broadcast_to", lambda x, y: ops.broadcast_to(x, y.shape),
         lambda x, y: np.broadcast_to(x, y.shape)),
    Pair("reshape", lambda x, y: ops.reshape(x, y.shape), lambda x, y: np.reshape(x, y.shape)),
)  # fmt: skip

MASKED = tuple(
    Pair(op, lambda x, y, op=op, o=options: getattr(ops, op)(x, where=y > 1, **o),
         partial(_reduced, op, axis, more), label=f"where {axis}")
    for op, more in (("sum", {}), ("prod", {}), ("max", {"initial": 0.25}),
                     ("min", {"initial": 9.0}), ("any", {}), ("all", {}), ("mean", {}),
                     ("var", {}), ("std", {}), ("nansum", {}), ("nanprod", {}), ("nanmean", {}),
                     ("nanvar", {}), ("nanstd", {}))
    for axis in (None, -1)
    for options in ({"axis": axis, **more},)
)  # fmt: skip

INDEXED = (
    *(Pair("take", lambda x, k, a=a: ops.take(x, k, a), lambda x, k, a=a: np.take(x, k, a), "index",
           str(a)) for a in (None, 0, -1)),
    *(both("take", f"{mode}", "index", axis=0, mode=mode) for mode in ("clip", "wrap")),
    Pair("embedding", lambda x, k: ops.embedding(x, 0 * k), _embedding, "index"),
    *(Pair("take_along_axis", lambda x, k, a=a: ops.take_along_axis(x, k, a),
           lambda x, k, a=a: np.take_along_axis(x, k, a), "index", str(a)) for a in (None, 0, -1)),
    Pair("getitem", lambda x, k: x[k], lambda x, k: x[k], "index"),
    Pair("getitem", lambda x, k: getitem(x, (..., k)), lambda x, k: x[..., k], "index", "last"),
    Pair("getitem", lambda x, k: x[k, [0, -1]], lambda x, k: x[k, [0, -1]], "index", "pairs",
         (-1,)),
    Pair("getitem", lambda x, m: x[m], _masked, "mask", "mask", (0, 1, 2)),
    *(Pair("scatter_add", lambda x, k, a=a: ops.scatter_add(x, k, 1.5, a),
           partial(_added, axis=a), "index", str(a)) for a in (0, -1)),
    Pair("scatter_add", lambda x, y: ops.scatter_add(x, [0, -1], y), _added_rows, label="values",
         integers=(0,)),
)  # fmt: skip

JOINED = (
    *(listed("concatenate", str(axis), axis=axis) for axis in (0, -1, None)),
    *(listed("stack", str(axis), axis=axis) for axis in (0, -1)),
    *(listed(op) for op in ("hstack", "vstack", "dstack", "column_stack")),
    *(both("append", str(axis), axis=axis) for axis in (None, 0, -1)),
    *(Pair("diff", lambda x, y, a=a: ops.diff(x, axis=a, prepend=y),
           lambda x, y, a=a: np.diff(x, axis=a, prepend=y), label=f"{a}") for a in (0, -1)),
    Pair("meshgrid", ops.meshgrid, _grid),
    Pair("meshgrid", lambda x, y: ops.meshgrid(x, y, indexing="ij", sparse=True),
         partial(_grid, indexing="ij", sparse=True), label="sparse"),
)  # fmt: skip

PRODUCTS = (
    *(both(op) for op in ("matmul", "dot", "inner", "vdot", "outer", "kron")),
    *(both("tensordot", str(n), axes=n) for n in (0, 1, 2)),
    both("tensordot", "named", axes=((0, 1), (1, 0))),
    *(Pair("einsum", partial(ops.einsum, text), partial(np.einsum, text), label=text)
      for text in ("i,i", "ij,jk", "ij,ij->i", "...i,...i", "...,...", "ii,i->i", "ij,k->ik")),
    *(both(op, mode, mode=mode) for op in ("convolve", "correlate")
      for mode in ("full", "same", "valid")),
    Pair("solve", ops.solve, np.linalg.solve),
    Pair("solve_triangular", ops.solve_triangular, _triangular),
    *(Pair("cross", lambda x, y, a=a: ops.cross(x, y, a), partial(_cross, axis=a), label=str(a),
           integers=(a,)) for a in (-1, 0)),
    *(both("trapezoid", str(axis), axis=axis, integers=(axis,)) for axis in (-1, 0)),
    *(Pair("average", lambda x, y, a=a: ops.average(x, a, y), lambda x, y, a=a: np.average(x, a, y),
           label=str(a)) for a in (None, 0, -1, (0, 1))),
    both("searchsorted"),
)  # fmt: skip

LOSSES = (
    Pair("softmax_cross_entropy", lambda x, k: ops.softmax_cross_entropy(x, 0 * k),
         _cross_entropy, "index"),
    Pair("sigmoid_binary_cross_entropy", ops.sigmoid_binary_cross_entropy, equal_shapes(_binary)),
    Pair("mse", ops.mse, equal_shapes(lambda x, y: np.mean((x - y) ** 2))),
    Pair("mae", ops.mae, equal_shapes(lambda x, y: np.mean(np.abs(x - y)))),
    Pair("huber", ops.huber, equal_shapes(_huber)),
    Pair("layer_norm", ops.layer_norm, _layer_norm),
    Pair("layer_norm", lambda x, y: ops.layer_norm(x, None, y),
         lambda x, y: _layer_norm(x, np.ones_like(y)) + y, label="shift"),
)  # fmt: skip

PAIRS: tuple[Pair, ...] = (
    *ROWS, *ELEMENTWISE, *MASKED, *INDEXED, *JOINED, *PRODUCTS, *LOSSES,
)  # fmt: skip
