"""Numbers between two ends, evenly spaced or in equal ratios, and the grids that vectors span."""

from __future__ import annotations

from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph.leaves import as_node, const
from staticflow.graph.node import Kind, Node
from staticflow.graph.types import INTEGERS, as_dtype, promote
from staticflow.ops.arithmetic import power
from staticflow.ops.cast import cast
from staticflow.ops.coerce import broadcast, broadcast_to_shape, met
from staticflow.ops.compare import equal, where
from staticflow.ops.counting import iota
from staticflow.ops.elementwise import abs as absolute
from staticflow.ops.elementwise import floor, log10, sign
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims, moveaxis, node_of


@public(Kind.MAP)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    dtype: Any = None,
    *,
    endpoint: bool = True,
    axis: int = 0,
) -> Node:
    """`num` evenly spaced numbers from start to stop, which is left out without `endpoint`.

    Between arrays, which broadcast, they lie along a new axis. Numbers make float32 by default.
    """
    first, last, target = _ends("linspace", start, stop, num, dtype)
    values = moveaxis(_even(first, last, num, endpoint), 0, axis)
    return cast(floor(values) if as_dtype(target) in INTEGERS else values, target)


@public()
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Node:
    """base to the power of `num` evenly spaced numbers from start to stop."""
    first, last, target = _ends("logspace", start, stop, num, dtype)
    exponents = _even(first, last, num, endpoint)
    return cast(moveaxis(power(base, exponents), 0, axis), target)


@public()
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Node:
    """`num` numbers from start to stop, each the same multiple of the one before; of one sign."""
    if isinstance(start, int | float) and isinstance(stop, int | float) and start * stop <= 0:
        fail(ShapeError, "geomspace: the ends have one sign and are not 0", f"{start}, {stop}")
    first, last, target = _ends("geomspace", start, stop, num, dtype)
    exponents = _even(log10(absolute(first)), log10(absolute(last)), num, endpoint)
    between = power(10.0, exponents) * sign(first)
    place = _places(num, first)
    final = equal(place, float(num - 1)) & (endpoint and num > 1)
    values = where(equal(place, 0.0), first, where(final, last, between))
    return cast(moveaxis(values, 0, axis), target)


def _ends(what: str, start: Any, stop: Any, num: int, dtype: Any) -> tuple[Node, Node, Any]:
    """Both ends in the dtype to compute in, that of the operands but float64 for integers, for
    Python's numbers alone and for results of float64 or integers; and the dtype of the result.
    """
    if not isinstance(num, int) or num < 0:
        fail(ShapeError, f"{what}: a number of elements is an integer, and not negative", str(num))
    given = [None if isinstance(v, int | float) else as_node(v) for v in (start, stop)]
    floats = [node.dtype for node in given if node is not None and node.type.is_float]
    target = as_dtype(dtype or (promote(floats) if floats else "float32"))
    exact = not floats or (dtype is not None and target != "float32")
    compute = "float64" if exact else promote(floats)
    ends = [const(float(v), compute) if node is None else cast(met(node, compute), compute)
            for v, node in zip((start, stop), given, strict=True)]  # fmt: skip
    first, last = broadcast(what, ends)
    shape = first.shape if first.ndim else last.shape
    first, last = (broadcast_to_shape(x, shape, what) for x in (first, last))
    return first, last, target


def _places(num: int, like: Node) -> Node:
    """0 ... num - 1 along a first axis, before those of a value."""
    return expand_dims(iota(num, like.dtype), tuple(range(1, like.ndim + 1)))


def _even(first: Node, last: Node, num: int, endpoint: bool) -> Node:
    """Evenly spaced numbers along a first axis; with the endpoint, the last one is exact."""
    gaps = num - 1 if endpoint else num
    step = (last - first) / float(gaps) if gaps > 0 else 0.0 * first
    place = _places(num, first)
    final = equal(place, float(gaps)) & (gaps > 0)
    return where(final, last, place * step + first)


@public()
def meshgrid(*xi: Any, indexing: str = "xy", sparse: bool = False) -> tuple[Node, ...]:
    """For each vector, its elements along an axis of the grid that all span: the second for the
    first, the first for the second with indexing "xy", their own with "ij"; not repeated along
    the other axes if `sparse`.
    """
    vectors = [node_of(x) for x in xi]
    if indexing not in ("xy", "ij") or any(x.ndim > 1 for x in vectors):
        fail(ShapeError, "meshgrid: takes vectors, and indexing 'xy' or 'ij'",
             f"{', '.join(str(x.type) for x in vectors)}, indexing={indexing!r}")  # fmt: skip
    vectors = [expand_dims(x, 0) if x.ndim == 0 else x for x in vectors]
    axes = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        axes[:2] = 1, 0
    others = [tuple(k for k in range(len(vectors)) if k != axis) for axis in axes]
    grids = [expand_dims(x, rest) for x, rest in zip(vectors, others, strict=True)]
    if sparse:
        return tuple(grids)
    sizes = dict(zip(axes, (x.shape[0] for x in vectors), strict=True))
    shape = tuple(sizes[k] for k in range(len(vectors)))
    return tuple(broadcast_to_shape(grid, shape, "meshgrid") for grid in grids)
