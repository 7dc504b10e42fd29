"""Sizes of axes: integers, names for run-time sizes, and integer polynomials of names.

A `Dim` is kept in one canonical form, a sum of monomials with integer coefficients, so that equal
expressions are equal values: `batch * time + time * batch == 2 * batch * time`. A constant result
is always a plain `int`; a `Dim` therefore has at least one name in it.

The compiler uses the same algebra for strides and offsets, over the names of its size table.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Union

from staticflow.errors import ShapeError, fail
from staticflow.graph.operators import OPERATORS

Monomial = tuple[str, ...]  # the names, sorted, one entry for each power
AnyDim = Union[int, "Dim"]
MOST_TERMS, MOST_FACTORS, MOST_PRODUCTS = 1 << 12, 1 << 8, 1 << 16
LONGEST_NAME = 1000


class Derived(str):
    """Stands in a monomial for a size that is no polynomial: `a // b`, or the root `isqrt(a)`."""

    __slots__ = ("args",)
    args: tuple[AnyDim, ...]

    def __new__(cls, args: tuple[AnyDim, ...]) -> Derived:
        a = args[0]
        text = f"isqrt({a})" if len(args) == 1 else f"(({a}) // ({args[1]}))"
        made = super().__new__(cls, text)
        made.args = args
        return made

    def __reduce__(self) -> tuple[type[Derived], tuple[object]]:
        return Derived, (self.args,)

    @staticmethod
    def of(*args: AnyDim) -> AnyDim:
        """The value where it is known, else a Dim for it."""
        if all(isinstance(a, int) for a in args):
            return _derive([int(a) for a in args if isinstance(a, int)])
        return Dim(((((Derived(args)),), 1),))


def _derive(args: list[int]) -> int:
    if len(args) == 1:
        return math.isqrt(max(args[0], 1))
    if args[1] < 1:
        fail(ShapeError, "a size is divided by one that is not positive", got=f"{args[1]}")
    return args[0] // args[1]


def floor_divide(dim: AnyDim, divisor: AnyDim) -> AnyDim:
    """`dim // divisor`, also for run-time sizes."""
    if isinstance(divisor, int) and divisor < 1:
        fail(ShapeError, "a size is divided by one that is not positive", got=f"{dim} // {divisor}")
    if isinstance(dim, Dim) and isinstance(divisor, int):
        exact = divide(dim, divisor)
        if exact is not None:
            return exact
    return Derived.of(dim, divisor)


def square_root(dim: AnyDim) -> AnyDim:
    """The integer below the square root, at least 1, also for run-time sizes."""
    return Derived.of(dim)


def smaller(a: AnyDim, b: AnyDim) -> AnyDim:
    """The smaller of two sizes: (a + b - |a - b|) / 2, where the root below is |a - b|, but 1 of
    equal sizes, which the division takes down.
    """
    gap = a - b
    if isinstance(gap, int):
        return a if gap < 0 else b
    return floor_divide(a + b + 1 - square_root(gap * gap), 2)


class Dim:
    """An integer polynomial of named sizes; immutable and hashable."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]
    _hash: int

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "_hash", hash(self.name or terms))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Dim cannot be changed")

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    def __reduce__(self) -> tuple[type[Dim], tuple[object]]:
        return Dim, (self.terms,)  # another process hashes names in another way

    @staticmethod
    def named(name: str) -> Dim:
        """The size called `name`."""
        return Dim((((name,), 1),))

    @property
    def name(self) -> str | None:
        """The name, when this is a single name and nothing else."""
        if len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1:
            return self.terms[0][0][0]
        return None

    @property
    def is_derived(self) -> bool:
        """Whether a quotient or a root stands in it, so that it is no polynomial."""
        return any(isinstance(name, Derived) for monomial, _ in self.terms for name in monomial)

    @property
    def names(self) -> frozenset[str]:
        """Every name that occurs."""
        found: frozenset[str] = frozenset()
        for monomial, _ in self.terms:
            for name in monomial:
                found |= names_of(name.args) if isinstance(name, Derived) else {name}
        return found

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The value for the given sizes; KeyError for a name that is not there."""
        total = 0
        for monomial, coefficient in self.terms:
            product = coefficient
            for name in monomial:
                if isinstance(name, Derived):
                    product *= _derive([evaluate(a, sizes) for a in name.args])
                else:
                    product *= sizes[name]
            total += product
        return total

    def substitute(self, sizes: Mapping[str, AnyDim]) -> AnyDim:
        """Replace names by other dims; names that are not in `sizes` stay."""
        name = self.name
        if name is not None and not isinstance(name, Derived):
            return sizes.get(name, self)
        total: AnyDim = 0
        for monomial, coefficient in self.terms:
            product: AnyDim = coefficient
            for name in monomial:
                if isinstance(name, Derived):
                    args = [a.substitute(sizes) if isinstance(a, Dim) else a for a in name.args]
                    product = product * Derived.of(*args)
                else:
                    product = product * sizes.get(name, Dim.named(name))
            total = total + product
        return total

    def __add__(self, other: Any) -> Any:
        if not is_dim(other):
            return _as_number("add", self, other)
        return _canonical([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> AnyDim:
        return self * -1  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> Any:
        return self + (-other) if is_dim(other) else _as_number("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return other + (-self) if is_dim(other) else _as_number("sub", other, self)

    def __mul__(self, other: Any) -> Any:
        if not is_dim(other):
            return _as_number("mul", self, other)
        if isinstance(other, Dim) and len(self.terms) * len(other.terms) > MOST_PRODUCTS:
            _too_long()
        return _canonical(
            [(tuple(sorted(m + k)), c * d) for m, c in self.terms for k, d in _terms(other)]
        )

    __rmul__ = __mul__

    def __pow__(self, other: Any) -> Any:
        if not isinstance(other, int) or not 0 <= other <= MOST_FACTORS:
            return _as_number("pow", self, other)
        return product([self] * other)

    def __rpow__(self, other: Any) -> Any:
        return _as_number("pow", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return floor_divide(self, other) if is_dim(other) else _as_number("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return floor_divide(other, self) if is_dim(other) else _as_number("floordiv", other, self)

    def __mod__(self, other: Any) -> Any:
        return self - self // other * other if is_dim(other) else _as_number("mod", self, other)

    def __rmod__(self, other: Any) -> Any:
        return other - other // self * self if is_dim(other) else _as_number("mod", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _as_number("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _as_number("truediv", other, self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, str):
            return self.name == other
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            factors = list(monomial)
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            text += f" {sign} {'*'.join(factors)}"
        return text[3:] if text.startswith(" + ") else "-" + text[3:]


def _as_number(symbol: str, x: Any, y: Any) -> Any:
    """The node of an operation on a size that makes no size, as with Python's floats."""
    if not all(isinstance(v, int | float | Dim) for v in (x, y)):
        return NotImplemented
    return OPERATORS[symbol](x, y)


