"""What formulas of matrices are better written as: outer products, diagonals, determinants.

As in `patterns`, each is an identity of values; these undo what makes a derivative stable, or an
element of it readable on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.terms import ALL, Cut, Term, shape_text, split
from staticflow.compiler.formula.walks import arguments


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
    if all(e < 0 for x, e in columns if x.ndim):
        return None  # which divides: another term may have it too
    (p, x), (q, y) = (m.unscaled(m.product(own)) for own in (columns, rows))
    found = m.call("outer", term.shape, [x, y])
    return m.product([(p, 1), (q, 1), (found, 1)], coefficient)


def uncolumned(m: Algebra, x: Term) -> Term | None:
    """The vector of which a term is the column x[:, None]; None if it is none."""

    def into(x: Term) -> Iterable[Term]:
        return x.args if x.head in ("sum", "product") and x.ndim == 2 else ()

    return m.folded("uncolumned", x, into, lambda x, of: _uncolumned(m, x, of))


def _uncolumned(m: Algebra, x: Term, of: Mapping[Term, Term | None]) -> Term | None:
    if not x.ndim:
        return x
    if x.head == "index" and x.ndim == 2:
        return x.args[0] if x.attrs == (1,) else None
    if x.head not in ("sum", "product") or x.ndim != 2:
        return None
    parts = [of[a] for a in x.args]
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
        if e == 1 and base.head == "sum" and any(_has_diagonal(x) for x in base.args):
            rest = [f for f in factors if f[0] is not base]
            vectors = all(f.ndim < 2 or uncolumned(m, f) is not None for f, _ in rest)
            if not all(_is_eye_or_vector(m, x) for x in base.args):
                vectors = vectors and all(e > 0 for _, e in rest)  # what divides stays in front
            if vectors and any(f.ndim for f, _ in rest):
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


def _is_eye_or_vector(m: Algebra, x: Term) -> bool:
    """Whether a term is a product of identities, vectors and scalars."""
    return all(base.ndim < 2 or base.calls("eye") or uncolumned(m, base) is not None
               for base, _ in split(x)[1])  # fmt: skip


def _has_diagonal(x: Term) -> bool:
    return _has_eye(x) or any(base.calls("diag") and e == 1 for base, e in split(x)[1])


def _has_eye(x: Term) -> bool:
    return any(base.calls("eye") and e == 1 and base.shape[0] == base.shape[1]
               for base, e in split(x)[1])  # fmt: skip


def picked(m: Algebra, term: Term) -> Term | None:
    """sum(diag(x), axis=1) is x, and sum(eye(n), axis=1) is ones((n,))."""
    if not term.reduces_by("sum") or term.args[0].ndim != 2 or term.ndim != 1:
        return None
    if term.args[0].calls("eye"):
        return m.ones(term.shape)
    coefficient, factors = split(term.args[0])
    if len(factors) != 1 or factors[0][1] != 1 or not factors[0][0].calls("diag"):
        return None
    return m.scaled(coefficient, factors[0][0].args[0])


def turned(m: Algebra, term: Term) -> Term | None:
    """outer(x, y).T is outer(y, x), and so are sums and products of what turns as easily."""
    (x,) = term.args
    if term.attrs != (1, 0) or x.head not in ("sum", "product", "call", "index", "matmul"):
        return None
    found = _turned(m, x)
    if found is None or _transposes(m, found) > _transposes(m, x):
        return None
    return found


def _turned(m: Algebra, x: Term) -> Term | None:
    def into(x: Term) -> Iterable[Term]:
        return x.args if x.head in ("sum", "product") and x.ndim != 1 else ()

    return m.folded("turned", x, into, lambda x, of: _turned_of(m, x, of))


def _turned_of(m: Algebra, x: Term, of: Mapping[Term, Term | None]) -> Term | None:
    if x.calls("diag") or x.calls("eye"):
        return x
    if x.calls("outer"):
        return m.call("outer", x.shape[::-1], x.args[::-1])
    if x.ndim == 1:
        return m.make("index", (x.shape[0], 1), (x,), (1,))
    if x.head == "index" and x.attrs == (1,):
        return x.args[0]
    if x.head in ("name", "transpose") and x.ndim == 2:
        return m.transpose(x, (1, 0))
    if x.head == "matmul" and x.ndim == 2 == x.args[0].ndim == x.args[1].ndim:
        a, b = (m.transpose(factor, (1, 0)) for factor in x.args)
        return m.matmul(b, a)
    if x.head not in ("sum", "product"):
        return x if not x.ndim else None
    parts = [of[a] for a in x.args]
    found = [p for p in parts if p is not None]
    if len(found) != len(parts):
        return None
    if x.head == "sum":
        return m.total(found)
    coefficient, factors = split(x)
    pairs = [(p, e) for p, (_, e) in zip(found, factors, strict=True)]
    return m.product(sorted(pairs, key=lambda f: -f[0].ndim), coefficient)


def _transposes(m: Algebra, x: Term) -> int:
    """How many transposes are written down."""

    def count(x: Term, of: Mapping[Term, int]) -> int:
        return (x.head == "transpose") + sum(of[a] for a in x.args)

    return m.folded("transposes", x, arguments, count)


def into_softmax(m: Algebra, term: Term) -> Term | None:
    """diag(exp(x)) / sum(exp(x)) is diag(softmax(x)); of other products likewise."""
    coefficient, factors = split(term)
    for matrix in (x for x, e in factors if e == 1 and _is_product(x)):
        for below in (x for x, e in factors if e == -1 and x.reduces_by("sum")):
            found = _over(m, matrix, below)
            if found is not None:
                rest = [f for f in factors if f not in ((matrix, 1), (below, -1))]
                return m.product([*rest, (found, 1)], coefficient)
    return None


def _is_product(x: Term) -> bool:
    return x.head in ("matmul", "transpose") or x.calls("diag") or x.calls("outer")


def _over(m: Algebra, x: Term, below: Term) -> Term | None:
    """x / sum(exp(y)), if exp(y) is a factor of x."""

    def into(x: Term) -> Iterable[Term]:
        if x.head == "product":
            return [base for base, e in split(x)[1] if e == 1]
        through = x.head in ("transpose", "index") or (_is_product(x) and not below.ndim)
        return x.args if through else ()

    return m.folded(("over", below), x, into, lambda x, of: _over_of(m, x, below, of))


def _over_of(m: Algebra, x: Term, below: Term, of: Mapping[Term, Term | None]) -> Term | None:
    if x.calls("exp"):
        inner = m.product([(x, 1), (below, -1)])
        return inner if inner.calls("softmax") else None
    if x.head == "transpose":
        inside = of[x.args[0]]
        return None if inside is None else m.transpose(inside, x.order)
    if x.head == "index":
        inside = of[x.args[0]]
        return None if inside is None else m.make("index", x.shape, [inside], x.attrs)
    if x.head == "product":
        coefficient, factors = split(x)
        for k, (base, e) in enumerate(factors):
            inside = of[base] if e == 1 else None
            if inside is not None:
                return m.product([*factors[:k], (inside, 1), *factors[k + 1 :]], coefficient)
    if not _is_product(x) or below.ndim:
        return None
    for k, arg in enumerate(x.args):
        found = of[arg]
        if found is not None:
            args = [*x.args[:k], found, *x.args[k + 1 :]]
            return m.matmul(*args) if x.head == "matmul" else m.call(x.name, x.shape, args)
    return None


def shifted(m: Algebra, term: Term) -> Term | None:
    """x[None][0] is x."""
    if len(term.args) != 1:
        return None
    scalars, whole = m.unscaled(term.args[0])
    taken = term.attrs
    if whole.head != "index":
        return None
    own = [entry for k, entry in enumerate(taken) if k not in whole.attrs]
    inserted = [entry for k, entry in enumerate(taken) if k in whole.attrs]
    if set(inserted) != {0} or not set(own) <= {ALL} or whole.args[0].shape != term.shape:
        return None
    return m.times(scalars, whole.args[0])


def product_of_others(m: Algebra, term: Term) -> Term | None:
    """prod(where(eye(n), 1, x), axis=1) is prod(x) / x, wherever that is defined."""
    if not term.reduces_by("prod") or not term.args[0].calls("where") or term.axes != (1,):
        return None
    condition, one, x = term.args[0].args
    if not condition.calls("eye") or one is not m.number(1) or x.ndim != 1:
        return None
    return m.product([(m.reduce("prod", x, (0,)), 1), (x, -1)])


def transposed_trace(m: Algebra, term: Term) -> Term | None:
    """trace(A.T @ B.T) is trace(B @ A)."""
    if not term.calls("trace"):
        return None
    (x,) = term.args
    other = m.transpose(x, (1, 0))
    return m.call("trace", (), [other]) if _transposes(m, other) < _transposes(m, x) else None


def columns_scaled(m: Algebra, term: Term) -> Term | None:
    """A @ (v[:, None] * B) is (A * v) @ B; (v[:, None] * A) @ B is v[:, None] * (A @ B)."""
    a, b = term.args
    if a.ndim != 2 or b.ndim != 2:
        return None
    v, rest = _column_factor(m, a)
    if v is not None and rest is not None:
        return m.times(m.make("index", (v.shape[0], 1), [v], (1,)), m.matmul(rest, b))
    v, rest = _column_factor(m, b)
    plain = a.head in ("name", "transpose") or a.head == "product"
    return m.matmul(m.times(a, v), rest) if plain and v is not None and rest is not None else None


def _column_factor(m: Algebra, x: Term) -> tuple[Term | None, Term | None]:
    """v and A, of v[:, None] * A."""
    coefficient, factors = split(x)
    columns = [(uncolumned(m, f), e) for f, e in factors if f.ndim == 2]
    v = [(c, e) for c, e in columns if c is not None and c.ndim]
    rest = [(f, e) for f, e in factors if f.ndim != 2 or uncolumned(m, f) is None]
    if x.head != "product" or not v:
        return None, None
    matrix = m.product(rest, coefficient)
    if matrix.shape != x.shape or matrix.head not in ("name", "transpose", "product", "matmul"):
        return None, None
    return m.product(v), matrix


def of_identity(m: Algebra, term: Term) -> Term | None:
    """trace(eye(n)) is n, and an element of eye(n) is 1 or 0."""
    if term.calls("trace") and term.args[0].calls("eye"):
        return m.size(term.args[0].shape[0])
    if term.calls("eye") and term.shape == (1, 1):
        return m.ones(term.shape)
    places = term.attrs if term.head == "part" else ()
    if not term.ndim and len(places) == 2 and term.args[0].calls("eye"):
        return m.number(float(places[0] == places[1]))
    return None


def of_ones(m: Algebra, term: Term) -> Term | None:
    """A part of ones((n, n)) is ones, and their sum is how many they are."""
    if len(term.args) != 1 or not term.args[0].calls("ones"):
        return None
    if term.head == "part":
        return m.ones(term.shape) if term.ndim else m.number(1)
    if term.reduces_by("prod"):
        return m.ones(term.shape) if term.ndim else m.number(1)
    if not term.reduces_by("sum") or term.ndim:
        return None
    return m.times(*(m.size(n) for n in term.args[0].shape))


def on_the_diagonal(m: Algebra, term: Term) -> Term | None:
    """sum(eye(n) * A, axis=1) is diagonal(A)."""
    if not term.reduces_by("sum") or term.ndim != 1 or term.args[0].ndim != 2:
        return None
    coefficient, factors = split(term.args[0])
    rest = [f for f in factors if not (f[0].calls("eye") and f[1] == 1)]
    matrix = m.product(rest, coefficient)
    if len(rest) != len(factors) - 1 or matrix.shape != term.args[0].shape:
        return None
    matrix = matrix.args[0] if matrix.head == "transpose" else matrix
    return m.call("diagonal", term.shape, [matrix])


def of_joined(m: Algebra, term: Term) -> Term | None:
    """concatenate([x, y])[:n] is x, of n elements; numbers in front stay there."""
    if len(term.args) != 1 or not term.attrs:
        return None
    scalars, whole = m.unscaled(term.args[0])
    if not whole.calls("concatenate"):
        return None
    (axis,) = whole.axes
    cuts = [e for e in term.attrs if e != ALL]
    if len(cuts) != 1 or axis >= len(term.attrs) or term.attrs[axis] is not cuts[0]:
        return None
    cut, start = cuts[0], 0
    if not isinstance(cut, Cut) or cut.step != 1:
        return None
    for x in whole.args:
        if start == cut.start and x.shape == term.shape:
            return m.times(scalars, x)
        start = start + x.shape[axis]
    return None


def same_rows(m: Algebra, term: Term) -> Term | None:
    """outer(ones((m,)), x) repeats x, and of zeros it is zeros."""
    if term.calls("outer") and any(x.calls("zeros") for x in term.args):
        return m.zeros(term.shape)
    if not term.calls("outer") or not term.args[0].calls("ones"):
        return None
    return m.call("broadcast_to", term.shape, [term.args[1]], shape_text(term.shape))


def scaled_columns(m: Algebra, term: Term) -> Term | None:
    """A @ diag(v) is A * v."""
    a, b = term.args
    if not b.calls("diag") or a.ndim != 2 or b.args[0].ndim != 1:
        return None
    return m.times(a, b.args[0]) if a.head in ("name", "transpose") else None


MATRIX_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "product": (spread_diagonal, into_softmax, diagonal, outer),
    "transpose": (turned,),
    "matmul": (scaled_columns, columns_scaled),
    "call": (same_rows, of_identity, transposed_trace),
    "part": (shifted, of_identity, of_ones, of_joined),
    "reduce": (product_of_others, picked, on_the_diagonal, of_ones),
}
