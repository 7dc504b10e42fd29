"""The differentials of what a decomposition gives, under their rules' names.

A = L L'        dL = L low(inv(L) dA inv(L)')              low: half of the diagonal, and below it
A = Q R         dQ = Q W + (dA - Q Q' dA) inv(R)           W = E . M - (E . M)', M = Q' dA inv(R)
                dR = (M - W) R                             E: ones below the diagonal
A = V L V'      dV = V (F . (V' dA V)), of a symmetric A   F[i, j] = 1 / (l[j] - l[i]), 0 for i = j
                dl = diagonal(V' dA V)
A = U S V'      ds = diagonal(U' dA V)
"""

from __future__ import annotations

from staticflow.session.derivation.expr import Expr, add, function, number, ones, scale
from staticflow.session.derivation.matrix import had, inverse, mul, turn

Changed = tuple[Expr, str]


def cholesky(x: Expr, a: Expr, da: Expr) -> Changed:
    inner = mul(inverse(x), da, turn(inverse(x)))
    return mul(x, function("low", a.shape, inner)), "Cholesky factor"


def _rotation(q: Expr, r: Expr, da: Expr) -> tuple[Expr, Expr]:
    """M = Q' dA inv(R), and W = Q' dQ, which is antisymmetric, of the same elements below."""
    n = r.shape[0]
    m = mul(turn(q), da, inverse(r))
    below = had(function("tril", (n, n), ones(n, n), number(-1)), m)
    return m, add([below, scale(number(-1), turn(below))], (n, n))


def orthogonal(x: Expr, a: Expr, da: Expr) -> Changed:
    """Q of A = Q R, of a matrix that has no more columns than rows."""
    r = function("triangular_factor", (a.shape[1], a.shape[1]), a)
    _, w = _rotation(x, r, da)
    terms = [mul(x, w)]
    if a.shape[0] != a.shape[1]:
        terms += [mul(da, inverse(r)), scale(number(-1), mul(x, turn(x), da, inverse(r)))]
    return add(terms, x.shape), "QR decomposition"


def triangular(x: Expr, a: Expr, da: Expr) -> Changed:
    """R of A = Q R."""
    q = function("orthogonal_factor", a.shape, a)
    m, w = _rotation(q, x, da)
    return add([mul(m, x), scale(number(-1), mul(w, x))], x.shape), "QR decomposition"


def eigenvectors(x: Expr, a: Expr, da: Expr) -> Changed:
    turned = mul(turn(x), da, x)
    size = number(n) if isinstance(n := a.shape[0], int) else Expr("size", (1, 1), (), n)
    return mul(x, had(function("gaps", a.shape, a, size), turned)), "eigenvectors"


def eigenvalues(x: Expr, a: Expr, da: Expr) -> Changed:
    v = function("eigenvectors", a.shape, a)
    return function("diagonal", x.shape, mul(turn(v), da, v)), "eigenvalues"


def singular_values(x: Expr, a: Expr, da: Expr) -> Changed:
    n = x.shape[0]
    u = function("left_vectors", (a.shape[0], n), a)
    v = function("right_vectors", (n, a.shape[1]), a)
    return function("diagonal", x.shape, mul(turn(u), da, turn(v))), "singular values"


def pinv(x: Expr, a: Expr, da: Expr) -> Changed:
    """-P dA P + (I - P A) dA' P' P + P P' dA' (I - A P), of matrices of one rank."""
    m, n = a.shape
    own = scale(number(-1), mul(x, da, x))
    left = add([Expr("eye", (n, n)), scale(number(-1), mul(x, a))], (n, n))
    right = add([Expr("eye", (m, m)), scale(number(-1), mul(a, x))], (m, m))
    more = [mul(left, turn(da), turn(x), x), mul(x, turn(x), turn(da), right)]
    return add([own, *more], x.shape), "pseudo-inverse"
