"""How functions by name, and parts of arrays, are read as matrix expressions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from staticflow.compiler.formula.closed_forms import SLOPES
from staticflow.compiler.formula.columns import is_elementwise
from staticflow.compiler.formula.terms import ALL, Cut, Term
from staticflow.graph.dims import AnyDim
from staticflow.session.derivation.converter import Converter, size_of
from staticflow.session.derivation.expr import (
    Expr,
    add,
    function,
    number,
    ones,
    scale,
    select,
)
from staticflow.session.derivation.functions import FUNCTIONS
from staticflow.session.derivation.matrix import (
    diag,
    had,
    inverse,
    mul,
    trace,
    turn,
)


def call(c: Converter, term: Term) -> Expr | None:
    name, args = term.name, term.args
    if term.ndim > 2 or any(x.ndim > 2 for x in args):
        return None
    if name == "where":
        return _choice(c, term)
    if name in SLOPES or name == "layer_norm":
        return _with_parameters(c, term)
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


def _with_parameters(c: Converter, term: Term) -> Expr | None:
    """A function of one array and of numbers; layer_norm only along what is no single column."""
    x, *numbers = (c.expr(a) for a in term.args)
    if term.name == "layer_norm" and term.ndim == 2 and x.shape[1] == 1:
        return None
    return function(term.name, size_of(term.shape), x, *numbers)


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


def part(c: Converter, term: Term) -> Expr | None:
    """x[1:] is S x, where S takes rows; x[k] of the eigenvalues' kind is a function by name."""
    x = term.args[0]
    if len(term.args) == 2 and not term.attrs and x.ndim == 2 and term.ndim == 2:
        return _rows_of(c, x, term.args[1])
    if len(term.args) != 1:
        return None
    named = DECOMPOSED.get((x.name, term.attrs[0])) if x.head == "call" else None
    if named is not None and (x.name != "qr" or _is_tall(x.args[0])):
        return function(named, size_of(term.shape), c.expr(x.args[0]))
    if not 0 < x.ndim < 3 or len(term.attrs) > x.ndim:
        return None
    return _selected(c, term)


def _is_tall(a: Term) -> bool:
    """Whether a matrix has no more columns than rows."""
    m, n = a.shape
    return m == n or (isinstance(m, int) and isinstance(n, int) and m >= n)


DECOMPOSED: Mapping[tuple[str, Hashable], str] = {
    ("slogdet", 1): "logdet", ("eigh", 0): "eigenvalues", ("eigh", 1): "eigenvectors",
    ("svd", 1): "singular_values", ("qr", 0): "orthogonal_factor", ("qr", 1): "triangular_factor",
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
    if entries[0] != ALL and rows != 1:
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
    "sort": lambda args: function("sort", args[0].shape, args[0]),
    "cumsum": lambda args: mul(_below(args[0].shape[0]), args[0]),
}
