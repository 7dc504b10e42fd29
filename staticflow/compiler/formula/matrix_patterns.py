"""What formulas of matrices are better written as: outer products, diagonals, determinants.

As in `patterns`, each is an identity of values; these undo what makes a derivative stable, or an
element of it readable on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.terms import Algebra, Factors, Pattern, Term, split


def outer(m: Algebra, term: Term) -> Term | None:
    """x[:, None] * (1 - z[:, None] ** 2) * y is outer(x * (1 - z ** 2), y), of vectors."""
    coefficient, factors = split(term)
    if term.ndim != 2:
        return None
    columns: list[tuple[Term, float]] = []
    rows: list[tuple[Term, float]] = []
    for base, e in factors:
        column = uncolumned(m, base)
        if column is not None and column.ndim:
            columns.append((column, e))
        elif base.ndim < 2:
            rows.append((base, e))
        else:
            return None
    if not columns or not any(x.ndim for x, _ in rows):
        return None
    (p, x), (q, y) = (m.unscaled(m.product(own)) for own in (columns, rows))
    found = m.call("outer", term.shape, [x, y])
    return m.product([(p, 1), (q, 1), (found, 1)], coefficient)


def uncolumned(m: Algebra, x: Term) -> Term | None:
    """The vector of which a term is the column x[:, None]; None if it is none."""
    if not x.ndim:
        return x
    if x.head == "index" and x.ndim == 2:
        return x.args[0] if x.attrs == (1,) else None
    if x.head not in ("sum", "product") or x.ndim != 2:
        return None
    parts = [uncolumned(m, a) for a in x.args]
    found = [p for p in parts if p is not None]
    if len(found) != len(parts):
        return None
    if x.head == "sum":
        return m.total(found)
    coefficient, factors = split(x)
    return m.product(((p, e) for p, (_, e) in zip(found, factors, strict=True)), coefficient)


def spread_diagonal(m: Algebra, term: Term) -> Term | None:
    """(eye(n) - p[:, None]) * q is diag(q) - outer(p, q)."""
    coefficient, factors = split(term)
    if term.ndim != 2:
        return None
    for base, e in factors:
        if e == 1 and base.head == "sum" and any(_has_eye(x) for x in base.args):
            rest = [f for f in factors if f[0] is not base]
            if rest and all(f.ndim < 2 or uncolumned(m, f) is not None for f, _ in rest):
                return m.total(m.product([(x, 1), *rest], coefficient) for x in base.args)
    return None


def diagonal(m: Algebra, term: Term) -> Term | None:
    """eye(n) * x is diag(x), of a vector."""
    coefficient, factors = split(term)
    if term.ndim != 2 or not _has_eye(term):
        return None
    rest = [(_column_or_row(m, base), e) for base, e in factors if not base.calls("eye")]
    if not any(base.ndim for base, _ in rest) or any(base.ndim > 1 for base, _ in rest):
        return None
    scalars, vector = m.unscaled(m.product(rest))
    found = m.call("diag", term.shape, [vector])
    return m.product([(scalars, 1), (found, 1)], coefficient)


def _column_or_row(m: Algebra, x: Term) -> Term:
    found = uncolumned(m, x)
    return x if found is None else found


def _has_eye(x: Term) -> bool:
    return any(base.calls("eye") and e == 1 and base.shape[0] == base.shape[1]
               for base, e in split(x)[1])  # fmt: skip


def picked(m: Algebra, term: Term) -> Term | None:
    """sum(diag(x), axis=1) is x."""
    if not term.reduces_by("sum") or term.args[0].ndim != 2 or term.ndim != 1:
        return None
    coefficient, factors = split(term.args[0])
    if len(factors) != 1 or factors[0][1] != 1 or not factors[0][0].calls("diag"):
        return None
    return m.scaled(coefficient, factors[0][0].args[0])


def cofactors(m: Algebra, term: Term) -> Term | None:
    """U * prod(where(eye, 1, s), axis=1) @ V times sign(det(U @ V)) is det(A) * inv(A).T"""
    coefficient, factors = split(term)
    for sign, e in factors:
        if e != 1 or not sign.calls("sign") or not sign.args[0].calls("det"):
            continue
        turns = sign.args[0].args[0]
        if turns.head != "matmul" or not _is_of_svd(turns.args[0], "0"):
            continue
        for base, power in factors:
            if power == 1 and base.head == "matmul" and _is_adjugate(base, turns):
                a = turns.args[0].args[0].args[0]
                found = m.transpose(m.call("inv", a.shape, [a]), (1, 0))
                rest = [f for f in factors if f[0] not in (sign, base)]
                return m.product([*rest, (m.call("det", (), [a]), 1), (found, 1)], coefficient)
    return None


def _is_adjugate(base: Term, turns: Term) -> bool:
    """Whether this is (U * prod(where(eye(n), 1, s), axis=1)) @ V."""
    left, right = base.args
    coefficient, factors = split(left)
    if right is not turns.args[1] or coefficient != 1 or len(factors) != 2:
        return False
    others = [x for x, _ in factors if x is not turns.args[0]]
    return len(others) == 1 and others[0].reduces_by("prod") and others[0].args[0].calls("where")


def _is_of_svd(x: Term, part: str) -> bool:
    return x.head == "part" and x.attrs == (part,) and x.args[0].calls("svd")


def defined(m: Algebra, term: Term) -> Term | None:
    """where(sign(det(A)) < 0, nan, x) is x wherever it is a number, and its slope is 1 there."""
    if not term.calls("where"):
        return None
    condition, first, other = term.args
    of_sign = condition.head == "compare" and condition.args[0].calls("sign")
    if not of_sign or not condition.args[0].args[0].calls("det"):
        return None
    undefined = first.head == "number" and str(first.attrs[0]) in ("nan", "0.0")
    slope = first is m.number(0) and other is m.number(1)
    return other if undefined and (slope or str(first.attrs[0]) == "nan") else None


def turned(m: Algebra, term: Term) -> Term | None:
    """outer(x, y).T is outer(y, x), and so are sums and products of what turns as easily."""
    (x,) = term.args
    if term.attrs != (1, 0) or x.head not in ("sum", "product", "call", "index"):
        return None
    found = _turned(m, x)
    if found is None or _transposes(found) > _transposes(x):
        return None
    return found


def _turned(m: Algebra, x: Term) -> Term | None:
    if x.calls("diag"):
        return x
    if x.calls("outer"):
        return m.call("outer", x.shape[::-1], x.args[::-1])
    if x.ndim == 1:
        return m.make("index", (x.shape[0], 1), (x,), (1,))
    if x.head == "index" and x.attrs == (1,):
        return x.args[0]
    if x.head in ("name", "transpose") and x.ndim == 2:
        return m.transpose(x, (1, 0))
    if x.head not in ("sum", "product"):
        return x if not x.ndim else None
    parts = [_turned(m, a) for a in x.args]
    found = [p for p in parts if p is not None]
    if len(found) != len(parts):
        return None
    if x.head == "sum":
        return m.total(found)
    coefficient, factors = split(x)
    pairs = [(p, e) for p, (_, e) in zip(found, factors, strict=True)]
    return m.product(sorted(pairs, key=lambda f: -f[0].ndim), coefficient)


def _transposes(x: Term) -> int:
    """How many transposes and inserted axes are written down."""
    own = 1 if x.head in ("transpose", "index") else 0
    return own + sum(_transposes(a) for a in x.args)


def into_softmax(m: Algebra, term: Term) -> Term | None:
    """diag(exp(x)) / sum(exp(x)) is diag(softmax(x)); of outer products likewise."""
    coefficient, factors = split(term)
    whole = [x for x, e in factors if e == 1 and (x.calls("diag") or x.calls("outer"))]
    for matrix in whole:
        for below, e in factors:
            if e != -1 or below.ndim:
                continue
            for k, arg in enumerate(matrix.args):
                inner = m.product([(arg, 1), (below, -1)])
                if not inner.calls("softmax"):
                    continue
                args = [*matrix.args[:k], inner, *matrix.args[k + 1 :]]
                found = m.call(str(matrix.attrs[0]), matrix.shape, args)
                rest = [f for f in factors if f not in ((matrix, 1), (below, -1))]
                return m.product([*rest, (found, 1)], coefficient)
    return None


def of_columns(m: Algebra, term: Term) -> Term | None:
    """outer(x[:, 0], y[:, 0]) is x @ y.T, and norm(x[:, 0]) is norm(x), of columns (n, 1)."""
    if not term.calls("outer") and not term.calls("norm"):
        return None
    columns = [_column(m, x) for x in term.args]
    if any(c is None or not c.ndim for c in columns):
        return None
    found = [c for c in columns if c is not None]
    if term.calls("norm"):
        return m.call("norm", (), found)
    return m.matmul(found[0], m.transpose(found[1], (1, 0)))


def column_times_row(m: Algebra, term: Term) -> Term | None:
    """x * y[:, 0] is x @ y.T, of columns (n, 1)."""
    coefficient, factors = split(term)
    if term.ndim != 2:
        return None
    columns = [f for f in factors if f[0].ndim == 2]
    vectors = [(_column(m, base), e) for base, e in factors if base.ndim == 1]
    rows = [(c, e) for c, e in vectors if c is not None]
    scalars = [f for f in factors if not f[0].ndim]
    if not columns or not rows or len(rows) != len(vectors):
        return None
    if any(base.shape[1] != 1 for base, _ in columns):
        return None
    found = m.matmul(m.product(columns), m.transpose(m.product(rows), (1, 0)))
    return m.product([*scalars, (found, 1)], coefficient)


def column_again(m: Algebra, term: Term) -> Term | None:
    """(x[:, 0] / c)[:, None] is x / c, of a column (n, 1)."""
    found = _column(m, term.args[0]) if term.attrs == (1,) and term.ndim == 2 else None
    return found if found is not None and found.ndim else None


def _column(m: Algebra, x: Term) -> Term | None:
    """The column (n, 1) of which a vector is the only one; scalars are themselves."""
    if not x.ndim:
        return x
    if x.head == "part" and len(x.args) == 1:
        whole = x.args[0]
        only = whole.ndim == 2 and whole.shape[1] == 1 and x.attrs == (":", "0")
        return whole if only else None
    if x.head not in ("sum", "product") or x.ndim != 1:
        return None
    parts = [_column(m, a) for a in x.args]
    found = [p for p in parts if p is not None]
    if len(found) != len(parts):
        return None
    if x.head == "sum":
        return m.total(found)
    coefficient, factors = split(x)
    return m.product(((p, e) for p, (_, e) in zip(found, factors, strict=True)), coefficient)


def common_factor(m: Algebra, term: Term) -> Term | None:
    """x @ A + A @ x is (A.T + A) @ x, and B @ A + C @ A is (B + C) @ A."""
    pieces = {x: piece for x in term.args if (piece := _applied(m, x)) is not None}
    for first in pieces.values():
        same = {x: piece[0] for x, piece in pieces.items() if piece[1:] == first[1:]}
        if len(same) < 2:
            continue
        _, vector, scalars, coefficient = first
        found = m.matmul(m.total(_plain_first(list(same.values()))), vector)
        whole = m.product([*scalars, (found, 1)], coefficient)
        k = min(term.args.index(x) for x in same)
        after = [x for x in term.args[k:] if x not in same]
        return m.total([*term.args[:k], whole, *after])
    return None


def _plain_first(matrices: Sequence[Term]) -> list[Term]:
    """A + A.T rather than A.T + A."""
    return sorted(matrices, key=lambda x: x.head == "transpose")


def _applied(m: Algebra, x: Term) -> tuple[Term, Term, Factors, float] | None:
    """The leaf matrix, what it is applied to, the scalars and the number of a term c * A @ x."""
    coefficient, factors = split(x)
    products = [base for base, e in factors if base.head == "matmul" and e == 1]
    scalars = tuple(f for f in factors if not f[0].ndim)
    if len(products) != 1 or len(scalars) != len(factors) - 1:
        return None
    a, b = products[0].args
    if a.ndim == 1 and b.ndim == 2:
        a, b = m.transpose(b, (1, 0)), a
    inner = a.args[0] if a.head == "transpose" else a
    plain = inner.head == "name" or inner.calls("inv")
    return (a, b, scalars, coefficient) if a.ndim == 2 and plain else None


MATRIX_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "call": (defined, of_columns),
    "index": (column_again,),
    "product": (column_times_row, cofactors, spread_diagonal, into_softmax, diagonal, outer),
    "transpose": (turned,),
    "sum": (common_factor,),
    "reduce": (picked,),
}
