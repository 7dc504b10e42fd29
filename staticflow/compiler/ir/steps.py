"""The steps of a program in execution order: kernels, products, fills and calls over buffers.

    1. fill      b5 <- 0
    2. product   b7[n0, n2] = b0[n0, n1] @ b1[n1, n2]
    3. kernel    add_maximum(b7, b2, b8)

A step names buffers and offsets in size classes; what memory they get is the memory plan's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from staticflow.compiler.ir.loops import Kernel
from staticflow.errors import Where
from staticflow.graph.dims import AnyDim, evaluate
from staticflow.graph.node import Node
from staticflow.native.gemm.epilogue_text import SPARE, Tile
from staticflow.native.toolchain.objects import TypedName

Place = tuple[int, AnyDim]  # a buffer and an offset in elements
# What steps that run on some rows call a thread's first row, a block's first row and its rows.
BLOCK_NAMES = ("begin", "at", "rows")


def block_names(number: int) -> tuple[str, ...]:
    """Those names in the steps of one block."""
    return tuple(f"{word}{number}" for word in BLOCK_NAMES)


def part_names(number: int) -> tuple[str, str]:
    """What the kernel of a loop calls the first step of a part of it, and the one behind it."""
    return f"first{number}", f"last{number}"


@dataclass(frozen=True)
class KernelStep:
    """Run a compiled loop nest."""

    kernel: Kernel
    pointers: tuple[Place, ...]
    sizes: tuple[AnyDim, ...]
    reads: frozenset[int]
    writes: frozenset[int]
    nodes: tuple[Node, ...]
    work: AnyDim  # in additions of 4 bytes, for the cost model


@dataclass(frozen=True)
class Operand:
    """A matrix of a product: where it lies and how far apart rows and columns are."""

    place: Place
    row: AnyDim
    column: AnyDim
    batch: tuple[AnyDim, ...]  # strides of the leading axes


@dataclass(frozen=True)
class Epilogue:
    """What becomes of a product's result in registers, and the kernel that does it in memory."""

    tile: Tile
    kernel: KernelStep

    def with_kernel(self, kernel: KernelStep) -> Epilogue:
        """The same by another kernel; pointers that it has more are spare in registers."""
        spare = kernel.kernel.pointers[len(self.tile.pointers) :]
        pointers = (*self.tile.pointers, *((name, SPARE) for name, _ in spare))
        return Epilogue(replace(self.tile, pointers=pointers), kernel)


@dataclass(frozen=True)
class ProductStep:
    """C = A @ B for every index of the leading axes."""

    dtype: str
    m: AnyDim
    n: AnyDim
    k: AnyDim
    a: Operand
    b: Operand
    c: Operand
    batch: tuple[AnyDim, ...]
    node: Node
    owner_bit: int = 0  # set if the owner of a part of C may make that; see `mark_owner_computes`
    split_k: bool = False  # whether that bit is for one made before the program: `mark_split_k`
    adds_after: AnyDim = 0  # where this is not 0, it adds to what C is: C += A @ B
    panels: int | None = None  # the buffer with B's panels, if a `PackStep` made them
    epilogue: Epilogue | None = None  # what becomes of C while it is in registers

    @property
    def reads(self) -> frozenset[int]:
        panels = () if self.panels is None else (self.panels,)
        beside = self.epilogue.kernel.reads if self.epilogue else ()
        return frozenset((self.a.place[0], self.b.place[0], *panels, *beside))

    @property
    def writes(self) -> frozenset[int]:
        beside = self.epilogue.kernel.writes if self.epilogue else ()
        return frozenset((self.c.place[0], *beside))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node, *(self.epilogue.kernel.nodes if self.epilogue else ()))


@dataclass(frozen=True)
class PackStep:
    """Copy B of a loop's products into panels, if it pays for so many products; see `prepack`."""

    product: ProductStep
    count: AnyDim
    panels: int

    @property
    def reads(self) -> frozenset[int]:
        return frozenset((self.product.b.place[0],))

    @property
    def writes(self) -> frozenset[int]:
        return frozenset((self.panels,))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.product.nodes


@dataclass(frozen=True)
class CollectiveStep:
    """Sum a buffer over all shards into a buffer that every shard then has whole."""

    source: int
    target: int
    count: AnyDim
    combine: str
    node: Node

    @property
    def reads(self) -> frozenset[int]:
        return frozenset((self.source,))

    @property
    def writes(self) -> frozenset[int]:
        return frozenset((self.target,))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


@dataclass(frozen=True)
class CallStep:
    """Call a native routine on contiguous buffers."""

    routine: TypedName
    buffers: tuple[int, ...]  # inputs, then outputs and scratch
    inputs: int
    sizes: tuple[AnyDim, ...]
    node: Node
    elements: AnyDim  # of all inputs and outputs
    multiplies: bool = False  # whether it needs the scratch of the matrix product
    fails: bool = False  # whether it gives a code, 0 for success

    @property
    def reads(self) -> frozenset[int]:
        return frozenset(self.buffers[: self.inputs])

    @property
    def writes(self) -> frozenset[int]:
        return frozenset(self.buffers[self.inputs :])

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


