"""Sum float32 over long axes in blocks, whose sums are added up in float64.

Before:  for i0 in n0:                         one sum: 2^24 ones and one more are 2^24 ones
             a0 = a0 + p0[i0]

After:   a0_wide = f8(a0)
         for at0 in range(0, n0, 8192):
             a0 = 0
             for i0 in range(at0, min(at0 + 8192, n0)):
                 a0 = a0 + p0[i0]
             a0_wide = a0_wide + f8(a0)
         a0 = f4(a0_wide)

A sum that lies in memory, as one over rows does for each column, has its total in a buffer of its
own, which is used where there is more than one block of rows. So the error of a sum does not grow
with its length, and its loops are as fast as before: a block costs as much as three rows more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from staticflow.compiler.ir.loops import (
    Assign,
    Call,
    Code,
    Combine,
    Combined,
    For,
    If,
    Kernel,
    Let,
    Literal,
    Load,
    Room,
    Stmt,
    StoreElement,
    walk,
)
from staticflow.compiler.ir.map_kernels import map_kernels
from staticflow.compiler.ir.steps import KernelStep, Place, Step
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.native.toolchain.objects import TypedName

TERMS = 8192  # of a sum in a register, which is several where the loop is in vectors
ROWS = 512  # of sums in memory, whose elements are added to one by one
_ROUTINES = tuple(TypedName(name, "f4") for name in ("begin_totals", "add_to_totals", "end_totals"))
_ADD_WIDE = Combine("({acc} + {x})", adds=True)
_ZERO = Literal("f4", 0.0)


def split_long_sums(steps: Sequence[Step], buffers: list[Buffer]) -> list[Step]:
    """The steps, with every sum of float32 over a long axis in blocks.

    Buffers for the totals are added to `buffers`.
    """
    return map_kernels(steps, lambda step: _split(step, buffers))


def _split(step: KernelStep, buffers: list[Buffer]) -> KernelStep:
    split = _Split(step, buffers)
    body = split.statements(step.kernel.body, ())
    if body == step.kernel.body:
        return step
    pointers = (*step.kernel.pointers, *((name, "f8*") for name in split.totals))
    calls = tuple(dict.fromkeys((*step.kernel.calls, *split.calls)))
    kernel = replace(step.kernel, pointers=pointers, body=body, calls=calls)
    totals: tuple[Place, ...] = tuple((index, 0) for index in split.totals.values())
    writes = step.writes | frozenset(split.totals.values())
    return replace(step, kernel=kernel, pointers=(*step.pointers, *totals), writes=writes)


@dataclass
class _Split:
    """The state of splitting the loops of one kernel; `totals` are its new pointers and buffers."""

    step: KernelStep
    buffers: list[Buffer]
    totals: dict[str, int] = field(default_factory=dict)
    calls: list[TypedName] = field(default_factory=list)

    @property
    def kernel(self) -> Kernel:
        return self.step.kernel

    @cached_property
    def rooms(self) -> dict[str, str]:
        """The pointers for whose elements there is room, by what that is called."""
        lets = (s for s in self.kernel.body if isinstance(s, Let))
        return {let.name: let.value.pointer for let in lets if isinstance(let.value, Room)}

    def statements(self, body: Sequence[Stmt], around: tuple[For, ...]) -> tuple[Stmt, ...]:
        """Statements within the loops `around` them."""
        found: list[Stmt] = []
        for statement in body:
            if isinstance(statement, For):
                inner = self.statements(statement.body, (*around, statement))
                found += self._loop(replace(statement, body=inner), around)
            else:
                found.append(statement)
        return tuple(found)

    def _loop(self, loop: For, around: tuple[For, ...]) -> Sequence[Stmt]:
        """A loop, in blocks if it adds up over as many steps."""
        extent = loop.extent
        if loop.over != "range" or loop.level is None or isinstance(extent, Code):
            return [loop]
        registers = list(dict.fromkeys(self._registers(loop)))
        places = {p: nest for p in self._memory(loop) if (nest := self._cleared(p, around))}
        size = ROWS if places else TERMS
        if not (registers or places) or (isinstance(extent, int) and extent <= size):
            return [loop]
        many = Code(f"{{n}} > {size}", (("n", extent),))
        moves = [self._total(p, nest, many) for p, nest in places.items()]
        at = f"at{loop.level}"
        end = Code(f"min({{at}} + {size}, {{n}})", (("at", at), ("n", extent)))
        block: tuple[Stmt, ...] = (
            *(Let(name, _ZERO, "f4") for name in registers),
            replace(loop, start=at, extent=end),
            *(Assign(_wide(name), _plus(_wide(name), name)) for name in registers),
            *(move.add for move in moves),
        )
        blocks = (
            *(Let(_wide(name), _cast("f8", name), "f8") for name in registers),
            *(statement for move in moves for statement in move.start),
            For(at, extent, block, step=size),
            *(Assign(name, _cast("f4", _wide(name))) for name in registers),
            *(move.end for move in moves),
        )
        alone = not any(isinstance(s, For) for s in walk(loop.body))
        if alone and around and not moves:
            # A short loop within others is over so soon that being a block would double its time.
            return [If(many, blocks, (loop,))]
        return blocks

    def _registers(self, loop: For) -> Iterator[str]:
        """The float32 variables that the loop adds to, which live longer than its steps."""
        own = {s.name for s in loop.body if isinstance(s, Let)}
        singles = {s.name for s in walk(self.kernel.body) if isinstance(s, Let) and s.dtype == "f4"}
        for statement in loop.body:
            if isinstance(statement, Assign) and isinstance(statement.value, Combined):
                if statement.value.combine.adds and statement.name in singles - own:
                    yield statement.name

    def _memory(self, loop: For) -> Iterator[str]:
        """The pointers to float32 whose elements the loop adds to in more than one of its steps."""
        suffix = dict(self.kernel.pointers)
        for statement in walk(loop.body):
            if not isinstance(statement, StoreElement) or statement.combine is None:
                continue
            target = statement.target
            moves = loop.variable in dict(target.index.terms) or target.dynamic.terms
            single = suffix.get(self._argument(target.pointer)) == "f4*"
            if statement.combine.adds and single and not moves:
                yield target.pointer

    def _argument(self, pointer: str) -> str:
        """The pointer that the kernel is given, of one that may be room for narrow rows abreast."""
        return self.rooms.get(pointer, pointer)

    def _cleared(self, pointer: str, around: tuple[For, ...]) -> _Nest | None:
        """The loops that set what a pointer has in these steps to zero, before the kernel's own."""
        variables = {loop.variable for loop in around}
        for statement in self.kernel.body:
            loops: list[For] = []
            while isinstance(statement, For) and len(statement.body) == 1:
                loops.append(statement)
                (statement,) = statement.body
            if isinstance(statement, StoreElement) and statement.target.pointer == pointer:
                if statement.combine is None:
                    own = tuple(loop for loop in loops if loop.variable not in variables)
                    return _Nest(own, statement.target)
        return None

    def _total(self, pointer: str, nest: _Nest, many: Code) -> _Moves:
        """What keeps the totals of what a pointer has, in a buffer of their own."""
        names = [name for name, _ in self.kernel.pointers]
        argument, number = self._argument(pointer), len(names) + len(self.totals)
        own = self.buffers[self.step.pointers[names.index(argument)][0]]
        place = name = f"p{number}"
        self.totals[name] = len(self.buffers)
        self.buffers.append(Buffer(len(self.buffers), own.node, "float64", own.count, "temp"))
        room: tuple[Stmt, ...] = ()
        if pointer != argument:
            place = f"q{number}"
            room = (Let(place, Room("room_for_totals", name, "r"), ""),)
        total = replace(nest.element, pointer=place)
        if nest.line is not None:
            self.calls += _ROUTINES
            arguments = (pointer, place, nest.line)
            start, add, end = (Call(routine, arguments, many) for routine in _ROUTINES)
            return _Moves((*room, start), add, end)
        part, zero = Let("part_sum", nest.element, "f4"), StoreElement(nest.element, _ZERO)
        wide = _cast("f8", "part_sum")
        rounded = StoreElement(nest.element, _cast("f4", "total"))
        return _Moves(
            (*room, nest.under(many, part, StoreElement(total, wide), zero)),
            nest.under(many, part, StoreElement(total, wide, _ADD_WIDE), zero),
            nest.under(many, Let("total", total, "f8"), rounded),
        )


@dataclass(frozen=True)
class _Nest:
    """Loops over elements that add up, and their element."""

    loops: tuple[For, ...]
    element: Load

    @property
    def line(self) -> int | str | None:
        """How many elements lie side by side, if all do."""
        side_by_side = tuple((loop.variable, ()) for loop in self.loops) == self.element.index.terms
        extent = self.loops[0].extent if len(self.loops) == 1 else None
        return extent if side_by_side and not isinstance(extent, Code) else None

    def under(self, condition: Code, *body: Stmt) -> If:
        """The statements for each element, if the condition holds."""
        for loop in reversed(self.loops):
            body = (replace(loop, body=body),)
        return If(condition, body, ())


@dataclass(frozen=True)
class _Moves:
    """Statements that begin a total with what is there, add a block to it, and give it back."""

    start: tuple[Stmt, ...]
    add: If | Call
    end: If | Call


def _wide(name: str) -> str:
    return f"{name}_wide"


def _cast(suffix: str, name: str) -> Code:
    return Code(f"{suffix}({{x}})", (("x", name),))


def _plus(total: str, part: str) -> Code:
    return Code("({acc} + f8({x}))", (("acc", total), ("x", part)))
