"""Sizes that a model computes: Shape -> Gather -> Concat -> Reshape, with named sizes in between.

Exporters write shapes as graphs. What follows from shapes and constants is computed here, on arrays
of sizes, and never becomes a node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticflow.graph.dims import Dim, floor_divide, product
from staticflow.native.memory import Array
from staticflow.session.interchange.onnx_in.values import DTYPES, Call, sizes

MOST = 1 << 12  # elements of what is computed here


def _axis(c: Call, default: int = 0) -> int:
    return int(c.attribute("axis", default))


def _shape(c: Call) -> Array:
    value = c.values[0]
    assert value is not None
    shape = value.shape[c.attribute("start", 0) : c.attribute("end")]
    return sizes(shape)


def _size(c: Call) -> Array:
    value = c.values[0]
    assert value is not None
    return sizes(product(value.shape))


def _slice(c: Call) -> Array:
    x = _first(c)
    starts, ends = c.integers(1, "starts"), c.integers(2, "ends")
    assert starts is not None and ends is not None
    axes = c.integers(3, "axes") or tuple(range(len(starts)))
    steps = c.integers(4) or (1,) * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before = step < 0 and end < -x.shape[axis]
        index[axis] = slice(start, None if before else end, step)
    return x[tuple(index)]


def _first(c: Call) -> Array:
    value = c.values[0]
    assert value is not None and value.known is not None
    return value.known


def _all(c: Call) -> list[Array]:
    return [v.known for v in c.values if v is not None and v.known is not None]


def _cast(c: Call) -> Array | None:
    return _first(c) if DTYPES.get(c.attribute("to")) in ("int64", "int32") else None


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[[Call], Array]:
    def write(c: Call) -> Array:
        a, b = (x.astype(object) for x in _all(c))
        return np.asarray(np.frompyfunc(function, 2, 1)(a, b), object)

    return write


def _quotient(a: Any, b: Any) -> Any:
    return floor_divide(a, b) if isinstance(a, Dim) or isinstance(b, Dim) else int(a / b)


def _reshape(c: Call) -> Array:
    shape = c.integers(1, "shape")
    assert shape is not None
    return _first(c).reshape(shape)


def _squeeze(c: Call) -> Array:
    axes = c.integers(1, "axes")
    return np.squeeze(_first(c), axes)


def _unsqueeze(c: Call) -> Array:
    axes = c.integers(1, "axes")
    assert axes is not None
    return np.expand_dims(_first(c), axes)


def _joined(c: Call) -> Array:
    return np.concatenate([x.astype(object) for x in _all(c)], _axis(c))


def _gather(c: Call) -> Array:
    return np.take(_first(c), _all(c)[1].astype(np.int64), _axis(c))


def _product(c: Call) -> Array:
    return sizes(product(_first(c).ravel()))


# Of known sizes, some of them named.
ON_SIZES: Mapping[str, Callable[[Call], Array | None]] = {
    "Add": _elementwise(lambda a, b: a + b), "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b), "Div": _elementwise(_quotient), "Cast": _cast,
    "Concat": _joined, "Gather": _gather,
    "Identity": _first, "Reshape": _reshape, "Slice": _slice, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "ReduceProd": _product,
}  # fmt: skip
# Of any value, as only its shape counts.
OF_SHAPES: Mapping[str, Callable[[Call], Array]] = {"Shape": _shape, "Size": _size}


def folded(c: Call) -> Array | None:
    """What an operator makes of shapes and known sizes; None if it is to become a node."""
    if c.kind in OF_SHAPES and c.has(0):
        return OF_SHAPES[c.kind](c)
    given = [v for v in c.values if v is not None]
    known = [v.known for v in given if v.known is not None and not v.is_parameter]
    named = any(k.dtype == object for k in known)
    if c.kind not in ON_SIZES or not named or len(known) < len(given):
        return None
    if sum(k.size for k in known) > MOST:
        return None
    found = ON_SIZES[c.kind](c)
    return None if found is None else sizes(found)
