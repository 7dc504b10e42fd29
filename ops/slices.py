"""`Slice`, the view of evenly spaced elements along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.access import Access
from staticflow.dims import AnyDim
from staticflow.kinds import View
from staticflow.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.require import require, require_operands
from staticflow.types import Shape, TensorType


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
        from staticflow.ops.assemble import unslice

        return (unslice(g, self, xs[0].shape),)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        assert isinstance(out, TensorType)
        entries = zip(self.full, xs[0], out.shape, strict=True)
        return tuple(old if full else classes.fresh(n) for full, old, n in entries)

    def view(self, access: Access, out: Axes, sizes: tuple[AnyDim, ...]) -> Access | None:
        starts = iter(sizes)
        offset = access.offset
        for full, stride in zip(self.full, access.strides, strict=True):
            if not full:
                offset = offset + next(starts) * stride
        strides = tuple(n * step for n, step in zip(access.strides, self.steps, strict=True))
        return Access(access.buffer, offset, out, strides)

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return axis if self.full[axis] else None

    def sizes(self) -> tuple[AnyDim, ...]:
        return tuple(a for a, full in zip(self.starts, self.full, strict=True) if not full)

    def demands(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        found: list[AnyDim] = []
        bounds = zip(xs[0].shape, self.starts, self.stops, self.steps, strict=True)
        for n, start, stop, step in bounds:
            if stop is not None:
                first, end = (start, stop) if step > 0 else (stop + 1, start + 1)
                found += [first, n - end]
        return tuple(found)

    def lifted(self, length: AnyDim) -> Slice:
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


def flip_axis(x: Node, axis: int) -> Node:
    """x backwards along one axis."""
    return slice_axis(x, axis, x.shape[axis] - 1, -1, -1)