def is_dim(value: object) -> bool:
    """Whether a value can stand in a size: an integer of Python or of NumPy, or a Dim."""
    return isinstance(value, int | Dim) or (
        hasattr(value, "__index__") and getattr(value, "shape", None) == ()
    )


def _terms(dim: AnyDim) -> Iterable[tuple[Monomial, int]]:
    if isinstance(dim, Dim):
        return dim.terms
    return (((), dim),) if dim else ()


def _canonical(terms: Iterable[tuple[Monomial, int]]) -> AnyDim:
    sums: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        sums[monomial] = sums.get(monomial, 0) + coefficient
    # Longest monomials first, so that `time - 1` prints as people write it.
    kept = sorted(((m, c) for m, c in sums.items() if c), key=lambda t: (-len(t[0]), t[0]))
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    if len(kept) > MOST_TERMS or len(kept[0][0]) > MOST_FACTORS:
        _too_long()
    return Dim(tuple(kept))


def _too_long() -> NoReturn:
    fail(
        ShapeError,
        "a size is too long an expression of named sizes",
        got=f"more than {MOST_TERMS} terms, or {MOST_FACTORS} factors",
        do="declare more of the sizes as integers",
    )


def dim_name(name: str) -> str:
    """A name in the form in which Python compares identifiers."""
    return unicodedata.normalize("NFKC", name)


def as_dim(value: object) -> AnyDim:
    """Read a dimension as the user writes it: an int, a name, or an expression of names."""
    if isinstance(value, str):
        if not value.isidentifier() or len(value) > LONGEST_NAME:
            raise ValueError(f"a dimension's name must be an identifier, got {value[:80]!r}")
        return Dim.named(dim_name(value))
    if isinstance(value, Dim):
        return value
    if hasattr(value, "__index__") and not isinstance(value, bool):
        size = int(value.__index__())
        if size < 0:
            raise ValueError(f"a dimension cannot be negative, got {size}")
        return size
    raise ValueError(f"a dimension is an int or a name, got {value!r}")


def product(dims: Iterable[AnyDim]) -> AnyDim:
    """The product of dims; 1 for none."""
    result: AnyDim = 1
    for dim in dims:
        result = result * dim
    return result


def evaluate(dim: AnyDim, sizes: Mapping[str, int]) -> int:
    """The integer value of a dim."""
    return dim.evaluate(sizes) if isinstance(dim, Dim) else dim


def names_of(dims: Iterable[AnyDim]) -> frozenset[str]:
    """Every name in the given dims."""
    found: frozenset[str] = frozenset()
    for dim in dims:
        if isinstance(dim, Dim):
            found |= dim.names
    return found


def divide(dim: AnyDim, divisor: AnyDim) -> AnyDim | None:
    """`dim / divisor` where it is exact for every value of the names, else None."""
    if isinstance(dim, int) and isinstance(divisor, int):
        return dim // divisor if divisor and dim % divisor == 0 else None
    if divisor == 0:
        return None
    quotient: AnyDim = 0
    while dim != 0:  # as long division: terms stand in order, those of highest degree first
        term = _over(next(iter(_terms(dim))), next(iter(_terms(divisor))))
        if term is None:
            return None
        quotient, dim = quotient + term, dim - term * divisor
    return quotient


def _over(a: tuple[Monomial, int], b: tuple[Monomial, int]) -> AnyDim | None:
    """The quotient of two terms, if there is one."""
    (names, coefficient), (lead, factor) = a, b
    rest = list(names)
    for name in lead:
        if name not in rest:
            return None
        rest.remove(name)
    return None if coefficient % factor else _canonical([(tuple(rest), coefficient // factor)])
