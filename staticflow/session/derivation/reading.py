"""Graphs as matrix expressions: the terms of `explain`, with vectors as columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from staticflow.compiler.formula.terms import ALL, Term, split
from staticflow.compiler.formula.writer import write
from staticflow.errors import GraphError, fail
from staticflow.graph.types import Shape
from staticflow.session.derivation.differentials import CLOSED, CONSTANT, SLOPES
from staticflow.session.derivation.matrix import (
    Expr,
    Size,
    add,
    diag,
    function,
    had,
    inverse,
    mul,
    number,
    ones,
    power,
    scale,
    symbol,
    total,
    trace,
    turn,
)


def size_of(shape: Shape) -> Size:
    """The shape as that of a matrix: vectors are columns."""
    if len(shape) > 2:
        fail(
            GraphError,
            "derive: writes matrices and vectors",
            got=f"a part of shape {shape}",
            do="use sf.grad and sf.explain for arrays of more axes",
        )
    return (1, 1) if not shape else (shape[0], shape[1] if len(shape) == 2 else 1)


class Converter:
    """Makes matrix expressions of terms; what it cannot take apart must not hold `moving`."""

    def __init__(self, moving: Sequence[Term]) -> None:
        self.moving = frozenset(moving)
        self.known: dict[Expr, Term] = {}  # what is not taken apart, for its value
        self._made: dict[Term, Expr] = {}
        self._moves: dict[Term, bool] = {}

    def expr(self, term: Term) -> Expr:
        if term not in self._made:
            self._made[term] = self._expr(term)
        return self._made[term]

    def moves(self, term: Term) -> bool:
        """Whether a term depends on what is differentiated by."""
        if term not in self._moves:
            found = term in self.moving or any(self.moves(x) for x in term.args)
            self._moves[term] = found
        return self._moves[term]

    def _expr(self, term: Term) -> Expr:
        if term.head == "name":
            found = symbol(term.name, size_of(term.shape))
            self.known[found] = term
            return found
        if term.head == "size":
            return Expr("size", (1, 1), (), term.attrs[0])
        if term.head == "number":
            return number(term.value)
        rule = HEADS.get(term.head)
        made = rule(self, term) if rule is not None else None
        return self._opaque(term) if made is None else made

    def _opaque(self, term: Term) -> Expr:
        if self.moves(term):
            fail(
                GraphError,
                "derive: has no rule for the differential of this",
                got=write([("", term)], {}, ())[:120],
                do="use sf.grad and sf.explain, which print the result",
            )
        found = Expr("known", size_of(term.shape), (), write([("", term)], {}, ()).split("\n")[-1])
        self.known[found] = term
        return found

    def spread(self, term: Term, shape: Shape) -> Expr:
        """A term broadcast to a shape as NumPy does."""
        found, target = self.expr(term), size_of(shape)
        if found.is_scalar and target != found.shape:
            return scale(found, ones(*target))
        if term.ndim == 1 and len(shape) == 2:
            found = turn(found)
        if found.shape == target:
            return found
        if found.shape[0] != target[0]:
            found = mul(ones(target[0], 1), found)
        return found if found.shape == target else mul(found, ones(1, target[1]))


TermRule = Callable[[Converter, Term], "Expr | None"]


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
    return mul(turn(left), right) if a.ndim == 1 else mul(left, right)


def _power(c: Converter, term: Term) -> Expr | None:
    base, exponent = term.args
    if exponent.head != "number":
        return None
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
    if name not in ("sum", "mean") or x.ndim > 2:
        return None
    found = c.expr(x)
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


def _count(c: Converter, n: Any) -> Expr:
    """One over a size."""
    return power(number(n) if isinstance(n, int) else Expr("size", (1, 1), (), n), -1)


def _call(c: Converter, term: Term) -> Expr | None:
    name, args = term.name, term.args
    if term.ndim > 2 or any(x.ndim > 2 for x in args):
        return None
    if name == "where" and args[1].is_nan:
        return c.expr(args[2])
    if name == "log" and (det := _determinant(args[0])) is not None:
        return function("logdet", (1, 1), c.expr(det))
    if name in SLOPES or name in CONSTANT:
        return function(name, size_of(term.shape), c.expr(args[0]))
    if name == "trace" and args[0].calls("expm"):
        return function("trace_expm", (1, 1), c.expr(args[0].args[0]))
    rule = CALLS.get(name)
    if rule is not None:
        return rule([c.expr(x) for x in args])
    if name in CLOSED and _along_vectors(args[0], term.axes):
        return function(name, size_of(term.shape), c.expr(args[0]))
    if name in ("ones", "eye", "broadcast_to"):
        return c.spread(args[0], term.shape) if name == "broadcast_to" else _fixed(name, term)
    return None


def _along_vectors(x: Term, axes: tuple[int, ...]) -> bool:
    """Whether a function of vectors is applied to a column, to each row of a matrix or to it."""
    if x.ndim < 2:
        return True
    return axes == (0,) if x.shape[1] == 1 else axes in ((), (1,), (0, 1))


def _part(c: Converter, term: Term) -> Expr | None:
    """x[:, 0] of a column (n, 1) is the column itself, and x[0] of a row (1, n) its transpose."""
    x = term.args[0]
    if x.calls("slogdet") and term.attrs == ("1",):
        return function("logdet", (1, 1), c.expr(x.args[0]))
    if len(term.args) != 1 or x.ndim != 2 or term.ndim != 1:
        return None
    if x.shape[1] == 1 and term.attrs == (ALL, 0):
        return c.expr(x)
    row = x.shape[0] == 1 and term.attrs in ((0,), (0, ALL))
    return turn(c.expr(x)) if row else None


def _fixed(name: str, term: Term) -> Expr:
    shape = size_of(term.shape)
    return Expr("eye", shape) if name == "eye" else ones(*shape)


def _determinant(term: Term) -> Term | None:
    """A, of det(A) or abs(det(A))."""
    inner = term.args[0] if term.calls("abs") else term
    return inner.args[0] if inner.calls("det") else None


def _solve(args: Sequence[Expr]) -> Expr:
    return mul(inverse(args[0]), args[1])


CALLS: Mapping[str, Callable[[Sequence[Expr]], Expr]] = {
    "outer": lambda args: mul(args[0], turn(args[1])),
    "inv": lambda args: inverse(args[0]),
    "trace": lambda args: trace(args[0]),
    "solve": _solve,
    "diag": lambda args: diag(args[0]),
}
HEADS: Mapping[str, TermRule] = {
    "sum": _sum, "product": _product, "matmul": _matmul, "power": _power,
    "transpose": _transpose, "index": _index, "reduce": _reduce, "call": _call, "part": _part,
}  # fmt: skip
__all__ = ["Converter", "size_of"]
