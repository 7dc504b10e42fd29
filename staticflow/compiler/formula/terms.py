"""Formulas as values: terms, with NumPy's shapes, and the algebra that keeps them tidy.

    head         what it is                               attrs
    ---------    --------------------------------------   ------------------------------
    name         a leaf                                   its text, what it stands for
    number       a number                                 the number
    size         the size of axes                         the size
    sum          the sum of its arguments
    product      coefficient * argument ** exponent ..    the coefficient, the exponents
    matmul       a @ b, of vectors and matrices alike
    power        a ** b
    compare      a < b                                    the symbol
    transpose    axes permuted                            the permutation
    index        axes of size 1 inserted: x[:, None]      their positions
    part         elements along axes: x[1:, 0]            for each axis, what is taken
    reduce       sum(x, axis=0)                           name, axes
    call         name(a, b, option=c)                     name, what tells it apart, options

Equal terms are one object. A term keeps the shape of what it stands for: nothing is simplified that
would change it, so that a formula can be typed into NumPy as it is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from staticflow.graph.dims import AnyDim
from staticflow.graph.types import Shape, broadcast_shapes

Factors = tuple[tuple["Term", float], ...]
Pattern = Callable[["Algebra", "Term"], "Term | None"]


@dataclass(frozen=True, eq=False)
class Term:
    """A formula; see the table above for its heads."""

    head: str
    shape: Shape
    args: tuple[Term, ...]
    attrs: tuple[Hashable, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def calls(self, name: str) -> bool:
        """Whether this is a call of `name`."""
        return self.head == "call" and self.attrs[0] == name

    def reduces_by(self, name: str) -> bool:
        """Whether this is a reduction called `name`."""
        return self.head == "reduce" and self.attrs[0] == name

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of a reduction, or of a call that reduces."""
        axes = self.attrs[1]
        assert isinstance(axes, tuple)
        return axes

    @property
    def order(self) -> tuple[int, ...]:
        """Of a transpose: for each axis of the result, that of the operand."""
        assert self.head == "transpose"
        return tuple(axis for axis in self.attrs if isinstance(axis, int))


