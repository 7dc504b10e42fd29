"""The steps of a program in execution order: kernels, products, fills and calls over buffers.

    1. fill      b5 <- 0
    2. product   b7[n0, n2] = b0[n0, n1] @ b1[n1, n2]
    3. kernel    add_maximum(b7, b2, b8)

A step names buffers and offsets in size classes; what memory they get is the memory plan's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.buffers import ITEMSIZE, SUFFIX, Buffer, Layout
from staticflow.dims import AnyDim, product
from staticflow.errors import Where
from staticflow.fuse import Group, iteration_space
from staticflow.generalise import Generalised
from staticflow.graph import Node
from staticflow.loops import For, Index, Kernel, Load, Store
from staticflow.lower import Lowered, lower_group
from staticflow.op import Access, Axes, Kind, Map

Place = tuple[int, AnyDim]  # a buffer and an offset in elements


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
    late: int = 0  # its bit, if it may be left to the shard that owns a part of C; see `defer`
    adds_after: AnyDim = 0  # where this is not 0, it adds to what C is: C += A @ B
    panels: int | None = None  # the buffer with B's panels, if a `PackStep` made them

    @property
    def reads(self) -> frozenset[int]:
        panels = () if self.panels is None else (self.panels,)
        return frozenset((self.a.place[0], self.b.place[0], *panels))

    @property
    def writes(self) -> frozenset[int]:
        return frozenset((self.c.place[0],))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


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

    routine: str
    buffers: tuple[int, ...]  # inputs, then outputs and scratch
    inputs: int
    sizes: tuple[AnyDim, ...]
    node: Node
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
    def reads(self) -> frozenset[int]:
        return frozenset().union(*(step.reads for step in self.body))

    @property
    def writes(self) -> frozenset[int]:
        second = (partial for _, partial in self.sums)
        return frozenset(second).union(*(step.writes for step in self.body))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)


Step = (
    KernelStep | ProductStep | PackStep | CollectiveStep | CallStep | LoopStep | BranchStep
    | BlockStep
)  # fmt: skip


def schedule(
    groups: Sequence[Group], layout: Layout, stored: set[Node], split: Mapping[Node, int]
) -> list[Step]:
    """Lower every group, with fills right before the first part of an assembly is made."""
    fills = _fills(groups, layout)
    steps: list[Step] = []
    for position, group in enumerate(groups):
        steps += fills.get(position, [])
        node = group.nodes[0]
        if group.kind is Kind.MAP:
            work = _work(group, layout.g)
            steps.append(_kernel_step(lower_group(group, layout, stored, split), work))
        elif group.kind is Kind.CONTRACT:
            steps.append(_product(node, layout))
        elif group.kind is Kind.CALL:
            steps.append(_call(node, layout))
        elif group.kind is Kind.LOOP:
            steps.append(_loop(node, layout, split))
    return steps


def _work(group: Group, g: Generalised) -> AnyDim:
    """What a group's loops cost, in additions of 4 bytes."""
    costs: dict[Axes, int] = {}
    for node in group.nodes:
        space = iteration_space(node, g)
        costs[space] = costs.get(space, 0) + _cost(node)
    total: AnyDim = 0
    for space, cost in costs.items():
        total = total + product(space) * cost
    return total


def _cost(node: Node) -> int:
    """What one element of a node costs: fewer wide ones fit a vector."""
    additions = max(1, node.op.row.cost) if isinstance(node.op, Map) else 1
    return additions * max(1, ITEMSIZE[node.dtype] // 4)


def _loop(node: Node, layout: Layout, split: Mapping[Node, int]) -> Step:
    op: Any = node.op
    bodies = [schedule(groups, layout, stored, split) for groups, stored in layout.groups[node]]
    if not op.carries and not op.steps:
        return _branch(node, layout, bodies)
    outputs = [layout.part(node, i) for i in range(len(node.type))]
    own = {layout.access[s].buffer for s in (*op.slots, *op.body) if s in layout.access}
    moving = [b for b in sorted(own) if layout.buffers[b].moving is not None]
    after = [layout.access[part].buffer for part in outputs if part is not None]
    homes = {layout.history[node, i] for i in range(len(op.carries))}
    homes |= {layout.access[part].buffer for part in outputs if part is not None}
    flag = None if op.steps else layout.of(op.regions[0][0])
    return LoopStep(
        number=layout.loops[node],
        length=layout.g.axes[node][-1][0] if op.steps else op.expected,
        reverse=op.steps and op.reverse,
        body=tuple(step for body in bodies for step in body),
        moving=tuple(b for b in moving if _belongs(b, node, layout)),
        after=tuple(b for b in after if layout.buffers[b].moving is not None),
        bases=frozenset(homes),
        node=node,
        flag=None if flag is None else (flag.buffer, flag.offset),
        tests=0 if op.steps else len(bodies[0]),
    )


def _branch(node: Node, layout: Layout, bodies: Sequence[Sequence[Step]]) -> BranchStep:
    op: Any = node.op
    flag = layout.of(node.inputs[0])
    homes = {layout.access[output].buffer for output in op.regions[0]}
    then, otherwise = (tuple(body) for body in bodies)
    return BranchStep((flag.buffer, flag.offset), then, otherwise, frozenset(homes), node)


def _belongs(buffer: int, node: Node, layout: Layout) -> bool:
    """Whether a moving buffer moves with this loop, rather than with one around it."""
    moving = layout.buffers[buffer].moving
    return moving is not None and moving.loop == layout.loops[node]


def _kernel_step(lowered: Lowered, work: AnyDim) -> KernelStep:
    names = dict(zip((n for n, _ in lowered.kernel.pointers), lowered.pointers, strict=True))
    written = {names[p][0] for p in _stored_pointers(lowered.kernel.body)}
    reads = {buffer for buffer, _ in lowered.pointers}
    return KernelStep(
        lowered.kernel,
        lowered.pointers,
        lowered.sizes,
        frozenset(reads),
        frozenset(written),
        lowered.nodes,
        work,
    )


def _stored_pointers(body: Sequence[Any]) -> set[str]:
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, Store):
            found.add(statement.target.pointer)
        elif isinstance(statement, For):
            found |= _stored_pointers(statement.body)
    return found


