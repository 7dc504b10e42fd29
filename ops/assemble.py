"""Parts stored one after the other in one array: `Concat`, and what is made of it and of `Pad`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.kinds import Assemble
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import require, require_axis, require_operands
from staticflow.graph.types import TensorType, is_whole, normalise_axis, promote
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, node_of, reshape
from staticflow.ops.slices import Starts, pad_edges, replace_entry, slice_axis, zeros_for


@dataclass(frozen=True)
class Concat(Assemble):
    """The parts one after the other along `axis`."""

    axis: int

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, len(xs) or 1)
        require_axis(self.name, self.axis, xs[0].ndim)
        shapes = {(x.ndim, replace_entry(x.shape, self.axis, 0)) for x in xs}
        require(len(shapes) == 1, f"concat: sizes differ beside axis {self.axis}")

    def infer(self, *xs: TensorType) -> TensorType:
        total: AnyDim = 0
        for x in xs:
            total = total + x.shape[self.axis]
        return xs[0].with_shape(replace_entry(xs[0].shape, self.axis, total))

    def reference(self, *xs: Array) -> Any:
        return np.concatenate(xs, self.axis)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        cotangents = []
        start: AnyDim = 0
        for x in xs:
            cotangents.append(slice_axis(g, self.axis, start, start + x.shape[self.axis]))
            start = start + x.shape[self.axis]
        return cotangents

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        pairs = zip(tangents, xs, strict=True)
        return apply(self, *(zeros_for(x.type) if t is None else t for t, x in pairs))

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        assert isinstance(out, TensorType)
        merged = list(xs[0])
        for x in xs[1:]:
            for k, n in enumerate(x):
                merged[k] = merged[k] if k == self.axis else classes.same(merged[k], n)
        return replace_entry(tuple(merged), self.axis, classes.fresh(out.shape[self.axis]))

    @property
    def joined(self) -> int:
        return self.axis

    def regions(self, ins: tuple[Axes, ...], sizes: Axes) -> Starts:
        starts = []
        start: AnyDim = 0
        for shape in ins:
            starts.append(replace_entry((0,) * len(shape), self.axis, start))
            start = start + shape[self.axis]
        return tuple(starts)

    def batched(self, length: AnyDim) -> Concat:
        return Concat(self.axis + 1)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.axis)

    def attributes(self) -> str:
        return f"axis={self.axis}"


@public(Kind.ASSEMBLE)
def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Node:
    """The arrays one after the other along an axis, their other sizes being equal; all elements in
    order if axis is None.
    """
    parts = as_nodes(list(arrays))
    if axis is None:
        parts, axis = [reshape(x, (-1,)) for x in parts], 0
    if not parts:
        fail(ShapeError, "concatenate: there is nothing to concatenate")
    axis = normalise_axis(axis, parts[0].ndim, "concatenate")
    shapes = {replace_entry(x.shape, axis, 0) if axis < x.ndim else None for x in parts}
    if len(shapes) != 1:
        fail(
            ShapeError,
            f"concatenate: sizes differ beside axis {axis}",
            got=", ".join(str(x.type) for x in parts),
            do="give the arrays equal sizes along the other axes",
        )
    dtype = promote([x.dtype for x in parts])
    return parts[0] if len(parts) == 1 else apply(Concat(axis), *(cast(x, dtype) for x in parts))


@public(Kind.ASSEMBLE)
def stack(arrays: Sequence[Any], axis: int = 0) -> Node:
    """The arrays, of one shape, along a new axis."""
    parts = as_nodes(list(arrays))
    if len({x.shape for x in parts}) != 1:
        fail(
            ShapeError,
            "stack: the arrays must have one shape",
            got=", ".join(str(x.type) for x in parts) or "no array",
        )
    axis = normalise_axis(axis, parts[0].ndim + 1, "stack")
    return concatenate([expand_dims(x, axis) for x in parts], axis)


@public(Kind.ASSEMBLE)
def pad(x: Any, pad_width: Any, constant_values: Any = 0.0, *, mode: str = "constant") -> Node:
    """x with elements around it: (before, after) for each axis, or for all, or one int. They are
    constant, or by `mode` those of the "edge", or x goes on by "reflect", "symmetric" or "wrap";
    the mode may come third, as in NumPy.
    """
    node = node_of(x)
    if isinstance(constant_values, str):  # as in NumPy
        mode, constant_values = constant_values, 0.0
    given = pad_width.tolist() if isinstance(pad_width, np.ndarray) else pad_width
    entries = given if isinstance(given, tuple | list) else (given, given)
    if len(entries) == 2 and not isinstance(entries[0], tuple | list):
        entries = [entries] * node.ndim
    pairs = [p if isinstance(p, tuple | list) else (p, p) for p in entries]
    if len(pairs) == 1:
        pairs = pairs * node.ndim
    widths = [n for p in pairs for n in p]
    wrong = [n for n in widths if not isinstance(n, Dim) and not (is_whole(n) and n >= 0)]
    if len(pairs) != node.ndim or len(widths) != 2 * node.ndim or wrong:
        fail(
            ShapeError,
            "pad: needs a non-negative (before, after) for each axis",
            got=f"{pad_width} for {node.type}",
        )
    pairs = [tuple(n if isinstance(n, Dim) else int(n) for n in p) for p in pairs]
    if mode != "constant":
        return _pad_with_own(node, pairs, mode)
    before, after = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    return pad_edges(node, before, after, float(constant_values))


def _pad_with_own(x: Node, pairs: Sequence[Any], mode: str) -> Node:
    """Each axis taken at NumPy's padding of its indices."""
    modes: Any = ("edge", "reflect", "symmetric", "wrap")
    if mode not in modes:
        fail(GraphError, f"pad: there is no mode {mode!r}", do=f"choose from {', '.join(modes)}")
    for axis, (size, width) in enumerate(zip(x.shape, pairs, strict=True)):
        if all(n == 0 for n in width):
            continue
        if not isinstance(size, int) or size == 0 or not all(isinstance(n, int) for n in width):
            fail(ShapeError, f"pad: mode {mode!r} needs integer sizes above 0", str(x.type))
        index = np.pad(np.arange(size), tuple(width), mode=mode)  # type: ignore[call-overload]
        x = x[(*(slice(None),) * axis, index)]
    return x
