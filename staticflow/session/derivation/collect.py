"""What all terms of a sum have at one end, taken out of it: `A @ x + B @ x` is (A + B) @ x."""

from __future__ import annotations

from staticflow.session.derivation.expr import (
    Expr,
    add,
    number,
    parts,
    scale,
)
from staticflow.session.derivation.matrix import had, mul
from staticflow.session.derivation.trace_rules import factors


def collected(x: Expr) -> Expr:
    """The sum with common factors in front and behind, of terms with the same scalars each."""
    if x.head != "sum":
        return _numbers_in_front(x)
    groups: dict[tuple[Expr, ...], list[Expr]] = {}
    for term in x.args:
        groups.setdefault(tuple(parts(term)[1]), []).append(term)
    return add([_taken_out(add(terms, x.shape)) for terms in groups.values()], x.shape)


def _numbers_in_front(x: Expr) -> Expr:
    """(2 * A + 2 * B) @ C is 2 * (A + B) @ C."""
    value, scalars, rest = parts(x)
    own = []
    for factor in factors(rest):
        sizes = {abs(parts(t)[0]) for t in factor.args} if factor.head == "sum" else set()
        common = sizes.pop() if len(sizes) == 1 else 1.0
        value *= common
        terms = [scale(number(1 / common), t) for t in factor.args]
        own.append(factor if common == 1 else add(terms, factor.shape))
    return scale(number(value), *scalars, mul(*own)) if value != parts(x)[0] else x


def _taken_out(x: Expr) -> Expr:
    """A sum of terms with the same scalars."""
    if x.head != "sum":
        return _numbers_in_front(x)
    split = [parts(term) for term in x.args]
    shared = _shared([rest for _, _, rest in split])
    if shared:
        one = _taken_out(add([_without(term, shared) for term in x.args], x.shape))
        if one.head != "sum":
            return had(*shared, one)
    scalars = split[0][1]
    first = split[0][0]
    value = first if all(abs(v) == abs(first) for v, _, _ in split) else 1.0
    chains = [factors(rest) for _, _, rest in split]
    behind = _common([c[::-1] for c in chains])
    trimmed = [c[: len(c) - behind] for c in chains]
    before = _common(trimmed)
    inner = [c[before:] for c in trimmed]
    if not all(inner) or not (behind or before or value != 1 or scalars):
        return x
    terms = [scale(number(v / value), mul(*c)) for (v, _, _), c in zip(split, inner, strict=True)]
    shape = terms[0].shape
    if any(t.shape != shape for t in terms):
        return x
    head, tail = chains[0][:before], chains[0][len(chains[0]) - behind :]
    return _numbers_in_front(scale(number(value), *scalars, mul(*head, add(terms, shape), *tail)))


def _shared(products: list[Expr]) -> list[Expr]:
    """The factors that all elementwise products have; one of each product is left."""
    if any(p.head != "had" for p in products):
        return []
    found = [f for f in products[0].args if all(f in p.args for p in products[1:])]
    return found if all(len(p.args) > len(found) for p in products) else found[:-1]


def _without(term: Expr, shared: list[Expr]) -> Expr:
    value, scalars, product = parts(term)
    rest = had(*(f for f in product.args if f not in shared))
    return scale(number(value), *scalars, rest)


def _common(chains: list[tuple[Expr, ...]]) -> int:
    """How many factors all chains begin with; one of each is left."""
    most = min(len(c) for c in chains) - 1
    count = 0
    while count < most and len({c[count] for c in chains}) == 1:
        count += 1
    return count
