"""Sums multiplied out where differentials occur: df as a list of terms with one dX each."""

from __future__ import annotations

from itertools import product as choices

from staticflow.session.derivation.expr import (
    Expr,
)
from staticflow.session.derivation.matrix import (
    rebuilt,
)


def terms(x: Expr) -> list[Expr]:
    """The terms whose sum x is, none of them with a sum around a differential."""
    if not x.moves or x.head == "d":
        return [x]
    if x.head == "sum":
        return [t for a in x.args for t in terms(a)]
    return [rebuilt(x, args) for args in choices(*(terms(a) for a in x.args))]