def _product(node: Node, layout: Layout) -> ProductStep:
    a, b = (layout.of(x) for x in node.inputs)
    c = layout.access[node]
    return ProductStep(
        dtype=node.dtype,
        m=a.shape[-2],
        n=b.shape[-1],
        k=a.shape[-1],
        a=_operand(a),
        b=_operand(b),
        c=_operand(c),
        batch=c.shape[:-2],
        node=node,
    )


def _operand(access: Access) -> Operand:
    return Operand(
        (access.buffer, access.offset), access.strides[-2], access.strides[-1], access.strides[:-2]
    )


def _call(node: Node, layout: Layout) -> Step:
    op: Any = node.op
    outputs = _outputs_of(node, layout)
    inputs = [layout.of(x).buffer for x in node.inputs]
    if hasattr(op, "combine"):
        count = layout.buffers[outputs[0]].count
        return CollectiveStep(inputs[0], outputs[0], count, op.combine, node)
    shapes = [layout.g.axes[x] for x in node.inputs]
    sizes = (*op.routine_sizes(*shapes), *layout.g.symbols[node])
    routine = f"{op.routine}_{SUFFIX[node.inputs[0].dtype]}"
    own = node.inputs[0].dtype
    scratch = [_temp(node, dtype or own, n, layout) for dtype, n in op.scratch(*shapes)]
    buffers = (*inputs, *outputs, *scratch)
    return CallStep(routine, buffers, len(inputs), sizes, node, op.multiplies, op.fails)


def _temp(node: Node, dtype: str, count: AnyDim, layout: Layout) -> int:
    """A buffer that only one call uses."""
    index = len(layout.buffers)
    layout.buffers.append(Buffer(index, node, dtype, count, "temp"))
    return index


def _outputs_of(node: Node, layout: Layout) -> list[int]:
    if not isinstance(node.type, tuple):
        return [layout.access[node].buffer]
    buffers = []
    for i, type_ in enumerate(node.type):
        part = layout.part(node, i)
        if part is None:  # nobody reads it
            count = product(layout.g.axes[node][i])
            buffers.append(_temp(node, type_.dtype, count, layout))
        else:
            buffers.append(layout.access[part].buffer)
    return buffers


def _fills(groups: Sequence[Group], layout: Layout) -> dict[int, list[Step]]:
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    fills: dict[int, list[Step]] = {}
    for node in home:
        value = getattr(node.op, "fill", None)
        if node.op.kind is not Kind.ASSEMBLE or value is None:
            continue
        first = min(home[x] for x in node.inputs)
        fills.setdefault(first, []).append(_fill(node, value, layout))
    return fills


def _fill(node: Node, value: float, layout: Layout) -> KernelStep:
    access = layout.access[node]
    suffix = SUFFIX[node.dtype]
    target = Load("p0", Index((("i0", "1"),)))
    body = (For("i0", "n0", (Store(target, f"{suffix}({value!r})"),)),)
    kernel = Kernel("fill", (("p0", f"{suffix}*"),), ("n0",), body)
    buffer = access.buffer
    count = layout.buffers[buffer].count
    own = frozenset((buffer,))
    return KernelStep(kernel, ((buffer, 0),), (count,), frozenset(), own, (node,), count)


def where_of(step: Step) -> Where:
    """The user's line that a step came from."""
    return step.nodes[-1].where
