"""Running sums and products along an axis.

    op            value                          transpose
    -----------   ----------------------------   -------------------------------------------------
    RunningSum    y_i = y_(i-1) + x_i            the sum from the other end
    Recurrence    y_i = a_i y_(i-1) + b_i        bbar the recurrence from the other end with a one
                                                 place on, abar_i = bbar_i y_(i-1)

A running product is a recurrence, so its derivative divides by nothing and holds at zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import require, require_operands
from staticflow.graph.types import TensorType, normalise_axis
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.compare import equal, where
from staticflow.ops.counting import iota_like
from staticflow.ops.native_call import NativeCall, batch_of
from staticflow.ops.public import public
from staticflow.ops.shape import moveaxis, ravel
from staticflow.ops.slices import pad_edges, slice_axis


@dataclass(frozen=True)
class RunningSum(NativeCall):
    """The sum of each row's elements up to each; from each on if `reverse`."""

    reverse: bool
    routine = "cumsum"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "number")
        require(xs[0].ndim > 0, "runningsum of a scalar")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Array) -> Any:
        x = xs[0][..., ::-1] if self.reverse else xs[0]
        y = np.cumsum(x, -1, dtype=x.dtype)
        return y[..., ::-1] if self.reverse else y

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(RunningSum(not self.reverse), g),)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return xs[0]

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 1), xs[0][-1], int(self.reverse))


@dataclass(frozen=True)
class Recurrence(NativeCall):
    """y_i = a_i y_(i-1) + b_i along rows, with y_(i+1) if `reverse`; the first y is the first b."""

    reverse: bool
    routine = "recurrence"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 2, "number")
        require(xs[0] == xs[1] and xs[0].ndim > 0, f"recurrence of {xs[0]} and {xs[1]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[1]

    def reference(self, *xs: Array) -> Any:
        a, b = (x[..., ::-1] if self.reverse else x for x in xs)
        y = np.array(b)
        for i in range(1, y.shape[-1]):
            y[..., i] = a[..., i] * y[..., i - 1] + b[..., i]
        return y[..., ::-1] if self.reverse else y

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        step = -1 if self.reverse else 1
        back = apply(Recurrence(not self.reverse), _moved(xs[0], -step), g)
        return back * _moved(y, step), back

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        a, b = tangents
        moved = None if a is None else a * _moved(y, -1 if self.reverse else 1)
        change = moved if b is None else b if moved is None else b + moved
        return None if change is None else apply(self, xs[0], change)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(classes.same(p, q) for p, q in zip(*xs, strict=True))

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 1), xs[0][-1], int(self.reverse))


def _moved(x: Node, step: int) -> Node:
    """Each row moved by one place towards the end, or the start; zeros come in."""
    axis, n = x.ndim - 1, x.shape[-1]
    kept = slice_axis(x, axis, 0, n - 1) if step > 0 else slice_axis(x, axis, 1, n)
    edge = tuple(1 if k == axis else 0 for k in range(x.ndim))
    none = (0,) * x.ndim
    return pad_edges(kept, edge, none, 0.0) if step > 0 else pad_edges(kept, none, edge, 0.0)


def _rows(what: str, x: Any, axis: int | None, dtype: Any) -> tuple[Node, int]:
    """x with the axis last, in a dtype that sums do not leave; and where the axis was."""
    node = as_nodes([x])[0]
    node = node if dtype is None else cast(node, dtype)
    node = node if node.type.is_float else cast(node, "int64")
    if axis is None or node.ndim == 0:
        normalise_axis(axis or 0, 1, what)
        return ravel(node), 0
    axis = normalise_axis(axis, node.ndim, what)
    return moveaxis(node, axis, -1), axis


@public(Kind.CALL, formula="the sums of dy from the other end")
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The sums of the elements up to each, along an axis or of all elements in order; of x
    converted to `dtype`.
    """
    rows, axis = _rows("cumsum", x, axis, dtype)
    sums = moveaxis(apply(RunningSum(False), rows), -1, axis)
    return sums if dtype is None else cast(sums, dtype)


@public(Kind.CALL, formula="a recurrence from the other end")
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The products of the elements up to each, along an axis or of all elements in order; of x
    converted to `dtype`.
    """
    rows, axis = _rows("cumprod", x, axis, dtype)
    first = equal(iota_like(rows.shape, rows.ndim - 1), 0)
    products = apply(Recurrence(False), rows, where(first, rows, 0))
    products = moveaxis(products, -1, axis)
    return products if dtype is None else cast(products, dtype)
