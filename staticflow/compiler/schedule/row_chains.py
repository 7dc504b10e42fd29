"""Chains of steps that can run on some of the rows at a time: each reads its own rows of others.

    z = X @ t        rows at .. at + count of X and z
    u = f(z)         the same rows of z and u
    g += X.T @ u     what these rows give

Steps join a chain if they go over its rows in order: products whose result has these rows, kernels
whose outermost loops run over them, and products that sum over them. What has nothing to do with
rows goes before the chain, if nothing there needs it later.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from staticflow.compiler.ir.steps import KernelStep, Operand, Place, ProductStep, Step
from staticflow.compiler.schedule.row_strides import row_strides
from staticflow.graph.dims import AnyDim, Dim, names_of

Rows = tuple[Place, AnyDim]  # where the first row lies, and how far apart rows are


@dataclass(frozen=True)
class Sliced:
    """What a step does with rows."""

    step: Step  # the same for the rows of one block
    reads: tuple[Rows, ...] = ()  # what is read whole has the stride 0
    writes: tuple[Rows, ...] = ()
    sums: frozenset[int] = frozenset()  # buffers that collect from all rows


@dataclass
class Chain:
    """Steps over the same rows, and what is known about the buffers they touch."""

    rows: Dim
    begin: Dim  # where a thread's blocks begin
    at: Dim  # the first row of a block
    count: Dim  # how many rows it has
    before: list[Step] = field(default_factory=list)
    body: list[Step] = field(default_factory=list)
    written: dict[int, Rows] = field(default_factory=dict)
    touched: dict[int, set[Rows]] = field(default_factory=dict)
    sums: set[int] = field(default_factory=set)

    def take(self, step: Step) -> bool:
        """Add a step if it can run on some rows at a time, or before all of them."""
        own = {*self.written, *self.sums}
        if not step.reads & own and not step.writes & (own | set(self.touched)):
            if self._is_apart(step):
                self.before.append(step)
                return True
        sliced = self._sliced(step)
        if sliced is None or not self._fits(step, sliced):
            return False
        self.body.append(sliced.step)
        self.written |= {place[0]: (place, stride) for place, stride in sliced.writes}
        self.sums |= sliced.sums
        for rows in (*sliced.reads, *sliced.writes):
            self.touched.setdefault(rows[0][0], set()).add(rows)
        return True

    def _is_apart(self, step: Step) -> bool:
        """Whether a step has nothing to do with rows."""
        dims = step.sizes if isinstance(step, KernelStep) else ()
        if isinstance(step, ProductStep):
            dims = (step.m, step.n, step.k)
        return isinstance(step, KernelStep | ProductStep) and not names_of(dims) & self.rows.names

    def _fits(self, step: Step, sliced: Sliced) -> bool:
        """Whether each row needs of what the chain writes only the same row."""
        if self.sums & (step.reads | step.writes) or sliced.sums & set(self.touched):
            return False
        accesses = (*sliced.reads, *sliced.writes)
        written = {**self.written, **{rows[0][0]: rows for rows in sliced.writes}}
        for buffer, own in written.items():
            new = {rows for rows in accesses if rows[0][0] == buffer}
            if new and (new | self.touched.get(buffer, set())) != {own}:
                return False
        return True

    def _sliced(self, step: Step) -> Sliced | None:
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
            return Sliced(moved, ((a.place, a.row), (b.place, 0)), ((c.place, c.row),))
        if step.k == self.rows:
            a_part, b_part = self._along(a), self._down(b)
            inner = replace(step, k=self.count, a=a_part, b=b_part, adds_after=self.at - self.begin)
            reads = ((a.place, a.column), (b.place, b.row))
            return Sliced(inner, reads, (), step.writes)
        return None

    def _kernel(self, step: KernelStep) -> Sliced | None:
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
        return Sliced(moved, rows, tuple(row for row in rows if row[0][0] in step.writes))

    def _moved(self, place: Place, stride: AnyDim) -> Place:
        return place[0], place[1] + self.at * stride

    def _down(self, x: Operand) -> Operand:
        return replace(x, place=self._moved(x.place, x.row))

    def _along(self, x: Operand) -> Operand:
        return replace(x, place=self._moved(x.place, x.column))
