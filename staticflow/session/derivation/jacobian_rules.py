"""The rules for vectors: dx is brought to the right end of each term of dy, without a trace."""

from __future__ import annotations

from staticflow.session.derivation.expr import (
    Expr,
    ones,
    scale,
)
from staticflow.session.derivation.matrix import (
    diag,
    had,
    mul,
    trace,
    turn,
)
from staticflow.session.derivation.trace_rules import (
    KRON_OF_VECTORS,
    factors,
    of_vectors,
    reverse,
    split,
)

DIAGONAL = "a . b = diag(a) b"
SCALAR_RIGHT = "a scalar stands where it likes"
SCALAR_TURNED = "a'b = b'a, of vectors"
INNER = "sum(a . b) = a'b"


def at_end(term: Expr) -> tuple[Expr, str] | None:
    """A term of dy one rule further, and the rule; None when dx is at the right end."""
    scalars, core = split(term)
    matrix = next((x for x in scalars if not x.is_scalar), None)
    if matrix is not None:  # a scalar that changes, times a vector that does not
        others = [x for x in scalars if x is not matrix]
        return _joined(others, matrix, core)
    found = _core(core)
    return None if found is None else (scale(*scalars, found[0]), found[1])


def _joined(scalars: list[Expr], matrix: Expr, core: Expr) -> tuple[Expr, str] | None:
    found = _core(core)
    if found is not None:
        return scale(*scalars, matrix, found[0]), found[1]
    if core.head == "d":
        return None
    return scale(*scalars, mul(*factors(matrix), *factors(core))), SCALAR_RIGHT


def _core(core: Expr) -> tuple[Expr, str] | None:
    if core.head == "d":
        return None
    if core.head == "total":
        return _summed(core.args[0])
    if core.head == "tr":
        return _traced(core.args[0])
    own = factors(core)
    (k,) = (k for k, x in enumerate(own) if x.moves)
    moving, before, after = own[k], own[:k], own[k + 1 :]
    if moving.head == "had" and moving.shape[1] == 1:
        (last,) = (x for x in moving.args if x.moves)
        rest = had(*(x for x in moving.args if x is not last))
        return mul(*before, diag(rest), last, *after), DIAGONAL
    if moving.head == "fn" and moving.attr == "kron" and moving.shape[1] == 1 and not after:
        return mul(*before, *of_vectors(moving)), KRON_OF_VECTORS
    if moving.head == "T" and after:
        inner = mul(*(turn(a) for a in reversed((moving, *after))))
        return (mul(*before, inner) if before else inner), SCALAR_TURNED
    if after and moving.shape[1] == 1 and mul(*after).is_scalar:
        return scale(mul(*after), mul(*before, moving)), SCALAR_RIGHT
    if moving.head == "diag" and after:
        return mul(*before, diag(mul(*after)), moving.args[0]), DIAGONAL
    return None


def _summed(inner: Expr) -> tuple[Expr, str]:
    if inner.head == "had":
        (last,) = (x for x in inner.args if x.moves)
        rest = had(*(x for x in inner.args if x is not last))
        return mul(turn(rest), last), INNER
    return mul(ones(1, inner.shape[0]), inner), INNER


def _traced(inner: Expr) -> tuple[Expr, str] | None:
    own = factors(inner)
    (k,) = (k for k, x in enumerate(own) if x.moves)
    if own[k].shape[1] == 1:
        return mul(*own[k + 1 :], *own[: k + 1]), "tr(AB) = tr(BA)"
    return trace(reverse(inner)), "tr(A') = tr(A)"
