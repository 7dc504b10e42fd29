"""Views, reductions, products, gathers, scatters and sizes in ONNX.

A writer takes a `Call` and gives the value of its node; one that gives None is written as its
first input, which it is an alias of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.leaves import Const
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_out.builder import Builder, Tensor

BEYOND = np.iinfo(np.int64).min  # where a slice backwards ends that takes the first element
SMALL = 4096  # elements of a count that is written out


@dataclass(frozen=True)
class Call:
    """A node to write: its op, its inputs as nodes, and as values of the graph under construction.

    `value` gives the value of any node that has been written before.
    """

    builder: Builder
    node: Node
    xs: Sequence[Tensor]
    value: Callable[[Node], Tensor]

    @property
    def op(self) -> Any:
        return self.node.op

    @property
    def x(self) -> Tensor:
        return self.xs[0]


def _transpose(c: Call) -> Tensor:
    return c.x.op("Transpose", perm=list(c.op.perm))


def _expand(c: Call) -> Tensor:
    return c.builder.unsqueeze(c.x, c.op.axes)


def _squeeze(c: Call) -> Tensor:
    return c.builder.squeeze(c.x, c.op.axes)


def aligned(b: Builder, x: Tensor, rank: int, axes: Sequence[int]) -> Tensor:
    """x of which axis k is axis axes[k] of `rank`, with axes of size 1 where ONNX needs them."""
    first = min(axes, default=rank)
    return b.unsqueeze(x, [k - first for k in range(first, rank) if k not in axes])


def _broadcast(c: Call) -> Tensor:
    b, op = c.builder, c.op
    return aligned(b, c.x, len(op.shape), op.axes).op("Expand", b.shape(op.shape))


def _reshape(c: Call) -> Tensor:
    merged = _product_of_rows(c)
    if merged is not None:
        return merged
    b, shape = c.builder, c.op.shape
    old = c.node.inputs[0].shape
    kept = [k < len(old) and isinstance(n, Dim) and n == old[k] for k, n in enumerate(shape)]
    unknown = [k for k, n in enumerate(shape) if isinstance(n, Dim) and not kept[k]]
    if len(unknown) > 1 or (unknown and any(kept)) or 0 in shape or 0 in old:
        return c.x.op("Reshape", b.shape(shape), allowzero=1)
    to = [0 if kept[k] else -1 if k in unknown else n for k, n in enumerate(shape)]
    return c.x.op("Reshape", b.ints([int(n) for n in to]))


def _product_of_rows(c: Call) -> Tensor | None:
    """(rows reshaped) @ w, reshaped back: a product that ONNX writes without reshapes."""
    (product,) = c.node.inputs
    if type(product.op).__name__ != "Dot" or product.ndim != 2:
        return None
    rows, w = product.inputs
    if type(rows.op).__name__ != "Reshape":
        return None
    (x,) = rows.inputs
    if x.ndim < 2 or x.shape[:-1] != c.node.shape[:-1] or x.shape[-1] != w.shape[0]:
        return None
    return c.value(x).op("MatMul", c.value(w))


def _bounds(b: Builder, bounds: Sequence[AnyDim]) -> Tensor:
    return b.shape(bounds)


def _slice(c: Call) -> Tensor:
    b, op = c.builder, c.op
    axes = [k for k, full in enumerate(op.full) if not full]
    if not axes:
        return c.x.op("Identity")
    stops = [BEYOND if op.stops[k] == -1 and op.steps[k] < 0 else op.stops[k] for k in axes]
    return c.x.op(
        "Slice",
        _bounds(b, [op.starts[k] for k in axes]),
        _bounds(b, stops),
        b.ints(axes),
        b.ints([op.steps[k] for k in axes]),
    )


def _diagonal(c: Call) -> Tensor:
    """Elements 0, m + 1, 2 m + 2, ... of the last two axes in one."""
    b, op, x = c.builder, c.op, c.node.inputs[0]
    places = counted(b, op.length, "int64")
    index = places * b.number(x.shape[-1], "int64") + places
    flat = c.x.op("Reshape", b.shape((*x.shape[:-2], x.shape[-2] * x.shape[-1])), allowzero=1)
    return flat.op("Gather", index, axis=x.ndim - 2)


def _windows(c: Call) -> Tensor:
    b = c.builder
    count, width = c.node.shape
    first, offset = counted(b, count, "int64"), counted(b, width, "int64")
    return c.x.op("Gather", b.unsqueeze(first, [1]) + offset, axis=0)


def _concat(c: Call) -> Tensor:
    return c.x.op("Concat", *c.xs[1:], axis=c.op.axis)


def _pad(c: Call) -> Tensor:
    b, op = c.builder, c.op
    return c.x.op("Pad", b.shape((*op.before, *op.after)), b.scalar(op.value, c.x.dtype))


def _reduction(kind: str) -> Callable[[Call], Tensor]:
    def write(c: Call) -> Tensor:
        return c.builder.reduce(kind, c.x, c.op.axes)

    return write


def _extreme(kind: str) -> Callable[[Call], Tensor]:
    """NaN if any element is, which ONNX Runtime keeps to in some places only."""

    def write(c: Call) -> Tensor:
        found = c.builder.reduce(kind, c.x, c.op.axes)
        if not c.x.is_float:
            return found
        nan = c.builder.reduce(
            "ReduceMax", c.x.op("IsNaN", dtype="bool").cast("int32"), c.op.axes
        ).cast("bool")
        return c.builder.where(nan, float("nan"), found)

    return write


def _truth(kind: str) -> Callable[[Call], Tensor]:
    """Of no element, as of a neutral one: ONNX's extremes of nothing are not."""

    def write(c: Call) -> Tensor:
        whole = c.x.cast("int32")
        if kind == "ReduceMax":
            return c.builder.reduce("ReduceSum", whole, c.op.axes) > 0
        return c.builder.reduce("ReduceSum", 1 - whole, c.op.axes).equals(0)

    return write


