"""Whether a kernel can run on some of its rows, and how far apart the rows lie behind its pointers.

for i0 in n0:                     rows n0: p0 and p2 move by n1 elements a row, p1 stays
  for i1 in n1:
    p2[i0*n1 + i1] = p0[i0*n1 + i1] + p1[i1]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from staticflow.compiler.ir.loops import (
    Assign,
    Factors,
    For,
    Kernel,
    Let,
    Stmt,
    StoreElement,
    accesses,
    names_in,
    names_in_index,
    walk,
)
from staticflow.graph.dims import AnyDim, product

Strides = dict[str, AnyDim]


def row_strides(
    kernel: Kernel, sizes: Sequence[AnyDim], rows: AnyDim
) -> tuple[frozenset[str], Strides] | None:
    """The sizes that count rows, and the stride of each pointer that moves from row to row.

    None if the kernel adds up over rows, uses their number or a row's position, or has other loops
    beside those over rows.
    """
    named = dict(zip(kernel.sizes, sizes, strict=True))
    loops = [s for s in kernel.body if isinstance(s, For)]
    extents = frozenset(loop.extent for loop in loops if isinstance(loop.extent, str))
    if len(extents) < len({loop.extent for loop in loops}) or not loops:
        return None
    if any(named[extent] != rows for extent in extents):
        return None
    if any(isinstance(s, Assign) or _combines(s) for s in kernel.body):
        return None
    strides: Strides = {}
    for loop in loops:
        if not _rows_are_apart(loop) or not _add_strides(loop, named, strides):
            return None
    moving = {n for n, dim in named.items() if n not in extents and dim == rows}
    if not {*extents, *moving}.isdisjoint(_sizes_used(kernel.body)):
        return None
    return extents, strides


def _combines(statement: Stmt) -> bool:
    return isinstance(statement, StoreElement) and statement.combine is not None


def _rows_are_apart(loop: For) -> bool:
    """Whether no row adds to what another row adds to, or knows its number."""
    inside = list(walk(loop.body))
    own = {s.name for s in inside if isinstance(s, Let)}
    for statement in inside:
        if isinstance(statement, Assign) and statement.name not in own:
            return False
        if _combines(statement):
            return False
    return loop.variable not in _values(loop.body)


def _add_strides(loop: For, named: Mapping[str, AnyDim], strides: Strides) -> bool:
    """Enter the strides of a loop's accesses; False if two of one pointer differ."""
    for access, is_store in accesses(loop.body):
        terms = dict(access.index.terms)
        stride = _dim(terms[loop.variable], named) if loop.variable in terms else 0
        if is_store and stride == 0:
            return False
        if strides.setdefault(access.pointer, stride) != stride:
            return False
    return True


def _values(body: tuple[Stmt, ...]) -> Iterator[str]:
    """The names in everything that is computed: all but the indices of loads and stores."""
    for statement in walk(body):
        if isinstance(statement, StoreElement):
            yield from names_in(statement.value)
            yield from names_in(statement.target)
        elif isinstance(statement, Let | Assign):
            yield from names_in(statement.value)


def _sizes_used(body: tuple[Stmt, ...]) -> Iterator[str]:
    """All names but for the extents of the outermost loops."""
    yield from _values(body)
    for access, _ in accesses(body):
        yield from names_in_index(access.index)
    for loop in body:
        if isinstance(loop, For):
            yield from (str(s.extent) for s in walk(loop.body) if isinstance(s, For))


def _dim(factors: Factors, named: Mapping[str, AnyDim]) -> AnyDim:
    """A stride as a dim."""
    return product(tuple(named[n] if isinstance(n, str) else n for n in factors))
