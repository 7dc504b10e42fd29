"""The derivatives of linear algebra, in graph ops, so that they can be differentiated again.

With A' the transpose, a bar for a cotangent and a dot for a tangent:

    A = L L'          Abar = L^-T low(L' Lbar) L^-1          Ldot = L low(L^-1 Adot L^-T)
    A = Q R           Abar = (Qbar + Q copy(R Rbar' - Qbar' Q)) R^-T
    A = V diag(w) V'  Abar = V (diag(wbar) + E * (V' Vbar)) V'        E = 1 / (w_j - w_i)
    A = U diag(s) V   see `svd_cotangent`

`low` halves the diagonal and drops what is above it.
"""

from __future__ import annotations

from typing import Any

from staticflow.graph.kinds import parts
from staticflow.graph.node import Node, apply
from staticflow.graph.types import Shape
from staticflow.ops.assemble import concatenate
from staticflow.ops.compare import equal, greater, where
from staticflow.ops.contraction import matmul
from staticflow.ops.counting import iota_like
from staticflow.ops.creation import tril
from staticflow.ops.linalg_triangular import Triangular, turn
from staticflow.ops.shape import expand_dims


def identity_mask(shape: Shape) -> Node:
    """Whether an element lies on the diagonal, for matrices of `shape`."""
    return equal(iota_like(shape, len(shape) - 2), iota_like(shape, len(shape) - 1))


def low(x: Node) -> Node:
    """The lower triangle, with half the diagonal."""
    row, column = iota_like(x.shape, x.ndim - 2), iota_like(x.shape, x.ndim - 1)
    return where(equal(row, column), 0.5 * x, where(greater(row, column), x, 0.0))


def symmetric(x: Node) -> Node:
    """The symmetric part."""
    return 0.5 * (x + turn(x))


def _solve_left(factor: Node, x: Node, turned: bool) -> Node:
    return apply(Triangular(True, turned, False), factor, x)


def cholesky_cotangent(g: Node, factor: Node) -> Node:
    """L^-T low(L' Lbar) L^-1, a cotangent of the symmetric A = L L'."""
    half = _solve_left(factor, low(matmul(turn(factor), g)), True)
    return turn(_solve_left(factor, turn(half), True))


def cholesky_tangent(t: Node, factor: Node) -> Node:
    """L low(L^-1 Adot L^-T) for a symmetric Adot."""
    half = _solve_left(factor, t, False)
    return matmul(factor, low(turn(_solve_left(factor, turn(half), False))))


def qr_cotangent(g: Any, y: Node, a: Node) -> Node:
    """That of A = Q R; a wide A = [X Z] is factored as X = Q U, and Z = Q W follows."""
    gq, gr = g
    q, r = parts(y)
    m, n = a.shape[-2:]
    if q.shape[-1] == n:
        return _qr_square(gq, gr, q, r)
    u, gu = r[..., :m], gr[..., :m]
    gw, z = gr[..., m:], a[..., m:]
    first = _qr_square(gq + matmul(z, turn(gw)), gu, q, u)
    return concatenate([first, matmul(q, gw)], -1)


def _qr_square(gq: Node, gr: Node, q: Node, r: Node) -> Node:
    m = matmul(r, turn(gr)) - matmul(turn(gq), q)
    filled = tril(m) + turn(tril(m, -1))
    left = gq + matmul(q, filled)
    return turn(apply(Triangular(False, False, False), r, turn(left)))


def _gaps(values: Node, shape: Shape) -> Node:
    """1 / (v_j - v_i) off the diagonal, 0 on it."""
    difference = expand_dims(values, -2) - expand_dims(values, -1)
    diagonal = identity_mask(shape)
    return where(diagonal, 0.0, 1.0 / where(diagonal, 1.0, difference))


def eigh_cotangent(gw: Node, gv: Node, y: Node) -> Node:
    """V (diag(wbar) + E * (V' Vbar)) V'."""
    w, v = parts(y)
    inner = where(
        identity_mask(v.shape), expand_dims(gw, -1), _gaps(w, v.shape) * matmul(turn(v), gv)
    )
    return matmul(matmul(v, inner), turn(v))


def svd_cotangent(gu: Node, gs: Node, gv: Node, y: Node) -> Node:
    """U (diag(sbar) + (J + J') S + S (K + K')) V, and what leaves the spaces of U and V.

    J = E * (U' Ubar) and K = E * (V Vbar') with E = 1 / (s_j^2 - s_i^2); V's rows are vectors.
    """
    u, s, v = parts(y)
    k = (*s.shape, s.shape[-1])
    gaps = _gaps(s * s, k)
    column, row = expand_dims(s, -1), expand_dims(s, -2)
    left, right = matmul(turn(u), gu), matmul(v, turn(gv))
    j, h = gaps * left, gaps * right
    inner = (j + turn(j)) * row + column * (h + turn(h))
    inner = where(identity_mask(k), expand_dims(gs, -1), inner)
    total = matmul(matmul(u, inner), v)
    if u.shape[-2] != u.shape[-1]:
        total = total + matmul((gu - matmul(u, left)) / row, v)
    if v.shape[-1] != v.shape[-2]:
        total = total + matmul(u, (gv - matmul(turn(right), v)) / column)
    return total
