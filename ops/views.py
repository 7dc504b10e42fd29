"""The views: another look at the same elements, by strides and an offset.

    class       what it does                             strides                         transpose
    ---------   --------------------------------------   -----------------------------   ---------
    Transpose   permute axes                             permuted                        Transpose
    Expand      insert axes of size 1                    0 inserted                      Squeeze
    Squeeze     drop axes of size 1                      dropped                         Expand
    Broadcast   repeat along new axes                    0 inserted                      sum
    Reshape     merge and split neighbouring axes        even groups only, else a copy   Reshape

Each does one thing; `shape` composes the functions that users call from them. `Slice`, whose
transpose is a `Pad`, is in `slices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim, divide, product
from staticflow.graph.kinds import View
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.require import require, require_axes, require_operands
from staticflow.graph.strides import StridedView, contiguous_strides, merge_strides
from staticflow.graph.types import Shape, TensorType


@dataclass(frozen=True)
class Transpose(View):
    """Axis `k` of the result is axis `perm[k]` of the input."""

    perm: tuple[int, ...]

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require(sorted(self.perm) == list(range(xs[0].ndim)), f"transpose: {self.perm} of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(tuple(xs[0].shape[axis] for axis in self.perm))

    def reference(self, *xs: Array) -> Any:
        return np.transpose(xs[0], self.perm)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(self.inverse, g),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(xs[0][axis] for axis in self.perm)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        strides = tuple(access.strides[axis] for axis in self.perm)
        return StridedView(access.buffer, access.offset, out, strides)

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return self.perm.index(axis)

    def batched(self, length: AnyDim) -> Transpose:
        return Transpose((0, *(axis + 1 for axis in self.perm)))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.perm)

    def attributes(self) -> str:
        return f"perm={self.perm}"

    @property
    def inverse(self) -> Transpose:
        """The transpose that undoes this one."""
        return Transpose(tuple(int(axis) for axis in np.argsort(self.perm)))


@dataclass(frozen=True)
class Expand(View):
    """Insert axes of size 1 at positions `axes` of the result."""

    axes: tuple[int, ...]
    keeps_order = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require_axes(self.name, self.axes, xs[0].ndim + len(self.axes))

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(self._insert(xs[0].shape, 1))

    def reference(self, *xs: Array) -> Any:
        return np.expand_dims(xs[0], self.axes)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(Squeeze(self.axes), g),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return self._insert(xs[0], 1)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        return StridedView(access.buffer, access.offset, out, self._insert(access.strides, 0))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        kept = [k for k in range(len(shape) + len(self.axes)) if k not in self.axes]
        return kept[axis]

    def batched(self, length: AnyDim) -> Expand:
        return Expand(tuple(axis + 1 for axis in self.axes))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axes)

    def attributes(self) -> str:
        return f"axes={self.axes}"

    def _insert(self, entries: tuple[AnyDim, ...], entry: AnyDim) -> tuple[AnyDim, ...]:
        old = iter(entries)
        rank = len(entries) + len(self.axes)
        return tuple(entry if axis in self.axes else next(old) for axis in range(rank))


@dataclass(frozen=True)
class Squeeze(View):
    """Drop `axes`, which have size 1."""

    axes: tuple[int, ...]
    keeps_order = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require_axes(self.name, self.axes, xs[0].ndim)
        narrow = all(xs[0].shape[k] == 1 for k in self.axes)
        require(narrow, f"squeeze: axes {self.axes} of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(self._drop(xs[0].shape))

    def reference(self, *xs: Array) -> Any:
        return np.squeeze(xs[0], self.axes)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(Expand(self.axes), g),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return self._drop(xs[0])

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        return StridedView(access.buffer, access.offset, out, self._drop(access.strides))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return axis - sum(dropped < axis for dropped in self.axes)

    def batched(self, length: AnyDim) -> Squeeze:
        return Squeeze(tuple(axis + 1 for axis in self.axes))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axes)

    def attributes(self) -> str:
        return f"axes={self.axes}"

    def _drop(self, entries: tuple[AnyDim, ...]) -> tuple[AnyDim, ...]:
        return tuple(entry for axis, entry in enumerate(entries) if axis not in self.axes)


@dataclass(frozen=True)
class Broadcast(View):
    """Axis `k` of the input becomes axis `axes[k]` of `shape`; the others repeat it."""

    shape: Shape
    axes: tuple[int, ...]
    repeats = True

    @property
    def new_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require_axes(self.name, self.axes, len(self.shape))
        kept = tuple(self.shape[k] for k in self.axes)
        require(kept == xs[0].shape, f"broadcast: {xs[0]} to {_text(self.shape)}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(self.shape)

    def reference(self, *xs: Array) -> Any:
        shape: Any = self.shape
        return np.broadcast_to(np.expand_dims(xs[0], self.new_axes), shape)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (g.sum(axis=self.new_axes),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        entries: list[AnyDim] = [
            0 if axis in self.axes else classes.fresh(n) for axis, n in enumerate(self.shape)
        ]
        for axis, entry in zip(self.axes, xs[0], strict=True):
            entries[axis] = entry
        return tuple(entries)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        strides: list[AnyDim] = [0] * len(out)
        for axis, stride in zip(self.axes, access.strides, strict=True):
            strides[axis] = stride
        return StridedView(access.buffer, access.offset, out, tuple(strides))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return self.axes[axis]

    def of_one_element(self) -> Broadcast:
        return Broadcast(self.shape[1:], tuple(axis - 1 for axis in self.axes))

    def sizes(self) -> tuple[AnyDim, ...]:
        return tuple(self.shape[axis] for axis in self.new_axes)

    def batched(self, length: AnyDim) -> Broadcast:
        return Broadcast((length, *self.shape), (0, *(axis + 1 for axis in self.axes)))

    def key(self) -> tuple[Any, ...]:
        return (self.name, len(self.shape), self.axes)

    def attributes(self) -> str:
        return f"shape={_text(self.shape)}, axes={self.axes}"


@dataclass(frozen=True)
class Reshape(View):
    """Merge and split neighbouring axes in row-major order.

    `groups` pairs runs of axes with equal products: (axes of the input, axes of the result).
    """

    shape: Shape
    groups: tuple[tuple[int, int], ...]
    keeps_order = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        ranks = tuple(map(sum, zip(*self.groups, strict=True))) or (0, 0)
        require(
            ranks == (xs[0].ndim, len(self.shape))
            and all(old > 0 and new > 0 for old, new in self.groups)
            and all(product(old) == product(new) for old, new in self._runs(xs[0].shape)),
            f"reshape: {xs[0]} to {_text(self.shape)}",
        )

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape(self.shape)

    def reference(self, *xs: Array) -> Any:
        return np.reshape(xs[0], self.shape)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(self.inverse(xs[0].shape), g),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        entries: list[AnyDim] = []
        for old, new in self._runs(xs[0]):
            kept = len(old) == len(new) == 1
            entries += old if kept else [classes.fresh(n) for n in new]
        return tuple(entries)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        strides: list[AnyDim] = []
        first = 0
        done = 0
        for old, new in self.groups:
            run = slice(first, first + old)
            step = merge_strides(access.shape[run], access.strides[run])
            if step is None:
                return None
            strides += [step * s for s in contiguous_strides(out[done : done + new])]
            first, done = first + old, done + new
        return StridedView(access.buffer, access.offset, out, tuple(strides))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        first = done = 0
        for old, new in self.groups:
            if axis == first and new:
                outer = self.shape[done]
                whole = divide(outer, shape[axis]) or divide(shape[axis], outer)
                return done if whole is not None else None
            first, done = first + old, done + new
        return None

    def sizes(self) -> tuple[AnyDim, ...]:
        runs = self._runs(())
        return tuple(
            n
            for (old, count), (_, new) in zip(self.groups, runs, strict=True)
            for n in new
            if not old == count == 1
        )

    def batched(self, length: AnyDim) -> Reshape:
        return Reshape((length, *self.shape), ((1, 1), *self.groups))

    def mixes_axis(self, axis: int, shape: Shape) -> tuple[int, Shape, Shape] | None:
        first = done = 0
        for old, new in self.groups:
            if first < axis < first + old and new == 1:
                return done, shape[first:axis], shape[axis + 1 : first + old]
            first, done = first + old, done + new
        return None

    def parts_axis(self, axis: int, before: Shape, after: Shape) -> int | None:
        first = done = 0
        for old, new in self.groups:
            if axis == first and old == 1:
                run = self.shape[done : done + new]
                middle = len(before)
                fits = new == middle + 1 + len(after) and run[:middle] == before
                return done + middle if fits and run[middle + 1 :] == after else None
            first, done = first + old, done + new
        return None

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.groups)

    def attributes(self) -> str:
        return f"shape={_text(self.shape)}"

    def inverse(self, shape: Shape) -> Reshape:
        """The reshape that leads back to `shape`."""
        return Reshape(shape, tuple((new, old) for old, new in self.groups))

    def _runs(self, old: Shape) -> list[tuple[Shape, Shape]]:
        """The entries of `old` and of the result's shape, group by group."""
        runs: list[tuple[Shape, Shape]] = []
        first = done = 0
        for before, after in self.groups:
            runs.append((old[first : first + before], self.shape[done : done + after]))
            first, done = first + before, done + after
        return runs


def _text(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def spread(x: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """Repeat `x` to `shape`; its axis `k` becomes axis `axes[k]`.

    A new axis of size 1 is repeated once rather than expanded: so it is an axis like any other, and
    a layer of width 1 has the structure of every layer.
    """
    return apply(Broadcast(shape, axes), x) if len(shape) > len(axes) else x


def spread_along(x: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """Undo a reduction's loss of `axes`: repeat `x` along them to `shape`."""
    return spread(x, shape, tuple(k for k in range(len(shape)) if k not in axes))
