"""Terms of vectors as they are typed when the vectors are columns (n, 1) and scalars (1, 1).

    vectors (n,)                    columns (n, 1)
    ----------------------------    ------------------------
    (A + A.T) @ x                   (A + A.T) @ x
    y @ x * outer(x, y)             y.T @ x * (x @ y.T)
    X * b[:, None] + k              X * b + k.T
    diag(softmax(x))                diagflat(softmax(x, axis=0))
    sum(A, axis=0)                  A.T @ ones((n, 1))
    X.T @ X, a Hessian              X.T @ X, though its shape is (n, 1, n, 1)

The reader sees a column as the vector that it holds, so that a formula is found in one way however
its leaves are declared; only here it is said how. Leaves tell their own shape in their attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from staticflow.compiler.formula.algebra import Algebra
from staticflow.compiler.formula.closed_forms import SLOPES
from staticflow.compiler.formula.matrix_patterns import uncolumned
from staticflow.compiler.formula.terms import ALL, Term, split
from staticflow.graph.kinds import MapRow
from staticflow.graph.op_table import table
from staticflow.graph.types import Shape, broadcast_shapes

ALONG = ("softmax", "log_softmax")  # take the last axis of a vector, the first one of a column


def own_shape(leaf: Term) -> Shape:
    """The shape with which a leaf was declared."""
    shape = leaf.attrs[2] if len(leaf.attrs) > 2 else leaf.shape
    assert isinstance(shape, tuple)
    return shape


def typed(
    terms: Sequence[Term], shapes: Sequence[Shape | None], jacobians: Sequence[bool]
) -> tuple[list[Term], Writing]:
    """Terms as they are typed, each of the shape of its node, and how others are.

    Of Jacobians by columns, which have axes of size 1, only the matrix is written.
    """
    leaves = _leaves(terms)
    vectors = [x for x in leaves if x.ndim == 1]
    columns = any(len(own_shape(x)) == 2 for x in vectors)
    if not vectors:
        columns = any(len(own_shape(x)) == 2 > x.ndim for x in leaves)
        columns = columns or any(map(_is_column, terms))
    writing = Writing(columns, bool(vectors))
    found = []
    for term, shape, jacobian in zip(terms, shapes, jacobians, strict=True):
        whole = writing.whole(term, term.shape if shape is None else shape)
        found.append(_matrix_of(writing, term, whole) if jacobian else whole)
    return found, writing


def _is_column(term: Term) -> bool:
    """Whether this is v[:, None], of a vector."""
    return term.head == "index" and term.attrs == (1,) and term.args[0].ndim == 1


def _matrix_of(writing: Writing, term: Term, whole: Term) -> Term:
    """The matrix, row or column that an array with axes of size 1 holds."""
    if whole.head != "index" or whole.ndim < 3:
        return whole
    inner = term.args[0]
    if inner.ndim == 1 and writing.columns:
        (place,) = (k for k in range(term.ndim) if k not in term.attrs)
        return writing.row(inner) if place else writing.of(inner)
    return whole if inner.ndim == 1 else whole.args[0]


def _leaves(terms: Sequence[Term]) -> list[Term]:
    found: dict[Term, None] = {}
    waiting = list(terms)
    while waiting:
        term = waiting.pop()
        if term not in found:
            found[term] = None
            waiting += [*term.args, *(term.body.terms if term.head == "loop" else ())]
    return [x for x in found if x.head == "name"]


def is_elementwise(name: str) -> bool:
    """Whether a function takes single elements, and broadcasts."""
    entry = table().get(name)
    return entry is not None and isinstance(entry.row, MapRow)


class Writing:
    """Turns terms of vectors into terms of what the leaves are declared as."""

    def __init__(self, columns: bool, vectors: bool) -> None:
        self.columns = columns
        self.vectors = vectors
        self.m = Algebra({})
        self._done: dict[Term, Term] = {}

    def whole(self, term: Term, shape: Shape) -> Term:
        """A term with the shape of its node."""
        found = self.of(term)
        if found.shape == shape:
            return found
        if found.ndim > len(shape):  # a scalar (1, 1), or a column where a vector is wanted
            kept = len(shape)
            taken = (ALL,) * kept + (0,) * (found.ndim - kept)
            return self.m.make("part", shape, [found], taken)
        if found.ndim == 2 == len(shape) and found.head == "index":
            return self.m.make("index", shape, found.args, (0,))
        if found.ndim == 2 == len(shape):
            return self._turned(found)
        missing = tuple(range(len(shape) - found.ndim))
        return self.m.make("index", shape, [found], missing)

    def _turned(self, x: Term) -> Term:
        """The transpose; of X.T @ ones((m, 1)), the sums of columns, ones((1, m)) @ X"""
        if x.head == "matmul" and x.args[1].calls("ones"):
            a, ones = x.args
            return self._product(self.m.ones(ones.shape[::-1]), self.m.transpose(a, (1, 0)))
        return self.m.transpose(x, (1, 0))

    def of(self, term: Term) -> Term:
        """The term as it is typed; vectors are columns if `columns`."""
        waiting = [term]
        while waiting:
            missing = [x for x in waiting[-1].args if x not in self._done]
            waiting += missing
            if not missing:
                last = waiting.pop()
                if last not in self._done:
                    self._done[last] = self._made(last)
        return self._done[term]

    def _made(self, term: Term) -> Term:
        if term.head == "name":
            return self._leaf(term)
        if term.head == "loop":
            return self._loop(term)
        if term.head == "index" and not term.args[0].ndim:  # a scalar of shape (1, 1)
            return self.whole(term.args[0], term.shape)
        if not self.columns:
            scaled = self._scaled_rows(term)
            return self._same(term, [self._done[x] for x in term.args]) if scaled is None else (
                scaled)  # fmt: skip
        made = self._matrix(term)
        return self._other(term) if made is None else made

    def _loop(self, term: Term) -> Term:
        """A loop whose body is typed too; each carry keeps the shape that it was declared with."""
        body = term.body
        following = [self.whole(t, s) for t, s in zip(body.next, body.shapes, strict=True)]
        ys = [self.whole(y, y.shape) for y in body.ys]
        test = None if body.test is None else self.of(body.test)
        typed_body = replace(body, next=tuple(following), ys=tuple(ys), test=test)
        args = [self._done[x] for x in term.args]
        return self.m.make("loop", (), args, (typed_body,))

    def _leaf(self, term: Term) -> Term:
        own = own_shape(term)
        found = self.m.make("name", own, (), term.attrs[:2])
        if term.ndim == 0:
            if len(own) == 2 and self.vectors and not self.columns:
                return self.m.make("part", (), [found], (0, 0))
            return found
        if term.ndim == 1 and self.columns:
            if len(own) == 1:
                return self.m.make("index", (own[0], 1), [found], (1,))
            return found if own[1] == 1 else self.m.transpose(found, (1, 0))
        return found

    def _scaled_rows(self, term: Term) -> Term | None:
        """v[:, None] * A, of more than a leaf, is diag(v) @ A."""
        coefficient, factors = split(term)
        if term.head != "product" or term.ndim != 2:
            return None
        columns = [(v, e) for x, e in factors
                   if x.ndim and (v := uncolumned(self.m, x)) is not None]  # fmt: skip
        arrays = [(x, e) for x, e in factors if x.ndim and uncolumned(self.m, x) is None]
        if not columns or not arrays or any(x.ndim < 2 for x, _ in arrays):
            return None
        v, a = self.m.product(columns), self.m.product(arrays)
        if v.head == "name" or a.shape != term.shape or a.calls("outer"):
            return None
        scalars = [(self.of(x), e) for x, e in factors if not x.ndim]
        left = self.m.call("diag", (a.shape[0], a.shape[0]), [self.of(v)])
        whole = self.m.make("matmul", term.shape, [left, self.of(a)])
        return self.m.product([*scalars, (whole, 1)], coefficient)

    def _matrix(self, term: Term) -> Term | None:
        """What has a notation of its own for columns."""
        if _broadcasts(term):
            return self._elementwise(term)
        if term.head == "matmul" and term.ndim < 3:
            return self._matmul(*term.args)
        if term.head == "index" and term.ndim == 2 and term.args[0].ndim == 1:
            (x,) = term.args
            return self._done[x] if term.attrs == (1,) else self.row(x)
        if term.head == "reduce" and term.name == "sum" and term.ndim == 1 and (
            term.args[0].ndim == 2):  # fmt: skip
            return self._sums(term.axes, self._done[term.args[0]])
        if term.head == "reduce" and not term.ndim and term.args[0].ndim == 1:
            (x,) = term.args
            return self.m.make("reduce", (), [self._done[x]], (term.name, (0, 1)))
        if term.head == "part" and len(term.args) == 1 and term.args[0].ndim == 1:
            (x,) = term.args
            if not term.ndim:
                return self.m.make("part", (), [self._done[x]], (*term.attrs, 0))
            return self.m.make("part", (term.shape[0], 1), [self._done[x]], term.attrs)
        return self._call(term) if term.head == "call" else None

    def _call(self, term: Term) -> Term | None:
        name, x = term.name, term.args[0] if term.args else term
        if name == "outer":
            return self._product(self._done[x], self.row(term.args[1]))
        if name == "broadcast_to" and term.ndim == 2:
            return self._repeated(x, term.shape)
        if name == "diag" and x.ndim == 1:
            return self.m.call("diagflat", term.shape, [self._done[x]])
        if name in ALONG and x.ndim == 1:
            return self.m.call(name, (x.shape[0], 1), [self._done[x]], "axis=0")
        if name in ("norm", "logsumexp") and x.ndim == 1 and not term.attrs[2]:
            return self.m.call(name, (), [self._done[x]])
        if name == "solve" and term.ndim == 1:
            return self.m.call("solve", (term.shape[0], 1), [self._done[a] for a in term.args])
        return None

    def _repeated(self, x: Term, shape: Shape) -> Term | None:
        """A column or row repeated: x @ ones((1, n)), ones((m, 1)) @ x.T"""
        if x.ndim == 1:
            return self._product(self.m.ones((shape[0], 1)), self.row(x))
        if x.head != "index" or x.attrs != (1,) or x.args[0].ndim != 1:
            return None
        return self._product(self._done[x.args[0]], self.m.ones((1, shape[1])))

    def row(self, x: Term) -> Term:
        """A vector as a row (1, n)."""
        if x.head == "matmul" and x.ndim == 1 and self.columns:
            a, b = x.args
            if a.ndim == 1:
                return self._product(self.row(a), self._done[b])
            return self._product(self.row(b), self.m.transpose(self._done[a], (1, 0)))
        return self._turned(self._done[x])

    def _matmul(self, a: Term, b: Term) -> Term:
        if a.ndim == 1 and b.ndim == 2:
            return self._product(self.m.transpose(self._done[b], (1, 0)), self._done[a])
        return self._product(self.row(a) if a.ndim == 1 else self._done[a], self._done[b])

    def _product(self, a: Term, b: Term) -> Term:
        return self.m.make("matmul", (a.shape[0], b.shape[1]), [a, b])

    def _sums(self, axes: Sequence[int], x: Term) -> Term:
        """The sums of columns, or of rows, as a column: X.T @ ones((m, 1))"""
        x = self.m.transpose(x, (1, 0)) if tuple(axes) == (0,) else x
        return self._product(x, self.m.ones((x.shape[1], 1)))

    def _elementwise(self, term: Term) -> Term:
        """Vectors are columns among vectors, and rows beside matrices."""
        args = [self.row(x) if x.ndim == 1 < term.ndim else self._done[x] for x in term.args]
        return self._same(term, args)

    def _same(self, term: Term, args: Iterable[Term]) -> Term:
        """The same of other arguments."""
        args = list(args)
        shape = broadcast_shapes([x.shape for x in args], "formula") if _broadcasts(term) else (
            term.shape)  # fmt: skip
        return self.m.make(term.head, shape, args, term.attrs)

    def _other(self, term: Term) -> Term:
        """What takes vectors as they are: x[:, 0]; if it gives one, that is made a column."""
        args = [self._flat(x) if x.ndim == 1 else self._done[x] for x in term.args]
        found = self.m.make(term.head, term.shape, args, term.attrs)
        if term.ndim != 1:
            return found
        return self.m.make("index", (term.shape[0], 1), [found], (1,))

    def _flat(self, x: Term) -> Term:
        found = self._done[x]
        if found.head == "index":
            return found.args[0]
        return self.m.make("part", x.shape, [found], (ALL, 0))


def _broadcasts(term: Term) -> bool:
    if term.head in ("sum", "product", "power", "compare"):
        return True
    known = term.head == "call" and (is_elementwise(term.name) or term.name in SLOPES)
    return known and bool(term.args)
