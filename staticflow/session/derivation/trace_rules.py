"""The trace rules, which bring dX to the right end: each turns one term of df into an equal one.

a = tr(a)                            a scalar
tr(A.T) = tr(A)
tr(A @ B) = tr(B @ A)
tr(A.T @ (B * C)) = tr((A * B).T @ C)
sum(A * B) = tr(A.T @ B)
"""

from __future__ import annotations

from staticflow.session.derivation.expr import (
    Expr,
    function,
    ones,
    parts,
    scale,
)
from staticflow.session.derivation.matrix import (
    diag,
    flipped,
    had,
    mul,
    trace,
    turn,
)

SCALAR_TRACE = "scalar = trace: a = tr(a)"
TURNED = "tr(A') = tr(A)"
CYCLIC = "tr(AB) = tr(BA)"
EXCHANGE = "tr(A'(B . C)) = tr((A . B)'C)"
INNER = "sum(A . B) = tr(A'B)"
VECTORS = "sum(a . b) = a'b"
SWAPPED = "a'b = b'a, of vectors"
ALL = "sum(A) = tr(1'A)"
DIAGONAL = "tr(A diag(b)) = diagonal(A)'b"
OF_PRODUCT = "tr(A . B) = tr(diag(diagonal(A)) B)"
OF_DIAGONAL = "b'diagonal(A) = tr(diag(b) A)"
KRON_OF_VECTORS = "a kron b = (I kron b) a = (a kron I) b, of vectors"
OF_LOW = "tr(A'low(B)) = tr(low(A)'B)"
OF_EXPM = "tr(A'L(X, B)) = tr(L(X', A)'B), the derivative L of expm along a direction"


def moved(term: Expr) -> tuple[Expr, str] | None:
    """A term of df one rule further, and the rule; None when dX is at the right end."""
    scalars, core = split(term)
    found = _moved(core)
    return None if found is None else (scale(*scalars, found[0]), found[1])


def split(term: Expr) -> tuple[list[Expr], Expr]:
    """The constant scalar factors of a term, and the one that changes."""
    value, scalars, rest = parts(term)
    factors = [Expr("number", (1, 1), (), value), *scalars, rest]
    (core,) = (x for x in factors if x.moves)
    return [x for x in factors if x is not core], core


def factors(x: Expr) -> tuple[Expr, ...]:
    return x.args if x.head == "mul" else (x,)


def product(items: tuple[Expr, ...]) -> Expr:
    return mul(*items)


def reverse(x: Expr) -> Expr:
    """The transpose of a product, also of one that is a scalar: the factors' in reverse."""
    return mul(*(flipped(a) if a.head == "sum" else turn(a) for a in reversed(factors(x))))


def _moved(core: Expr) -> tuple[Expr, str] | None:
    if core.head == "d":
        return None
    if core.head == "total":
        return _total(core.args[0])
    if core.head != "tr":
        own = factors(core)
        if own[-1].head == "d":  # a' dx, of vectors
            return None
        if own[0].head == "T" and own[0].args[0].head == "d" and own[0].shape[0] == 1:
            return reverse(core), SWAPPED
        return Expr("tr", (1, 1), (core,)), SCALAR_TRACE
    return _within(core.args[0])


def _total(inner: Expr) -> tuple[Expr, str]:
    if inner.head == "had":
        (moving,) = (x for x in inner.args if x.moves)
        rest = had(*(x for x in inner.args if x is not moving))
        if inner.shape[1] == 1 and _by_vector(moving):
            return mul(flipped(rest), moving), VECTORS
        return trace(mul(flipped(rest), moving)), INNER
    if inner.shape[1] == 1 and _by_vector(inner):
        return mul(ones(1, inner.shape[0]), inner), "sum(a) = 1'a"
    return trace(mul(ones(inner.shape[1], inner.shape[0]), inner)), ALL


def _by_vector(x: Expr) -> bool:
    """Whether it is the differential of a vector that changes, and stands at the right end."""
    return factors(x)[-1].head == "d" and factors(x)[-1].shape[1] == 1


def _within(inner: Expr) -> tuple[Expr, str] | None:
    """Of the product under the trace."""
    own = factors(inner)
    (k,) = (k for k, x in enumerate(own) if x.moves)
    moving, before, after = own[k], own[:k], own[k + 1 :]
    if _is_kron(moving):
        found = _kronecker(moving, (*after, *before))
        if found is not None or moving.shape[1] != 1:
            return found
        return trace(product((*before, *of_vectors(moving), *after))), KRON_OF_VECTORS
    if moving.head == "T":
        return trace(reverse(inner)), TURNED
    if after:
        return trace(product((*after, *before, moving))), CYCLIC
    if moving.head == "had":
        (last,) = (x for x in moving.args if x.moves)
        rest = [x for x in moving.args if x is not last]
        if not before:
            picked = function("diagonal", (moving.shape[0], 1), had(*rest))
            return trace(mul(diag(picked), last)), OF_PRODUCT
        left = had(turn(product(before)), *rest)
        return trace(mul(flipped(left), last)), EXCHANGE
    if moving.head == "diag":
        left = Expr("fn", (moving.shape[0], 1), (product(before),), "diagonal")
        return trace(mul(turn(left), moving.args[0])), DIAGONAL
    return _out_of_function(moving, before) if moving.head == "fn" else None


def of_vectors(moving: Expr) -> tuple[Expr, Expr]:
    """da kron b is (I kron b) da, and a kron db (a kron I) db."""
    a, b = moving.args
    n = (a if a.moves else b).shape[0]
    one = Expr("eye", (n, n))
    pair = (one, b) if a.moves else (a, one)
    shape = (a.shape[0] * b.shape[0], n)
    return function("kron", shape, *pair), a if a.moves else b


def _is_kron(x: Expr) -> bool:
    return x.head == "fn" and x.attr == "kron"


def _kronecker(moving: Expr, others: tuple[Expr, ...]) -> tuple[Expr, str] | None:
    """Under a trace with other Kronecker products, or alone."""
    a, b = moving.args
    if not others:
        return scale(trace(a), trace(b)), "tr(A kron B) = tr(A) tr(B)"
    c = others[0]
    if not _is_kron(c) or a.shape[1] != c.args[0].shape[0]:
        return None
    both = [mul(x, y) for x, y in zip(moving.args, c.args, strict=True)]
    size = (moving.shape[0], c.shape[1])
    joined = function("kron", size, *both)
    return trace(mul(joined, *others[1:])), "(A kron B)(C kron D) = AC kron BD"


def _out_of_function(moving: Expr, before: tuple[Expr, ...]) -> tuple[Expr, str] | None:
    """dX taken out of a function that is linear in it."""
    left = turn(product(before)) if before else Expr("eye", moving.shape)
    inner = moving.args[-1]
    if moving.attr == "diagonal":
        return trace(mul(diag(left), inner)), OF_DIAGONAL
    if moving.attr == "low":
        return trace(mul(turn(function("low", moving.shape, left)), inner)), OF_LOW
    if moving.attr == "expm_frechet":
        other = function("expm_frechet", moving.shape, turn(moving.args[0]), left)
        return trace(mul(turn(other), inner)), OF_EXPM
    return None
