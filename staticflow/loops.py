"""The loop IR: what a fused kernel does, as structure, before it is text.

    kernel add_maximum(p0: f4*, p1: f4*, p2: f4*; n0, n1)
      for i0 in n0:
        for i1 in n1:
          v0 = p0[i0*n1 + i1] + p1[i1]
          p2[i0*n1 + i1] = v0

Pointers carry their offset already; an index is a sum of loop variables times strides. A kernel
knows no buffer and no size of the program: names are local and numbered by appearance, so equal
bodies in different places are equal kernels, and are compiled once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Index:
    """`sum(variable * stride)`, each stride a text over the kernel's size arguments."""

    terms: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return " + ".join(v if s == "1" else f"{v} * {s}" for v, s in self.terms) or "0"


@dataclass(frozen=True)
class Load:
    """An element of a pointer argument; `dynamic` adds run-time index terms."""

    pointer: str
    index: Index
    dynamic: str = ""

    def __str__(self) -> str:
        index = str(self.index)
        if self.dynamic:
            index = self.dynamic if index == "0" else f"{index} + {self.dynamic}"
        return f"{self.pointer}[{index}]"


@dataclass(frozen=True)
class Expr:
    """A scalar expression: a template with holes for other expressions."""

    template: str
    args: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.template.format(**dict(self.args))


@dataclass(frozen=True)
class Let:
    """Name a scalar; `dtype` is its type suffix."""

    name: str
    value: Expr | Load | str
    dtype: str


@dataclass(frozen=True)
class Assign:
    """Give an accumulator its next value."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Store:
    """Write an element; with `combine`, the old element takes part as `{acc}`."""

    target: Load
    value: str
    combine: str | None = None


@dataclass(frozen=True)
class Call:
    """Call a native routine, as text, where a condition holds."""

    text: str
    condition: str


@dataclass(frozen=True)
class For:
    """Run `body` for `variable` from 0 up to `extent`.

    `over` is what counts: a long loop whose iterations do not depend on each other goes over
    `abreast_f4` or `abreast_f8`, a range of which several vectors are under way at a time.
    """

    variable: str
    extent: str
    body: tuple[Stmt, ...]
    over: str = "range"


@dataclass(frozen=True)
class If:
    """Run the one statements where a condition holds, else the others."""

    condition: str
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...]


Stmt = Let | Assign | Store | Call | For | If


@dataclass(frozen=True)
class Kernel:
    """A loop nest over pointer and size arguments."""

    label: str
    pointers: tuple[tuple[str, str], ...]  # (name, dtype suffix)
    sizes: tuple[str, ...]
    body: tuple[Stmt, ...]
    calls: tuple[str, ...] = ()  # native routines


def index_name(level: int) -> str:
    """The loop variable of a level: i0, i1 ..., but never i4 or i8, which convert to integers."""
    return f"i{level}_" if level in (4, 8) else f"i{level}"


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, outer before inner."""
    for statement in body:
        yield statement
        if isinstance(statement, For):
            yield from walk(statement.body)
        elif isinstance(statement, If):
            yield from walk((*statement.then, *statement.otherwise))
