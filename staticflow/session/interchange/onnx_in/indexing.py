"""ONNX's gathers and scatters with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import staticflow.ops as ops
from staticflow.graph.dims import product
from staticflow.graph.node import Node, apply
from staticflow.ops.indexing import ScatterAdd, ScatterAlong
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import Call


def _gather(c: Call) -> Any:
    return ops.take(c[0], c[1], c.attribute("axis", 0))


def _gather_elements(c: Call) -> Any:
    """The index may be shorter than x beside the axis."""
    x, index, axis = c[0], c[1], c.attribute("axis", 0) % c[0].ndim
    cut = tuple(
        slice(None) if k == axis or n == index.shape[k] else slice(0, index.shape[k])
        for k, n in enumerate(x.shape)
    )
    return ops.take_along_axis(x[cut], index, axis)


def _flat_index(c: Call, x: Node, index: Node, lead: int) -> tuple[Node, int]:
    """Tuples of indices, from axis `lead` of x on, as one into these axes in one; their number."""
    depth = index.shape[-1]
    if not isinstance(depth, int):
        c.refuse("the length of its index tuples is a named size")
    flat: Any = 0
    for k in range(depth):
        size = x.shape[lead + k]
        part = index[..., k]
        part = ops.where(part < 0, part + size, part)
        flat = flat * size + part
    return flat, depth


def _gather_nd(c: Call) -> Any:
    x, index, batch = c[0], c[1], c.attribute("batch_dims", 0)
    flat, depth = _flat_index(c, x, index, batch)
    rest = x.shape[batch + depth :]
    count = product(x.shape[batch : batch + depth])
    if not batch:
        return ops.take(ops.reshape(x, (count, *rest)), flat, 0)
    rows = product(x.shape[:batch])
    offset = ops.reshape(ops.arange(rows) * count, (*x.shape[:batch], *[1] * (flat.ndim - batch)))
    table = ops.reshape(x, (rows * count, *rest))
    return ops.take(table, flat + offset.astype(flat.dtype), 0)


def _combined(c: Call, x: Node, added: Node, hits: Node) -> Node:
    how = c.attribute("reduction", "none")
    if how == "add":
        return x + added
    if how == "none":  # each place is hit once, as ONNX asks
        return ops.where(hits > 0, added, x)
    c.refuse(f"reduction {how!r} of scattered values is not supported")


def _scatter_elements(c: Call) -> Any:
    x, index, updates = c[0], c[1], c[2]
    axis = c.attribute("axis", 0) % x.ndim
    pads = [(0, 0 if k == axis else x.shape[k] - n) for k, n in enumerate(index.shape)]
    index = ops.where(index < 0, index + x.shape[axis], index)
    ones = ops.full(index.shape, 1, "int32")
    op = ScatterAlong(axis, x.shape[axis])
    numbers = updates.astype("int32") if updates.dtype == "bool" else updates
    index = ops.pad(index, pads)
    added = apply(op, ops.pad(numbers, pads), index)
    return _combined(c, x, added.astype(x.dtype), apply(op, ops.pad(ones, pads), index))


def _scatter_nd(c: Call) -> Any:
    x, index, updates = c[0], c[1], c[2]
    flat, depth = _flat_index(c, x, index, 0)
    count, rest = product(x.shape[:depth]), x.shape[depth:]
    numbers = updates.astype("int32") if updates.dtype == "bool" else updates
    op = ScatterAdd(0, count)
    added = ops.reshape(apply(op, numbers, flat), x.shape).astype(x.dtype)
    hits = apply(op, ops.full(flat.shape, 1, "int32"), flat)
    hits = ops.reshape(hits, (*x.shape[:depth], *[1] * len(rest)))
    return _combined(c, x, added, ops.broadcast_to(hits, x.shape))


def _reverse_sequence(c: Call) -> Any:
    """Element t of a row of length n is element n - 1 - t, and from n on as it is."""
    x, lengths = c[0], c[1]
    batch, time = c.attribute("batch_axis", 1), c.attribute("time_axis", 0)
    turned = ops.moveaxis(x, (batch, time), (0, 1))
    t = ops.arange(x.shape[time]).astype(lengths.dtype)[None, :]
    n = lengths[:, None]
    index = ops.where(t < n, n - 1 - t, t)
    index = ops.reshape(index, (*index.shape, *[1] * (x.ndim - 2)))
    return ops.moveaxis(ops.take_along_axis(turned, index, 1), (0, 1), (batch, time))


INDEXING: Mapping[str, Writer] = {
    "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "ReverseSequence": _reverse_sequence, "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements, "ScatterND": _scatter_nd,
}  # fmt: skip
