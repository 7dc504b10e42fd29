"""Choices by a condition, and the largest of several: what they are wherever there is a derivative.

where(x >= 0, c, -c)                              c * sign(x)
where(h, 1 - b - sigmoid(-g), sigmoid(g) - b)     sigmoid(g) - b
(x == max(x)) / sum(x == max(x))                  x == max(x)
where(sign of det(A) < 0, nan, x)                 x
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.axis_patterns import rebuilt
from staticflow.compiler.formula.columns import is_elementwise
from staticflow.compiler.formula.terms import ALL, Term, split
from staticflow.compiler.formula.walks import arguments


def decided(m: Algebra, term: Term) -> Term | None:
    """Within where(c, x, y), c holds in x and not in y; both may then be one."""
    if not term.calls("where"):
        return None
    condition, *branches = term.args
    if condition.calls("ones"):
        return m.times(branches[0], m.ones(term.shape))
    x, y = (_under(m, b, condition, k) for k, b in enumerate(branches))
    if x is y and x.shape == term.shape:
        return x
    if [x, y] != branches:
        return m.call("where", term.shape, [condition, x, y])
    return None


def _under(m: Algebra, x: Term, condition: Term, branch: int) -> Term:
    """A term where the condition is known."""

    def into(x: Term) -> Iterable[Term]:
        if x.calls("where") and x.args[0] is condition:
            return x.args[1 + branch : 2 + branch]
        return x.args if _maps(x) else ()

    def known(x: Term, under: Mapping[Term, Term]) -> Term:
        if x.calls("where") and x.args[0] is condition:
            return under[x.args[1 + branch]]
        return _in_branch(m, x, condition, branch, under)

    return m.folded(("under", condition, branch), x, into, known)


def _maps(x: Term) -> bool:
    """Whether a term takes its arguments element by element."""
    return x.head in ("sum", "product") or (
        x.head == "call" and bool(x.args) and is_elementwise(x.name)
    )


def _in_branch(
    m: Algebra, x: Term, condition: Term, branch: int, under: Mapping[Term, Term]
) -> Term:
    if x.calls("abs") and condition.head == "compare" and condition.args[0] is x.args[0]:
        positive = (condition.attrs[0] in (">", ">=")) == (branch == 0)
        if condition.args[1] is m.number(0) and condition.attrs[0] in (">", ">=", "<", "<="):
            return m.scaled(1 if positive else -1, x.args[0])
    if not _maps(x):
        return x
    args = [under[a] for a in x.args]
    if all(a is b for a, b in zip(args, x.args, strict=True)):
        return x
    found = rebuilt(m, x, args)
    return found if found.shape == x.shape else x


def signs(m: Algebra, term: Term) -> Term | None:
    """where(x >= 0, c, -c) is c * sign(x), but for 0; where(x >= 0, x, -x) is abs(x)."""
    if not term.calls("where"):
        return None
    condition, c, other = term.args
    if condition.head != "compare" or condition.attrs[0] not in (">=", ">", "<", "<="):
        return None
    x, bound = condition.args
    if bound is not m.number(0) or m.scaled(-1, c) is not other:
        return None
    if c in (x, m.scaled(-1, x)):
        found = m.scaled(1 if c is x else -1, m.call("abs", x.shape, [x]))
    else:
        found = m.times(c, m.call("sign", x.shape, [x]))
    found = found if condition.attrs[0] in (">", ">=") else m.scaled(-1, found)
    return found if found.shape == term.shape else None


def ties(m: Algebra, term: Term) -> Term | None:
    """where(a > b, x, 0.5 * (a == b) * x) is (a > b) * x: a tie is shared, and rare."""
    if not term.calls("where"):
        return None
    condition, x, half = term.args
    if condition.head != "compare" or condition.attrs[0] not in (">", "<"):
        return None
    equal = m.make("compare", condition.shape, condition.args, ("==",))
    if half is not m.product([(equal, 1), (x, 1)], 0.5):
        return None
    found = m.times(condition, x)
    return found if found.shape == term.shape else None


def joined(m: Algebra, term: Term) -> Term | None:
    """c * p + 2 * where(c, x, y) is where(c, 2 * x + p, 2 * y)."""
    for choice in term.args:
        scale, factors = split(choice)
        if len(factors) != 1 or factors[0][1] != 1 or not factors[0][0].calls("where"):
            continue
        condition, x, y = factors[0][0].args
        for other in term.args:
            coefficient, own = split(other)
            if other is choice or (condition, 1) not in own:
                continue
            rest = m.product([f for f in own if f[0] is not condition], coefficient)
            both = m.total([m.scaled(scale, x), rest])
            found = m.call("where", term.shape, [condition, both, m.scaled(scale, y)])
            if m.times(condition, both).shape == choice.shape == term.shape:
                left = [t for t in term.args if t is not other and t is not choice]
                return m.total([*left, found])
    return None


def logdet(m: Algebra, term: Term) -> Term | None:
    """The logarithm of the size, NaN where the sign is negative; its slope is 1 there."""
    if not term.calls("where"):
        return None
    condition, first, other = term.args
    if condition.head != "compare" or not condition.args[0].takes_output(0, "slogdet"):
        return None
    if other.takes_output(1, "slogdet") and first.is_nan:
        return m.call("logdet", term.shape, other.args[0].args)
    undefined = first.is_nan or first is m.number(0)
    return other if undefined and other.shape == term.shape else None


def largest(m: Algebra, term: Term) -> Term | None:
    """(x == max(x)) / sum(x == max(x)) is x == max(x), if the largest is one."""
    coefficient, factors = split(term)
    for mask, e in factors:
        if e != 1 or not _is_largest(mask):
            continue
        for below, power in factors:
            inner = below.args[0] if below.head == "index" else below
            if power == -1 and inner.reduces_by("sum") and inner.args[0] is mask:
                rest = [f for f in factors if f[0] is not below]
                return m.product(rest, coefficient)
    return None


def _is_largest(x: Term) -> bool:
    if x.head != "compare" or x.attrs[0] != "==":
        return False
    other = x.args[1].args[0] if x.args[1].head == "index" else x.args[1]
    return (other.head == "reduce" and other.name in ("max", "min")) or other.calls("norm")


def sizes(m: Algebra, term: Term) -> Term | None:
    """What chooses the largest of sizes compares it with 0 as well: maximum(h, 0) is h."""
    if term.calls("maximum") and term.args[1] is m.number(0) and _is_size(term.args[0]):
        return term.args[0]
    if not term.calls("where"):
        return None
    condition, one, half = term.args
    if condition.head != "compare" or condition.attrs[0] != ">" or one is not m.number(1):
        return None
    h, bound = condition.args
    equal = m.make("compare", h.shape, (h, bound), ("==",))
    ties = bound is m.number(0) and half is m.scaled(0.5, equal)
    return one if ties and _is_size(h) and not term.ndim else None


def _is_size(x: Term) -> bool:
    of_sizes = x.reduces_by("max") or x.reduces_by("sum")
    return x.calls("norm") or (of_sizes and (x.args[0].calls("abs") or _is_size(x.args[0])))


def matrix_norm(m: Algebra, term: Term) -> Term | None:
    """max(svd(A)[1]) is norm(A, 2), and sum(svd(A)[1]) is norm(A, 'nuc')."""
    if term.ndim or term.name not in ("max", "sum"):
        return None
    (x,) = term.args
    if not x.takes_output(1, "svd") or x.ndim != 1:
        return None
    option, kind = ("2", "2") if term.name == "max" else ("'nuc'", "nuc")
    return m.call("norm", (), x.args[0].args, option, kind)


def first_vectors(m: Algebra, term: Term) -> Term | None:
    """(U * (s == max(s))) @ V is outer(U[:, 0], V[0]), of svd(A): the largest comes first."""
    left, v = term.args
    coefficient, own = split(left)
    u = next((f for f, e in own if e == 1 and f.takes_output(0, "svd")), None)
    if u is None or not v.takes_output(2, "svd") or len(own) != 2 or coefficient != 1:
        return None
    if not any(_is_largest(f) for f, _ in own):
        return None
    column = m.make("part", u.shape[:1], [u], (ALL, 0))
    row = m.make("part", v.shape[1:], [v], (0,))
    return m.call("outer", term.shape, [column, row])


def frechet(m: Algebra, term: Term) -> Term | None:
    """expm([[A, E], [0, A]])[:n, n:] is expm_frechet(A, E); if E is the identity, expm(A)."""
    if len(term.args) != 1 or term.ndim != 2:
        return None
    corner = term.args[0]
    turned = corner.head == "transpose" and corner.args[0].calls("expm")
    whole = corner.args[0] if turned else corner
    if not whole.calls("expm") or turned:
        return None
    rows = whole.args[0]
    if not rows.calls("concatenate") or len(rows.args) != 2:
        return None
    upper, lower = rows.args
    if not upper.calls("concatenate") or not lower.calls("concatenate"):
        return None
    (a, direction), (_, again) = upper.args, lower.args
    if a is not again or term.shape != a.shape:
        return None
    scalars, e = m.unscaled(direction)
    if e.calls("eye"):
        found = m.call("expm", a.shape, a.args if a.head == "transpose" else [a])
        found = m.transpose(found, (1, 0)) if a.head == "transpose" else found
    else:
        found = m.call("expm_frechet", a.shape, [a, e], "compute_expm=False")
    return m.times(scalars, found)


def expanded(m: Algebra, term: Term) -> Term | None:
    """(1 - b) * g - b * (1 - g) is g - b: multiplied out, if that leaves less."""
    found: list[Term] = []
    for x in term.args:
        coefficient, factors = split(x)
        inner = next((f for f, e in factors if f.head == "sum" and e == 1), None)
        if inner is None or len(inner.args) > 2 or len(factors) > 2:
            found.append(x)
            continue
        rest = [f for f in factors if f[0] is not inner]
        found += [m.product([*rest, (t, 1)], coefficient) for t in inner.args]
    if len(found) == len(term.args):
        return None
    total = m.total(found)
    return total if total.shape == term.shape and weight(m, total) < weight(m, term) else None


def defined(m: Algebra, term: Term) -> Term | None:
    """where(logical_and(y == 0, logical_not(..)), 0, z) is z: the power of 0 is set apart."""
    if not term.calls("where") or not term.args[0].calls("logical_and"):
        return None
    first, second = term.args[0].args
    apart = first.head == "compare" and first.attrs[0] == "==" and second.calls("logical_not")
    other = term.args[2]
    return other if apart and other.shape == term.shape else None


def positive_size(m: Algebra, term: Term) -> Term | None:
    """(norm(x) > 0) * y is y, wherever there is a derivative."""
    coefficient, factors = split(term)
    for base, e in factors:
        if e != 1 or base.head != "compare" or base.attrs[0] != ">":
            continue
        rest = [f for f in factors if f[0] is not base]
        if _is_size(base.args[0]) and base.args[1] is m.number(0) and rest:
            found = m.product(rest, coefficient)
            return found if found.shape == term.shape else None
    return None


def divided(m: Algebra, term: Term) -> Term | None:
    """p * (c - y / p) is c * p - y."""
    coefficient, factors = split(term)
    for base, e in factors:
        if e != 1 or base.head != "sum":
            continue
        rest = [f for f in factors if f[0] is not base]
        below = {(f, -p) for t in base.args for f, p in split(t)[1] if p < 0 and f.ndim}
        if below & set(rest):
            found = m.total(m.product([*rest, (t, 1)], coefficient) for t in base.args)
            return found if found.shape == term.shape else None
    return None


def weight(m: Algebra, x: Term) -> int:
    """How many parts a term has where it is written out, shared ones as often as they occur."""
    return m.folded("weight", x, arguments, lambda x, of: 1 + sum(of[a] for a in x.args))


CHOICE_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "call": (defined, logdet, sizes, ties, decided, signs),
    "sum": (joined, expanded),
    "product": (largest, divided, positive_size),
    "matmul": (first_vectors,),
    "reduce": (matrix_norm,),
    "part": (frechet,),
}
