"""Graphs as matrix expressions: the terms of `explain`, with vectors as columns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from staticflow.compiler.formula.columns import is_elementwise
from staticflow.compiler.formula.map_rules import COMPARISONS
from staticflow.compiler.formula.terms import ALL, Cut, Term, split
from staticflow.compiler.formula.writer import write
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.types import Shape
from staticflow.session.derivation.functions import FUNCTIONS
from staticflow.session.derivation.matrix import (
    Expr,
    Size,
    add,
    diag,
    flipped,
    function,
    had,
    inverse,
    mul,
    number,
    ones,
    power,
    scale,
    select,
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


def _call(c: Converter, term: Term) -> Expr | None:
    name, args = term.name, term.args
    if term.ndim > 2 or any(x.ndim > 2 for x in args):
        return None
    if name == "where":
        return _choice(c, term)
    if name == "log" and (det := _determinant(args[0])) is not None:
        return function("logdet", (1, 1), c.expr(det))
    if is_elementwise(name):
        return function(name, size_of(term.shape), *(c.spread(x, term.shape) for x in args))
    if name == "trace" and args[0].calls("expm"):
        return function("trace_expm", (1, 1), c.expr(args[0].args[0]))
    if name == "norm" and term.attrs[1]:
        return function(f"norm_{term.attrs[1]}", (1, 1), c.expr(args[0]))
    if name in ("concatenate", "stack"):
        return _joined(c, term)
    rule = CALLS.get(name)
    if rule is not None and not (name == "cumsum" and term.ndim > 1):
        return rule([c.expr(x) for x in args])
    if name in ("softmax", "log_softmax", "logsumexp"):
        return _along(c, term)
    if name in FUNCTIONS and len(args) == 1 and not term.attrs[2]:
        return function(name, size_of(term.shape), c.expr(args[0]))
    if name in ("ones", "eye", "broadcast_to"):
        return c.spread(args[0], term.shape) if name == "broadcast_to" else _fixed(name, term)
    return None


def _choice(c: Converter, term: Term) -> Expr:
    """where(c, x, y) is c * x + (1 - c) * y."""
    condition, *branches = term.args
    if branches[0].is_nan:
        return c.expr(branches[1])
    x, y = (c.spread(b, term.shape) for b in branches)
    shape = size_of(term.shape)
    mask = c.spread(condition, term.shape)
    other = add([ones(*shape), scale(number(-1), mask)], shape)
    return add([had(mask, x), had(other, y)], shape)


def _along(c: Converter, term: Term) -> Expr | None:
    """A function of vectors: of a column, of each row of a matrix, or of each column of one."""
    name, x = term.name, c.expr(term.args[0])
    if _along_vectors(term.args[0], term.axes):
        return function(name, size_of(term.shape), x)
    if term.args[0].ndim != 2 or term.axes != (0,):
        return None
    rows, columns = x.shape
    shape = (columns, 1) if name == "logsumexp" else (columns, rows)
    found = function(name, shape, turn(x))
    return found if name == "logsumexp" else turn(found)


def _joined(c: Converter, term: Term) -> Expr | None:
    """[A; B] is S' A + T' B, where S and T take the rows of A and B."""
    (axis,) = term.axes
    stacks = term.calls("stack")
    if term.ndim == 1 and stacks:
        return None
    n, start = size_of(term.shape)[axis], 0
    parts: list[Expr] = []
    for x in term.args:
        own = c.expr(x)
        own = turn(own) if stacks and axis == 0 else own
        count = 1 if stacks else x.shape[axis]
        taken = select(count, n, start if stacks else Cut(start, start + count))
        parts.append(mul(turn(taken), own) if axis == 0 else mul(own, taken))
        start = start + count
    return add(parts, size_of(term.shape))


def _along_vectors(x: Term, axes: tuple[int, ...]) -> bool:
    """Whether a function of vectors is applied to a column, to each row of a matrix or to it."""
    if x.ndim < 2:
        return True
    return axes == (0,) if x.shape[1] == 1 else axes in ((), (1,), (0, 1))


def _compare(c: Converter, term: Term) -> Expr:
    """A choice, as ones and zeros."""
    args = [c.spread(x, term.shape) for x in term.args]
    return function(OPS_OF[term.name], size_of(term.shape), *args)


OPS_OF = {symbol: name for name, symbol in COMPARISONS.items()}


def _part(c: Converter, term: Term) -> Expr | None:
    """x[1:] is S x, where S takes rows; x[k] of the eigenvalues' kind is a function by name."""
    x = term.args[0]
    if len(term.args) == 2 and not term.attrs and x.ndim == 2 and term.ndim == 2:
        return _rows_of(c, x, term.args[1])
    if len(term.args) != 1:
        return None
    named = DECOMPOSED.get((x.name, term.attrs[0])) if x.head == "call" else None
    if named is not None:
        return function(named, size_of(term.shape), c.expr(x.args[0]))
    if not 0 < x.ndim < 3 or len(term.attrs) > x.ndim:
        return None
    return _selected(c, term)


