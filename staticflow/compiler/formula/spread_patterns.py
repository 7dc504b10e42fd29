"""Products with diagonal matrices, outer products and the identity, worked out where that is short.

diag(v) @ x                                   v * x
diag(v) * w[:, None], outer(u, v) * w         diag(v * w), outer(u, v * w)
(outer(p, x) + c * eye(n)) @ A                outer(p, x @ A) + c * A
stack([x, y])[1], x[None].T                   y, x[:, None]
x @ A * h + A @ x * h                         (A + A.T) @ x * h
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.matrix_patterns import uncolumned
from staticflow.compiler.formula.terms import ALL, Cut, Term, split


def diagonal_times(m: Algebra, term: Term) -> Term | None:
    """diag(v) @ x is v * x, of vectors."""
    a, b = term.args
    return m.times(a.args[0], b) if a.calls("diag") and b.ndim == 1 else None


def absorbed(m: Algebra, term: Term) -> Term | None:
    """diag(v) * w[:, None] is diag(v * w), and outer(u, v) * w is outer(u, v * w)."""
    coefficient, factors = split(term)
    own = [(x, e) for x, e in factors if x.calls("diag") or x.calls("outer")]
    others = [f for f in factors if f not in own and f[0].ndim]
    if term.ndim != 2 or len(own) != 1 or own[0][1] != 1 or not others:
        return None
    matrix = own[0][0]
    columns = [(v, e) for x, e in others if x.ndim == 2 and (v := uncolumned(m, x)) is not None]
    rows = [(x, e) for x, e in others if x.ndim == 1]
    if len(columns) + len(rows) != len(others):
        return None
    scalars = [f for f in factors if not f[0].ndim]
    if matrix.calls("diag"):
        args = [_leaves_first(m, [*columns, *rows, (matrix.args[0], 1)])]
    else:
        u, v = matrix.args
        args = [_leaves_first(m, [*columns, (u, 1)]), _leaves_first(m, [*rows, (v, 1)])]
    found = m.call(matrix.name, matrix.shape, args)
    return m.product([*scalars, (found, 1)], coefficient)


def _leaves_first(m: Algebra, factors: Sequence[tuple[Term, float]]) -> Term:
    """The product, in an order that does not tell which of them the matrix was of."""
    return m.product(sorted(factors, key=lambda f: bool(f[0].args)))


def distributed(m: Algebra, term: Term) -> Term | None:
    """(outer(p, x) + c * eye(n)) @ A is outer(p, x @ A) + c * A."""
    a, b = term.args
    if a.head != "sum" or a.ndim != 2 or b.ndim != 2 or b.head not in ("name", "transpose"):
        return None
    found = []
    for x in a.args:
        scalars, matrix = m.unscaled(x)
        if matrix.calls("eye"):
            found.append(m.times(scalars, b))
        elif matrix.calls("outer"):
            u, v = matrix.args
            turned = m.matmul(m.transpose(b, (1, 0)), v)
            found.append(m.times(scalars, m.call("outer", term.shape, [u, turned])))
        else:
            return None
    return m.total(found) if any(m.unscaled(x)[1].calls("eye") for x in a.args) else None


def of_stack(m: Algebra, term: Term) -> Term | None:
    """stack([x, y])[1] is y, and stack([x, y])[:1] is x[None]."""
    if len(term.args) != 1 or not term.args[0].calls("stack") or not term.attrs:
        return None
    whole, (taken, *rest) = term.args[0], term.attrs
    if whole.axes != (0,) or any(entry != ALL for entry in rest):
        return None
    if isinstance(taken, int):
        return whole.args[taken]
    if not isinstance(taken, Cut) or taken.step != 1 or term.shape[0] != 1:
        return None
    if not isinstance(taken.start, int):
        return None
    return m.make("index", term.shape, [whole.args[taken.start]], (0,))


def row_turned(m: Algebra, term: Term) -> Term | None:
    """x[None].T is x[:, None]."""
    (x,) = term.args
    if term.attrs != (1, 0) or x.head != "index" or x.attrs != (0,):
        return None
    return m.make("index", term.shape, x.args, (1,))


def unmasked(m: Algebra, term: Term) -> Term | None:
    """(x > 0) ** 2 is x > 0."""
    coefficient, factors = split(term)
    if not any(x.head == "compare" and e > 1 for x, e in factors):
        return None
    once = [(x, 1 if x.head == "compare" and e > 1 else e) for x, e in factors]
    return m.product(once, coefficient)


def common_factor(m: Algebra, term: Term) -> Term | None:
    """x @ A * h + A @ x * h is (A + A.T) @ x * h, where the rests are one product."""
    products = [(x, *split(x)) for x in term.args]
    products = [p for p in products if len(p[2]) > 1]
    for k, (x, c, first) in enumerate(products):
        for y, d, second in products[k + 1 :]:
            common = [f for f in first if f in second and f[0].ndim]
            if not common:
                continue
            rests = [m.product([f for f in fs if f not in common], n)
                     for n, fs in ((c, first), (d, second))]  # fmt: skip
            chains = all(m.unscaled(r)[1].head == "matmul" for r in rests)
            if rests[0].shape != rests[1].shape or not chains:
                continue
            found = m.total(rests)
            if found.head == "sum" or found.shape != rests[0].shape:
                continue
            both = m.product([*common, (found, 1)])
            return m.total([both, *(t for t in term.args if t is not x and t is not y)])
    return None


SPREAD_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "matmul": (diagonal_times, distributed),
    "product": (unmasked, absorbed),
    "part": (of_stack,),
    "transpose": (row_turned,),
    "sum": (common_factor,),
}
