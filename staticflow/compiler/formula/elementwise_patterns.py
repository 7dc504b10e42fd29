"""Elementwise functions that are made of choices, and what is centred, by their usual forms.

minimum(maximum(x, 0), 1)                       clip(x, 0, 1)
(x > 0) * (1 > maximum(x, 0))                   (x > 0) * (1 > x)
where(abs(x) < 1, x, sign(x))                   clip(x, -1, 1)
sum(x - mean(x))                                0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.axis_patterns import varying, without
from staticflow.compiler.formula.terms import Factors, Term, split


def clipped(m: Algebra, term: Term) -> Term | None:
    """minimum(maximum(x, 0), 1) is clip(x, 0, 1)."""
    if not term.calls("minimum") or not term.args[0].calls("maximum"):
        return None
    (x, low), high = term.args[0].args, term.args[1]
    if low.head != "number" or high.head != "number" or low.value > high.value:
        return None
    return m.call("clip", term.shape, [x, low, high])


def within(m: Algebra, term: Term) -> Term | None:
    """Where x > 0, maximum(x, 0) is x: (x > 0) * (1 > maximum(x, 0)) is (x > 0) * (1 > x)."""
    coefficient, factors = split(term)
    masks = [x.args for x, e in factors if e == 1 and x.head == "compare" and x.attrs[0] == ">"]
    for mask, e in factors:
        inner = next((x for x in mask.args if x.calls("maximum")), None)
        if mask.head != "compare" or inner is None or inner.args not in masks:
            continue
        args = [inner.args[0] if x is inner else x for x in mask.args]
        found = m.make("compare", mask.shape, args, mask.attrs)
        return m.product([(found, e), *(f for f in factors if f[0] is not mask)], coefficient)
    return None


def bounded(m: Algebra, term: Term) -> Term | None:
    """where(abs(x) < 2, x, 2 * sign(x)) is clip(x, -2, 2)."""
    if not term.calls("where"):
        return None
    condition, near, far = term.args
    if condition.head != "compare" or condition.attrs[0] not in ("<", "<="):
        return None
    size, bound = condition.args
    if not size.calls("abs") or bound.head != "number" or size.args[0] is not near:
        return None
    if far is not m.times(bound, m.call("sign", near.shape, [near])):
        return None
    return m.call("clip", near.shape, [near, m.scaled(-1, bound), bound])


def scaled_choice(m: Algebra, term: Term) -> Term | None:
    """where(c, x / n, y / n) is where(c, x, y) / n, and where(c, -x, -y) is -where(c, x, y)."""
    if not term.calls("where"):
        return None
    condition, x, y = term.args
    (a, first), (b, other) = split(x), split(y)
    common = _common(first, other)
    sign = -1.0 if a < 0 and b < 0 else 1.0
    if not common and sign == 1:
        return None
    inverse = [(base, -e) for base, e in common]
    parts = [m.product([*factors, *inverse], sign * c) for c, factors in ((a, first), (b, other))]
    inner = m.call("where", term.shape, [condition, *parts])
    return m.product([*common, (inner, 1)], sign) if inner.shape == term.shape else None


def _common(first: Factors, other: Factors) -> Factors:
    """The scalars that both are divided by."""
    below = dict(other)
    return tuple((x, e) for x, e in first if not x.ndim and e < 0 and below.get(x) == e)


def same_condition(m: Algebra, term: Term) -> Term | None:
    """where(c, where(h, x, y), -where(h, -x, z)) is where(h, x, where(c, y, -z))."""
    if not term.calls("where"):
        return None
    condition, *branches = term.args
    choices = [_choice(m, x) for x in branches]
    if any(not found for found in choices):
        return None
    (h, x, y), (k, z, w) = choices
    if h is not k or condition is h or (x is not z and y is not w):
        return None
    first = x if x is z else m.call("where", term.shape, [condition, x, z])
    other = y if y is w else m.call("where", term.shape, [condition, y, w])
    return m.call("where", term.shape, [h, first, other])


def _choice(m: Algebra, x: Term) -> list[Term]:
    """The condition and the branches of c * where(h, x, y), with c within."""
    coefficient, factors = split(x)
    if len(factors) != 1 or factors[0][1] != 1 or not factors[0][0].calls("where"):
        return []
    condition, first, other = factors[0][0].args
    return [condition, m.scaled(coefficient, first), m.scaled(coefficient, other)]


def centred(m: Algebra, term: Term) -> Term | None:
    """sum(x - mean(x)) is 0, also times what is the same for all of them; it falls out of sums."""
    if term.head != "reduce" or term.name not in ("sum", "mean"):
        return None
    (x,) = term.args
    axes = frozenset(k - x.ndim for k in term.axes)
    if _vanishes(m, x, axes):
        return m.zeros(term.shape)
    if x.head != "sum":
        return None
    left = [t for t in x.args if not _vanishes(m, t, axes)]
    rest = m.total(left) if left and len(left) < len(x.args) else x
    return m.reduce(term.name, rest, term.axes) if rest is not x and rest.shape == x.shape else None


def _vanishes(m: Algebra, x: Term, axes: frozenset[int]) -> bool:
    """Whether the sum along axes is 0: of c * (y - mean(y))."""
    moving = [(f, e) for f, e in split(x)[1] if varying(m, f) & axes]
    return len(moving) == 1 and moving[0][1] == 1 and _is_centred(m, moving[0][0], axes)


def _is_centred(m: Algebra, x: Term, axes: frozenset[int]) -> bool:
    """Whether this is y - mean(y), with the mean along axes."""
    return uncentred(m, x, axes) is not None


def uncentred(m: Algebra, x: Term, axes: frozenset[int]) -> Term | None:
    """y, of y - mean(y)."""
    if x.head != "sum":
        return None
    means = [t for t in x.args if not varying(m, t) & axes]
    rest = [t for t in x.args if t not in means]
    if len(means) != 1 or not rest:
        return None
    own = m.total(rest)
    wanted = m.reduce("mean", own, [k + x.ndim for k in axes])
    is_mean = m.scaled(-1, without(m, means[0], axes, x.ndim)) is wanted
    return own if is_mean and own.shape == x.shape else None


def variance(m: Algebra, term: Term) -> Term | None:
    """mean((x - mean(x)) ** 2) is var(x)."""
    if not term.reduces_by("mean"):
        return None
    (x,) = term.args
    coefficient, factors = split(x)
    if len(factors) != 1 or factors[0][1] != 2:
        return None
    own = uncentred(m, factors[0][0], frozenset(k - x.ndim for k in term.axes))
    return None if own is None else m.scaled(coefficient, m.reduce("var", own, term.axes))


def deviation(m: Algebra, term: Term) -> Term | None:
    """sqrt(var(x)) is std(x)."""
    coefficient, factors = split(term)
    for x, e in factors:
        if x.reduces_by("var") and abs(e) == 0.5:
            rest = [f for f in factors if f[0] is not x]
            return m.product([*rest, (m.reduce("std", x.args[0], x.axes), 2 * e)], coefficient)
    return None


def triangle(m: Algebra, term: Term) -> Term | None:
    """arange(n)[:, None] >= arange(n) is tril(ones((n, n))), and with <= it is triu."""
    a, b = term.args
    if term.ndim != 2 or term.attrs[0] != ">=":
        return None
    for name, first, other in (("tril", a, b), ("triu", b, a)):
        rows = first.head == "index" and first.attrs == (1,) and first.args[0].calls("arange")
        if rows and other.calls("arange"):
            return m.call(name, term.shape, [m.ones(term.shape)])
    return None


def within_triangle(m: Algebra, term: Term) -> Term | None:
    """tril(ones((n, n))) * A is tril(A), of a matrix that has a name."""
    coefficient, factors = split(term)
    for mask, e in factors:
        if e != 1 or not (mask.calls("tril") or mask.calls("triu")):
            continue
        rest = m.product([f for f in factors if f[0] is not mask])
        scalars, matrix = m.unscaled(rest)
        if mask.args[0].calls("ones") and matrix.shape == mask.shape and len(factors) == 2:
            found = m.call(mask.name, mask.shape, [matrix])
            return m.product([(scalars, 1), (found, 1)], coefficient)
    return None


def sorted_elements(m: Algebra, term: Term) -> Term | None:
    """take_along_axis(x, argsort(x), axis=0) is sort(x), of a vector."""
    if not term.calls("take_along_axis") or term.ndim != 1:
        return None
    x, order = term.args
    if not order.calls("argsort") or order.args[0] is not x or "True" in str(order.attrs[1]):
        return None
    return m.call("sort", term.shape, [x])


def put_in_place(m: Algebra, term: Term) -> Term | None:
    """Elements put where those of argsort(x) came from: y[argsort(argsort(x))], of vectors."""
    if not term.calls("scatter_along") or term.ndim != 1:
        return None
    y, order = term.args
    if not order.calls("argsort") or not y.shape == order.shape == term.shape:
        return None
    back = m.make("call", order.shape, [order], order.attrs)
    return m.make("part", term.shape, [y, back])


def kron_of_vectors(m: Algebra, term: Term) -> Term | None:
    """reshape(outer(x, y), (m * n,)) is kron(x, y)."""
    if not term.calls("reshape") or term.ndim != 1:
        return None
    scalars, inner = m.unscaled(term.args[0])
    if not inner.calls("outer"):
        return None
    return m.times(scalars, m.call("kron", term.shape, inner.args))


ELEMENTWISE_PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "call": (
        clipped, bounded, same_condition, scaled_choice, sorted_elements, put_in_place,
        kron_of_vectors,
    ),
    "compare": (triangle,),
    "product": (within, deviation, within_triangle),
    "reduce": (centred, variance),
}  # fmt: skip