def _dot(c: Call) -> Tensor:
    return c.x.op("MatMul", c.xs[1])


def _index(c: Call, size: AnyDim) -> Tensor:
    """Indices within the axis, as the compiled code takes them; labels are checked where they are
    fed, and those that are known are right.
    """
    node, index = c.node.inputs[1], c.xs[1]
    if type(node.op).__name__ == "BoundedLabel":
        return index
    if isinstance(node.op, Const) and isinstance(size, int):
        value = node.op.value
        if value.size == 0 or (value.min() >= -size and value.max() < size):
            return index
    n = c.builder.number(size, index.dtype)
    return index.op("Clip", -n, n - 1)


def _take(c: Call) -> Tensor:
    axis = c.op.axis
    return c.x.op("Gather", _index(c, c.node.inputs[0].shape[axis]), axis=axis)


def _take_along(c: Call) -> Tensor:
    axis = c.op.axis
    return c.x.op("GatherElements", _index(c, c.node.inputs[0].shape[axis]), axis=axis)


def _wrapped(c: Call, size: AnyDim) -> Tensor:
    """Indices from 0 on, for runtimes that take no negative ones in scatters."""
    index = _index(c, size)
    return c.builder.where(index < 0, index + c.builder.number(size, index.dtype), index)


def _zeros(b: Builder, shape: Sequence[AnyDim], dtype: str) -> Tensor:
    return b.scalar(0, dtype).op("Expand", b.shape(shape))


def _scatter_along(c: Call) -> Tensor:
    zeros = _zeros(c.builder, c.node.shape, c.x.dtype)
    index = _wrapped(c, c.op.size)
    return zeros.op("ScatterElements", index, c.x, axis=c.op.axis, reduction="add")


def _scatter_add(c: Call) -> Tensor:
    """The axis goes first, where ONNX adds rows at indices, and back."""
    b, axis, rank = c.builder, c.op.axis, c.node.inputs[1].ndim
    out, g = c.node.shape, c.x
    if axis:
        order = [*range(axis, axis + rank), *range(axis), *range(axis + rank, len(out) - 1 + rank)]
        g = g.op("Transpose", perm=order)
    index = b.unsqueeze(_wrapped(c, c.op.size).cast("int64"), [rank])
    zeros = _zeros(b, (out[axis], *out[:axis], *out[axis + 1 :]), c.x.dtype)
    added = zeros.op("ScatterND", index, g, reduction="add")
    if not axis:
        return added
    return added.op("Transpose", perm=[*range(1, axis + 1), 0, *range(axis + 1, len(out))])


def counted(b: Builder, dim: AnyDim, dtype: str) -> Tensor:
    """0, 1, ... dim - 1."""
    if isinstance(dim, int) and dim <= SMALL:
        return b.constant(np.arange(dim, dtype=dtype))
    end = b.number(dim, "int64")
    return b.op("Range", b.scalar(0, "int64"), end, b.scalar(1, "int64"), dtype="int64").cast(dtype)


def _iota(c: Call) -> Tensor:
    return counted(c.builder, c.op.dim, c.op.dtype)


def _size_of(c: Call) -> Tensor:
    return c.builder.number(c.op.dim, c.op.dtype)


def _running_sum(c: Call) -> Tensor:
    last = c.builder.scalar(c.node.ndim - 1, "int64")
    return c.x.op("CumSum", last, reverse=int(c.op.reverse))


def _argsort(c: Call) -> Tensor:
    """All elements by TopK, which keeps the order of ties; where NaN comes is the runtime's."""
    b, x = c.builder, c.x
    count = b.size(c.node.shape[-1])
    _, order = b.ops("TopK", [x, count], [x.dtype, "int64"], largest=int(c.op.descending))
    return order


def _alias(c: Call) -> Tensor:
    return c.x


ARRAYS: Mapping[str, Callable[[Call], Tensor]] = {
    "Transpose": _transpose, "Expand": _expand, "Squeeze": _squeeze, "Broadcast": _broadcast,
    "Reshape": _reshape, "Slice": _slice, "Diagonal": _diagonal, "Windows": _windows,
    "Concat": _concat, "Pad": _pad, "Dot": _dot, "Take": _take, "TakeAlong": _take_along,
    "ScatterAdd": _scatter_add, "ScatterAlong": _scatter_along, "Iota": _iota, "SizeOf": _size_of,
    "RunningSum": _running_sum, "ArgSort": _argsort, "StopGradient": _alias,
    "BoundedLabel": _alias, "Sized": _alias, "Tied": _alias, "Ruled": _alias,
}  # fmt: skip
REDUCTIONS: Mapping[str, Callable[[Call], Tensor]] = {
    "sum": _reduction("ReduceSum"), "prod": _reduction("ReduceProd"),
    "max": _extreme("ReduceMax"), "min": _extreme("ReduceMin"), "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
}  # fmt: skip
