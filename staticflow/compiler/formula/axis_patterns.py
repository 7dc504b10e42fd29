"""Sums along axes: what does not vary along them stands in front, and the rest is a product.

    sum(x[:, None] * y, axis=1)                          x * sum(y)
    sum(X * w, axis=1)                                   X @ w
    sum(A[:, None, :, None] * B[:, None, :], (1, 3))     sum(B) * A
    mean(x + c)                                          mean(x) + c

Axes are counted from the last one, as NumPy aligns them: -1, -2, ..
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.columns import is_elementwise
from staticflow.compiler.formula.terms import Term, split


def varying(m: Algebra, x: Term) -> frozenset[int]:
    """The axes along which a term may change."""
    return m.folded("varying", x, _mapped, _varying)


def _varying(x: Term, of: Mapping[Term, frozenset[int]]) -> frozenset[int]:
    if _maps(x):
        return frozenset().union(*(of[a] for a in x.args))
    if x.head == "index":
        return frozenset(k - x.ndim for k in range(x.ndim) if k not in x.attrs)
    return frozenset(range(-x.ndim, 0))


def _maps(x: Term) -> bool:
    """Whether a term takes its arguments element by element."""
    named = x.head == "call" and bool(x.args) and is_elementwise(x.name)
    return named or x.head in ("sum", "product", "power", "compare")


def _mapped(x: Term) -> Iterable[Term]:
    return x.args if _maps(x) else ()


def without(m: Algebra, x: Term, axes: Iterable[int], rank: int) -> Term:
    """A term of so many axes, without some along which it does not vary."""
    gone = frozenset(axes)

    def into(x: Term) -> Iterable[Term]:
        return _mapped(x) if x.ndim else ()

    return m.folded(("without", gone, rank), x, into, lambda x, of: _without(m, x, gone, rank, of))


def _without(m: Algebra, x: Term, axes: Iterable[int], rank: int, of: Mapping[Term, Term]) -> Term:
    if not x.ndim:
        return x
    if _maps(x):
        return rebuilt(m, x, [of[a] for a in x.args])
    shift = rank - x.ndim
    base, places = x, [k + shift for k in range(x.ndim)]
    if x.head == "index":
        base, places = x.args[0], [k + shift for k in range(x.ndim) if k not in x.attrs]
    gone = sorted(a + rank for a in axes)
    renumbered = [p - sum(g < p for g in gone) for p in places]
    return m.place(base, renumbered, rank - len(gone))


def rebuilt(m: Algebra, x: Term, args: Sequence[Term]) -> Term:
    """The same elementwise operation on other arguments."""
    if x.head == "sum":
        return m.total(args)
    if x.head == "product":
        coefficient, factors = split(x)
        return m.product(zip(args, (e for _, e in factors), strict=True), coefficient)
    shape = m.times(*args).shape
    return m.make(x.head, shape, args, x.attrs)


def apart(m: Algebra, term: Term) -> Term | None:
    """sum(x[:, None] * y, axis=1) is x * sum(y)."""
    if not term.reduces_by("sum"):
        return None
    (x,) = term.args
    rank = x.ndim
    axes = frozenset(k - rank for k in term.axes)
    coefficient, factors = split(x)
    constant = [f for f in factors if not varying(m, f[0]) & axes]
    inside = [f for f in factors if f not in constant]
    if not inside or frozenset().union(*(varying(m, f) for f, _ in inside)) < axes:
        return None
    rest = m.product(inside)
    bare = frozenset(range(-rank, 0)) - axes - varying(m, rest)
    if not constant and not bare:
        return None
    summed = _summed(m, rest, axes, bare, rank)
    kept = [k for k in range(rank) if k - rank not in axes]
    places = [i for i, k in enumerate(kept) if k - rank not in bare]
    outer = [(without(m, f, axes, rank), e) for f, e in constant]
    own = m.place(summed, places, len(kept))
    found = m.product([*outer, (own, 1)], coefficient)
    return found if found.shape == term.shape else None


def _summed(m: Algebra, x: Term, axes: frozenset[int], bare: frozenset[int], rank: int) -> Term:
    """The sum along axes of what is left without the bare ones."""
    left = [k - rank for k in range(rank) if k - rank not in bare]
    inner = without(m, x, bare, rank)
    places = [i for i, k in enumerate(left) if k in axes]
    shift = len(left) - inner.ndim
    return m.reduce("sum", inner, [p - shift for p in places])


def contracted(m: Algebra, term: Term) -> Term | None:
    """sum(X * w, axis=1) is X @ w, and sum(X * u[:, None], axis=0) is u @ X."""
    if not term.reduces_by("sum") or term.ndim != 1 or term.args[0].ndim != 2:
        return None
    coefficient, factors = split(term.args[0])
    axis = term.axes[0] - 2
    vector = [f for f in factors if varying(m, f[0]) == {axis}]
    matrix = [f for f in factors if f not in vector]
    if not vector or not matrix:
        return None
    v = without(m, m.product(vector), {-1 if axis == -2 else -2}, 2)
    own = m.product(matrix)
    if own.shape != term.args[0].shape or v.ndim != 1:
        return None
    found = m.matmul(own, v) if axis == -1 else m.matmul(m.transpose(own, (1, 0)), v)
    return m.scaled(coefficient, found)


def mean_of_a_sum(m: Algebra, term: Term) -> Term | None:
    """mean(x + c) is mean(x) + c."""
    if not term.reduces_by("mean") or term.args[0].head != "sum":
        return None
    (x,) = term.args
    rank = x.ndim
    axes = frozenset(k - rank for k in term.axes)
    constant = [a for a in x.args if not varying(m, a) & axes]
    if not constant:
        return None
    rest = [a for a in x.args if a not in constant]
    if not rest or m.total(rest).shape != x.shape:
        return None
    own = m.reduce("mean", m.total(rest), term.axes)
    return m.total([own, *(without(m, c, axes, rank) for c in constant)])


def pairs_of_axes(m: Algebra, term: Term) -> Term | None:
    """reshape(eye(m * n), (m, n, m, n)) is eye(m)[:, None, :, None] * eye(n)[:, None, :]"""
    if not term.calls("reshape") or not term.args[0].calls("eye") or term.ndim != 4:
        return None
    p, q, *again = term.shape
    if [p, q] != again:
        return None
    first, second = (m.call("eye", (k, k), [m.size(k)]) for k in (p, q))
    return m.times(m.place(first, (0, 2), 4), m.place(second, (1, 3), 4))


def kron(m: Algebra, term: Term) -> Term | None:
    """reshape(A[:, None, :, None] * B[:, None, :], (m * p, n * q)) is kron(A, B)."""
    if not term.calls("reshape") or term.ndim != 2 or term.args[0].ndim != 4:
        return None
    coefficient, factors = split(term.args[0])
    first = [f for f in factors if varying(m, f[0]) <= {-4, -2}]
    second = [f for f in factors if f not in first]
    if not first or not second or any(not varying(m, f) <= {-3, -1} for f, _ in second):
        return None
    a = without(m, m.product(first), {-3, -1}, 4)
    b = without(m, m.product(second), {-4, -2}, 4)
    if a.ndim != 2 or b.ndim != 2:
        return None
    shape = tuple(i * j for i, j in zip(a.shape, b.shape, strict=True))
    return m.scaled(coefficient, m.call("kron", shape, [a, b])) if shape == term.shape else None


def unflattened(m: Algebra, term: Term) -> Term | None:
    """reshape(outer(reshape(A, (m * n,)), x), (m, n, k)) is A[:, :, None] * x"""
    if not term.calls("reshape") or term.ndim != 3:
        return None
    scalars, inner = m.unscaled(term.args[0])
    if not inner.calls("outer") or not inner.args[0].calls("reshape"):
        return None
    (matrix,), x = inner.args[0].args, inner.args[1]
    if (*matrix.shape, *x.shape) != term.shape:
        return None
    return m.times(scalars, m.place(matrix, (0, 1), 3), x)


def flattened(m: Algebra, term: Term) -> Term | None:
    """reshape(A, (m * n,)) @ reshape(B, (m * n,)) is sum(A * B)."""
    a, b = term.args
    if term.ndim or not a.calls("reshape") or not b.calls("reshape"):
        return None
    (x,), (y,) = a.args, b.args
    return m.reduce("sum", m.times(x, y), range(x.ndim)) if x.shape == y.shape else None


def repeated(m: Algebra, term: Term) -> Term | None:
    """The rows' sums of A.T, repeated over m rows, are ones((m, n)) @ A."""
    if not term.calls("broadcast_to") or term.ndim != 2:
        return None
    scalars, x = m.unscaled(term.args[0])
    column = x.head == "index" and x.attrs == (1,)
    x = x.args[0] if column else x
    if not x.reduces_by("sum") or x.args[0].ndim != 2 or x.args[0].head not in PLAIN:
        return None
    (a,) = x.args
    if column:
        a = m.transpose(a, (1, 0)) if x.axes == (0,) else a
        ones = m.ones((a.shape[1], term.shape[1]))
        return m.times(scalars, m.make("matmul", term.shape, [a, ones]))
    a = a if x.axes == (0,) else m.transpose(a, (1, 0))
    ones = m.ones((term.shape[0], a.shape[0]))
    return m.times(scalars, m.make("matmul", term.shape, [ones, a]))


PLAIN = ("name", "transpose", "call")
AXIS_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "reduce": (apart, contracted, mean_of_a_sum),
    "call": (pairs_of_axes, kron, repeated, unflattened),
    "matmul": (flattened,),
}
