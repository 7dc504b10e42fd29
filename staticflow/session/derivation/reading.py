"""Graphs as matrix expressions: the terms of `explain`, with vectors as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticflow.compiler.formula.map_rules import COMPARISONS
from staticflow.compiler.formula.terms import Term, split
from staticflow.session.derivation.converter import Converter, TermRule, size_of
from staticflow.session.derivation.expr import (
    Expr,
    add,
    function,
    number,
    ones,
    power,
    scale,
)
from staticflow.session.derivation.function_readings import call, part
from staticflow.session.derivation.matrix import (
    diag,
    flipped,
    had,
    mul,
    total,
    turn,
)


def _sum(c: Converter, term: Term) -> Expr:
    return add([c.spread(x, term.shape) for x in term.args], size_of(term.shape))


def _product(c: Converter, term: Term) -> Expr:
    """The elementwise product; a matrix times a constant row or column has a diagonal matrix."""
    coefficient, factors = split(term)
    scalars = [power(c.expr(x), e) for x, e in factors if not x.ndim]
    arrays = [(x, e) for x, e in factors if x.ndim]
    if not arrays:
        return scale(number(coefficient), *scalars)
    target = size_of(term.shape)
    whole = [f for f in arrays if size_of(f[0].shape) == target and f[0].ndim == term.ndim]
    rest = [f for f in arrays if f not in whole]
    left: list[Expr] = []
    right: list[Expr] = []
    for x, e in list(rest):
        if len(term.shape) == 2 and whole and not c.moves(x):
            column = power(c.expr(x), e)
            row = x.ndim == 1 or column.shape[0] == 1
            if row == (x.ndim == 1 or column.shape[1] != 1):
                side = right if row else left
                side.append(diag(column if x.ndim == 1 or not row else turn(column)))
                rest.remove((x, e))
    spread = [power(c.spread(x, term.shape), e) for x, e in (*whole, *rest)]
    return scale(number(coefficient), *scalars, mul(*left, had(*spread), *right))


def _matmul(c: Converter, term: Term) -> Expr | None:
    a, b = term.args
    if a.ndim > 2 or b.ndim > 2:
        return None
    left, right = c.expr(a), c.expr(b)
    if a.ndim == 1 and b.ndim == 2:
        return mul(turn(right), left)
    return mul(_row(left), right) if a.ndim == 1 else mul(left, right)


def _row(x: Expr) -> Expr:
    """A column turned; of a sum as it is written, (X @ w - b).T"""
    return flipped(x) if x.head == "sum" else turn(x)


def _power(c: Converter, term: Term) -> Expr:
    base, exponent = term.args
    if exponent.head != "number":
        args = [c.spread(x, term.shape) for x in term.args]
        return function("power", size_of(term.shape), *args)
    return power(c.expr(base), exponent.value)


def _transpose(c: Converter, term: Term) -> Expr | None:
    return turn(c.expr(term.args[0])) if term.ndim == 2 else None


def _index(c: Converter, term: Term) -> Expr | None:
    """x[:, None] is the column itself, x[None] its transpose."""
    (x,) = term.args
    if term.ndim > 2:
        return None
    found = c.expr(x)
    return turn(found) if x.ndim == 1 and term.attrs == (0,) else found


def _reduce(c: Converter, term: Term) -> Expr | None:
    (x,), name = term.args, term.name
    if x.ndim > 2 or name not in ("sum", "mean", "max", "min", "prod"):
        return None
    found = c.expr(x)
    if name in ("max", "min", "prod"):
        return _extreme(name, found, term)
    rows, columns = found.shape
    if len(term.axes) == x.ndim:
        count, result = [rows, columns], total(found)
    elif term.axes == (0,):
        count, result = [rows], mul(turn(found), ones(rows, 1))
    else:
        count, result = [columns], mul(found, ones(columns, 1))
    if name == "sum":
        return result
    return scale(*(_count(c, n) for n in count), result)


def _extreme(name: str, x: Expr, term: Term) -> Expr | None:
    """Of all elements; the largest also of each row, or of each column."""
    if not term.ndim:
        return function(name, (1, 1), x)
    if name == "prod":
        return None
    x = turn(x) if term.axes == (0,) else x
    return function(name, (x.shape[0], 1), x)


def _count(c: Converter, n: Any) -> Expr:
    """One over a size."""
    return power(number(n) if isinstance(n, int) else Expr("size", (1, 1), (), n), -1)


def _compare(c: Converter, term: Term) -> Expr:
    """A choice, as ones and zeros."""
    args = [c.spread(x, term.shape) for x in term.args]
    return function(OPS_OF[term.name], size_of(term.shape), *args)


OPS_OF = {symbol: name for name, symbol in COMPARISONS.items()}


HEADS: Mapping[str, TermRule] = {
    "sum": _sum, "product": _product, "matmul": _matmul, "power": _power,
    "transpose": _transpose, "index": _index, "reduce": _reduce, "call": call, "part": part,
    "compare": _compare,
}  # fmt: skip
