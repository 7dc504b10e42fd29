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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
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
    if value == 0:
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


def mul(*factors: Expr) -> Expr:
    """The matrix product: scalars go in front, and the identity away."""
    flat: list[Expr] = []
    scalars: list[Expr] = []
    shape = (factors[0].shape[0], factors[-1].shape[1])
    for factor in factors:
        value, own, rest = parts(factor)
        scalars += [number(value), *own]
        flat += rest.args if rest.head == "mul" else [rest]
    if any(is_zero(x) for x in (*flat, *scalars)):
        return zero(shape)
    selected = _selected(flat)
    if selected is not None:
        return scale(*scalars, selected)
    flat = _joined_ones(flat)
    flat = [x for x in flat if x != ONE and x.head != "eye"] or [
        x for x in flat if x.head == "eye"
    ][:1]
    if not flat:
        return scale(*scalars)
    product = flat[0] if len(flat) == 1 else Expr("mul", shape, tuple(flat))
    return scale(*scalars, product)


def _selected(factors: list[Expr]) -> Expr | None:
    """S S' is the identity, S T' zero, and S (S' A + T' B) is A, where S and T take other rows."""
    for k, (a, b) in enumerate(pairwise(factors)):
        joined = _met(a, b)
        if joined is None:
            turned = _met(turn(b), turn(a))
            joined = None if turned is None else turn(turned)
        if joined is not None:
            return mul(*factors[:k], joined, *factors[k + 2 :])
    return None


def _met(a: Expr, b: Expr) -> Expr | None:
    """The product of rows taken and of what is made of rows put in place."""
    if a.head != "select":
        return None
    if b.head == "T" and b.args[0].head == "select":
        return _taken(a, b.args[0])
    if b.head != "sum":
        return None
    placed = [parts(t)[2] for t in b.args]
    if not all(p.head == "mul" and _is_placed(p.args[0]) for p in placed):
        return None
    return add([mul(a, t) for t in b.args], (a.shape[0], b.shape[1]))


def _is_placed(x: Expr) -> bool:
    return x.head == "T" and x.args[0].head == "select"


def _taken(a: Expr, b: Expr) -> Expr | None:
    """Rows of which those of b were put in place; None unless it is all or none of them."""
    (start, stop), (first, last) = _bounds(a), _bounds(b)
    if (start, stop) == (first, last):
        return Expr("eye", (a.shape[0], a.shape[0]))
    known = all(isinstance(n, int) for n in (start, stop, first, last))
    return zero((a.shape[0], b.shape[0])) if known and (stop <= first or last <= start) else None


def _bounds(x: Expr) -> tuple[Any, Any]:
    if not isinstance(x.attr, Cut):
        return x.attr, x.attr + 1
    return x.attr.start, x.attr.start + x.shape[0]


def _joined_ones(factors: list[Expr]) -> list[Expr]:
    """A column of ones times a row of ones is a matrix of ones."""
    found: list[Expr] = []
    for x in factors:
        last = found[-1] if found else x
        if found and last.head == x.head == "ones" and x.shape[0] == 1:
            found[-1] = ones(last.shape[0], x.shape[1])
        else:
            found.append(x)
    return found


def had(*factors: Expr) -> Expr:
    """The elementwise product of matrices of one shape."""
    shape = factors[0].shape
    if shape == SCALAR:
        return scale(*factors)
    flat: list[Expr] = []
    scalars: list[Expr] = []
    for factor in factors:
        value, own, rest = parts(factor)
        scalars += [number(value), *own]
        flat += rest.args if rest.head == "had" else [rest]
    if any(is_zero(x) for x in (*flat, *scalars)):
        return zero(shape)
    exponents: dict[Expr, float] = {}
    for item in flat:
        base, e = (item.args[0], item.attr) if item.head == "pow" else (item, 1.0)
        exponents[base] = exponents.get(base, 0.0) + e
    left = [power(x, e) for x, e in exponents.items() if e and x.head != "ones"]
    if not left:
        return scale(*scalars, ones(*shape))
    return scale(*scalars, left[0] if len(left) == 1 else Expr("had", shape, tuple(left)))


