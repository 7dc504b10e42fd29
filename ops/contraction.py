"""The matrix product: `Dot`, and the products that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import product
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, Op, OutType, apply
from staticflow.graph.require import require, require_matrices, require_operands
from staticflow.graph.types import TensorType, broadcast_shapes, normalise_axis, promote
from staticflow.ops.arithmetic import multiply
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, stretch
from staticflow.ops.compare import logical_and
from staticflow.ops.public import public
from staticflow.ops.reductions import any, sum
from staticflow.ops.shape import expand_dims, ravel, reshape, swapaxes, transpose
from staticflow.ops.views import Expand, Squeeze


@dataclass(frozen=True)
class Dot(Op):
    """(*batch, m, k) @ (*batch, k, n) -> (*batch, m, n), of one dtype."""

    kind = Kind.CONTRACT

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 2, "float")
        require_matrices(self.name, xs, square=False)
        a, b = (x.shape for x in xs)
        require(a[:-2] == b[:-2] and a[-1] == b[-2], f"dot: {xs[0]} @ {xs[1]}")

    def infer(self, *xs: TensorType) -> TensorType:
        a, b = xs
        return a.with_shape((*a.shape[:-1], b.shape[-1]))

    def reference(self, *xs: Array) -> Any:
        return np.matmul(xs[0], xs[1])

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        a, b = xs
        return apply(self, g, _turn(b)), apply(self, _turn(a), g)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        (a, b), (da, db) = xs, tangents
        terms = [] if da is None else [apply(self, da, b)]
        terms += [] if db is None else [apply(self, a, db)]
        return terms[0] + terms[1] if len(terms) == 2 else terms[0]

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        a, b = xs
        batch = tuple(classes.same(p, q) for p, q in zip(a[:-2], b[:-2], strict=True))
        classes.same(a[-1], b[-2])
        return (*batch, a[-2], b[-1])


def _turn(x: Node) -> Node:
    return swapaxes(x, -1, -2)


@public(Kind.CONTRACT, "matmul")
def matmul(a: Any, b: Any) -> Node:
    """The matrix product, as NumPy's: (..., m, k) @ (..., k, n) -> (..., m, n).

    A vector counts as a row on the left and as a column on the right; leading axes broadcast.
    """
    a, b = _factors(a, b)
    if not a.ndim or not b.ndim:
        fail(ShapeError, "matmul: a scalar is no matrix", f"{a.type} @ {b.type}", "multiply with *")
    _check_inner(a, b)
    if a.ndim == 1:
        return apply(Squeeze((b.ndim - 2 if b.ndim > 1 else 0,)), matmul(apply(Expand((0,)), a), b))
    if b.ndim == 1:
        return apply(Squeeze((a.ndim - 1,)), matmul(a, apply(Expand((1,)), b)))
    if b.ndim == 2:
        return _rows_times_matrix(a, b)
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], "matmul")
    return _product(stretch(a, (*batch, *a.shape[-2:])), stretch(b, (*batch, *b.shape[-2:])))


def _rows_times_matrix(a: Node, b: Node) -> Node:
    """All leading axes of `a` are rows of one product."""
    if a.ndim == 2:
        return _product(a, b)
    rows = reshape(a, (product(a.shape[:-1]), a.shape[-1]))
    return reshape(_product(rows, b), (*a.shape[:-1], b.shape[1]))


def _product(a: Node, b: Node) -> Node:
    """(*batch, m, k) @ (*batch, k, n); of integers and booleans a sum, as kernels are of floats."""
    if a.type.is_float:
        return apply(Dot(), a, b)
    pairs = logical_and if a.dtype == "bool" else multiply
    terms = pairs(expand_dims(a, -1), expand_dims(b, -3))
    return any(terms, -2) if a.dtype == "bool" else cast(sum(terms, -2), a.dtype)


def _factors(a: Any, b: Any) -> tuple[Node, Node]:
    x, y = as_nodes([a, b])
    dtype = promote([x.dtype, y.dtype])
    return cast(x, dtype), cast(y, dtype)


def _check_inner(a: Node, b: Node) -> None:
    """The last axis of `a` must have the size of the last but one of `b`."""
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] == inner:
        return
    turned = b.ndim > 1 and a.shape[-1] == b.shape[-1]
    fail(
        ShapeError,
        f"matmul: inner sizes {a.shape[-1]} and {inner} differ",
        got=f"{a.type} @ {b.type}",
        do="transpose the second operand with .T"
        if turned
        else "make the last axis of the first operand equal to the last but one of the second",
    )


@public(Kind.CONTRACT)
def dot(a: Any, b: Any) -> Node:
    """NumPy's dot: the product with a scalar, the inner product of vectors, else the sum over the
    last axis of `a` and the last but one of `b`.
    """
    a, b = _factors(a, b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return matmul(a, b) if b.ndim < 3 else tensordot(a, b, ((-1,), (-2,)))


@public(Kind.CONTRACT)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Node:
    """The sum over pairs of axes: `axes` is two tuples, or a number of last and first axes."""
    a, b = _factors(a, b)
    left, right = _summed_axes(a, b, axes)
    if [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        fail(ShapeError, "tensordot: summed sizes differ", f"{a.type} and {b.type}, axes {axes}",
             "pair axes of equal sizes")  # fmt: skip
    rows = [k for k in range(a.ndim) if k not in left]
    columns = [k for k in range(b.ndim) if k not in right]
    shape = tuple(a.shape[k] for k in rows) + tuple(b.shape[k] for k in columns)
    inner = product(a.shape[k] for k in left)
    first = reshape(transpose(a, [*rows, *left]), (product(a.shape[k] for k in rows), inner))
    second = reshape(
        transpose(b, [*right, *columns]), (inner, product(b.shape[k] for k in columns))
    )
    return reshape(_product(first, second), shape)


def _summed_axes(a: Node, b: Node, axes: Any) -> tuple[list[int], list[int]]:
    if isinstance(axes, int):
        return list(range(a.ndim - axes, a.ndim)), list(range(axes))
    pair = [x if isinstance(x, tuple | list) else (x,) for x in axes]
    left = [normalise_axis(int(k), a.ndim, "tensordot") for k in pair[0]]
    return left, [normalise_axis(int(k), b.ndim, "tensordot") for k in pair[1]]


@public(Kind.CONTRACT)
def inner(a: Any, b: Any) -> Node:
    """The sum over the last axes: (..., k), (..., k) -> both leading shapes."""
    a, b = _factors(a, b)
    return multiply(a, b) if not a.ndim or not b.ndim else tensordot(a, b, ((-1,), (-1,)))


@public(Kind.CONTRACT)
def vdot(a: Any, b: Any) -> Node:
    """The inner product of all elements."""
    a, b = _factors(a, b)
    return matmul(ravel(a), ravel(b))


@public()
def outer(a: Any, b: Any) -> Node:
    """All products of an element of `a` with one of `b`: (m,), (n,) -> (m, n)."""
    a, b = _factors(a, b)
    return multiply(expand_dims(ravel(a), 1), expand_dims(ravel(b), 0))
