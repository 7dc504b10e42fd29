"""Factorisations: Cholesky, QR, symmetric eigenvalues and singular values.

The derivatives of eigenvectors and singular vectors do not exist where values are equal, and are
then infinite or NaN; those of the values alone exist, and hold there too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import parts
from staticflow.graph.node import Kind, Node, apply
from staticflow.ops.assemble import concatenate
from staticflow.ops.compare import greater, where
from staticflow.ops.contraction import matmul
from staticflow.ops.creation import eye, tril, triu
from staticflow.ops.linalg import matrices, square_matrices
from staticflow.ops.linalg_native import Cholesky, Eigh, Qr, Svd
from staticflow.ops.linalg_rules import symmetric
from staticflow.ops.linalg_triangular import turn
from staticflow.ops.native_call import DerivativeRule, ruled
from staticflow.ops.public import public
from staticflow.ops.shape import expand_dims


def _smaller(what: str, a: Node) -> AnyDim:
    """min(m, n) of (..., m, n)."""
    m, n = a.shape[-2:]
    if isinstance(m, int) and isinstance(n, int):
        return min(m, n)
    if m != n:
        fail(
            ShapeError,
            f"{what}: cannot tell whether the matrix is tall or wide",
            got=str(a.type),
            do="declare the last two sizes as integers",
        )
    return m


@public(Kind.CALL, formula="l'^-1 low(l' dl) l^-1, symmetrised")
def cholesky(a: Any, *, upper: bool = False) -> Node:
    """The lower triangle l with l l' = (a + a')/2; NaN where that is not positive definite; l'
    with `upper`.
    """
    lower = apply(Cholesky(), symmetric(square_matrices("cholesky", a)))
    return turn(lower) if upper else lower


@public(Kind.CALL, formula="(dq + q copyltu(r dr' - dq' q)) r'^-1")
def qr(a: Any) -> tuple[Node, Node]:
    """(q, r) with a = q r: q has min(m, n) orthonormal columns, r is an upper triangle."""
    a = matrices("qr", a)
    q, r = parts(apply(Qr(_smaller("qr", a)), a))
    return q, r


def _own_values(a: Node) -> Node:
    return parts(apply(Eigh(), a))[0]


def _moved_by(g: Node, y: Node, a: Node) -> tuple[Node]:
    v = parts(apply(Eigh(), a))[1]
    return (matmul(v * expand_dims(g, -2), turn(v)),)


def _own_tangent(tangents: Any, y: Node, a: Node) -> Node:
    v = parts(apply(Eigh(), a))[1]
    return (v * matmul(tangents[0], v)).sum(axis=-2)


_EIGENVALUES = DerivativeRule(_moved_by, _own_tangent)


@public(Kind.CALL, formula="v (diag(dw) + (v' dv) / (w_j - w_i)) v'")
def eigh(a: Any, UPLO: str | None = None) -> tuple[Node, Node]:
    """The ascending eigenvalues of (a + a')/2, and its eigenvectors as columns; with UPLO "L" or
    "U", of the symmetric matrix whose lower or upper triangle is a's.
    """
    a = _symmetric("eigh", a, UPLO)
    return ruled(_own_values, _EIGENVALUES, a), parts(apply(Eigh(), a))[1]


@public(formula="v diag(dw) v'")
def eigvalsh(a: Any, UPLO: str | None = None) -> Node:
    """The ascending eigenvalues of (a + a')/2, or of one triangle as in eigh."""
    return ruled(_own_values, _EIGENVALUES, _symmetric("eigvalsh", a, UPLO))


def _symmetric(what: str, a: Any, triangle: str | None) -> Node:
    """The symmetric matrix that is meant: the mean of a and a', or what one triangle tells."""
    a = square_matrices(what, a)
    if triangle is None:
        return symmetric(a)
    if triangle not in ("L", "U", "l", "u"):
        fail(ShapeError, f"{what}: UPLO is 'L' or 'U'", got=repr(triangle))
    own, rest = (tril(a), tril(a, -1)) if triangle in "Ll" else (triu(a), triu(a, 1))
    return own + turn(rest)


def _svd(a: Node) -> tuple[Node, ...]:
    return parts(apply(Svd(_smaller("svd", a)), a))


def _singular_cotangent(g: Node, y: Node, a: Node) -> tuple[Node]:
    u, _, v = _svd(a)
    return (matmul(u * expand_dims(g, -2), v),)


def _singular_tangent(tangents: Any, y: Node, a: Node) -> Node:
    u, _, v = _svd(a)
    return (u * matmul(tangents[0], turn(v))).sum(axis=-2)


_SINGULAR_VALUES = DerivativeRule(_singular_cotangent, _singular_tangent)


@public(Kind.CALL, formula="u (diag(ds) + ...) v, see the rules")
def svd(a: Any, full_matrices: bool = False, compute_uv: bool = True) -> Any:
    """(u, s, v) with a = u diag(s) v and min(m, n) descending s; v has right vectors as rows.

    Only s without `compute_uv`. With `full_matrices`, which is NumPy's default but not the one
    here, u and v are square; their further vectors are not unique and have no derivative.
    """
    a = matrices("svd", a)
    if not compute_uv:
        return svdvals(a)
    u, _, v = _svd(a)
    if full_matrices:
        u, v = _completed(u), turn(_completed(turn(v)))
    return u, svdvals(a), v


def _completed(q: Node) -> Node:
    """Orthonormal columns, and behind them more of them until the matrix is square."""
    rows, columns = q.shape[-2:]
    if rows == columns:
        return q
    if not isinstance(rows, int) or not isinstance(columns, int):
        fail(
            ShapeError,
            "svd: cannot tell how many vectors complete the matrix",
            got=str(q.type),
            do="declare the last two sizes as integers",
        )
    return concatenate([q, ruled(_complement, DerivativeRule(_undefined), q)], -1)


def _complement(q: Node) -> Node:
    """The eigenvectors of value 1 of I - q q', which come last."""
    rows, columns = q.shape[-2:]
    vectors = parts(apply(Eigh(), eye(rows, dtype=q.dtype) - matmul(q, turn(q))))[1]
    return vectors[..., columns:]


def _undefined(g: Node, y: Node, q: Node) -> tuple[Node]:
    fail(
        GraphError,
        "svd: the vectors that complete u or v are not unique, and have no derivative",
        do="use full_matrices=False",
    )


@public(formula="u diag(ds) v")
def svdvals(a: Any) -> Node:
    """The descending singular values."""
    return ruled(lambda x: _svd(x)[1], _SINGULAR_VALUES, matrices("svdvals", a))


def _inverted_values(a: Node, rcond: float) -> Node:
    u, s, v = _svd(a)
    kept = greater(s, rcond * s[..., :1])
    inverted = where(kept, 1.0 / where(kept, s, 1.0), 0.0)
    return matmul(turn(v) * expand_dims(inverted, -2), turn(u))


def _pinv(a: Node, rcond: float) -> Node:
    def vjp(g: Node, y: Node, a: Node) -> tuple[Node]:
        """-P'G P' + (I - A P) G'P P' + P'P G'(I - P A), of matrices of one rank."""
        p, g = _pinv(a, rcond), turn(g)
        back = turn(p)
        own = matmul(matmul(back, turn(g)), back)
        left, right = matmul(matmul(g, p), back), matmul(matmul(back, p), g)
        left, right = left - matmul(a, matmul(p, left)), right - matmul(matmul(right, p), a)
        return (left + right - own,)

    return ruled(lambda a: _inverted_values(a, rcond), DerivativeRule(vjp, of="pinv"), a)


@public(formula="-p' dp p' and what leaves the spaces of a")
def pinv(a: Any, rcond: float | None = None) -> Node:
    """The pseudo-inverse; singular values below `rcond` times the largest count as 0. Its
    derivative is that among matrices of equal rank.
    """
    a = matrices("pinv", a)
    sides = [n for n in a.shape[-2:] if isinstance(n, int)]
    cut = 10.0 * max(sides, default=1) * float(np.finfo(a.dtype).eps) if rcond is None else rcond
    return _pinv(a, cut)