DECOMPOSED: Mapping[tuple[str, Hashable], str] = {
    ("slogdet", 1): "logdet", ("eigh", 0): "eigenvalues", ("svd", 1): "singular_values",
}  # fmt: skip


def _rows_of(c: Converter, x: Term, labels: Term) -> Expr:
    """W[labels] is one_hot(labels) @ W."""
    taken = function("one_hot", (labels.shape[0], x.shape[0]), c.expr(labels))
    return mul(taken, c.expr(x))


def _selected(c: Converter, term: Term) -> Expr:
    """The rows and columns that are taken; of a single row, the column that it is."""
    x, sizes = c.expr(term.args[0]), iter(term.shape)
    entries: list[Any] = [*term.attrs, *[ALL] * (term.args[0].ndim - len(term.attrs))]
    cuts = [isinstance(e, Cut) for e in entries]
    counts = [next(sizes) if cut else 1 for cut in cuts]
    rows, columns = x.shape
    found = x
    if entries[0] != ALL:
        found = mul(select(counts[0], rows, entries[0]), found)
    if len(entries) == 2 and entries[1] != ALL and columns != 1:
        found = mul(found, turn(select(counts[1], columns, entries[1])))
    return turn(found) if cuts == [False, True] else found


def _fixed(name: str, term: Term) -> Expr:
    shape = size_of(term.shape)
    return Expr("eye", shape) if name == "eye" else ones(*shape)


def _determinant(term: Term) -> Term | None:
    """A, of det(A) or abs(det(A))."""
    inner = term.args[0] if term.calls("abs") else term
    return inner.args[0] if inner.calls("det") else None


def _solve(args: Sequence[Expr]) -> Expr:
    return mul(inverse(args[0]), args[1])


def _below(n: AnyDim) -> Expr:
    """The matrix that sums up: ones on the diagonal and below it."""
    return function("tril", (n, n), ones(n, n))


def _kron(a: Expr, b: Expr) -> Expr:
    shape = (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
    return function("kron", shape, a, b)


CALLS: Mapping[str, Callable[[Sequence[Expr]], Expr]] = {
    "outer": lambda args: mul(args[0], turn(args[1])),
    "inv": lambda args: inverse(args[0]),
    "trace": lambda args: trace(args[0]),
    "solve": _solve,
    "diag": lambda args: diag(args[0]),
    "kron": lambda args: _kron(*args),
    "cumsum": lambda args: mul(_below(args[0].shape[0]), args[0]),
}
HEADS: Mapping[str, TermRule] = {
    "sum": _sum, "product": _product, "matmul": _matmul, "power": _power,
    "transpose": _transpose, "index": _index, "reduce": _reduce, "call": _call, "part": _part,
    "compare": _compare,
}  # fmt: skip
__all__ = ["Converter", "size_of"]