class Algebra:
    """Makes terms, each once; `patterns` say what a term with some head is better written as."""

    def __init__(self, patterns: Mapping[str, Sequence[Pattern]]) -> None:
        self.patterns = patterns
        self._known: dict[Hashable, Term] = {}

    def make(
        self, head: str, shape: Shape, args: Iterable[Term] = (), attrs: tuple[Hashable, ...] = ()
    ) -> Term:
        """The one term with these arguments, or what it is better written as."""
        key = (head, shape, tuple(args), attrs)
        if key not in self._known:
            term = Term(*key)
            better = (pattern(self, term) for pattern in self.patterns.get(head, ()))
            self._known[key] = next((t for t in better if t is not None), term)
        return self._known[key]

    def number(self, value: float) -> Term:
        return self.make("number", (), (), (float(value),))

    def size(self, dim: AnyDim) -> Term:
        return self.make("size", (), (), (dim,)) if dim != 1 else self.number(1)

    def call(
        self, name: str, shape: Shape, args: Iterable[Term], options: str = "", own: Hashable = ()
    ) -> Term:
        """A function by name; `own` is what its printed options do not tell."""
        return self.make("call", shape, args, (name, own, options))

    # Elementwise

    def product(self, factors: Iterable[tuple[Term, float]], coefficient: float = 1.0) -> Term:
        """The product of powers, elementwise."""
        merged: list[tuple[Term, float]] = []
        for factor, exponent in factors:
            inner, parts = split(factor)
            whole = float(exponent).is_integer() and (inner != 0 or exponent > 0)
            if whole or (not parts and inner > 0):
                coefficient *= inner**exponent
                parts = tuple((base, e * exponent) for base, e in parts)
            else:
                parts = ((factor, exponent),)
            for base, e in parts:
                _merge(merged, base, e)
        if not merged:
            return self.number(coefficient)
        if len(merged) == 1 and coefficient == 1 == merged[0][1]:
            return merged[0][0]
        shape = broadcast_shapes([base.shape for base, _ in merged], "formula")
        exponents = tuple(e for _, e in merged)
        return self.make("product", shape, (b for b, _ in merged), (float(coefficient), exponents))

    def times(self, *terms: Term) -> Term:
        """The product of terms."""
        return self.product((term, 1) for term in terms)

    def scaled(self, coefficient: float, term: Term) -> Term:
        return self.product([(term, 1)], coefficient)

    def total(self, terms: Iterable[Term]) -> Term:
        """The sum of terms, elementwise: like ones are taken together."""
        given = list(terms)
        shape = broadcast_shapes([term.shape for term in given], "formula")
        number, coefficients = self._collect(given)
        kept = [self.scaled(c, rest) for rest, c in coefficients.items() if c]
        if number:
            kept.insert(0 if _leads_with_number(given) else len(kept), self.number(number))
        if broadcast_shapes([()] + [t.shape for t in kept], "formula") != shape:
            kept = given  # cancelling would lose axes
        kept.sort(key=lambda term: split(term)[0] < 0)
        if len(kept) < 2:
            return kept[0] if kept else self.number(0)
        return self._factored(kept, shape)

    def _collect(self, terms: Sequence[Term]) -> tuple[float, dict[Term, float]]:
        number = 0.0
        coefficients: dict[Term, float] = {}
        known: dict[frozenset[tuple[Term, float]], Term] = {}  # whatever the order of factors
        waiting = list(reversed(terms))
        while waiting:
            term = waiting.pop()
            coefficient, factors = split(term)
            inner = factors[0][0] if len(factors) == 1 and factors[0][1] == 1 else None
            if not factors:
                number += coefficient
            elif inner is not None and inner.head == "sum" and abs(coefficient) == 1:
                waiting += [self.scaled(coefficient, x) for x in reversed(inner.args)]
            else:
                rest = known.setdefault(frozenset(factors), self.product(factors))
                coefficients[rest] = coefficients.get(rest, 0.0) + coefficient
        return number, coefficients

    def _factored(self, terms: Sequence[Term], shape: Shape) -> Term:
        """The sum of terms, with sizes and numbers that all of them have in front of it."""
        parts = [split(term) for term in terms]
        common = [f for f in parts[0][1] if f[0].head == "size" and all(f in p for _, p in parts)]
        first = parts[0][0]
        coefficient = first if all(abs(c) == abs(first) for c, _ in parts) else 1.0
        if not common and coefficient == 1:
            return self.make("sum", shape, terms)
        rest = [
            self.product([f for f in factors if f not in common], c / coefficient)
            for c, factors in parts
        ]
        return self.product([*common, (self.total(rest), 1)], coefficient)

    # Products and reductions

    def matmul(self, a: Term, b: Term) -> Term:
        """a @ b; scalars go in front of it."""
        (scalars, a), (more, b) = self.unscaled(a), self.unscaled(b)
        turned = b.head == "transpose" and b.ndim == 2
        if a.ndim == 1 and turned:  # x @ A.T
            inner = self.matmul(b.args[0], a)
        elif a.calls("eye"):
            inner = b
        elif _is_unit(a):
            inner = self.make("part", b.shape[1:], [b], a.attrs)  # a row
        elif _is_unit(b) and a.ndim == 2:
            inner = self.make("part", a.shape[:1], [a], (":", *b.attrs))
        elif b.calls("eye"):
            inner = a
        else:
            inner = self.make("matmul", _matmul_shape(a.shape, b.shape), (a, b))
        return self.times(scalars, more, inner)

    def reduce(self, name: str, x: Term, axes: Iterable[int]) -> Term:
        axes = tuple(sorted(axes))
        if not axes:
            return x
        if len(axes) == x.ndim and name in ("sum", "max", "min"):
            x = self.before_reshape(x)
            axes = tuple(range(x.ndim))
        shape = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        if name != "sum":
            return self.make("reduce", shape, (x,), (name, axes))
        scalars, x = self.unscaled(x)
        return self.times(scalars, self.make("reduce", shape, (x,), (name, axes)))

    def before_reshape(self, x: Term) -> Term:
        """The same elements in the same order, in the shape that they had before."""
        coefficient, factors = split(x)
        arrays = {base for base, _ in factors if base.ndim}
        if any(not b.calls("reshape") or b.shape != x.shape for b in arrays):
            return x
        if len({b.args[0].shape for b in arrays}) != 1:
            return x
        return self.product(((b.args[0] if b.ndim else b, e) for b, e in factors), coefficient)

    def unscaled(self, x: Term) -> tuple[Term, Term]:
        """The scalar factors of a term, and the others."""
        coefficient, factors = split(x)
        own = [f for f in factors if f[0].ndim]
        if not own:
            return self.number(1), x
        scalars = self.product([f for f in factors if not f[0].ndim], coefficient)
        return scalars, self.product(own)

    # Axes

    def transpose(self, x: Term, perm: tuple[int, ...]) -> Term:
        if perm == tuple(range(len(perm))) or x.calls("eye"):
            return x
        if x.head == "transpose":
            return self.transpose(x.args[0], tuple(x.order[k] for k in perm))
        scalars, rest = self.unscaled(x)
        if rest is not x and rest.head == "transpose":
            return self.times(scalars, self.transpose(rest, perm))
        shape = tuple(x.shape[k] for k in perm)
        return self.times(scalars, self.make("transpose", shape, (rest,), perm))

    def place(self, x: Term, axes: Sequence[int], rank: int) -> Term:
        """x with its axes at the given places among `rank`, aligned as NumPy broadcasts.

        Missing axes in front need not be there; others are inserted.
        """
        if not x.ndim:
            return x
        axes = list(axes)[len(axes) - x.ndim :]
        if x.head in ("sum", "product"):
            parts = [self.place(part, axes, rank) for part in x.args]
            if x.head == "sum":
                return self.total(parts)
            coefficient, factors = split(x)
            return self.product(zip(parts, (e for _, e in factors), strict=True), coefficient)
        if x.head == "index":
            own = [axis for k, axis in enumerate(axes) if k not in x.attrs]
            return self.place(x.args[0], own, rank)
        lead = axes[0]
        new = tuple(k - lead for k in range(lead, rank) if k not in axes)
        sizes = iter(x.shape)
        shape = tuple(1 if k in new else next(sizes) for k in range(rank - lead))
        return self.make("index", shape, (x,), new) if new else x

    def along(self, x: Term, reduced: Term, axes: Sequence[int]) -> Term:
        """What is left of x by a reduction of `axes`, aligned with x again."""
        kept = [k for k in range(x.ndim) if k not in axes]
        return self.place(reduced, kept, x.ndim)


