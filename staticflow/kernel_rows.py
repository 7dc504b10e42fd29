"""Whether a kernel can run on some of its rows, and how far apart the rows lie behind its pointers.

for i0 in n0:                     rows n0: p0 and p2 move by n1 elements a row, p1 stays
  for i1 in n1:
    p2[i0*n1 + i1] = p0[i0*n1 + i1] + p1[i1]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from staticflow.dims import AnyDim
from staticflow.loops import Assign, For, Kernel, Let, Load, Stmt, Store, walk

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
    extents = frozenset(loop.extent for loop in loops)
    if not loops or any(named.get(extent) != rows for extent in extents):
        return None
    if any(isinstance(s, Assign) or _combines(s) for s in kernel.body):
        return None
    strides: Strides = {}
    for loop in loops:
        if not _rows_are_apart(loop) or not _add_strides(loop, named, strides):
            return None
    moving = {n for n, dim in named.items() if n not in extents and dim == rows}
    used = " ".join(_texts(kernel.body))
    if any(_uses(used, name) for name in (*extents, *moving)):
        return None
    return extents, strides


def _combines(statement: Stmt) -> bool:
    return isinstance(statement, Store) and statement.combine is not None


def _rows_are_apart(loop: For) -> bool:
    """Whether no row adds to what another row adds to, or knows its number."""
    inside = list(walk(loop.body))
    own = {s.name for s in inside if isinstance(s, Let)}
    for statement in inside:
        if isinstance(statement, Assign) and statement.name not in own:
            return False
        if _combines(statement):
            return False
        if isinstance(statement, For) and _uses(statement.extent, loop.variable):
            return False
    return not any(_uses(text, loop.variable) for text in _values(loop.body))


def _add_strides(loop: For, named: Mapping[str, AnyDim], strides: Strides) -> bool:
    """Enter the strides of a loop's accesses; False if two of one pointer differ."""
    for access, is_store in _accesses(loop.body):
        terms = dict(access.index.terms)
        stride = _dim(terms[loop.variable], named) if loop.variable in terms else 0
        if stride is None or (is_store and stride == 0):
            return False
        if strides.setdefault(access.pointer, stride) != stride:
            return False
    return True


def _accesses(body: tuple[Stmt, ...]) -> Iterator[tuple[Load, bool]]:
    for statement in walk(body):
        if isinstance(statement, Store):
            yield statement.target, True
        elif isinstance(statement, Let) and isinstance(statement.value, Load):
            yield statement.value, False


def _values(body: tuple[Stmt, ...]) -> Iterator[str]:
    """The text of everything that is computed: all but the indices of loads and stores."""
    for statement in walk(body):
        if isinstance(statement, Store):
            yield f"{statement.value} {statement.target.dynamic}"
        elif isinstance(statement, Let) and isinstance(statement.value, Load):
            yield statement.value.dynamic
        elif isinstance(statement, Let | Assign):
            yield str(statement.value)


def _texts(body: tuple[Stmt, ...]) -> Iterator[str]:
    """Everything in which a size may stand, but for the extents of the outermost loops."""
    yield from _values(body)
    for access, _ in _accesses(body):
        yield str(access.index)
    for statement in body:
        if isinstance(statement, For):
            yield from (s.extent for s in walk(statement.body) if isinstance(s, For))


def _uses(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _dim(text: str, named: Mapping[str, AnyDim]) -> AnyDim | None:
    """A stride as a dim: a sum of products of sizes and numbers; None for anything else."""
    total: AnyDim = 0
    for term in text.split(" + "):
        product: AnyDim = 1
        for factor in term.split(" * "):
            value = int(factor) if factor.isdigit() else named.get(factor)
            if value is None:
                return None
            product = product * value
        total = total + product
    return total
