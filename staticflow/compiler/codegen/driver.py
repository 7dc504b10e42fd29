"""What a driver is while it is written: the lines so far, and what they use.

`emit_calls`, `emit_threads` and `emit` hold the functions that write each kind of step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from staticflow.compiler.codegen.driver_abi import (
    HEADER,
    PROFILE,
    STOP,
    WORK,
    size_entries,
)
from staticflow.compiler.codegen.kernels import identifier
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.compiler.ir.loops import Kernel
from staticflow.compiler.ir.steps import PackStep, Step, where_of
from staticflow.compiler.lowering.buffers import ITEMSIZE, Buffer, Counter, MovingPlace
from staticflow.graph.dims import AnyDim, Dim
from staticflow.native.gemm.epilogue_text import Tile
from staticflow.native.toolchain.objects import TypedName

Emitter: TypeAlias = Callable[["Driver", Any], None]


class EpilogueText(NamedTuple):
    """A product that does with its result what a kernel would do."""

    tile: Tile
    kernel: str  # the name of that kernel


class CollectiveCall(NamedTuple):
    """What combines a value over all shards: how, and the suffix of its dtype."""

    combine: str
    suffix: str


@dataclass
class DriverText:
    """A driver by its name: its source, as it is read and as it is compiled, and what it calls."""

    name: str
    source: str
    code: str  # without the comments
    called: frozenset[str]  # what it calls of all that is listed below
    kernels: Mapping[str, Kernel]
    products: frozenset[TypedName]
    calls: frozenset[TypedName]
    blocks: tuple[DriverText, ...] = ()  # functions of their own: the rows of one thread
    epilogues: Mapping[str, EpilogueText] = field(default_factory=dict)  # products that do more
    polls: bool = False  # it asks `stopped` whether to give up
    attentive: bool = False  # it gives up between any two steps
    collectives: Mapping[str, CollectiveCall] = field(default_factory=dict)
    buffers: frozenset[int] = frozenset()  # those whose entries of table T it uses


@dataclass
class Driver:
    """The state of writing one driver."""

    buffers: Sequence[Buffer]
    size_count: int  # how many size classes the program has
    name: str
    emitters: Mapping[type, Emitter]  # what writes each kind of step
    pool: bool = False
    clocks: int | None = None  # how many steps have a clock, if they have
    polls: bool = False  # it runs in a thread that may have signals to handle
    attentive: bool = False  # it looks at the stop flag between any two steps
    blocks: list[DriverText] = field(default_factory=list)
    write: SourceWriter = field(default_factory=SourceWriter)
    used_sizes: set[str] = field(default_factory=set)
    used_buffers: set[int] = field(default_factory=set)  # by their names
    by_entry: set[int] = field(default_factory=set)  # by their numbers in table T
    placed: set[int] = field(default_factory=set)  # moving ones that have an address here
    handed: set[int] = field(default_factory=set)  # moving ones whose address the caller has
    kernels: dict[str, Kernel] = field(default_factory=dict)
    products: set[TypedName] = field(default_factory=set)
    calls: set[TypedName] = field(default_factory=set)
    collectives: dict[str, CollectiveCall] = field(default_factory=dict)
    epilogues: dict[str, EpilogueText] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    work: str = f"T[{WORK}]"  # the scratch memory of products

    @cached_property
    def size_entries(self) -> Mapping[str, int]:
        """The entries of table S by what they are called."""
        return size_entries(self.size_count)

    def size(self, dim: AnyDim) -> str:
        """A size as source over the names of table S."""
        if isinstance(dim, int):
            return str(dim)
        self.used_sizes |= dim.names & self.size_entries.keys()
        return size_text(dim)

    def call(self, name: str | TypedName, arguments: Sequence[str]) -> str:
        """A call, as source."""
        self.called.add(str(name))
        return f"{name}({', '.join(arguments)})"

    def buffer(self, buffer: int) -> str:
        """What a buffer's address is called."""
        if self.buffers[buffer].moving is None:
            self.used_buffers.add(buffer)
        elif buffer not in self.placed:
            self.handed.add(buffer)
        return buffer_name(self.buffers[buffer])

    def move(self, index: int, k: str, t: str, n: str) -> None:
        """Write the line that gives a moving buffer its address."""
        buffer = self.buffers[index]
        moving = buffer.moving
        assert moving is not None
        self.placed.add(index)
        counters = {Counter.STEPS: k, Counter.POSITION: t, Counter.LENGTH: n}
        place = _place_text(moving.place, counters)
        step = f"{place} * ({self.size(moving.stride)})" if moving.stride != 1 else place
        base = self.address(moving.base, moving.offset)
        self.write(f"{buffer_name(buffer)} = {base} + {buffer.itemsize} * ({step})")

    def address(self, buffer: int, offset: AnyDim, extra: str = "") -> str:
        """The address of an element, as source."""
        text = self.buffer(buffer)
        if offset != 0:
            text += f" + {ITEMSIZE[self.buffers[buffer].dtype]} * ({self.size(offset)})"
        return text + extra

    def step(self, step: Step) -> None:
        """Write a step, with the user's line above it and, in a profile, a clock around it."""
        emit = self.emitters[type(step)]
        self.write.comment(f"{where_of(step)}  ->  {describe(step)}")
        if self.clocks is None:
            emit(self, step)
            return
        number, self.clocks = self.clocks, self.clocks + 1
        self.write(f"begin{number} = cycles()")
        emit(self, step)
        self.write(f"i8ptr(T[{PROFILE}])[{number}] += cycles() - begin{number}")

    def read_tables(self, head: SourceWriter) -> None:
        """Name the sizes and the addresses of buffers that the driver uses."""
        for size in sorted(self.used_sizes, key=self.size_entries.__getitem__):
            head(f"{size} = S[{self.size_entries[size]}]")
        for index in sorted(self.used_buffers | self.handed):
            head(f"{buffer_name(self.buffers[index])} = T[{HEADER + index}]")

    def text(self, head: SourceWriter) -> DriverText:
        """What is written, behind the driver's head."""
        return DriverText(
            self.name,
            head.text + self.write.text,
            head.code + self.write.code,
            frozenset(self.called),
            self.kernels,
            frozenset(self.products),
            frozenset(self.calls),
            tuple(self.blocks),
            self.epilogues,
            self.polls,
            self.attentive,
            self.collectives,
            frozenset(self.used_buffers | self.by_entry),
        )

    def poll(self) -> None:
        """Write the lines that give up when the stop flag says so."""
        self.write(f"if load_acquire(T[{STOP}]) != 0:")
        if self.polls:
            self.write(f"    if {self.call('stopped', [f'T[{STOP}]'])} != 0:")
        self.write("        return 1" if self.polls else "    return 1")


def _place_text(place: MovingPlace, counters: Mapping[Counter, str]) -> str:
    """A place as source, given what the counters are called."""
    text = counters[place.counter]
    text = f"({text} + {place.plus})" if place.plus else text
    return f"({text} % 2)" if place.alternate else text


def buffer_name(buffer: Buffer) -> str:
    """A readable and unique name for a buffer in the driver."""
    return f"{identifier(buffer.node.name)}_{buffer.index}"


def size_text(dim: Dim) -> str:
    """A polynomial of sizes as source."""
    terms = []
    for monomial, coefficient in dim.terms:
        factors = list(monomial)
        if coefficient != 1 or not factors:
            factors.insert(0, str(coefficient))
        terms.append(" * ".join(factors))
    return " + ".join(terms)


def describe(step: Step) -> str:
    """What a step computes, with types."""
    if isinstance(step, PackStep):
        matrix = step.product.node.inputs[1]
        return f"panels of {matrix.name}: {matrix.type}"
    names = ", ".join(dict.fromkeys(node.op.name for node in step.nodes))
    type_ = step.nodes[-1].type
    return f"{names}: {', '.join(map(str, type_)) if isinstance(type_, tuple) else type_}"
