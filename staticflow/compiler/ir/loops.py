"""The loop IR: what a fused kernel does, as structure; `kernels` prints it.

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
from typing import TypeAlias, assert_never

from staticflow.graph.kinds import MapRow
from staticflow.native.toolchain.objects import TypedName

Size: TypeAlias = "int | str"  # a number, or the name of a size argument or of a counted one
Factors = tuple[Size, ...]  # a product of sizes


@dataclass(frozen=True)
class Index:
    """The sum of `variable * stride`, each stride a product of sizes; of 0 terms it is 0."""

    terms: tuple[tuple[str, Factors], ...] = ()

    @classmethod
    def along(cls, variable: str) -> Index:
        """One element after the other."""
        return cls(((variable, ()),))


@dataclass(frozen=True)
class Load:
    """An element of a pointer argument; `dynamic` adds terms that are known at run time only."""

    pointer: str
    index: Index
    dynamic: Index = Index()


@dataclass(frozen=True)
class Literal:
    """A typed number."""

    dtype: str
    value: float


@dataclass(frozen=True)
class SizeValue:
    """A size as a number."""

    dtype: str
    size: Size


@dataclass(frozen=True)
class Position:
    """An index as a number, converted to a dtype if there is one."""

    index: Index
    offset: Size | None = None
    dtype: str = ""


@dataclass(frozen=True)
class Apply:
    """An elementwise op: its row, its operands, the dtypes it computes in and gives."""

    row: MapRow
    args: tuple[Scalar, ...]
    dtype: str
    result: str


@dataclass(frozen=True)
class Draw:
    """An op of the element's position, as the op writes it: `body` is over `letters` and {flat}."""

    body: str
    letters: tuple[str, ...]
    args: tuple[Scalar, ...]
    dtype: str
    position: Position
    stream: int


@dataclass(frozen=True)
class WrapIndex:
    """An index that never leaves an axis; a negative one counts from the end, as in NumPy."""

    position: Scalar
    extent: Size


@dataclass(frozen=True)
class Initial:
    """What a reduction starts from, as its row writes it over {t}."""

    body: str
    dtype: str


@dataclass(frozen=True)
class Combine:
    """How an element takes in a value, as an op writes it over {acc} and {x}."""

    body: str
    adds: bool


@dataclass(frozen=True)
class Combined:
    """An accumulator that has taken in a value."""

    combine: Combine
    accumulator: str
    value: Scalar


@dataclass(frozen=True)
class Code:
    """An expression that a pass has written, over the names and numbers in its holes.

    No pass looks into it.
    """

    template: str
    args: tuple[tuple[str, Size], ...] = ()


@dataclass(frozen=True)
class Room:
    """Memory of the stack for a pointer's elements, once for each of the rows that are abreast."""

    function: str  # what makes it
    pointer: str
    rows: str


@dataclass(frozen=True)
class Local:
    """Memory of the stack for a few elements, which become registers where loops are unrolled."""

    dtype: str


Scalar: TypeAlias = (
    "str | Literal | SizeValue | Position | Apply | Draw | WrapIndex | Initial | Combined | Code"
    " | Room | Local"
)


@dataclass(frozen=True)
class Let:
    """Name a scalar; `dtype` is its type suffix."""

    name: str
    value: Scalar | Load
    dtype: str


@dataclass(frozen=True)
class Assign:
    """Give an accumulator its next value."""

    name: str
    value: Scalar


@dataclass(frozen=True)
class StoreElement:
    """Write an element; with `combine`, the old element takes part."""

    target: Load
    value: Scalar
    combine: Combine | None = None


@dataclass(frozen=True)
class Call:
    """Call a native routine where a condition holds."""

    routine: TypedName
    args: tuple[Size, ...]
    condition: Code


@dataclass(frozen=True)
class For:
    """Run `body` for `variable` from `start` up to `extent`, in steps of `step`.

    `over` is what counts: a long loop whose iterations do not depend on each other goes over
    `abreast_f4` or `abreast_f8`, a range of which several vectors are under way at a time.
    """

    variable: str
    extent: Size | Code
    body: tuple[Stmt, ...]
    over: str = "range"
    start: Size = 0
    step: int = 1
    level: int | None = None  # of the axis that it counts along, if it does


@dataclass(frozen=True)
class If:
    """Run the one statements where a condition holds, else the others, if there are any."""

    condition: Code
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...]


Stmt = Let | Assign | StoreElement | Call | For | If
ADDED = Combine("{acc} + {x}", adds=True)


@dataclass(frozen=True)
class Kernel:
    """A loop nest over pointer and size arguments."""

    label: str
    pointers: tuple[tuple[str, str], ...]  # (name, dtype suffix)
    sizes: tuple[str, ...]
    body: tuple[Stmt, ...]
    calls: tuple[TypedName, ...] = ()  # native routines


def index_name(level: int) -> str:
    """The loop variable of a level: i0, i1 ..., but never i4 or i8, which convert to integers."""
    return f"i{level}_" if level in (4, 8) else f"i{level}"


def axis_loop(level: int, extent: Size, body: tuple[Stmt, ...]) -> For:
    """The loop along an axis."""
    return For(index_name(level), extent, body, level=level)


def factors(size: Size) -> Factors:
    """A size as a product: of nothing if it is 1."""
    return () if size == 1 else (size,)


def bodies(statement: Stmt) -> tuple[tuple[Stmt, ...], ...]:
    """The statements within a statement; () for one that has none."""
    match statement:
        case Let() | Assign() | StoreElement() | Call():
            return ()
        case For():
            return (statement.body,)
        case If():
            return statement.then, statement.otherwise
    assert_never(statement)


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, outer before inner."""
    for statement in body:
        yield statement
        for inner in bodies(statement):
            yield from walk(inner)


def accesses(body: tuple[Stmt, ...]) -> Iterator[tuple[Load, bool]]:
    """Every element that is touched, and whether it is written."""
    for statement in walk(body):
        if isinstance(statement, StoreElement):
            yield statement.target, True
        elif isinstance(statement, Let) and isinstance(statement.value, Load):
            yield statement.value, False


def names_in_index(index: Index) -> Iterator[str]:
    """The loop variables and sizes of an index."""
    for variable, factors in index.terms:
        yield variable
        yield from _names(factors)


def names_in(value: Scalar | Load) -> Iterator[str]:
    """The names that a value is computed from: variables, sizes, scalars; of a load's only those
    that are known at run time.
    """
    match value:
        case str():
            yield value
        case Literal() | Initial() | Local():
            return
        case SizeValue():
            yield from _names((value.size,))
        case Position():
            yield from names_in_index(value.index)
            yield from _names(() if value.offset is None else (value.offset,))
        case Apply():
            for arg in value.args:
                yield from names_in(arg)
        case Draw():
            for arg in (*value.args, value.position):
                yield from names_in(arg)
        case WrapIndex():
            yield from names_in(value.position)
            yield from _names((value.extent,))
        case Combined():
            yield value.accumulator
            yield from names_in(value.value)
        case Code():
            yield from _names(tuple(size for _, size in value.args))
        case Room():
            yield from (value.pointer, value.rows)
        case Load():
            yield from names_in_index(value.dynamic)
        case _:
            assert_never(value)


def _names(sizes: Factors) -> Iterator[str]:
    return (size for size in sizes if isinstance(size, str))