@dataclass(frozen=True)
class LoopStep:
    """Run steps again and again, with buffers that move.

    With a `flag`, the loop goes on while that is not zero; the first `tests` steps compute it.
    If it runs `in_parts`, its body is one kernel that runs all steps of a part; see `loop_kernels`.
    """

    number: int  # of the loop in its program, for the names of its variables
    length: AnyDim
    reverse: bool
    body: tuple[Step, ...]
    moving: tuple[int, ...]  # buffers whose addresses change in each step
    after: tuple[int, ...]  # buffers whose addresses are known after the last step
    bases: frozenset[int]  # what the moving buffers lie in
    node: Node
    flag: Place | None = None
    tests: int = 0
    in_parts: bool = False

    @property
    def reads(self) -> frozenset[int]:
        return self.bases.union(*(step.reads for step in self.body))

    @property
    def writes(self) -> frozenset[int]:
        return frozenset().union(*(step.writes for step in self.body))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


@dataclass(frozen=True)
class BranchStep:
    """Run the one steps where the flag is not zero, else the others."""

    flag: Place
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]
    bases: frozenset[int]  # what both compute
    node: Node
    moving = after = ()

    @property
    def body(self) -> tuple[Step, ...]:
        """The steps of both."""
        return (*self.then, *self.otherwise)

    @property
    def reads(self) -> frozenset[int]:
        return frozenset((self.flag[0],)).union(*(step.reads for step in self.body))

    @property
    def writes(self) -> frozenset[int]:
        return self.bases.union(*(step.writes for step in self.body))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


@dataclass(frozen=True)
class BlockStep:
    """Run steps for one block of rows after the other; see `row_blocks`.

    They are written for `rows<number>` rows from row `at<number>` on. A second thread may do the
    second half of the rows; what it sums up goes to buffers of its own first.
    """

    number: int
    rows: AnyDim
    row_count: AnyDim  # the elements of a row, which decide how many rows a block has
    dtype: str
    body: tuple[Step, ...]
    sums: tuple[tuple[int, int], ...]  # what sums over rows, and where the second half does
    node: Node

    @property
    def names(self) -> tuple[str, ...]:
        """What its steps call a thread's first row, a block's first row and number of rows."""
        return block_names(self.number)

    @property
    def reads(self) -> frozenset[int]:
        return frozenset().union(*(step.reads for step in self.body))

    @property
    def writes(self) -> frozenset[int]:
        second = (partial for _, partial in self.sums)
        return frozenset(second).union(*(step.writes for step in self.body))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


@dataclass(frozen=True)
class HalvesStep:
    """Run steps for the first half of the rows, and for the second half, in two threads.

    `body` is written for `rows<number>` rows from row `at<number>` on, `whole` for all rows. Step i
    of them can run beside the steps in `before`, but for the first `needs[i]`.
    """

    number: int
    rows: AnyDim
    before: tuple[Step, ...]  # what has nothing to do with rows
    needs: tuple[int, ...]
    body: tuple[Step, ...]
    whole: tuple[Step, ...]
    node: Node

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it does, as steps one after the other."""
        return (*self.before, *self.whole)

    @property
    def products(self) -> tuple[ProductStep, ...]:
        """The products that make it worth while."""
        return tuple(step for step in self.whole if isinstance(step, ProductStep))

    @property
    def reads(self) -> frozenset[int]:
        return frozenset().union(*(step.reads for step in self.steps))

    @property
    def writes(self) -> frozenset[int]:
        return frozenset().union(*(step.writes for step in self.steps))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


Step = (
    KernelStep | ProductStep | PackStep | CollectiveStep | CallStep | LoopStep | BranchStep
    | BlockStep | HalvesStep
)  # fmt: skip


T = TypeVar("T")


def children(step: Step) -> tuple[tuple[Step, ...], ...]:
    """The bodies of a step in the order in which they run; () for a step that has none.

    The kernel that a product finishes belongs to the product, and the halves of rows are the same
    steps as the whole.
    """
    match step:
        case KernelStep() | ProductStep() | PackStep() | CollectiveStep() | CallStep():
            return ()
        case LoopStep() | BlockStep():
            return (step.body,)
        case BranchStep():
            return step.then, step.otherwise
        case HalvesStep():
            return step.before, step.whole
    assert_never(step)


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step, outer before inner."""
    for step in steps:
        yield step
        for body in children(step):
            yield from walk(body)


def fold(steps: Sequence[Step], value: Callable[[Step, tuple[list[T], ...]], T]) -> list[T]:
    """The values of steps, each made from the values of what is in its bodies."""
    return [value(step, tuple(fold(body, value) for body in children(step))) for step in steps]


def sizes_within(steps: Sequence[Step], sizes: Mapping[str, int]) -> Mapping[str, int]:
    """The sizes, and those that the bodies of blocks know if one block has all rows."""
    own: dict[str, int] = {}
    for step in walk(steps):
        if isinstance(step, BlockStep):
            named = zip(step.names, (0, 0, evaluate(step.rows, sizes)), strict=True)
            own.update(named)
    return {**sizes, **own} if own else sizes


def where_of(step: Step) -> Where:
    """The user's line that a step came from."""
    return step.nodes[-1].where
