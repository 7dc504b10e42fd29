"""ONNX's operators on shapes, axes and indices with ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import staticflow.ops as ops
from staticflow.graph.dims import Dim, product
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import DTYPES, Call

MOST_COPIES = 1 << 20  # of elements at an edge, whose places are written out


def _reduction(op: Callable[..., Node]) -> Writer:
    def write(c: Call) -> Any:
        axes, keepdims = c.integers(1, "axes"), bool(c.attribute("keepdims", 1))
        if not axes and c.attribute("noop_with_empty_axes", 0):
            return op(c[0][None], 0)
        return op(c[0], axes or None, keepdims)

    return write


def _extreme(op: Callable[..., Node], low: bool) -> Writer:
    """Of nothing, the lowest or the highest number."""

    def write(c: Call) -> Any:
        x, axes = c[0], c.integers(1, "axes")
        if 0 not in [x.shape[k] for k in axes or range(x.ndim)]:
            return _reduction(op)(c)
        first: Any = not low
        if x.type.is_float:
            first = -np.inf if low else np.inf
        elif x.dtype != "bool":
            first = np.iinfo(x.dtype).min if low else np.iinfo(x.dtype).max
        return op(x, axes, bool(c.attribute("keepdims", 1)), initial=first)

    return write


def _chosen(op: Callable[..., Node]) -> Writer:
    def write(c: Call) -> Any:
        x, axis = c[0], c.attribute("axis", 0)
        last = bool(c.attribute("select_last_index", 0))
        found = op(ops.flip(x, axis) if last else x, axis, bool(c.attribute("keepdims", 1)))
        return x.shape[axis] - 1 - found if last else found

    return write


def _gemm(c: Call) -> Any:
    a = c[0].T if c.attribute("transA", 0) else c[0]
    b = c[1].T if c.attribute("transB", 0) else c[1]
    alpha, beta = c.attribute("alpha", 1.0), c.attribute("beta", 1.0)
    product_ = a @ b if alpha == 1.0 else alpha * (a @ b)
    if not c.has(2):
        return product_
    return product_ + (c[2] if beta == 1.0 else beta * c[2])


def _pad(c: Call) -> Any:
    pads, axes = c.dims(1, "pads") or (), c.integers(3)
    x = c[0]
    places = tuple(range(x.ndim)) if axes is None else tuple(a % x.ndim for a in axes)
    if len(pads) != 2 * len(places):
        c.refuse("pads are two for each axis", f"{len(pads)} for {x.type}")
    width: list[Any] = [(0, 0)] * x.ndim
    for k, axis in enumerate(places):
        width[axis] = (pads[k], pads[k + len(places)])
    x, width = _cut(x, width)
    mode = c.attribute("mode", "constant")
    if mode == "constant":
        given = c.values[2] if c.has(2) else None
        if given is not None and given.array is None:  # which is not known
            inside = ops.pad(ops.full(x.shape, True, "bool"), width)
            return ops.where(inside, ops.pad(x, width), ops.reshape(given.node, ()))
        value = c.attribute("value", 0.0) if given is None else c.number(2)
        return ops.pad(x, width, constant_values=value)
    if any(isinstance(n, int) and n > MOST_COPIES for pair in width for n in pair):
        c.refuse(f"it repeats more than {MOST_COPIES:,} elements of an edge", str(width)[:80])
    return ops.pad(x, width, mode=mode)


def _cut(x: Node, width: list[Any]) -> tuple[Node, list[Any]]:
    """Negative pads take elements away."""
    index = [
        slice(-a if _below(a) else None, b if _below(b) else None)
        for a, b in ((p[0], p[1]) for p in width)
    ]
    kept = [tuple(0 if _below(n) else n for n in p) for p in width]
    return (x[tuple(index)] if any(map(_below, np.ravel(width))) else x), kept


def _below(n: Any) -> bool:
    return not isinstance(n, Dim) and int(n) < 0


def _slice(c: Call) -> Any:
    x = c[0]
    starts, ends = c.dims(1, "starts"), c.dims(2, "ends")
    if starts is None or ends is None:
        c.refuse("it has no bounds")
    axes = c.integers(3, "axes") or tuple(range(len(starts)))
    steps = c.integers(4) or (1,) * len(starts)
    index: list[Any] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        whole = isinstance(end, int) and abs(end) > 1 << 30  # "to the end", as exporters write it
        if isinstance(size, Dim):
            last = None if whole or end == size else end
            index[axis] = slice(None if whole and step < 0 and start == -1 else start, last, step)
        else:
            before = step < 0 and isinstance(end, int) and end < -size
            index[axis] = slice(start, None if before else end, step)
    return x[tuple(index)]


def _reshape(c: Call) -> Any:
    shape, x = c.dims(1, "shape"), c[0]
    if shape is None:
        c.refuse("it has no shape")
    if not c.attribute("allowzero", 0):
        if any(n == 0 and k >= x.ndim for k, n in enumerate(shape)):
            c.refuse("it keeps an axis that is not there", f"{shape} for {x.type}")
        shape = tuple(x.shape[k] if n == 0 else n for k, n in enumerate(shape))
    return ops.reshape(x, shape)


def _flatten(c: Call) -> Any:
    axis = c.attribute("axis", 1)
    axis = axis + c[0].ndim if axis < 0 else axis
    shape = c[0].shape
    return ops.reshape(c[0], (product(shape[:axis]), product(shape[axis:])))


def _expand(c: Call) -> Any:
    """Both ways: a size of 1 on either side is that of the other."""
    x, target = c[0], c.dims(1) or ()
    rank = max(x.ndim, len(target))
    old, new = ((1,) * (rank - len(s)) + tuple(s) for s in (x.shape, target))
    return ops.broadcast_to(x, tuple(a if b == 1 else b for a, b in zip(old, new, strict=True)))


def _top_k(c: Call) -> Any:
    count = c.integers(1) if c.has(1) else (int(c.attribute("k", 1)),)
    (k,) = count or (1,)
    axis = c.attribute("axis", -1)
    x = ops.moveaxis(c[0], axis, -1)
    order = ops.argsort(x, -1, descending=bool(c.attribute("largest", 1)))[..., :k]
    found = ops.take_along_axis(x, order, -1), order
    return [ops.moveaxis(y, -1, axis) for y in found]


def _split(c: Call) -> Any:
    axis, parts = c.attribute("axis", 0), c.integers(1, "split")
    size = c[0].shape[axis]
    if parts is None:
        if not isinstance(size, int):
            c.refuse("it splits an axis of a named size into equal parts",
                     do="give the dimension a number in dims={...}")  # fmt: skip
        step = -(-size // c.attribute("num_outputs", c.outputs))
        places = list(range(step, size, step))
    else:
        places = list(np.cumsum(parts)[:-1])
    return ops.split(c[0], [int(n) for n in places], axis)


def _one_hot(c: Call) -> Any:
    depth = c.number(1)
    index = c[0] if not c[0].type.is_float else c[0].astype("int64")
    hot = ops.equal(
        ops.mod(index, int(depth))[..., None], ops.arange(int(depth)).astype(index.dtype)
    )
    inside = ops.logical_and(index >= -int(depth), index < int(depth))[..., None]
    wanted = ops.where(ops.logical_and(hot, inside), c[2][1], c[2][0])
    return ops.moveaxis(wanted, -1, c.attribute("axis", -1))


def _running(op: Callable[..., Node], first: float) -> Writer:
    def write(c: Call) -> Any:
        axis = int(c.number(1))
        x, back = c[0], bool(c.attribute("reverse", 0))
        x = ops.flip(x, axis) if back else x
        total = op(x, axis, dtype=x.dtype)
        if c.attribute("exclusive", 0):
            width = [(0, 0)] * x.ndim
            width[axis] = (1, 0)
            index = [slice(None)] * x.ndim
            index[axis] = slice(0, -1)
            total = ops.pad(total[tuple(index)], width, constant_values=first)
        return ops.flip(total, axis) if back else total

    return write


def _trilu(c: Call) -> Any:
    k = int(c.number(1)) if c.has(1) else 0
    return ops.triu(c[0], k) if c.attribute("upper", 1) else ops.tril(c[0], k)


def _range(c: Call) -> Any:
    bounds = [c.dims(k) for k in range(3)] if not c[0].type.is_float else None
    if bounds is not None and any(isinstance(n, Dim) for b in bounds for n in b or ()):
        start, stop, step = (b[0] for b in bounds if b is not None)
        return ops.arange(start, stop, step, dtype=c[0].dtype)
    start, stop, step = (c.number(k) for k in range(3))
    if step == 0:
        c.refuse("it goes in steps of 0")
    return ops.arange(start, stop, step, dtype=c[0].dtype)


def _eye(c: Call) -> Any:
    dtype = DTYPES.get(c.attribute("dtype", 0), c[0].dtype)
    rows, columns = c[0].shape
    return ops.eye(rows, columns, c.attribute("k", 0), dtype)


def _constant_of_shape(c: Call) -> Any:
    value = c.attribute("value")
    filled = np.zeros(1, np.float32) if value is None else np.asarray(value)
    if filled.size != 1:
        c.refuse("it is filled with more than one value", str(filled.shape))
    return ops.full(c.dims(0) or (), ops.reshape(filled, ()), filled.dtype.name)


def _depth_to_space(c: Call) -> Any:
    x, n = c[0], int(c.attribute("blocksize"))
    b, d, h, w = x.shape
    if c.attribute("mode", "DCR") == "DCR":
        split, order = (b, n, n, d // (n * n), h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (b, d // (n * n), n, n, h, w), (0, 1, 4, 2, 5, 3)
    return ops.reshape(ops.transpose(ops.reshape(x, split), order), (b, d // (n * n), h * n, w * n))


def _space_to_depth(c: Call) -> Any:
    x, n = c[0], int(c.attribute("blocksize"))
    b, d, h, w = x.shape
    parts = ops.reshape(x, (b, d, h // n, n, w // n, n))
    order = (0, 3, 5, 1, 2, 4) if c.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return ops.reshape(ops.transpose(parts, order), (b, d * n * n, h // n, w // n))


def _squeeze(c: Call) -> Any:
    return ops.squeeze(c[0], c.integers(1, "axes"))


def _compress(c: Call) -> Any:
    """At places that are known: how many there are is part of the graph."""
    axis = c.attribute("axis")
    (places,) = np.nonzero(c.array(1))
    return ops.take(c[0] if axis is not None else ops.ravel(c[0]), places, axis or 0)


ARRAYS: Mapping[str, Writer] = {
    "ArgMax": _chosen(ops.argmax), "ArgMin": _chosen(ops.argmin), "Compress": _compress,
    "Concat": lambda c: ops.concatenate(c.nodes, c.attribute("axis", 1)),
    "ConstantOfShape": _constant_of_shape, "CumProd": _running(ops.cumprod, 1),
    "CumSum": _running(ops.cumsum, 0), "DepthToSpace": _depth_to_space,
    "Einsum": lambda c: ops.einsum(c.attribute("equation"), *c.nodes), "Expand": _expand,
    "EyeLike": _eye, "Flatten": _flatten, "Gemm": _gemm, "OneHot": _one_hot, "Pad": _pad,
    "Range": _range,
    "ReduceL1": _reduction(lambda x, *a: ops.sum(ops.abs(x), *a)),
    "ReduceL2": _reduction(lambda x, *a: ops.sqrt(ops.sum(ops.square(x), *a))),
    "ReduceLogSum": _reduction(lambda x, *a: ops.log(ops.sum(x, *a))),
    "ReduceLogSumExp": _reduction(ops.logsumexp), "ReduceMax": _extreme(ops.max, True),
    "ReduceMean": _reduction(ops.mean), "ReduceMin": _extreme(ops.min, False),
    "ReduceProd": _reduction(ops.prod), "ReduceSum": _reduction(ops.sum),
    "ReduceSumSquare": _reduction(lambda x, *a: ops.sum(ops.square(x), *a)),
    "Reshape": _reshape, "Slice": _slice, "SpaceToDepth": _space_to_depth, "Split": _split,
    "Squeeze": _squeeze, "Tile": lambda c: ops.tile(c[0], c.integers(1)), "TopK": _top_k,
    "Transpose": lambda c: ops.transpose(c[0], c.attribute("perm")), "Trilu": _trilu,
    "Unsqueeze": lambda c: ops.expand_dims(c[0], c.integers(1, "axes")),
}  # fmt: skip
