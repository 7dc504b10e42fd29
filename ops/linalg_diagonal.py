"""Diagonals: a view of them, the matrix that has one, and the trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import AnyDim, smaller
from staticflow.graph.kinds import View
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import require, require_matrices, require_operands
from staticflow.graph.strides import StridedView
from staticflow.graph.types import Shape, TensorType, normalise_axis
from staticflow.ops.compare import equal, masked
from staticflow.ops.counting import iota_like
from staticflow.ops.linalg_rules import identity_mask
from staticflow.ops.public import public
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, node_of, transpose
from staticflow.ops.slices import pad_edges, slice_axis


@dataclass(frozen=True)
class Diagonal(View):
    """The main diagonal of the last two axes, of `length` elements; all of it if `square`."""

    length: AnyDim
    square: bool

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require_matrices(self.name, xs, self.square)
        least = smaller(*xs[0].shape[-2:])
        require(self.length == least, f"diagonal: {self.length} elements of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape((*xs[0].shape[:-2], self.length))

    def reference(self, *xs: Array) -> Any:
        return np.diagonal(xs[0], 0, -2, -1)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (on_diagonal(g, xs[0].shape),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        *batch, n, m = xs[0]
        return (*batch, classes.same(n, m) if self.square else classes.fresh(self.length))

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        *batch, down, across = access.strides
        return StridedView(access.buffer, access.offset, out, (*batch, down + across))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return axis if axis < len(shape) - 2 else None

    def batched(self, length: AnyDim) -> Diagonal:
        return self

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.square)

    def attributes(self) -> str:
        return str(self.length)


def on_diagonal(g: Node, shape: Shape) -> Node:
    """Zeros of `shape` with g on the main diagonal of the last two axes."""
    missing = shape[-2] - g.shape[-1]
    if missing != 0:
        edges = (0,) * (g.ndim - 1)
        g = pad_edges(g, (*edges, 0), (*edges, missing), 0.0)
    return masked(identity_mask(shape), expand_dims(g, -1))


@public(Kind.VIEW, formula="dy on the diagonal")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The elements with column - row = offset, of two axes, along a new last axis; none if there
    is no such diagonal.
    """
    x = node_of(x)
    if x.ndim < 2:
        fail(ShapeError, "diagonal: needs a matrix", str(x.type))
    first, second = (normalise_axis(axis, x.ndim, "diagonal") for axis in (axis1, axis2))
    if first == second:
        fail(ShapeError, "diagonal: the two axes are the same", f"axis {first} of {x.type}")
    x = transpose(x, [*(k for k in range(x.ndim) if k not in (first, second)), first, second])
    axis = x.ndim - (1 if offset > 0 else 2)
    size = x.shape[axis]
    start = smaller(abs(offset), size) if isinstance(size, int) else abs(offset)
    x = slice_axis(x, axis, start, size)
    n, m = x.shape[-2:]
    return apply(Diagonal(smaller(n, m), n == m), x)


@public(Kind.VIEW, formula="the diagonal of dy, or dy on it")
def diag(x: Any, k: int = 0) -> Node:
    """The diagonal of a matrix; of a vector, the matrix that has it as its diagonal."""
    x = node_of(x)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        fail(ShapeError, "diag: needs a vector or a matrix", str(x.type), "use ops.diagonal")
    size = x.shape[0] + abs(k)
    shape = (size, size)
    wide = pad_edges(x, (0,), (abs(k),), 0.0) if k else x
    along = expand_dims(wide, 1) if k >= 0 else expand_dims(wide, 0)
    mask = equal(iota_like(shape, 0) + k, iota_like(shape, 1)) if k else identity_mask(shape)
    return masked(mask, along)


@public(formula="dy on the diagonal")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The sum of a diagonal, of the first two axes by default as in NumPy."""
    return total(diagonal(x, offset, axis1, axis2), axis=-1)
