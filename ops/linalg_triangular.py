"""Triangular systems, M X = B with M the lower or upper triangle of A; their derivatives.

    Triangular    (n, n), (n, k)        -> (n, k)
    cotangents    Bbar = M^-T Xbar,  Mbar = -Bbar X'
    tangent       M^-1 (Bdot - Mdot X)

With A' the transpose, a bar for a cotangent and a dot for a tangent; leading batch axes are left
out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.calls import Scratch
from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.require import require, require_matrices, require_operands
from staticflow.graph.types import TensorType
from staticflow.ops.contraction import matmul
from staticflow.ops.creation import tril, triu
from staticflow.ops.native_call import NativeCall, batch_of, same_batch
from staticflow.ops.shape import swapaxes


def check_solve(name: str, a: TensorType, b: TensorType) -> None:
    """Square matrices and as many others, of as many rows."""
    require_matrices(name, [a], square=True)
    require_matrices(name, [b], square=False)
    same = a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]
    require(same, f"{name}: {a} and {b}")


def solve_or_infinite(a: Array, b: Array) -> Array:
    """NumPy's solve, with infinities instead of an error for a singular matrix."""
    out = np.empty_like(b)
    for index in np.ndindex(*a.shape[:-2]):
        try:
            out[index] = np.linalg.solve(a[index], b[index])
        except np.linalg.LinAlgError:
            out[index] = np.inf
    return out


@dataclass(frozen=True)
class Triangular(NativeCall):
    """X with M X = B; M is the lower or upper triangle of A, transposed if `turned`."""

    lower: bool
    turned: bool
    unit: bool
    routine = "triangular"
    multiplies = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 2, "float")
        check_solve(self.name, *xs)

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[1]

    def reference(self, *xs: Array) -> Any:
        a, b = xs
        m = np.tril(a) if self.lower else np.triu(a)
        if self.unit:
            eye = np.eye(a.shape[-1], dtype=bool)
            m = np.where(eye, 1.0, m)
        return solve_or_infinite(np.swapaxes(m, -1, -2) if self.turned else m, b)

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return triangular_cotangents(self, g, y, *xs)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return triangular_tangent(self, tangents, y, *xs)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        a, b = xs
        n = classes.same(classes.same(a[-1], a[-2]), b[-2])
        return (*same_batch(classes, a, b, 2, 2), n, b[-1])

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        flags = (int(self.lower), int(self.turned), int(self.unit))
        return (batch_of(xs[0], 2), xs[0][-1], xs[1][-1], *flags)

    def scratch(self, *xs: Axes) -> Scratch:
        return (("", xs[1][-1] * xs[1][-2]),)


def turn(x: Node) -> Node:
    """The matrices transposed."""
    return swapaxes(x, -1, -2)


def triangle_of(op: Triangular, x: Node) -> Node:
    """The elements that a triangular system reads."""
    edge = 1 if op.unit else 0
    return tril(x, -edge) if op.lower else triu(x, edge)


def triangular_cotangents(op: Triangular, g: Node, y: Node, a: Node, b: Node) -> Sequence[Node]:
    """Those of the triangle and of the right-hand side."""
    right = apply(Triangular(op.lower, not op.turned, op.unit), a, g)
    outer = matmul(y, turn(right)) if op.turned else matmul(right, turn(y))
    return -triangle_of(op, outer), right


def triangular_tangent(
    op: Triangular, tangents: Sequence[Node | None], y: Node, a: Node, b: Node
) -> Node:
    """M^-1 (Bdot - Mdot X)."""
    da, db = tangents
    change = db
    if da is not None:
        moved = triangle_of(op, da)
        product = matmul(turn(moved) if op.turned else moved, y)
        change = -product if change is None else change - product
    assert change is not None
    return apply(op, a, change)
