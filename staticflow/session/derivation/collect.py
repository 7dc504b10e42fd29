"""What all terms of a sum have at one end, taken out of it: `A @ x + B @ x` is (A + B) @ x."""

from __future__ import annotations

from staticflow.session.derivation.expr import (
    Expr,
    add,
    number,
    parts,
    scale,
)
from staticflow.session.derivation.matrix import (
    mul,
)
from staticflow.session.derivation.trace_rules import factors


def collected(x: Expr) -> Expr:
    """The sum with common factors in front and behind."""
    if x.head != "sum":
        return x
    split = [parts(term) for term in x.args]
    scalars = split[0][1]
    if not all(own == scalars for _, own, _ in split):
        return x
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
    return scale(number(value), *scalars, mul(*head, add(terms, shape), *tail))


def _common(chains: list[tuple[Expr, ...]]) -> int:
    """How many factors all chains begin with; one of each is left."""
    most = min(len(c) for c in chains) - 1
    count = 0
    while count < most and len({c[count] for c in chains}) == 1:
        count += 1
    return count
