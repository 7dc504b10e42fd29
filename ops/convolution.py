"""One-dimensional convolution and correlation.

    y_i = sum_j x_(i+j) w_j     xbar = ybar convolved with w     wbar_j = sum_i x_(i+j) ybar_i

Both derivatives are correlations again, so that there is one rule for all orders. The windows of x
are a view with overlapping elements: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.dims import AnyDim, floor_divide, smaller
from staticflow.graph.kinds import View
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.require import is_size, require, require_operands
from staticflow.graph.strides import StridedView
from staticflow.graph.types import Shape, TensorType, promote
from staticflow.ops.alias import sized
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.native_call import DerivativeRule, ruled
from staticflow.ops.public import public
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import reshape
from staticflow.ops.slices import flip_axis, pad_edges


@dataclass(frozen=True)
class Windows(View):
    """Row i of the result is x_i, x_(i+1) ... of `width` elements."""

    width: AnyDim

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require(xs[0].ndim == 1 and is_size(self.width), f"windows of {self.width} of {xs[0]}")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0].with_shape((xs[0].shape[0] - self.width + 1, self.width))

    def reference(self, *xs: Array) -> Any:
        return np.lib.stride_tricks.sliding_window_view(xs[0], int(self.width))  # type: ignore[arg-type]

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        raise AssertionError("windows are only used inside a correlation")

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        assert isinstance(out, TensorType)
        return tuple(classes.fresh(n) for n in out.shape)

    def view(self, access: StridedView, out: Axes, sizes: tuple[AnyDim, ...]) -> StridedView | None:
        (step,) = access.strides
        return StridedView(access.buffer, access.offset, out, (step, step))

    def moves_axis(self, axis: int, shape: Shape) -> int | None:
        return None

    def key(self) -> tuple[Any, ...]:
        return (self.name,)

    def attributes(self) -> str:
        return str(self.width)


def _slide(x: Node, w: Node) -> Node:
    """sum_j x_(i+j) w_j, for each i at which w fits."""
    return ruled(lambda a, b: total(apply(Windows(b.shape[0]), a) * b, axis=-1), _SLIDE, x, w)


def _edges(x: Node, n: AnyDim) -> Node:
    """x between n zeros on either side."""
    return pad_edges(x, (n,), (n,), 0.0)


def _slide_cotangents(g: Node, y: Node, x: Node, w: Node) -> tuple[Node, Node]:
    return _slide(_edges(g, w.shape[0] - 1), flip_axis(w, 0)), _slide(x, g)


def _slide_tangent(tangents: Sequence[Node | None], y: Node, x: Node, w: Node) -> Node:
    dx, dw = tangents
    terms = [] if dx is None else [_slide(dx, w)]
    terms += [] if dw is None else [_slide(x, dw)]
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


_SLIDE = DerivativeRule(_slide_cotangents, _slide_tangent)


@public(formula="dy correlated with the other vector")
def convolve(a: Any, v: Any, mode: str = "full") -> Node:
    """The convolution of two vectors: all of it, "same" as long as the longer, or "valid", where
    they overlap wholly. A number is a vector of one.
    """
    a, v = (reshape(x, (1,)) if x.ndim == 0 else x for x in as_nodes([a, v]))
    a, v = _vectors("convolve", a, v)
    if _is_shorter(a, v):
        a, v = v, a
    middle = floor_divide(smaller(a.shape[0], v.shape[0]) - 1, 2)
    return _correlated("convolve", a, flip_axis(v, 0), mode, middle)


@public(formula="dy convolved, or correlated, with the other vector")
def correlate(a: Any, v: Any, mode: str = "valid") -> Node:
    """The correlation of two vectors, sum_j a_(i+j) v_j; modes as those of convolve."""
    a, v = _vectors("correlate", a, v)
    if _is_shorter(a, v):
        return flip_axis(correlate(v, a, mode), 0)  # from the other side, it runs backwards
    n, m = a.shape[0], v.shape[0]
    middle = smaller(floor_divide(m - 1, 2), floor_divide(n, 2))
    return _correlated("correlate", a, v, mode, middle)


def _correlated(what: str, a: Node, v: Node, mode: str, middle: AnyDim) -> Node:
    """The sums at the places of a mode; `middle` is where those of "same" begin."""
    if mode not in ("full", "same", "valid"):
        fail(ShapeError, f"{what}: mode is 'full', 'same' or 'valid'", repr(mode))
    n, m = a.shape[0], v.shape[0]
    shorter = smaller(n, m)
    longer = n + m - shorter
    # Of all n + m - 1 places at which they overlap, the first that is asked for, and how many.
    first, count = {
        "full": (0, n + m - 1),
        "same": (middle, longer),
        "valid": (shorter - 1, longer - shorter + 1),
    }[mode]
    left = m - 1 - first
    padded = pad_edges(sized(what, a, n - 1), (left,), (count - n + m - 1 - left,), 0.0)
    return _slide(padded, sized(what, v, m - 1))


def _is_shorter(a: Node, v: Node) -> bool:
    n, m = a.shape[0], v.shape[0]
    return isinstance(n, int) and isinstance(m, int) and n < m


def _vectors(what: str, a: Any, v: Any) -> tuple[Node, Node]:
    a, v = as_nodes([a, v])
    dtype = promote([a.dtype, v.dtype])
    if dtype == "bool":
        fail(DTypeError, f"{what}: takes numbers, not booleans", f"{a.type} and {v.type}")
    if a.ndim != 1 or v.ndim != 1 or 0 in (*a.shape, *v.shape):
        fail(ShapeError, f"{what}: needs two vectors with elements", f"{a.type} and {v.type}")
    return cast(a, dtype), cast(v, dtype)
