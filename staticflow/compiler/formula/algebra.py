"""The algebra that makes terms, each once, and keeps sums, products and reductions tidy."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from staticflow.compiler.formula.terms import ALL, Cut, Factors, Term, chain, shape_text, split
from staticflow.compiler.formula.walks import Walks
from staticflow.graph.dims import AnyDim
from staticflow.graph.types import Shape, broadcast_shapes

Pattern = Callable[["Algebra", Term], Term | None]
LONGEST = 50  # terms or factors: a sum of more is one term of the next, with a line of its own


class Algebra(Walks):
    """Makes terms, each once; `patterns` say what a term with some head is better written as."""

    def __init__(self, patterns: Mapping[str, Sequence[Pattern]]) -> None:
        super().__init__()
        self.patterns = patterns
        self._made: dict[Hashable, Term] = {}
        self._products: dict[Hashable, Term] = {}

    def make(
        self, head: str, shape: Shape, args: Iterable[Term] = (), attrs: tuple[Hashable, ...] = ()
    ) -> Term:
        """The one term with these arguments, or what it is better written as."""
        key = (head, shape, tuple(args), attrs)
        if key not in self._made:
            term = Term(*key)
            better = (pattern(self, term) for pattern in self.patterns.get(head, ()))
            self._made[key] = next((t for t in better if t is not None), term)
        return self._made[key]

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
        key = (tuple(factors), coefficient)
        if key not in self._products:
            self._products[key] = self._product(*key)
        return self._products[key]

    def _product(self, factors: Factors, coefficient: float) -> Term:
        merged: dict[Term, float] = {}
        shapes: list[Shape] = [()]
        for factor, exponent in factors:
            inner, parts = split(factor)
            if len(parts) > LONGEST:
                inner, parts = 1.0, ((factor, 1.0),)
            whole = float(exponent).is_integer() and (inner != 0 or exponent > 0)
            if whole or (not parts and inner > 0):
                coefficient *= inner**exponent
                parts = tuple((base, e * exponent) for base, e in parts)
            else:
                parts = ((factor, exponent),)
            shapes += [base.shape for base, _ in parts]
            for base, e in parts:
                merged[base] = merged.get(base, 0.0) + e
        shape = broadcast_shapes(shapes, "formula")
        if any(x.calls("zeros") and e > 0 for x, e in merged.items()):
            return self.zeros(shape)
        kept = self._carrying([(x, e) for x, e in merged.items() if e], shape)
        if not kept:
            return self.number(coefficient)
        if len(kept) == 1 and coefficient == 1 == kept[0][1]:
            return kept[0][0]
        exponents = tuple(e for _, e in kept)
        return self.make("product", shape, (b for b, _ in kept), (float(coefficient), exponents))

    def _carrying(
        self, factors: list[tuple[Term, float]], shape: Shape
    ) -> list[tuple[Term, float]]:
        """Factors of this shape: ones where it would be lost, and none where it would not."""
        bare = [(x.args[0] if x.calls("broadcast_to") else x, e) for x, e in factors]
        bare = [f for f in bare if not f[0].calls("ones")]
        if bare != factors and _shape_of(bare) == shape:
            return [f for x, e in bare for f in _factors_of(x, e)]
        if _shape_of(factors) == shape:
            return factors
        return [*bare, (self.ones(shape), 1.0)]

    def zeros(self, shape: Shape) -> Term:
        return self.call("zeros", shape, (), shape_text(shape)) if shape else self.number(0)

    def ones(self, shape: Shape) -> Term:
        return self.call("ones", shape, (), shape_text(shape))

    def times(self, *terms: Term) -> Term:
        """The product of terms."""
        return self.product((term, 1) for term in terms)

    def scaled(self, coefficient: float, term: Term) -> Term:
        return term if coefficient == 1 else self.product([(term, 1)], coefficient)

    def total(self, terms: Iterable[Term]) -> Term:
        """The sum of terms, elementwise: like ones are taken together."""
        given = list(terms)
        if any(_repeats(t) for t in given):
            given = _bare(self, given)
        shape = broadcast_shapes([term.shape for term in given], "formula")
        number, coefficients = self._collect(given)
        kept = [self.scaled(c, rest) for rest, c in coefficients.items() if c]
        if number:
            kept.insert(0 if _leads_with_number(given) else len(kept), self.number(number))
        if broadcast_shapes([()] + [t.shape for t in kept], "formula") != shape:
            kept = given if kept else [self.zeros(shape)]  # cancelling would lose axes
        kept.sort(key=_place_in_sum)
        if len(kept) < 2:
            return kept[0] if kept else self.number(0)
        return self._factored(kept, shape)

    def _collect(self, terms: Sequence[Term]) -> tuple[float, dict[Term, float]]:
        number = 0.0
        coefficients: dict[Term, float] = {}
        known: dict[Hashable, Term] = {}  # whatever the order of factors
        waiting = list(reversed(terms))
        while waiting:
            term = waiting.pop()
            coefficient, factors = split(term)
            inner = factors[0][0] if len(factors) == 1 and factors[0][1] == 1 else None
            if not factors:
                number += coefficient
            elif inner is not None and abs(coefficient) == 1 and _opens(inner):
                waiting += [self.scaled(coefficient, x) for x in reversed(inner.args)]
            else:
                key = frozenset((_in_any_order(x), e) for x, e in factors)
                if key not in known:
                    plain = inner if inner is not None and inner.head != "call" else None
                    known[key] = plain or self.product(factors)
                rest = known[key]
                if rest.head == "number":  # which the factors came to
                    number += coefficient * rest.value
                    continue
                coefficients[rest] = coefficients.get(rest, 0.0) + coefficient
        return number, coefficients

    def _factored(self, terms: Sequence[Term], shape: Shape) -> Term:
        """The sum of terms, with the sizes, numbers and denominators of all in front of it."""
        parts = [split(term) for term in terms]
        common = _denominators([dict(factors) for _, factors in parts])
        first = parts[0][0]
        coefficient = first if all(abs(c) == abs(first) for c, _ in parts) else 1.0
        if not common and coefficient == 1:
            return self.make("sum", shape, terms)
        above = [(base, -e) for base, e in common]
        rest = [self.product([*factors, *above], c / coefficient) for c, factors in parts]
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
            inner = self.make("part", a.shape[:1], [a], (ALL, *b.attrs))
        elif b.calls("eye"):
            inner = a
        elif a.calls("zeros") or b.calls("zeros"):
            inner = self.zeros(_matmul_shape(a.shape, b.shape))
        elif a.ndim == 2 and _is_inverse(chain(a)[-1], chain(b)[0]):
            inner = self._chained((*chain(a)[:-1], *chain(b)[1:]), a.shape[0])
        else:
            inner = self.make("matmul", _matmul_shape(a.shape, b.shape), (a, b))
        return self.times(scalars, more, inner)

    def _chained(self, factors: Sequence[Term], size: AnyDim) -> Term:
        """The product of matrices, from the left; of none, the identity."""
        if not factors:
            return self.call("eye", (size, size), [self.size(size)])
        found = factors[0]
        for x in factors[1:]:
            found = self.matmul(found, x)
        return found

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
        if perm == tuple(range(len(perm))) or (perm == (1, 0) and self.is_symmetric(x)):
            return x
        if x.head == "transpose":
            return self.transpose(x.args[0], tuple(x.order[k] for k in perm))
        scalars, rest = self.unscaled(x)
        if rest is not x and rest.head == "transpose":
            return self.times(scalars, self.transpose(rest, perm))
        shape = tuple(x.shape[k] for k in perm)
        return self.times(scalars, self.make("transpose", shape, (rest,), perm))

    def is_symmetric(self, x: Term) -> bool:
        """Whether a matrix is equal to its transpose, whatever its leaves are."""

        def into(x: Term) -> Iterable[Term]:
            matrices = x.calls("inv") or (x.head in ("sum", "product") and x.ndim == 2)
            return [a for a in x.args if a.ndim] if matrices else ()

        return self.folded("symmetric", x, into, self._symmetric)

    def _symmetric(self, x: Term, of: Mapping[Term, bool]) -> bool:
        if x.calls("eye") or x.calls("diag"):
            return True
        if x.calls("inv"):
            return of[x.args[0]]
        if x.calls("outer"):
            return x.args[0] is x.args[1]
        if x.head in ("sum", "product"):
            found = (not a.ndim or of[a] or self._has_twin(x, a) for a in x.args)
            return x.ndim == 2 and all(found)
        if x.head != "matmul" or x.ndim != 2:
            return False
        factors = chain(x)
        return all(
            self.transpose(b, (1, 0)) is a or (a is b and self.is_symmetric(a))
            for a, b in zip(factors, reversed(factors), strict=True)
        )

    def _has_twin(self, x: Term, a: Term) -> bool:
        """Whether a term of a sum of matrices stands beside its transpose: A + A.T"""
        plain = x.head == "sum" and a.ndim == 2 and a.head in ("name", "transpose", "call")
        return plain and self.transpose(a, (1, 0)) in x.args

    def place(self, x: Term, axes: Sequence[int], rank: int) -> Term:
        """x with its axes at the given places among `rank`, aligned as NumPy broadcasts.

        Missing axes in front need not be there; others are inserted.
        """
        at = tuple(axes)[len(axes) - x.ndim :]

        def into(x: Term) -> Iterable[Term]:
            return x.args if x.head in ("sum", "product") and x.ndim else ()

        def placed(x: Term, known: Mapping[Term, Term]) -> Term:
            return self._placed(x, at[len(at) - x.ndim :], rank, known)

        return self.folded(("place", at, rank), x, into, placed)

    def _placed(self, x: Term, axes: Sequence[int], rank: int, known: Mapping[Term, Term]) -> Term:
        if not x.ndim:
            return x
        if x.head in ("sum", "product"):
            parts = [known[part] for part in x.args]
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


def _in_any_order(x: Term) -> Hashable:
    """What is equal for x @ y and y @ x, of vectors, and for products with other brackets."""
    is_dot = x.head == "matmul" and not x.ndim and all(not a.args for a in x.args)
    return frozenset(x.args) if is_dot else chain(x)


def _opens(x: Term) -> bool:
    """Whether the terms of a sum stand among those of a sum that it is in."""
    return x.head == "sum" and len(x.args) <= LONGEST


def _place_in_sum(term: Term) -> tuple[bool, bool]:
    """What is subtracted comes last, and outer products after other matrices."""
    coefficient, factors = split(term)
    return coefficient < 0, any(base.calls("outer") for base, _ in factors)


def _leads_with_number(terms: Sequence[Term]) -> bool:
    return terms[0].head == "number"


def _denominators(parts: Sequence[Mapping[Term, float]]) -> list[tuple[Term, float]]:
    """The sizes that all terms have, and what stands in the denominators of all."""
    found = []
    for base in parts[0]:
        exponents = [p.get(base, 0.0) for p in parts]
        if all(e < 0 for e in exponents):
            found.append((base, max(exponents)))
        elif base.head == "size" and len(set(exponents)) == 1:
            found.append((base, exponents[0]))
    return found


def _shape_of(factors: Sequence[tuple[Term, float]]) -> Shape:
    return broadcast_shapes([(), *(x.shape for x, _ in factors)], "formula")


def _factors_of(x: Term, exponent: float) -> Factors:
    """The factors of a power, if it has no number in front."""
    coefficient, factors = split(x)
    if coefficient != 1 or not float(exponent).is_integer():
        return ((x, exponent),)
    return tuple((base, e * exponent) for base, e in factors)


def _bare(m: Algebra, terms: list[Term]) -> list[Term]:
    """Terms of a sum without what only repeats them, where others have the shape."""
    shape = broadcast_shapes([t.shape for t in terms], "formula")
    found = [_unrepeated(m, t) for t in terms]
    return found if broadcast_shapes([t.shape for t in found], "formula") == shape else terms


def _repeats(x: Term) -> bool:
    return any(b.calls(name) for b, _ in split(x)[1] for name in ("ones", "zeros", "broadcast_to"))


def _unrepeated(m: Algebra, x: Term) -> Term:
    coefficient, factors = split(x)
    if any(b.calls("zeros") for b, _ in factors):
        return m.number(0)
    bare = [(b.args[0] if b.calls("broadcast_to") else b, e) for b, e in factors]
    return m.product([f for f in bare if not f[0].calls("ones")], coefficient)


def _is_inverse(a: Term, b: Term) -> bool:
    """Whether one is the inverse of the other."""
    if a.head == b.head == "transpose":
        return _is_inverse(a.args[0], b.args[0])
    for x, y in ((a, b), (b, a)):  # eigenvectors of a symmetric matrix
        if x.takes_output(1, "eigh") and y.head == "transpose" and y.args[0] is x:
            return True
    return (a.calls("inv") and a.args[0] is b) or (b.calls("inv") and b.args[0] is a)


def _is_unit(x: Term) -> bool:
    """Whether this is a row of the identity."""
    is_row = x.head == "part" and x.ndim == 1 and not isinstance(x.attrs[0], Cut)
    return is_row and x.args[0].calls("eye")


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    batch = broadcast_shapes([a[:-2], b[:-2]], "formula")
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
