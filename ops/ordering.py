"""Sorting: orders are native calls, sorted values are gathers at them, and so differentiable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.calls import Scratch
from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import require, require_operands
from staticflow.graph.types import TensorType, normalise_axis
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.compare import isnan, less, less_equal
from staticflow.ops.indexing import take_along_axis
from staticflow.ops.native_call import NativeCall, batch_of
from staticflow.ops.public import public
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, moveaxis, ravel
from staticflow.ops.slices import slice_axis

KINDS = (None, "quicksort", "mergesort", "heapsort", "stable")


@dataclass(frozen=True)
class ArgSort(NativeCall):
    """The stable order of each row; NaN counts as the largest."""

    descending: bool
    routine = "argsort"

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "number")
        require(xs[0].ndim > 0, "argsort of a scalar")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_dtype("int64")

    def reference(self, *xs: Array) -> Any:
        if not self.descending:
            return np.argsort(xs[0], -1, kind="stable")
        backwards = np.argsort(xs[0][..., ::-1], -1, kind="stable")[..., ::-1]
        return xs[0].shape[-1] - 1 - backwards

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return xs[0]

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 1), xs[0][-1], int(self.descending))

    def scratch(self, *xs: Axes) -> Scratch:
        return (("int64", xs[0][-1]),)


def _last(what: str, x: Any, axis: int | None) -> tuple[Node, int]:
    """x with the axis last, and where it was; all elements in order if it is None."""
    node = as_nodes([x])[0]
    if axis is None:
        return ravel(node), 0
    if not node.ndim:
        fail(ShapeError, f"{what}: a scalar has no order", str(node.type))
    axis = normalise_axis(axis, node.ndim, what)
    return moveaxis(node, axis, -1), axis


def _order(rows: Node, descending: bool) -> Node:
    numbers = cast(rows, "int32") if rows.dtype == "bool" else rows
    return apply(ArgSort(descending), numbers)


def _check_kind(what: str, kind: Any) -> None:
    """Whatever the kind, the order here is stable."""
    if kind not in KINDS:
        fail(
            ShapeError,
            f"{what}: no such kind of sorting",
            got=f"kind={kind!r}",
            do=f"leave it out or choose of {', '.join(map(repr, KINDS[1:]))}; all are stable here",
        )


@public(Kind.CALL)
def argsort(
    x: Any,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool | None = None,
) -> Node:
    """The int64 indices that sort along an axis; ties keep their order, NaN is the largest.

    NumPy's `kind` and `stable` are without effect: the order is stable anyway.
    """
    _check_kind("argsort", kind)
    rows, axis = _last("argsort", x, axis)
    return moveaxis(_order(rows, descending), -1, axis)


@public(formula="dy at the places that its elements came from")
def sort(
    x: Any,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool | None = None,
) -> Node:
    """The elements in order along an axis; NaN is the largest.

    NumPy's `kind` and `stable` are without effect: the order is stable anyway.
    """
    _check_kind("sort", kind)
    rows, axis = _last("sort", x, axis)
    return moveaxis(take_along_axis(rows, _order(rows, descending), -1), -1, axis)


@public(formula="dy at the places that its elements came from")
def top_k(x: Any, k: int, axis: int = -1) -> tuple[Node, Node]:
    """The k largest elements along an axis in descending order, and their int64 indices."""
    rows, axis = _last("top_k", x, axis)
    size = rows.shape[-1]
    if not isinstance(k, int) or k < 0 or (isinstance(size, int) and k > size):
        fail(
            ShapeError,
            "top_k: cannot take that many elements",
            got=f"k={k} of {rows.type}",
            do="choose k between 0 and the size of the axis",
        )
    order = slice_axis(_order(rows, True), rows.ndim - 1, 0, k)
    return moveaxis(take_along_axis(rows, order, -1), -1, axis), moveaxis(order, -1, axis)


@public()
def searchsorted(a: Any, v: Any, side: str = "left") -> Node:
    """Where the elements of v would be inserted into the ascending vector a: int64 positions,
    before equal elements or behind them. NaN is above all numbers.
    """
    sorted_, values = as_nodes([a, v])
    if sorted_.ndim != 1 or side not in ("left", "right"):
        fail(ShapeError, "searchsorted: needs a vector, and side 'left' or 'right'",
             f"{sorted_.type}, side={side!r}")  # fmt: skip
    values = expand_dims(values, -1)
    below = (less if side == "left" else less_equal)(sorted_, values)
    if values.type.is_float:
        last = isnan(values)
        below = below | (last if side == "right" else last & ~isnan(sorted_))
    return total(below, axis=-1)
