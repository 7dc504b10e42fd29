"""Linear systems, inverses and determinants.

    y = inv(A)         dy = -y dA y                     Abar = -y' ybar y'
    x = solve(A, b)    dx = solve(A, db - dA x)         bbar = solve(A', xbar),  Abar = -bbar x'
    y = det(A)         dy = tr(adj(A) dA)               Abar = ybar cof(A)
    y = logdet(A)      dy = tr(inv(A) dA)               Abar = ybar inv(A)'

All share the factors of A. The cofactors come from singular values, so that the first three
derivatives of a determinant are right where A is singular; from the fourth on A must be regular.
A singular matrix gives infinities or NaN, as in JAX: there is no exception in compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.errors import ShapeError, fail
from staticflow.graph.dims import product
from staticflow.graph.kinds import parts
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.types import FLOATS, broadcast_shapes, promote
from staticflow.ops.alias import stop_gradient
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, floating, stretch
from staticflow.ops.compare import less, where
from staticflow.ops.contraction import matmul
from staticflow.ops.elementwise import abs as absolute
from staticflow.ops.elementwise import log, sign
from staticflow.ops.linalg_cofactor import (
    cofactor,
    cofactor_change,
    cofactor_curve,
    diagonal_amid,
    factored_det,
    over_matrix,
)
from staticflow.ops.linalg_native import Lu, LuSolve
from staticflow.ops.linalg_rules import identity_mask
from staticflow.ops.linalg_triangular import Triangular, turn
from staticflow.ops.native_call import DerivativeRule, ruled
from staticflow.ops.public import public
from staticflow.ops.reductions import PROD, SUM, reduce
from staticflow.ops.shape import expand_dims, moveaxis, reshape


def matrices(what: str, x: Any) -> Node:
    """`x` as float matrices."""
    node = floating(what, x)
    if node.ndim < 2:
        fail(ShapeError, f"{what}: needs a matrix", str(node.type), "give it at least two axes")
    return node


def square_matrices(what: str, x: Any) -> Node:
    """`x` as square float matrices."""
    node = matrices(what, x)
    if node.shape[-1] != node.shape[-2]:
        fail(
            ShapeError,
            f"{what}: needs square matrices",
            got=str(node.type),
            do="make the last two axes equal",
        )
    return node


def systems(what: str, a: Any, b: Any) -> tuple[Node, Node]:
    """A square `a` and a `b` with as many rows, of one float dtype."""
    first, second = as_nodes([a, b])
    dtype = promote([first.dtype, second.dtype])
    dtype = dtype if dtype in FLOATS else "float32"
    a, b = square_matrices(what, cast(first, dtype)), cast(second, dtype)
    rows = b.shape[-1 if b.ndim == 1 else -2] if b.ndim else None
    if rows != a.shape[-1]:
        fail(
            ShapeError,
            f"{what}: the right-hand side must have as many rows as the matrix",
            got=f"{a.type} and {b.type}",
            do="b is a vector (n,) or matrices (..., n, k)",
        )
    return a, b


def traced(x: Node) -> Node:
    """The sum of the diagonals of square matrices, beside what is computed anyway."""
    return reduce(SUM, where(identity_mask(x.shape), x, 0.0), (x.ndim - 2, x.ndim - 1))


def _lu_solve(a: Node, b: Node, turned: bool) -> Node:
    def value(a: Node, b: Node) -> Node:
        factors, order, _ = parts(apply(Lu(), a))
        return apply(LuSolve(turned), factors, order, b)

    return ruled(value, _SOLVE_TURNED if turned else _SOLVE, a, b)


def _solve_rule(turned: bool) -> DerivativeRule:
    def vjp(g: Node, y: Node, a: Node, b: Node) -> Sequence[Node]:
        right = _lu_solve(a, g, not turned)
        return -(matmul(y, turn(right)) if turned else matmul(right, turn(y))), right

    def jvp(tangents: Sequence[Node | None], y: Node, a: Node, b: Node) -> Node:
        da, change = tangents
        if da is not None:
            moved = matmul(turn(da) if turned else da, y)
            change = -moved if change is None else change - moved
        assert change is not None
        return _lu_solve(a, change, turned)

    return DerivativeRule(vjp, jvp, "solve of the transpose" if turned else "solve")


_SOLVE, _SOLVE_TURNED = _solve_rule(False), _solve_rule(True)


def with_columns(a: Node, b: Node, solve: Any) -> Node:
    """`solve(a, b)` on operands with the same leading axes; b may be a vector.

    One matrix for many right-hand sides takes them all as columns.
    """
    if b.ndim == 1:
        column = with_columns(a, expand_dims(b, 1), solve)
        return reshape(column, column.shape[:-1])
    if a.ndim == 2 and b.ndim > 2:
        rows_first = moveaxis(b, -2, 0)
        flat = reshape(rows_first, (b.shape[-2], product((*b.shape[:-2], b.shape[-1]))))
        solved: Node = solve(a, flat)
        return moveaxis(reshape(solved, rows_first.shape), 0, b.ndim - 2)
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], "solve")
    result: Node = solve(stretch(a, (*batch, *a.shape[-2:])), stretch(b, (*batch, *b.shape[-2:])))
    return result


@public(formula="da = -db x', db = solve(a', dx)")
def solve(a: Any, b: Any) -> Node:
    """x with a x = b: (..., n, n), and (n,) or (..., n, k); infinite or NaN where a is singular."""
    a, b = systems("solve", a, b)
    return with_columns(a, b, lambda p, q: _lu_solve(p, q, False))


@public(Kind.CALL, formula="da = -tri(db x'), db = m'^-1 dx")
def solve_triangular(
    a: Any, b: Any, trans: bool = False, lower: bool = False, unit_diagonal: bool = False
) -> Node:
    """x with m x = b, for m the upper (or lower) triangle of a, transposed if `trans`.

    `unit_diagonal` takes the diagonal as ones, whatever stands there.
    """
    a, b = systems("solve_triangular", a, b)
    op = Triangular(bool(lower), bool(trans), bool(unit_diagonal))
    return with_columns(a, b, lambda p, q: apply(op, p, q))


def _inverse(a: Node) -> Node:
    factors, order, _ = parts(apply(Lu(), a))
    return apply(LuSolve(False), factors, order, cast(identity_mask(a.shape), a.dtype))


_INV = DerivativeRule(
    lambda g, y, a: (-matmul(matmul(turn(y), g), turn(y)),),
    lambda tangents, y, a: -matmul(matmul(y, tangents[0]), y),
    of="inv",
)


@public(formula="-y' dy y'")
def inv(a: Any) -> Node:
    """The inverse of square matrices; infinite or NaN where there is none."""
    return ruled(_inverse, _INV, square_matrices("inv", a))


_DET = DerivativeRule(
    lambda g, y, a: (over_matrix(g) * _cofactor(a),),
    lambda tangents, y, a: (_cofactor(a) * tangents[0]).sum(axis=(-2, -1)),
    of="det",
)


@public(formula="dy cof(a)")
def det(a: Any) -> Node:
    """The determinant of square matrices; its derivative, the cofactors, exists everywhere."""
    return ruled(factored_det, _DET, square_matrices("det", a))


def _regular_curve(a: Node, t: Node, g: Node) -> Node:
    """The second change of the cofactors of a regular matrix."""
    y = inv(a)
    gy, ty = matmul(y, g), matmul(y, t)
    both = matmul(gy, ty)
    tg, tt = over_matrix(traced(gy)), over_matrix(traced(ty))
    swapped = matmul(ty, gy)
    single = matmul(tg * ty + tt * gy - both - swapped, y)
    return over_matrix(det(a)) * turn((tg * tt - over_matrix(traced(both))) * y - single)


def _curve_tangent(tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
    change, _, dt, dw = tangents
    _, a, t, w = xs
    if dt is not None:
        moved = _cofactor_curve(a, dt, w)
        change = moved if change is None else change + moved
    if dw is not None:
        moved = _cofactor_curve(a, t, dw)
        change = moved if change is None else change + moved
    return change


_CURVE = DerivativeRule(
    lambda g, y, _, a, t, w: (g, None, _cofactor_curve(a, g, w), _cofactor_curve(a, t, g)),
    _curve_tangent,
)


def _cofactor_curve(a: Node, t: Node, w: Node) -> Node:
    """The second change of the cofactors; as A moves, it changes as that of a regular matrix."""
    regular = _regular_curve(a, stop_gradient(t), stop_gradient(w))
    return ruled(lambda _, *xs: cofactor_curve(*xs), _CURVE, regular, a, t, w)


def _change_tangent(tangents: Sequence[Node | None], y: Node, a: Node, t: Node) -> Node | None:
    da, dt = tangents
    change = None if dt is None else _cofactor_change(a, dt)
    if da is None:
        return change
    moved = _cofactor_curve(a, t, da)
    return moved if change is None else change + moved


_COFACTOR = DerivativeRule(
    lambda g, y, a: (_cofactor_change(a, g),),
    lambda tangents, y, a: _cofactor_change(a, tangents[0]),
    of="cofactors",
)
_COFACTOR_CHANGE = DerivativeRule(
    lambda g, y, a, t: (_cofactor_curve(a, t, g), _cofactor_change(a, g)),
    _change_tangent,
    of="change of the cofactors",
)


def _cofactor(a: Node) -> Node:
    """The cofactors, the transpose of the adjugate: the derivative of the determinant."""
    return ruled(cofactor, _COFACTOR, a)


def _cofactor_change(a: Node, t: Node) -> Node:
    """The change of the cofactors as A moves along t; symmetric as a bilinear form."""
    return ruled(cofactor_change, _COFACTOR_CHANGE, a, t)


def _log_size(a: Node) -> Node:
    factors, _, _ = parts(apply(Lu(), a))
    logs = log(absolute(diagonal_amid(factors, 1.0)))
    return reduce(SUM, logs, (a.ndim - 2, a.ndim - 1))


_LOG_SIZE = DerivativeRule(
    lambda g, y, a: (over_matrix(g) * turn(inv(a)),),
    lambda tangents, y, a: (turn(inv(a)) * tangents[0]).sum(axis=(-2, -1)),
    of="logarithm of the size of det",
)
_NO_DERIVATIVE = DerivativeRule(
    lambda g, y, a: (None,), lambda tangents, y, a: None, of="sign of det"
)


def _handedness(a: Node) -> Node:
    factors, _, parity = parts(apply(Lu(), a))
    signs = sign(diagonal_amid(factors, 1.0))
    return parity * reduce(PROD, signs, (a.ndim - 2, a.ndim - 1))


@public(formula="dy inv(a)'")
def slogdet(a: Any) -> tuple[Node, Node]:
    """The sign of the determinant, and the logarithm of its absolute value."""
    a = square_matrices("slogdet", a)
    return ruled(_handedness, _NO_DERIVATIVE, a), ruled(_log_size, _LOG_SIZE, a)


@public(formula="dy inv(a)'")
def logdet(a: Any) -> Node:
    """The logarithm of the determinant; NaN where that is negative."""
    handed, size = slogdet(a)
    return where(less(handed, 0), float("nan"), size)
