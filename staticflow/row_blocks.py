"""Read a matrix once for all the matrix-vector products with it: its rows go by in blocks.

    before                          after
    z = X @ t                       for rows of X that fit the cache:
    u = f(z)                            z = X @ t     these rows
    g = X.T @ u                         u = f(z)      these rows
                                        g += X.T @ u  what these rows give

A product with a vector is as fast as memory is, so that a large X read twice takes twice as long.
Steps join a block if they go over its rows in order: products whose result has these rows, kernels
whose outermost loops run over them, and products that sum over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from staticflow.buffers import Buffer
from staticflow.dims import AnyDim, Dim, names_of
from staticflow.kernel_rows import row_strides
from staticflow.schedule import BlockStep, KernelStep, Operand, Place, ProductStep, Step

Rows = tuple[Place, AnyDim]  # where the first row lies, and how far apart rows are


@dataclass(frozen=True)
class _Sliced:
    """What a step does with rows."""

    step: Step  # the same for the rows of one block
    reads: tuple[Rows, ...] = ()  # what is read whole has the stride 0
    writes: tuple[Rows, ...] = ()
    sums: frozenset[int] = frozenset()  # buffers that collect from all rows


def in_row_blocks(steps: Sequence[Step], buffers: list[Buffer]) -> list[Step]:
    """The steps, with chains over the rows of one matrix as steps of their own.

    Buffers for what two threads sum up are added to `buffers`.
    """
    result: list[Step] = []
    rest = list(steps)
    while rest:
        block = _block(rest, len(result)) if _is_thin(rest[0]) else None
        if block is None:
            result.append(rest.pop(0))
        else:
            before, step, rest = block
            result += [*before, replace(step, sums=_partials(step, buffers))]
    return result


def _partials(step: BlockStep, buffers: list[Buffer]) -> tuple[tuple[int, int], ...]:
    pairs = []
    for inner in step.body:
        if isinstance(inner, ProductStep) and inner.adds_after != 0:
            whole = buffers[inner.c.place[0]]
            partial = Buffer(len(buffers), inner.node, whole.dtype, whole.count, "temp")
            buffers.append(partial)
            pairs.append((whole.index, partial.index))
    return tuple(pairs)


def _is_thin(step: Step) -> bool:
    """Whether a step is a matrix times a vector."""
    return isinstance(step, ProductStep) and step.n == 1 and step.m != 1 and not step.batch


def _block(steps: list[Step], number: int) -> tuple[list[Step], BlockStep, list[Step]] | None:
    """What goes before the block that starts with the first step, the block, and what comes behind;
    None if no later product sums over the rows of that step's matrix.
    """
    first = steps[0]
    assert isinstance(first, ProductStep)
    rows = first.m
    if not isinstance(rows, Dim) or rows.name is None:
        return None
    begin, at, count = (Dim.named(f"{name}{number}") for name in ("begin", "at", "rows"))
    chain = _Chain(rows, begin, at, count)
    length = 0
    for position, step in enumerate(steps):
        if not chain.take(step):
            break
        if _sums_rows_of(step, first.a.place, rows):
            length = position + 1
    if not length:
        return None
    chain = _Chain(rows, begin, at, count)
    for step in steps[:length]:
        chain.take(step)
    block = BlockStep(number, rows, first.a.row, first.dtype, tuple(chain.body), (), first.node)
    return chain.before, block, steps[length:]


def _sums_rows_of(step: Step, matrix: Place, rows: AnyDim) -> bool:
    if not isinstance(step, ProductStep) or step.k != rows or 1 not in (step.m, step.n):
        return False
    return (step.b if step.m == 1 else step.a).place == matrix


@dataclass
class _Chain:
    """Steps over the same rows, and what is known about the buffers they touch."""

    rows: Dim
    begin: Dim  # where a thread's blocks begin
    at: Dim  # the first row of a block
    count: Dim  # how many rows it has
    before: list[Step] = field(default_factory=list)
    body: list[Step] = field(default_factory=list)
    written: dict[int, Rows] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)
    sums: set[int] = field(default_factory=set)

    def take(self, step: Step) -> bool:
        """Add a step if it can run block by block, or before all of them."""
        own = {*self.written, *self.sums}
        if not step.reads & own and not step.writes & (own | self.read) and self._is_apart(step):
            self.before.append(step)
            return True
        sliced = self._sliced(step)
        if sliced is None or not self._fits(step, sliced, own):
            return False
        self.body.append(sliced.step)
        self.written |= {place[0]: (place, stride) for place, stride in sliced.writes}
        self.read |= step.reads
        self.sums |= sliced.sums
        return True

    def _is_apart(self, step: Step) -> bool:
        """Whether a step has nothing to do with rows."""
        dims = step.sizes if isinstance(step, KernelStep) else ()
        if isinstance(step, ProductStep):
            dims = (step.m, step.n, step.k)
        return isinstance(step, KernelStep | ProductStep) and not names_of(dims) & self.rows.names

    def _fits(self, step: Step, sliced: _Sliced, own: set[int]) -> bool:
        """Whether what it reads of the block is read row by row, and what it writes is new."""
        if step.writes & (own | self.read):
            return False
        return all(
            rows == self.written.get(rows[0][0]) for rows in sliced.reads if rows[0][0] in own
        )

    def _sliced(self, step: Step) -> _Sliced | None:
        if isinstance(step, KernelStep):
            return self._kernel(step)
        if not isinstance(step, ProductStep) or step.batch:
            return None
        others = names_of([d for d in (step.m, step.n, step.k) if d != self.rows])
        if [step.m, step.n, step.k].count(self.rows) != 1 or others & self.rows.names:
            return None
        a, b, c = step.a, step.b, step.c
        if step.m == self.rows:
            moved = replace(step, m=self.count, a=self._down(a), c=self._down(c))
            return _Sliced(moved, ((a.place, a.row), (b.place, 0)), ((c.place, c.row),))
        if step.k == self.rows:
            a_part, b_part = self._along(a), self._down(b)
            inner = replace(step, k=self.count, a=a_part, b=b_part, adds_after=self.at - self.begin)
            reads = ((a.place, a.column), (b.place, b.row))
            return _Sliced(inner, reads, (), step.writes)
        return None

    def _kernel(self, step: KernelStep) -> _Sliced | None:
        found = row_strides(step.kernel, step.sizes, self.rows)
        if found is None:
            return None
        extents, strides = found
        names = [name for name, _ in step.kernel.pointers]
        pairs = list(zip(names, step.pointers, strict=True))
        pointers = tuple(self._moved(place, strides.get(name, 0)) for name, place in pairs)
        sizes = tuple(
            self.count if name in extents else dim
            for name, dim in zip(step.kernel.sizes, step.sizes, strict=True)
        )
        rows = tuple((place, strides.get(name, 0)) for name, place in pairs)
        moved = replace(step, pointers=pointers, sizes=sizes)
        return _Sliced(moved, rows, tuple(row for row in rows if row[0][0] in step.writes))

    def _moved(self, place: Place, stride: AnyDim) -> Place:
        return place[0], place[1] + self.at * stride

    def _down(self, x: Operand) -> Operand:
        return replace(x, place=self._moved(x.place, x.row))

    def _along(self, x: Operand) -> Operand:
        return replace(x, place=self._moved(x.place, x.column))
