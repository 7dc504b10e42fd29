"""The body of a loop as statements of one kernel, which runs the loop from one step to another.

def scan(p0, p1, p2, first0, last0):
    q0, q1 = local_f8(), local_f8()            # a carry, as it was and as it will be
    for c in range(9): q0[c] = p0[(first0 & 1) * 9 + c]
    for k in range(first0, last0):
        ...                                    # the body's kernels and products
        for c in range(9): q0[c] = q1[c]
    for c in range(9): p0[(last0 & 1) * 9 + c] = q0[c]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from staticflow.compiler.ir.loops import (
    Code,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Local,
    Size,
    Stmt,
    StoreElement,
)
from staticflow.compiler.ir.rename import Renaming
from staticflow.compiler.ir.steps import (
    KernelStep,
    LoopStep,
    ProductStep,
    part_names,
)
from staticflow.compiler.lowering.buffers import Buffer, Counter, MovingPlace
from staticflow.compiler.schedule.product_loops import (
    Term,
    factors_of,
    literal,
    product_loops,
    product_work,
)
from staticflow.graph.dims import AnyDim, Dim

STEP, INDEX = "k", "i8"
ALONG = Index.along("c")  # through a local array
FLOATS = ("f4", "f8")


class Unsuitable(Exception):
    """What a loop does that has no place in one kernel."""


@dataclass(frozen=True)
class Carry:
    """A value that one step hands to the next: where it reads it, and where it writes it."""

    base: int
    read: int
    write: int
    count: int
    stays: bool  # in memory too, for whoever reads all of its values


@dataclass
class LoopBody:
    """The state of writing one loop's kernel."""

    loop: LoopStep
    buffers: Sequence[Buffer]
    known: Mapping[str, int]  # the size classes that are numbers
    own: frozenset[int]  # the buffers that nothing outside of the loop touches
    most: int  # elements of a local array
    pointers: dict[tuple[int, AnyDim], str] = field(default_factory=dict)
    sizes: dict[AnyDim, str] = field(default_factory=dict)
    places: dict[MovingPlace, str] = field(default_factory=dict)
    numbers: dict[int, str] = field(default_factory=dict)

    @cached_property
    def _steps(self) -> tuple[KernelStep | ProductStep, ...]:
        """The body."""
        found = tuple(s for s in self.loop.body if isinstance(s, KernelStep | ProductStep))
        assert len(found) == len(self.loop.body), "a body of other steps is no kernel"
        return found

    @cached_property
    def touched(self) -> frozenset[int]:
        """The buffers that the body uses."""
        return frozenset().union(*(step.reads | step.writes for step in self.loop.body))

    @cached_property
    def written(self) -> frozenset[int]:
        """The buffers that the body writes, bases of moving ones among them."""
        found = frozenset().union(*(step.writes for step in self.loop.body))
        return found | {self._base(b) for b in found}

    @cached_property
    def carries(self) -> tuple[Carry, ...]:
        """What is handed on from step to step through moving buffers."""
        by_base: dict[int, list[int]] = {}
        for buffer in sorted(self.touched):
            by_base.setdefault(self._base(buffer), []).append(buffer)
        found = (self._carry(base, users) for base, users in by_base.items())
        return tuple(carry for carry in found if carry is not None)

    @cached_property
    def held(self) -> tuple[int, ...]:
        """The buffers that do not move, are written, and can be local."""
        bases = {self._base(b) for b in self.touched if self._base(b) != b}
        fixed = sorted((self.written & self.touched) - bases)
        return tuple(b for b in fixed if self._base(b) == b and self._count(b) is not None)

    @cached_property
    def locals(self) -> Mapping[int, str]:
        """The local array of each buffer that has one."""
        moving = [b for carry in self.carries for b in (carry.read, carry.write)]
        return {b: f"q{i}" for i, b in enumerate((*moving, *self.held))}

    @cached_property
    def scalars(self) -> frozenset[str]:
        """The local arrays of one number, which are scalars."""
        return frozenset(
            name for b, name in self.locals.items()
            if self._count(b) == 1 and self.buffers[b].suffix in FLOATS
        )  # fmt: skip

    def kernel_step(self) -> KernelStep:
        """The kernel; raises `Unsuitable` where there can be none."""
        first, last = part_names(self.loop.number)
        body = [s for number, step in enumerate(self._steps) for s in self._step(number, step)]
        turn = [*(s for c in self.carries if c.stays for s in self._move(c.write, STEP, out=True)),
                *(s for c in self.carries for s in self._copy(c))]  # fmt: skip
        kept = [b for b in self.held if b not in self.own or b in self.loop.bases]
        enter = [s for c in self.carries for s in self._move(c.read, first, out=False)]
        enter += [s for b in kept for s in self._move(b, first, out=False)]
        leave = [s for c in self.carries if not c.stays for s in self._move(c.read, last, out=True)]
        leave += [s for b in kept for s in self._move(b, last, out=True)]
        rooms = [self._room(q, self.buffers[b].suffix) for b, q in self.locals.items()]
        at = [Let(name, self._place(place, STEP), INDEX) for place, name in self.places.items()]
        numbers = [Let(name, Code(str(n)), INDEX) for n, name in self.numbers.items()]
        steps = For(STEP, last, (*at, *body, *turn), start=first)
        own = {Dim.named(first): first, Dim.named(last): last, **self.sizes}
        return self._kernel_step((*numbers, *rooms, *enter, steps, *leave), own)

    def _kernel_step(self, body: tuple[Stmt, ...], sizes: Mapping[AnyDim, str]) -> KernelStep:
        named = tuple(
            (name, f"{self.buffers[buffer].suffix}*") for (buffer, _), name in self.pointers.items()
        )
        nodes = tuple(dict.fromkeys(n for step in self.loop.body for n in step.nodes))
        label = "loop: " + ", ".join(dict.fromkeys(n.op.name for n in nodes))
        work: AnyDim = sum(
            (product_work(s) if isinstance(s, ProductStep) else s.work for s in self._steps), 0
        )
        bases = {buffer for buffer, _ in self.pointers}
        return KernelStep(
            Kernel(label, named, tuple(sizes.values()), body), tuple(self.pointers), tuple(sizes),
            frozenset(bases), frozenset(bases & self.written), nodes, work,
        )  # fmt: skip

    # -- where values lie --------------------------------------------------------------------------

    def _base(self, buffer: int) -> int:
        """What a buffer that moves with this loop lies in; any other, itself."""
        moving = self.buffers[buffer].moving
        return buffer if moving is None or moving.loop != self.loop.number else moving.base

    def _count(self, buffer: int) -> int | None:
        """How many elements a buffer has, if they are few and the number is known."""
        count = literal(self.buffers[buffer].count, self.known)
        return count if count is not None and count <= self.most else None

    def _carry(self, base: int, users: Sequence[int]) -> Carry | None:
        """Two places in a base of which one is in the next step where the other is now."""
        if len(users) != 2 or base in users:
            return None
        read, write = sorted(users, key=lambda b: b in self.written)
        count = self._count(read)
        old, new = self.buffers[read].moving, self.buffers[write].moving
        if read in self.written or write not in self.written or count is None:
            return None
        assert old is not None and new is not None
        same = (old.offset, old.stride, old.place.counter, old.place.alternate) == (
            new.offset, new.stride, new.place.counter, new.place.alternate,
        )  # fmt: skip
        back = self.loop.reverse and old.place.counter is Counter.POSITION
        follows = new.place.plus == old.place.plus + (-1 if back else 1)
        if not same or not follows or self._count(write) != count:
            return None
        return Carry(base, read, write, count, stays=not old.place.alternate)

    def _pointer(self, buffer: int, offset: AnyDim) -> tuple[str, tuple[Term, ...]]:
        """A pointer argument to a buffer, and the offset as part of the index if it is a number."""
        number = literal(offset, self.known)
        if number is None and buffer in self.written:
            raise Unsuitable("a place that is known at run time in what the loop writes")
        key = (buffer, 0 if number is not None else offset)
        name = self.pointers.setdefault(key, f"p{len(self.pointers)}")
        return name, self._number(number or 0)

    def _number(self, number: int) -> tuple[Term, ...]:
        """A number as part of an index."""
        if number == 0:
            return ()
        return ((self.numbers.setdefault(number, f"at{len(self.numbers)}"), ()),)

    def _spot(self, buffer: int, offset: AnyDim) -> tuple[str, tuple[Term, ...]]:
        """The pointer to an element of a buffer in the body, and what comes to its index."""
        if buffer in self.locals:
            number = literal(offset, self.known)
            if number is None:
                raise Unsuitable("a place that is known at run time in a local array")
            return self.locals[buffer], self._number(number)
        moving = self.buffers[buffer].moving
        if moving is None or moving.loop != self.loop.number:
            return self._pointer(buffer, offset)
        pointer, terms = self._pointer(moving.base, moving.offset + offset)
        variable = self.places.setdefault(moving.place, f"t{len(self.places)}")
        return pointer, ((variable, factors_of(self._size(moving.stride))), *terms)

    def _size(self, dim: AnyDim) -> Size:
        """A size as a number, or as the name of an argument."""
        number = literal(dim, self.known)
        return self.sizes.setdefault(dim, f"n{len(self.sizes)}") if number is None else number

    def _place(self, place: MovingPlace, step: str) -> Code:
        """Which of the places it is in a step."""
        if place.counter is Counter.LENGTH:
            text = "{n}"
        else:
            back = place.counter is Counter.POSITION and self.loop.reverse
            text = "{n} - 1 - {k}" if back else "{k}"
        needed = {"n": self._size(self.loop.length)} if "{n}" in text else {}
        args = tuple({**needed, "k": step}.items())
        text = f"{text} + {place.plus}" if place.plus else text
        return Code(f"({text}) & 1" if place.alternate else text, args)

    # -- what is done in a step --------------------------------------------------------------------

    def _step(self, number: int, step: KernelStep | ProductStep) -> Iterator[Stmt]:
        if isinstance(step, ProductStep):
            loops = product_loops(step, number, lambda place: self._spot(*place), self._size)
            yield from self._local(loops)
            return
        names = [name for name, _ in step.kernel.pointers]
        spots = {n: self._spot(*place) for n, place in zip(names, step.pointers, strict=True)}

        def place(load: Load) -> Load:
            pointer, terms = spots[load.pointer]
            return Load(pointer, Index((*load.index.terms, *terms)), load.dynamic)

        sizes = {n: self._size(d) for n, d in zip(step.kernel.sizes, step.sizes, strict=True)}
        renaming = Renaming(lambda name: f"{name}_{number}", sizes, place, self.scalars)
        yield from renaming.body(step.kernel.body)

    def _move(self, buffer: int, step: str, *, out: bool) -> Iterator[Stmt]:
        """Copy a local array to its place in memory, or from there."""
        local = self.locals[buffer]
        moving = self.buffers[buffer].moving if self._base(buffer) != buffer else None
        base, offset = (buffer, 0) if moving is None else (moving.base, moving.offset)
        pointer, terms = self._pointer(base, offset)
        if moving is not None:
            at = f"at_{local}_{step}"
            yield Let(at, self._place(moving.place, step), INDEX)
            terms = ((at, factors_of(self._size(moving.stride))), *terms)
        memory, here = Load(pointer, Index((*ALONG.terms, *terms))), Load(local, ALONG)
        target, source = (memory, here) if out else (here, memory)
        yield from self._copied(target, source, buffer)

    def _copy(self, carry: Carry) -> Iterator[Stmt]:
        """What a step has written is what the next one reads."""
        new, old = (Load(self.locals[b], ALONG) for b in (carry.write, carry.read))
        return self._copied(old, new, carry.read)

    def _copied(self, target: Load, source: Load, buffer: int) -> Iterator[Stmt]:
        """One element after the other."""
        count, suffix = self._count(buffer), self.buffers[buffer].suffix
        assert count is not None
        value = f"w_{suffix}"
        body = (Let(value, source, suffix), StoreElement(target, value))
        return self._local((For(ALONG.terms[0][0], count, body),))

    def _local(self, statements: tuple[Stmt, ...]) -> Iterator[Stmt]:
        """Statements whose names are right, with scalars in the places of arrays of one number."""
        return iter(
            Renaming(lambda name: name, {}, lambda load: load, self.scalars).body(statements)
        )

    def _room(self, name: str, suffix: str) -> Let:
        """A local array, or a scalar."""
        if name in self.scalars:
            return Let(name, Literal(suffix, 0.0), suffix)
        return Let(name, Local(suffix), "")
