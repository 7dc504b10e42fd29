"""`Slice`, the view of evenly spaced elements along each axis, and `Pad`, which puts them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Assemble, View
from staticflow.graph.leaves import const
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.operators import bind
from staticflow.graph.require import require, require_operands
from staticflow.graph.strides import StridedView
from staticflow.graph.types import Shape, TensorType
from staticflow.ops.coerce import broadcast_to_shape
from staticflow.ops.shape import expand_dims, reshape

Starts = tuple[tuple[AnyDim, ...], ...]


@dataclass(frozen=True)
class Slice(View):
    """Element `i` of an axis is element `start + i * step` of the input's; a full axis is kept.

    A full axis has start 0, stop None and step 1. With a negative step, `stop` may be -1.
    """

    starts: tuple[AnyDim, ...]
    stops: tuple[AnyDim | None, ...]
    steps: tuple[int, ...]

    @property
    def full(self) -> tuple[bool, ...]:
        """For each axis, whether all of it is taken."""
        return tuple(stop is None for stop in self.stops)

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        lengths = {len(self.starts), len(self.stops), len(self.steps)}
        require(lengths == {xs[0].ndim}, f"slice: {len(self.starts)} bounds for {xs[0]}")
        for start, stop, step in zip(self.starts, self.stops, self.steps, strict=True):
            whole = stop is None and start == 0 and step == 1
            known = stop is not None and step != 0 and isinstance(stop - start, int)
            require(whole or known or abs(step) == 1, f"slice: {start}:{stop}:{step}")
            require(whole or stop is not None, f"slice: {start}:{stop}:{step}")

    def infer(self, *xs: TensorType) -> TensorType:
        bounds = zip(xs[0].shape, self.starts, self.stops, self.steps, strict=True)
        shape = tuple(n if stop is None else extent(a, stop, s) for n, a, stop, s in bounds)
        return xs[0].with_shape(shape)

    def reference(self, *xs: Array) -> Any:
        index: list[slice] = []
        for start, stop, step in zip(self.starts, self.stops, self.steps, strict=True):
            last: Any = None if stop == -1 else stop
            first: Any = start
            index.append(slice(first, last, step))
        return xs[0][tuple(index)]

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (unslice(g, self, xs[0].shape),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        assert isinstance(out, TensorType)
        entries = zip(self.full, xs[0], out.shape, strict=True)
        return tuple(old if full else classes.fresh(n) for full, old, n in entries)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        starts = iter(sizes)
        offset = access.offset
        for full, stride in zip(self.full, access.strides, strict=True):
            if not full:
                offset = offset + next(starts) * stride
        strides = tuple(n * step for n, step in zip(access.strides, self.steps, strict=True))
        return StridedView(access.buffer, offset, out, strides)

    def region(self, shape: Shape) -> tuple[tuple[AnyDim, AnyDim], ...] | None:
        if any(step != 1 for step in self.steps):
            return None
        bounds = zip(self.starts, self.stops, shape, strict=True)
        return tuple((start, n if stop is None else stop) for start, stop, n in bounds)

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return axis if self.full[axis] else None

    def sizes(self) -> tuple[AnyDim, ...]:
        return tuple(a for a, full in zip(self.starts, self.full, strict=True) if not full)

    def size_guards(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        found: list[AnyDim] = []
        bounds = zip(xs[0].shape, self.starts, self.stops, self.steps, strict=True)
        for n, start, stop, step in bounds:
            if stop is not None:
                first, end = (start, stop) if step > 0 else (stop + 1, start + 1)
                found += [first, n - end]
        return tuple(found)

    def batched(self, length: AnyDim) -> Slice:
        return Slice((0, *self.starts), (None, *self.stops), (1, *self.steps))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.full, self.steps)

    def attributes(self) -> str:
        texts = []
        for start, stop, step in zip(self.starts, self.stops, self.steps, strict=True):
            bounds = ":" if stop is None else f"{start}:{'' if stop == -1 else stop}"
            texts.append(bounds if step == 1 else f"{bounds}:{step}")
        return f"[{', '.join(texts)}]"


def extent(start: AnyDim, stop: AnyDim, step: int) -> AnyDim:
    """The number of elements of a slice; with a step beyond 1, only of integers."""
    length: AnyDim = stop - start if step > 0 else start - stop
    if isinstance(length, int):
        return max(0, -(-length // abs(step)))
    assert abs(step) == 1, "the length of a strided slice of a named axis is not a polynomial"
    return length


def slice_axis(x: Node, axis: int, start: AnyDim, stop: AnyDim, step: int = 1) -> Node:
    """x[start:stop:step] along one axis; the bounds are taken as they are."""
    if start == 0 and stop == x.shape[axis] and step == 1:
        return x
    starts: tuple[AnyDim, ...] = (0,) * x.ndim
    stops: tuple[AnyDim | None, ...] = (None,) * x.ndim
    steps = (1,) * x.ndim
    return apply(
        Slice(
            (*starts[:axis], start, *starts[axis + 1 :]),
            (*stops[:axis], stop, *stops[axis + 1 :]),
            (*steps[:axis], step, *steps[axis + 1 :]),
        ),
        x,
    )


bind("slice_axis", slice_axis)


def flip_axis(x: Node, axis: int) -> Node:
    """x backwards along one axis."""
    return slice_axis(x, axis, x.shape[axis] - 1, -1, -1)


@dataclass(frozen=True)
class Pad(Assemble):
    """The input with `before` and `after` elements of `value` around it along each axis."""

    before: tuple[AnyDim, ...]
    after: tuple[AnyDim, ...]
    value: float = 0.0

    @property
    def fill(self) -> float:
        return self.value

    @property
    def padded(self) -> tuple[bool, ...]:
        """For each axis, whether anything is added to it."""
        return tuple(p != 0 or q != 0 for p, q in zip(self.before, self.after, strict=True))

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        lengths = {len(self.before), len(self.after)}
        require(lengths == {xs[0].ndim}, f"pad: {len(self.before)} widths for {xs[0]}")
        whole = math.isfinite(self.value) and self.value == int(self.value)
        require(xs[0].is_float or whole, f"pad: {self.value} is no {xs[0].dtype}")

    def infer(self, *xs: TensorType) -> TensorType:
        sizes = zip(self.before, xs[0].shape, self.after, strict=True)
        return xs[0].with_shape(tuple(p + n + q for p, n, q in sizes))

    def reference(self, *xs: Array) -> Any:
        widths: Any = list(zip(self.before, self.after, strict=True))
        return np.pad(xs[0], widths, constant_values=self.value)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        bounds = zip(self.padded, self.before, xs[0].shape, strict=True)
        stops = tuple(p + n if padded else None for padded, p, n in bounds)
        return (apply(Slice(self.before, stops, (1,) * len(stops)), g),)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        (t,) = tangents
        return None if t is None else apply(Pad(self.before, self.after), t)

    def size_guards(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        return (*self.before, *self.after)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        assert isinstance(out, TensorType)
        entries = zip(self.padded, xs[0], out.shape, strict=True)
        return tuple(classes.fresh(n) if padded else old for padded, old, n in entries)

    def regions(self, ins: tuple[Axes, ...], sizes: Axes) -> Starts:
        starts = iter(sizes)
        return (tuple(next(starts) if padded else 0 for padded in self.padded),)

    def sizes(self) -> tuple[AnyDim, ...]:
        return tuple(p for p, padded in zip(self.before, self.padded, strict=True) if padded)

    def batched(self, length: AnyDim) -> Pad:
        return Pad((0, *self.before), (0, *self.after), self.value)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.padded, repr(self.value))

    def attributes(self) -> str:
        widths = zip(self.before, self.after, strict=True)
        return f"[{', '.join(f'{p}+{q}' for p, q in widths)}], value={self.value}"


def replace_entry(entries: tuple[AnyDim, ...], axis: int, entry: AnyDim) -> tuple[AnyDim, ...]:
    """The entries with another one at `axis`."""
    return (*entries[:axis], entry, *entries[axis + 1 :])


def zeros_for(type_: TensorType) -> Node:
    """Zeros of a type, without an array."""
    return broadcast_to_shape(const(0, type_.dtype), type_.shape, "zeros")


def unslice(g: Node, op: Slice, shape: Shape) -> Node:
    """The transpose of a slice: `g` where the slice took, zeros elsewhere in `shape`."""
    before: list[AnyDim] = []
    after: list[AnyDim] = []
    if any(n == 0 for n in g.shape):
        return zeros_for(TensorType(shape, g.dtype))
    for axis, full in enumerate(op.full):
        start, step, size = op.starts[axis], op.steps[axis], g.shape[axis]
        if step < 0:
            g = flip_axis(g, axis)
            start = start + (size - 1) * step
        if not full and step not in (1, -1):
            g = _dilate(g, axis, abs(step))
        before.append(0 if full else start)
        after.append(0 if full else shape[axis] - start - g.shape[axis])
    return pad_edges(g, tuple(before), tuple(after), 0.0)


def _dilate(g: Node, axis: int, step: int) -> Node:
    """Put `step - 1` zeros between neighbours along an axis."""
    size = g.shape[axis]
    widths: tuple[AnyDim, ...] = (0,) * (g.ndim + 1)
    wide = pad_edges(
        expand_dims(g, axis + 1), widths, replace_entry(widths, axis + 1, step - 1), 0.0
    )
    merged = reshape(wide, (*g.shape[:axis], size * step, *g.shape[axis + 1 :]))
    return slice_axis(merged, axis, 0, size * step - (step - 1))


def pad_edges(x: Node, before: tuple[AnyDim, ...], after: tuple[AnyDim, ...], value: float) -> Node:
    """x with elements of `value` around it; x itself where there are none to add."""
    if all(n == 0 for n in before + after):
        return x
    return apply(Pad(before, after, value), x)
