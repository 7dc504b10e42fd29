"""Formulas as values: terms, with NumPy's shapes; an `Algebra` makes them, and keeps them tidy.

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
    part         elements along axes: x[1:, 0]            for each axis: a place, or a `Cut`
    reduce       sum(x, axis=0)                           name, axes
    call         name(a, b, option=c)                     name, what tells it apart, options
    loop         statements; of inits, arrays, constants  a `LoopBody`

Equal terms are one object. A term keeps the shape of what it stands for: nothing is simplified that
would change it, so that a formula can be typed into NumPy as it is printed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from staticflow.graph.dims import AnyDim
from staticflow.graph.types import Shape

Factors = tuple[tuple["Term", float], ...]


class Cut(NamedTuple):
    """A part of an axis, as Python's slices; `stop` is None at the end."""

    start: AnyDim = 0
    stop: AnyDim | None = None
    step: int = 1

    def __str__(self) -> str:
        first = "" if self.start == 0 and self.step > 0 else str(self.start)
        last = "" if self.stop is None else str(self.stop)
        return f"{first}:{last}" + (f":{self.step}" if self.step != 1 else "")


ALL = Cut()


@dataclass(frozen=True, eq=False)
class LoopBody:
    """What a loop does: its carries by name, and the terms that follow from them in one step."""

    names: tuple[str, ...]  # of the carries
    shapes: tuple[Shape, ...]
    next: tuple[Term, ...]
    stacks: tuple[str, ...]  # what the outputs of all steps are called
    ys: tuple[Term, ...]
    test: Term | None  # of a while loop
    length: AnyDim | None
    reverse: bool
    index: str  # what counts the steps

    @property
    def terms(self) -> tuple[Term, ...]:
        return (*self.next, *self.ys, *(() if self.test is None else (self.test,)))


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
        return self.head == "call" and self.name == name

    def reduces_by(self, name: str) -> bool:
        """Whether this is a reduction called `name`."""
        return self.head == "reduce" and self.name == name

    def takes_output(self, number: int, name: str) -> bool:
        """Whether this is that one of the outputs of a call of `name`."""
        return self.head == "part" and self.attrs == (number,) and self.args[0].calls(name)

    @property
    def name(self) -> str:
        """What a call or a reduction calls, or a leaf's text."""
        name = self.attrs[0]
        assert isinstance(name, str)
        return name

    @property
    def value(self) -> float:
        """Of a number."""
        assert self.head == "number"
        return _float(self.attrs[0])

    @property
    def is_nan(self) -> bool:
        """Whether this is the number that is none."""
        return self.head == "number" and isnan(self.value)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of a reduction, or those along which a call works."""
        axes = self.attrs[1]
        assert isinstance(axes, tuple)
        return axes

    @property
    def body(self) -> LoopBody:
        """Of a loop."""
        (body,) = self.attrs
        assert isinstance(body, LoopBody)
        return body

    @property
    def order(self) -> tuple[int, ...]:
        """Of a transpose: for each axis of the result, that of the operand."""
        assert self.head == "transpose"
        return tuple(axis for axis in self.attrs if isinstance(axis, int))


def split(term: Term) -> tuple[float, Factors]:
    """The coefficient of a term, and its factors with their exponents."""
    if term.head == "number":
        return term.value, ()
    if term.head == "product":
        exponents = term.attrs[1]
        assert isinstance(exponents, tuple)
        return _float(term.attrs[0]), tuple(zip(term.args, exponents, strict=True))
    return 1.0, ((term, 1.0),)


def _float(value: Hashable) -> float:
    assert isinstance(value, float)
    return value


LONGEST_CHAIN = 64  # A @ A, of which A is B @ B, and so on: ten of these are a thousand factors


def chain(x: Term) -> tuple[Term, ...]:
    """The factors of a product of matrices, whatever the brackets; one that has too many is one."""
    if x.head != "matmul" or x.ndim == 0 or x.ndim > 2:
        return (x,)
    found: list[Term] = []
    waiting = list(reversed(x.args))
    while waiting:
        factor = waiting.pop()
        if factor.head == "matmul" and factor.ndim == 2:
            waiting += reversed(factor.args)
        else:
            found.append(factor)
        if len(found) + len(waiting) > LONGEST_CHAIN:
            return (x,)
    return tuple(found)


def shape_text(shape: Sequence[AnyDim | str]) -> str:
    """A shape, or a tuple of such, as Python writes it."""
    texts = [str(n).replace("*", " * ") for n in shape]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
