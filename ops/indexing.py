"""Elements at run-time indices: the gathers, and the scatters that are their transposes.

    op             value                                  transpose
    ------------   ------------------------------------   ------------
    Take           y[.., i, ..] = x[.., index[i], ..]     ScatterAdd
    TakeAlong      y[i, j] = x[i, index[i, j]]            ScatterAlong

A negative index counts from the end, as in NumPy. An index beyond the axis is refused where an
input is fed that a `bounded` node wraps, and is clamped to the axis by the compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Gather, Scatter
from staticflow.graph.leaves import Const
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import require, require_axis, require_operands
from staticflow.graph.types import Shape, TensorType, as_shape, broadcast_shapes, normalise_axis
from staticflow.ops.alias import bounded
from staticflow.ops.cast import cast
from staticflow.ops.coerce import integral, stretch
from staticflow.ops.compare import equal
from staticflow.ops.counting import iota_like
from staticflow.ops.index_modes import by_mode_of_take
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, moveaxis, node_of, reshape, transpose


def _within(index: Array, size: int) -> Array:
    """Indices as the compiled code takes them: negative ones wrap, and all are clamped."""
    wrapped = np.where(index < 0, index + size, index)
    return np.asarray(np.clip(wrapped, 0, max(size - 1, 0)))


def _check_index(name: str, xs: Sequence[TensorType]) -> None:
    """An array, and integers."""
    require(len(xs) == 2, f"{name} takes an array and an index")
    require_operands(name, xs[:1], 1)
    require_operands(name, xs[1:], 1, "whole")


def _check_gather(name: str, axis: int, xs: Sequence[TensorType]) -> None:
    """An array with elements along the axis, unless none is taken."""
    _check_index(name, xs)
    require_axis(name, axis, xs[0].ndim)
    none = 0 in xs[1].shape or xs[0].shape[axis] != 0
    require(none, f"{name}: axis {axis} has no element to take")


def _check_beside(name: str, axis: int, xs: Sequence[TensorType]) -> None:
    """Equal sizes beside the axis."""
    x, index = (t.shape for t in xs)
    same = len(x) == len(index) and all(k == axis or n == index[k] for k, n in enumerate(x))
    require(same, f"{name}: sizes differ beside axis {axis}: {xs[0]} at {xs[1]}")


@dataclass(frozen=True)
class Take(Gather):
    """x and an index of any shape -> x with `axis` replaced by the axes of the index."""

    axis: int

    def check(self, *xs: TensorType) -> None:
        _check_gather(self.name, self.axis, xs)

    def infer(self, *xs: TensorType) -> TensorType:
        x, index = xs
        return x.with_shape((*x.shape[: self.axis], *index.shape, *x.shape[self.axis + 1 :]))

    def reference(self, *xs: Array) -> Any:
        x, index = xs
        return np.take(x, _within(index, x.shape[self.axis]), self.axis)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        x, index = xs
        return apply(ScatterAdd(self.axis, x.shape[self.axis]), g, index), None

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0], xs[1])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        x, index = xs
        return (*x[: self.axis], *index, *x[self.axis + 1 :])

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of x along the axes of the result, 0 along those of the index."""
        return (*strides[: self.axis], *(0,) * index_rank, *strides[self.axis + 1 :])

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops, 0 along the others."""
        return (*(0,) * self.axis, *strides, *(0,) * (rank - self.axis - len(strides)))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axis)

    def attributes(self) -> str:
        return f"axis={self.axis}"


@dataclass(frozen=True)
class ScatterAdd(Scatter):
    """The transpose of Take: zeros with `size` along `axis`, to which g is added at the index."""

    axis: int
    size: AnyDim

    def check(self, *xs: TensorType) -> None:
        _check_index(self.name, xs)
        g, index = xs
        last = self.axis + index.ndim
        fits = 0 <= self.axis and last <= g.ndim and g.shape[self.axis : last] == index.shape
        require(fits, f"scatteradd: {g} at {index}")
        require(self.size != 0 or 0 in index.shape, "scatteradd: there is no element to add to")

    def infer(self, *xs: TensorType) -> TensorType:
        g, index = xs
        rest = g.shape[self.axis + index.ndim :]
        return g.with_shape((*g.shape[: self.axis], self.size, *rest))

    def reference(self, *xs: Array) -> Any:
        g, index = xs
        rest = g.shape[self.axis + index.ndim :]
        out = np.zeros((*g.shape[: self.axis], self.size, *rest), g.dtype)
        at: Any = (slice(None),) * self.axis + (_within(index, out.shape[self.axis]),)
        np.add.at(out, at, g)
        return out

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return apply(Take(self.axis), g, xs[1]), None

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0], xs[1])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        g, index = xs
        last = self.axis + len(index)
        for a, b in zip(g[self.axis : last], index, strict=True):
            classes.same(a, b)
        return (*g[: self.axis], classes.fresh(self.size), *g[last:])

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of the result along the axes of g, 0 along those of the index."""
        return (*strides[: self.axis], *(0,) * index_rank, *strides[self.axis + 1 :])

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops, 0 along the others."""
        return (*(0,) * self.axis, *strides, *(0,) * (rank - self.axis - len(strides)))

    def sizes(self) -> tuple[AnyDim, ...]:
        return (self.size,)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axis)

    def attributes(self) -> str:
        return f"axis={self.axis}, size={self.size}"


@dataclass(frozen=True)
class TakeAlong(Gather):
    """x and an index of the same shape but for `axis`: each row chooses its own elements."""

    axis: int
    along = True

    def check(self, *xs: TensorType) -> None:
        _check_gather(self.name, self.axis, xs)
        _check_beside(self.name, self.axis, xs)

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(xs[1].shape)

    def reference(self, *xs: Array) -> Any:
        x, index = xs
        return np.take_along_axis(x, _within(index, x.shape[self.axis]), self.axis)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        x, index = xs
        return apply(ScatterAlong(self.axis, x.shape[self.axis]), g, index), None

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0], xs[1])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        pairs = zip(*xs, strict=True)
        return tuple(i if k == self.axis else classes.same(n, i) for k, (n, i) in enumerate(pairs))

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of x along the axes of the result, 0 along `axis`."""
        return (*strides[: self.axis], 0, *strides[self.axis + 1 :])

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops: it has them all."""
        return strides

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axis)

    def attributes(self) -> str:
        return f"axis={self.axis}"


@dataclass(frozen=True)
class ScatterAlong(Scatter):
    """The transpose of TakeAlong: zeros with `size` along `axis`, to which g is added."""

    axis: int
    size: AnyDim
    along = True

    def check(self, *xs: TensorType) -> None:
        _check_index(self.name, xs)
        require_axis(self.name, self.axis, xs[0].ndim)
        require(xs[0].shape == xs[1].shape, f"scatteralong: {xs[0]} at {xs[1]}")
        require(self.size != 0 or 0 in xs[1].shape, "scatteralong: there is no element to add to")

    def infer(self, *xs: TensorType) -> TensorType:
        shape = xs[0].shape
        return xs[0].with_shape((*shape[: self.axis], self.size, *shape[self.axis + 1 :]))

    def reference(self, *xs: Array) -> Any:
        g, index = xs
        out = np.zeros((*g.shape[: self.axis], self.size, *g.shape[self.axis + 1 :]), g.dtype)
        at: list[Any] = list(np.indices(g.shape, sparse=True))
        at[self.axis] = _within(index, out.shape[self.axis])
        np.add.at(out, tuple(at), g)
        return out

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return apply(TakeAlong(self.axis), g, xs[1]), None

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0], xs[1])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        merged = [classes.same(a, b) for a, b in zip(*xs, strict=True)]
        merged[self.axis] = classes.fresh(self.size)
        return tuple(merged)

    def loop_strides(self, strides: Axes, index_rank: int) -> Axes:
        """The strides of the result along the axes of g, 0 along `axis`."""
        return (*strides[: self.axis], 0, *strides[self.axis + 1 :])

    def index_strides(self, strides: Axes, rank: int) -> Axes:
        """The strides of the index along the `rank` loops: it has them all."""
        return strides

    def sizes(self) -> tuple[AnyDim, ...]:
        return (self.size,)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axis)

    def attributes(self) -> str:
        return f"axis={self.axis}, size={self.size}"


@public(Kind.GATHER)
def take(x: Any, indices: Any, axis: int | None = None, mode: str | None = None) -> Node:
    """The elements of x at integer indices along an axis, of all elements in order if it is None:
    x.shape[:axis] + indices.shape + x.shape[axis+1:].

    With mode "clip", an index is moved into the axis, a negative one to 0; with "wrap", it counts
    round and round. By default a negative one counts from the end, and one beyond the axis is
    refused if it is known at declaration, else moved into the axis. "raise" takes known ones only.
    """
    node = node_of(x)
    if axis is None or (node.ndim == 0 and axis in (0, -1)):
        return take(reshape(node, (-1,)), indices, 0, mode)
    axis = normalise_axis(axis, node.ndim, "take")
    index = by_mode_of_take(integral("take: the indices", indices), node.shape[axis], mode)
    check_known("take", index, node, axis)
    if node.shape[axis] == 0 and 0 not in index.shape:
        fail(ShapeError, f"take: axis {axis} has no element to take", str(node.type))
    rows = apply(Take(0), moveaxis(node, axis, 0), index)
    rest = [index.ndim + k for k in range(node.ndim - 1)]
    return transpose(rows, [*rest[:axis], *range(index.ndim), *rest[axis:]])


def check_known(what: str, index: Node, x: Node, axis: int) -> None:
    """Refuse indices that are known at declaration and beyond their axis."""
    size = x.shape[axis]
    if not isinstance(index.op, Const) or not isinstance(size, int):
        return
    value = np.asarray(index.op.value)
    beyond = value[(value < -size) | (value >= size)]
    if beyond.size:
        fail(ShapeError, f"{what}: {beyond.flat[0]} is out of range for axis {axis}", str(x.type))


@public(Kind.GATHER)
def embedding(table: Any, indices: Any) -> Node:
    """Rows of a table at integer indices: (rows, d), (...) -> (..., d); others than 0 <= i < rows
    are refused.
    """
    x = node_of(table)
    if x.ndim != 2:
        fail(ShapeError, "embedding: the table must have two axes", str(x.type))
    return take(x, bounded(integral("embedding: the indices", indices), x.shape[0]), 0)


@public(Kind.GATHER)
def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Node:
    """For each row along `axis`, the elements at that row's own indices; among all elements in
    order if axis is None. The other axes broadcast.
    """
    x, index = node_of(x), integral("take_along_axis: the indices", indices)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = normalise_axis(axis, x.ndim, "take_along_axis")
    if x.ndim != index.ndim:
        fail(
            ShapeError,
            "take_along_axis: the indices must have as many axes as the array",
            got=f"{x.type} and {index.type}",
            do="insert axes with [..., None]",
        )
    check_known("take_along_axis", index, x, axis)
    beside = broadcast_shapes([_with_one(x.shape, axis), _with_one(index.shape, axis)],
                              "take_along_axis: beside its axis")  # fmt: skip
    to = (*beside[:axis], index.shape[axis], *beside[axis + 1 :])
    if x.shape[axis] == 0 and 0 not in to:
        fail(ShapeError, f"take_along_axis: axis {axis} has no element to take", str(x.type))
    table = stretch(x, (*beside[:axis], x.shape[axis], *beside[axis + 1 :]))
    return apply(TakeAlong(axis), table, stretch(index, to))


def _with_one(shape: Shape, axis: int) -> Shape:
    """The shape with size 1 along `axis`."""
    return (*shape[:axis], 1, *shape[axis + 1 :])


@public()
def one_hot(labels: Any, depth: Any, dtype: Any = "float32") -> Node:
    """1 at each label's position along a new last axis of size `depth`, else 0."""
    index = integral("one_hot: the labels", labels)
    shape = (*index.shape, *as_shape(depth))
    same = equal(iota_like(shape, index.ndim, index.dtype), stretch(expand_dims(index, -1), shape))
    return cast(same, dtype)
