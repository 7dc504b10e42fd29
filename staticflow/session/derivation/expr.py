"""Matrix expressions of a derivation: immutable trees in which everything is a matrix.

Scalars have shape (1, 1) and vectors are columns (n, 1), as in a textbook. `d` stands before what
changes: `d` of a symbol is the differential dX itself, `d` of more is yet to be worked out.

    head      arguments             attr        written
    ------    -----------------     --------    ------------------------
    symbol                          its name    X
    number                          its value   2
    known                           its text    one_hot(y): what is not taken apart
    size                            its size    n
    chain     derivatives                       (dL/dd)(dd/db): a product still to be put in
    ones eye diag                               ones((m, 1)), eye(n), diag(v)
    select                              entry   eye(n)[1:]: the rows that a slice takes
    vec                                         vec(A), the columns of A under each other
    d         what changes                      dX, d(X @ b)
    sum       terms                             A + B
    sum_t     one term              steps       sum(... for t in ...): over the steps of a scan
    scale     a scalar, a matrix                c * A
    mul       factors                           A @ B
    had       factors                           A * B, elementwise
    pow       a base                exponent    A ** 2, elementwise
    fn        arguments             its name    exp(A), elementwise, or a closed form: det(A)
    T inv tr total                              A.T, inv(A), tr(A), sum(A)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from staticflow.compiler.formula.terms import Cut
from staticflow.graph.dims import AnyDim

Size = tuple[AnyDim, AnyDim]
SCALAR: Size = (1, 1)


@dataclass(frozen=True)
class Expr:
    """A matrix expression; see the table above for its heads."""

    head: str
    shape: Size
    args: tuple[Expr, ...] = ()
    attr: Any = None

    @cached_property
    def moves(self) -> bool:
        """Whether a differential occurs in it."""
        return self.head == "d" or any(x.moves for x in self.args)

    @cached_property
    def hashed(self) -> int:
        return hash((self.head, self.shape, self.args, self.attr))

    def __hash__(self) -> int:
        return self.hashed

    @property
    def is_scalar(self) -> bool:
        return self.shape == SCALAR

    def has(self, symbol: Expr) -> bool:
        """Whether a symbol occurs in it."""
        return self == symbol or any(x.has(symbol) for x in self.args)


def symbol(name: str, shape: Size) -> Expr:
    return Expr("symbol", shape, (), name)


def number(value: float) -> Expr:
    return Expr("number", SCALAR, (), float(value))


def size(n: AnyDim) -> Expr:
    """A size, as a scalar."""
    return number(n) if isinstance(n, int) else Expr("size", SCALAR, (), n)


ZERO, ONE = number(0), number(1)


def ones(rows: AnyDim, columns: AnyDim) -> Expr:
    return ONE if (rows, columns) == SCALAR else Expr("ones", (rows, columns))


def zero(shape: Size) -> Expr:
    return ZERO if shape == SCALAR else Expr("zero", shape)


def is_zero(x: Expr) -> bool:
    return x.head == "zero" or x == ZERO


def d(x: Expr) -> Expr:
    return Expr("d", x.shape, (x,))


def parts(x: Expr) -> tuple[float, list[Expr], Expr]:
    """The number, the scalar factors and the matrix that a term is the product of."""
    value, scalars = 1.0, []
    waiting, rest = [x], ONE
    while waiting:
        item = waiting.pop(0)
        if item.head == "scale":
            waiting = [*item.args, *waiting]
        elif item.head == "number":
            value *= item.attr
        elif item.is_scalar:
            scalars.append(item)
        else:
            rest = item
    return value, scalars, rest


def scale(*items: Expr) -> Expr:
    """The product of scalars and of one matrix at most, scalars first."""
    value, rest = 1.0, ONE
    scalars: list[Expr] = []
    for item in items:
        v, s, r = parts(item)
        value, scalars = value * v, scalars + s
        rest = rest if r == ONE else r
    if value == 0 or rest.head == "zero":
        return zero(rest.shape)
    scalars = _powers(scalars)
    found = [*scalars, *([] if rest == ONE else [rest])]
    if value != 1 or not found:
        found.insert(0, number(value))
    result = found[-1]
    for item in reversed(found[:-1]):
        result = Expr("scale", result.shape, (item, result))
    return result


def _powers(scalars: list[Expr]) -> list[Expr]:
    """Scalar factors with equal bases taken together, what is in a denominator last."""
    exponents: dict[Expr, float] = {}
    for item in scalars:
        base, e = (item.args[0], item.attr) if item.head == "pow" else (item, 1.0)
        exponents[base] = exponents.get(base, 0.0) + e
    found = [power(base, e) for base, e in exponents.items() if e]
    return sorted(found, key=lambda x: x.moves)


def power(x: Expr, exponent: float) -> Expr:
    if exponent == 1:
        return x
    if x.head == "number":
        return number(x.attr**exponent)
    if x.head == "pow":
        return power(x.args[0], x.attr * exponent)
    if exponent == 0:
        return ones(*x.shape)
    return Expr("pow", x.shape, (x,), float(exponent))


def add(terms: Iterable[Expr], shape: Size) -> Expr:
    """The sum of terms: like ones are taken together, zeros left out."""
    coefficients: dict[Expr, float] = {}
    waiting = list(terms)
    while waiting:
        term = waiting.pop(0)
        if term.head == "sum":
            waiting = [*term.args, *waiting]
            continue
        value, scalars, rest = parts(term)
        if term.head == "scale" and rest.head == "sum" and not scalars and value == -1:
            waiting = [*(scale(number(-1), x) for x in rest.args), *waiting]
            continue
        base = scale(*scalars, rest)
        coefficients[base] = coefficients.get(base, 0.0) + value
    kept = [scale(number(c), x) for x, c in coefficients.items() if c and not is_zero(x)]
    if len(kept) < 2:
        return kept[0] if kept else zero(shape)
    kept.sort(key=lambda x: parts(x)[0] < 0)
    return Expr("sum", shape, tuple(kept))


def function(name: str, shape: Size, *args: Expr) -> Expr:
    return Expr("fn", shape, args, name)


def select(rows: AnyDim, n: AnyDim, taken: AnyDim | Cut) -> Expr:
    """The matrix that takes rows of one with n rows."""
    return Expr("select", (rows, n), (), taken)
