"""Products of matrices as chains: equal whatever the brackets, with common ends taken out of sums.

x @ A + A @ x                       (A.T + A) @ x
G @ S @ B.T + G @ S.T @ B.T         G @ (S + S.T) @ B.T
outer(a, x) + outer(b, x)           outer(a + b, x)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.terms import LONGEST_CHAIN, Factors, Term, chain, split

Piece = tuple[float, Factors, tuple[Term, ...]]  # the number, the scalars, and the chain


def common_ends(m: Algebra, term: Term) -> Term | None:
    """x @ A + A @ x is (A.T + A) @ x, and B @ A + C @ A is (B + C) @ A."""
    pieces = {x: piece for x in term.args if (piece := _piece(m, x)) is not None}
    for x, first in pieces.items():
        for y, second in pieces.items():
            if x is y:
                continue
            joined = _joined(m, first, second) if first[1] == second[1] else (
                _scaled_vectors(m, first, second))  # fmt: skip
            if joined is not None:
                after = [t for t in term.args if t is not x and t is not y]
                k = term.args.index(x)
                before = [t for t in after if term.args.index(t) < k]
                return m.total([*before, joined, *(t for t in after if t not in before)])
    return None


def _joined(m: Algebra, first: Piece, second: Piece) -> Term | None:
    """The sum of two chains that differ in one plain factor."""
    (c, scalars, a), (e, _, b) = first, second
    if len(a) != len(b) or abs(c) != abs(e):
        return None
    differ = [k for k, (p, q) in enumerate(zip(a, b, strict=True)) if p is not q]
    if len(differ) != 1 or len(a) < 2:
        return None
    (k,) = differ
    if a[k].shape != b[k].shape:
        return None
    vectors = k == len(a) - 1 and a[k].ndim == 1
    if not vectors and not (_plain(a[k]) and _plain(b[k])):
        return None
    pair = _plain_first([a[k], b[k]])
    pair = [x if x is a[k] else m.scaled(e / c, x) for x in pair]
    middle = m.total(pair)
    if middle.shape != a[k].shape:
        return None
    found = a[0] if k else middle
    for place, x in enumerate(a[1:], 1):
        found = m.matmul(found, middle if place == k else x)
    return m.product([*scalars, (found, 1)], c)


def _scaled_vectors(m: Algebra, first: Piece, second: Piece) -> Term | None:
    """A @ x - c * A @ y is A @ (x - c * y), of vectors and scalars."""
    (c, scalars, a), (e, others, b) = first, second
    if len(a) < 2 or a[:-1] != b[:-1] or a[-1].ndim != 1:
        return None
    x, y = m.product([*scalars, (a[-1], 1)], c), m.product([*others, (b[-1], 1)], e)
    vector = m.total([x, y])
    if vector.shape != a[-1].shape:
        return None
    for matrix in reversed(a[:-1]):
        vector = m.matmul(matrix, vector)
    return vector


def _plain_first(matrices: Sequence[Term]) -> list[Term]:
    """A + A.T rather than A.T + A."""
    return sorted(matrices, key=lambda x: x.head == "transpose")


def _plain(x: Term) -> bool:
    """Whether it reads well in a sum: a leaf, its transpose, an inverse."""
    inner = x.args[0] if x.head == "transpose" else x
    return inner.head == "name" or any(inner.calls(f) for f in ("inv", "outer", "diag"))


def _piece(m: Algebra, x: Term) -> Piece | None:
    """The number, the scalars and the factors of a term c * A @ B @ x."""
    coefficient, factors = split(x)
    scalars = tuple(f for f in factors if not f[0].ndim)
    arrays = [f for f in factors if f[0].ndim]
    scaled = _scaled_rows(m, arrays)
    if scaled:
        return coefficient, scalars, scaled
    if len(arrays) != 1 or arrays[0][1] != 1:
        return None
    ((base, _),) = arrays
    if base.calls("outer") and base.args[1].head == "matmul":  # u (A' v)' is (u v') A
        u, (*front, v) = base.args[0], _column_chain(m, base.args[1])
        if v.ndim == 1 and all(a.ndim == 2 for a in front):
            turned = [m.transpose(a, (1, 0)) for a in reversed(front)]
            outer = m.call("outer", (u.shape[0], v.shape[0]), [u, v])
            return coefficient, scalars, (outer, *turned)
    if base.calls("solve"):
        a, b = base.args
        return coefficient, scalars, (m.call("inv", a.shape, [a]), *_column_chain(m, b))
    return (coefficient, scalars, _column_chain(m, base)) if base.head == "matmul" else None


def _scaled_rows(m: Algebra, arrays: Sequence[tuple[Term, float]]) -> tuple[Term, ...]:
    """diag(v) and A, of v[:, None] * A."""
    if len(arrays) != 2 or any(e != 1 for _, e in arrays):
        return ()
    (x, _), (a, _) = sorted(arrays, key=lambda f: f[0].head != "index")
    if x.head != "index" or x.attrs != (1,) or a.ndim != 2 or a.head not in ("name", "transpose"):
        return ()
    (v,) = x.args
    return m.call("diag", (v.shape[0], v.shape[0]), [v]), a


def _column_chain(m: Algebra, x: Term) -> tuple[Term, ...]:
    """The factors; of a vector, with the vector at the right end: x @ A is A.T @ x."""
    before: list[Term] = []
    while x.head == "matmul" and x.ndim == 1 and x.args[1].head == "matmul":
        if len(before) > LONGEST_CHAIN:
            return (*before, x)
        a, x = x.args
        before += chain(a)
    return (*before, *_columns(m, x))


def _columns(m: Algebra, x: Term) -> tuple[Term, ...]:
    factors = chain(x)
    if x.ndim == 1 and factors[0].ndim == 1:
        return tuple(m.transpose(f, (1, 0)) if f.ndim == 2 else f for f in reversed(factors))
    return factors


def outer_products(m: Algebra, term: Term) -> Term | None:
    """outer(a, x) + outer(b, x) is outer(a + b, x)."""
    pieces = [(x, *split(x)) for x in term.args]
    outers = [(x, c, f[-1][0], f[:-1]) for x, c, f in pieces
              if f and f[-1][0].calls("outer") and f[-1][1] == 1]  # fmt: skip
    for x, c, p, scalars in outers:
        for y, e, q, others in outers:
            if x is y or scalars != others or abs(c) != abs(e) or any(b.ndim for b, _ in scalars):
                continue
            for side in (0, 1):
                if p.args[side] is q.args[side]:
                    both = m.total([p.args[1 - side], m.scaled(e / c, q.args[1 - side])])
                    args = [both, p.args[1]] if side else [p.args[0], both]
                    found = m.product([*scalars, (m.call("outer", p.shape, args), 1)], c)
                    return m.total([found, *(t for t in term.args if t not in (x, y))])
    return None


CHAIN_PATTERNS: Mapping[str, Sequence[Pattern]] = {"sum": (common_ends, outer_products)}