def turn(x: Expr) -> Expr:
    """The transpose, of products and sums worked out."""
    shape = (x.shape[1], x.shape[0])
    if x.is_scalar or x.head in ("eye", "diag"):
        return x
    if x.head == "T":
        return x.args[0]
    if x.head == "ones":
        return ones(*shape)
    if x.head == "zero":
        return zero(shape)
    if x.head == "scale":
        return scale(x.args[0], turn(x.args[1]))
    if x.head == "mul":
        return mul(*(turn(a) for a in reversed(x.args)))
    if x.head == "sum":
        return add([turn(a) for a in x.args], shape)
    if x.head == "fn" and x.attr == "kron":
        return function("kron", shape, *(turn(a) for a in x.args))
    return Expr("T", shape, (x,))


def flipped(x: Expr) -> Expr:
    """The transpose as it is written down at first: (A * B).T"""
    if x.head in ("mul", "sum"):
        return Expr("T", (x.shape[1], x.shape[0]), (x,))
    if x.head == "scale":
        return scale(x.args[0], flipped(x.args[1]))
    return turn(x)


def unary(head: str, x: Expr) -> Expr:
    """`tr` or `total` of a matrix: scalars go in front, and of a scalar it is the scalar."""
    if x.is_scalar and head == "total":
        return x
    if is_zero(x):
        return ZERO
    value, scalars, rest = parts(x)
    if rest != ONE:
        rest = _unsummed(rest) if head == "total" else rest
        if rest.is_scalar:
            return scale(number(value), *scalars, rest)
        return scale(number(value), *scalars, Expr(head, SCALAR, (rest,)))
    changing = [s for s in scalars if s.moves]
    if len(changing) != 1 or changing[0].head in ("d", "tr"):
        return x
    others = [s for s in scalars if s is not changing[0]]
    return scale(number(value), *others, Expr(head, SCALAR, tuple(changing)))


def _unsummed(x: Expr) -> Expr:
    """The sum of all elements of sums of rows, or of columns, is that of all elements."""
    if x.head != "mul":
        return x
    own = list(x.args)
    if own[-1].head == "ones" and own[-1].shape[1] == 1:
        own = own[:-1]
    if own and own[0].head == "ones" and own[0].shape[0] == 1:
        own = own[1:]
    return mul(*own) if own else x


def trace(x: Expr) -> Expr:
    return unary("tr", x)


def total(x: Expr) -> Expr:
    return unary("total", x)


def inverse(x: Expr) -> Expr:
    if x.head == "inv":
        return x.args[0]
    return power(x, -1) if x.is_scalar else Expr("inv", x.shape, (x,))


def diag(x: Expr) -> Expr:
    """The diagonal matrix of a column."""
    if x.is_scalar:
        return x
    value, scalars, rest = parts(x)
    n = x.shape[0]
    inner = Expr("eye", (n, n)) if rest.head == "ones" else Expr("diag", (n, n), (rest,))
    return scale(number(value), *scalars, inner)


def function(name: str, shape: Size, *args: Expr) -> Expr:
    return Expr("fn", shape, args, name)


def select(rows: AnyDim, n: AnyDim, taken: AnyDim | Cut) -> Expr:
    """The matrix that takes rows of one with n rows."""
    return Expr("select", (rows, n), (), taken)


def rebuilt(x: Expr, args: tuple[Expr, ...]) -> Expr:
    """The same expression of other arguments."""
    if args == x.args:
        return x
    if x.head == "sum":
        return add(args, x.shape)
    if x.head == "pow":
        return power(args[0], x.attr)
    if x.head == "fn" and x.attr in LINEAR:
        value, scalars, inner = parts(args[-1])
        return scale(number(value), *scalars, function(x.attr, x.shape, *args[:-1], inner))
    if x.head in MAKERS:
        return MAKERS[x.head](*args)
    return Expr(x.head, x.shape, args, x.attr)


LINEAR = ("diagonal", "low", "expm_frechet", "vec")  # functions, in their last argument
MAKERS: Mapping[str, Callable[..., Expr]] = {
    "scale": scale, "mul": mul, "had": had, "T": turn, "tr": trace, "total": total,
    "inv": inverse, "diag": diag,
}  # fmt: skip