def split(term: Term) -> tuple[float, Factors]:
    """The coefficient of a term, and its factors with their exponents."""
    if term.head == "number":
        return _float(term.attrs[0]), ()
    if term.head == "product":
        exponents = term.attrs[1]
        assert isinstance(exponents, tuple)
        return _float(term.attrs[0]), tuple(zip(term.args, exponents, strict=True))
    return 1.0, ((term, 1.0),)


def _float(value: Hashable) -> float:
    assert isinstance(value, float)
    return value


def _leads_with_number(terms: Sequence[Term]) -> bool:
    return terms[0].head == "number"


def _merge(merged: list[tuple[Term, float]], base: Term, exponent: float) -> None:
    """Add a factor to a list of them; what cancels goes, unless its axes would go with it."""
    for k, (known, e) in enumerate(merged):
        if known is base and (e + exponent or not base.ndim):
            merged[k : k + 1] = [(base, e + exponent)] if e + exponent else []
            return
    merged.append((base, exponent))


def _is_unit(x: Term) -> bool:
    """Whether this is a row of the identity."""
    is_row = x.head == "part" and x.ndim == 1 and ":" not in str(x.attrs[0])
    return is_row and x.args[0].calls("eye")


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    batch = broadcast_shapes([a[:-2], b[:-2]], "formula")
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
