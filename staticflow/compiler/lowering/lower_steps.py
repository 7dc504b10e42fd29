"""Lower each group of nodes to a step, in execution order.

    map group     a kernel step, by `lower`
    contraction   a product step
    call          a call, or a sum over shards
    loop          a loop or branch step with the steps of its bodies

A fill comes right before the first part of an assembly is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.ir.loops import (
    Index,
    Kernel,
    Literal,
    Load,
    StoreElement,
    accesses,
    axis_loop,
)
from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.ir.steps import (
    BranchStep,
    CallStep,
    CollectiveStep,
    KernelStep,
    LoopStep,
    Operand,
    ProductStep,
    Step,
)
from staticflow.compiler.lowering.buffers import ITEMSIZE, SUFFIX, Buffer, BufferAssignment
from staticflow.compiler.lowering.fusion import Group, iteration_space
from staticflow.compiler.lowering.lower_kernel import LoweredKernel, lower_group
from staticflow.graph.branch_ops import Branch, While
from staticflow.graph.calls import Call, Collective
from staticflow.graph.contiguous import COPY
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.kinds import Assemble, Map
from staticflow.graph.node import Axes, Kind, Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import is_implicit, through_views
from staticflow.native.toolchain.objects import TypedName

FLOATS = ("float32", "float64")


def schedule(
    groups: Sequence[Group],
    assignment: BufferAssignment,
    stored: set[Node],
    split: Mapping[Node, int],
) -> list[Step]:
    """Lower every group, with fills right before the first part of an assembly is made."""
    fills = _fills(groups, assignment)
    steps: list[Step] = []
    for position, group in enumerate(groups):
        steps += fills.get(position, [])
        node = group.nodes[0]
        if group.kind is Kind.MAP:
            turned = _turned(group, assignment)
            steps.append(turned or _kernels(group, assignment, stored, split))
        elif group.kind is Kind.CONTRACT:
            steps.append(_product(node, assignment))
        elif group.kind is Kind.CALL:
            steps.append(_call(node, assignment))
        elif group.kind is Kind.LOOP:
            steps.append(_loop(node, assignment, split))
    return steps


def _turned(group: Group, assignment: BufferAssignment) -> CallStep | None:
    """The call for a kernel that only copies a matrix turned; rows of both follow each other."""
    node = group.nodes[0]
    if len(group.nodes) > 1 or node.op != COPY or node.ndim != 2 or node.dtype not in FLOATS:
        return None
    if is_implicit(through_views(node.inputs[0])[0]):
        return None
    x, y = assignment.of(node.inputs[0]), assignment.access[node]
    columns, rows = y.shape
    if (x.offset, y.offset) != (0, 0) or (x.strides, y.strides) != ((1, columns), (rows, 1)):
        return None
    routine = TypedName("turn", SUFFIX[node.dtype])
    elements = 2 * rows * columns
    return CallStep(routine, (x.buffer, y.buffer), 1, (rows, columns), node, elements)


def _kernels(
    group: Group, assignment: BufferAssignment, stored: set[Node], split: Mapping[Node, int]
) -> KernelStep:
    return _kernel_step(
        lower_group(group, assignment, stored, split), _work(group, assignment.sized)
    )


def _work(group: Group, sized: SizedGraph) -> AnyDim:
    """What a group's loops cost, in additions of 4 bytes."""
    costs: dict[Axes, int] = {}
    for node in group.nodes:
        space = iteration_space(node, sized)
        costs[space] = costs.get(space, 0) + _cost(node)
    total: AnyDim = 0
    for space, cost in costs.items():
        total = total + product(space) * cost
    return total


def _cost(node: Node) -> int:
    """What one element of a node costs: fewer wide ones fit a vector."""
    additions = max(1, node.op.row.cost) if isinstance(node.op, Map) else 1
    return additions * max(1, ITEMSIZE[node.dtype] // 4)


def _loop(node: Node, assignment: BufferAssignment, split: Mapping[Node, int]) -> Step:
    op = node.op
    bodies = [
        schedule(groups, assignment, stored, split) for groups, stored in assignment.groups[node]
    ]
    if isinstance(op, Branch):
        return _branch(node, op, assignment, bodies)
    assert isinstance(op, Scan | While)
    outputs = [assignment.part(node, i) for i in range(len(node.type))]
    own = {
        assignment.access[s].buffer for s in (*op.body_inputs, *op.body) if s in assignment.access
    }
    moving = [b for b in sorted(own) if assignment.buffers[b].moving is not None]
    after = [assignment.access[part].buffer for part in outputs if part is not None]
    homes = {assignment.history[node, i] for i in range(len(op.carries))}
    homes |= {assignment.access[part].buffer for part in outputs if part is not None}
    flag = assignment.of(op.test) if isinstance(op, While) else None
    return LoopStep(
        number=assignment.loops[node],
        length=op.expected if isinstance(op, While) else assignment.sized.axes[node][-1][0],
        reverse=isinstance(op, Scan) and op.reverse,
        body=tuple(step for body in bodies for step in body),
        moving=tuple(b for b in moving if _belongs(b, node, assignment)),
        after=tuple(b for b in after if assignment.buffers[b].moving is not None),
        bases=frozenset(homes),
        node=node,
        flag=None if flag is None else (flag.buffer, flag.offset),
        tests=len(bodies[0]) if isinstance(op, While) else 0,
    )


def _branch(
    node: Node, op: Branch, assignment: BufferAssignment, bodies: Sequence[Sequence[Step]]
) -> BranchStep:
    flag = assignment.of(node.inputs[0])
    homes = {assignment.access[output].buffer for output in op.regions[0]}
    then, otherwise = (tuple(body) for body in bodies)
    return BranchStep((flag.buffer, flag.offset), then, otherwise, frozenset(homes), node)


def _belongs(buffer: int, node: Node, assignment: BufferAssignment) -> bool:
    """Whether a moving buffer moves with this loop, rather than with one around it."""
    moving = assignment.buffers[buffer].moving
    return moving is not None and moving.loop == assignment.loops[node]


def _kernel_step(lowered: LoweredKernel, work: AnyDim) -> KernelStep:
    names = dict(zip((n for n, _ in lowered.kernel.pointers), lowered.pointers, strict=True))
    written = {names[x.pointer][0] for x, stored in accesses(lowered.kernel.body) if stored}
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


def _product(node: Node, assignment: BufferAssignment) -> ProductStep:
    a, b = (assignment.of(x) for x in node.inputs)
    c = assignment.access[node]
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


def _operand(access: StridedView) -> Operand:
    return Operand(
        (access.buffer, access.offset), access.strides[-2], access.strides[-1], access.strides[:-2]
    )


def _call(node: Node, assignment: BufferAssignment) -> Step:
    op = node.op
    outputs = _outputs_of(node, assignment)
    inputs = [assignment.of(x).buffer for x in node.inputs]
    if isinstance(op, Collective):
        count = assignment.buffers[outputs[0]].count
        return CollectiveStep(inputs[0], outputs[0], count, op.combine, node)
    assert isinstance(op, Call)
    shapes = [assignment.sized.axes[x] for x in node.inputs]
    sizes = (*op.routine_sizes(*shapes), *assignment.sized.symbols[node])
    routine = TypedName(op.routine, SUFFIX[node.inputs[0].dtype])
    own = node.inputs[0].dtype
    scratch = [_temp(node, dtype or own, n, assignment) for dtype, n in op.scratch(*shapes)]
    buffers = (*inputs, *outputs, *scratch)
    elements: AnyDim = sum(assignment.buffers[b].count for b in (*inputs, *outputs))
    return CallStep(routine, buffers, len(inputs), sizes, node, elements, op.multiplies, op.fails)


def _temp(node: Node, dtype: str, count: AnyDim, assignment: BufferAssignment) -> int:
    """A buffer that only one call uses."""
    index = len(assignment.buffers)
    assignment.buffers.append(Buffer(index, node, dtype, count, "temp"))
    return index


def _outputs_of(node: Node, assignment: BufferAssignment) -> list[int]:
    if not isinstance(node.type, tuple):
        return [assignment.access[node].buffer]
    buffers = []
    for i, type_ in enumerate(node.type):
        part = assignment.part(node, i)
        if part is None:  # nobody reads it
            count = product(assignment.sized.axes[node][i])
            buffers.append(_temp(node, type_.dtype, count, assignment))
        else:
            buffers.append(assignment.access[part].buffer)
    return buffers


def _fills(groups: Sequence[Group], assignment: BufferAssignment) -> dict[int, list[Step]]:
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    fills: dict[int, list[Step]] = {}
    for node in home:
        if isinstance(node.op, Assemble) and node.op.fill is not None:
            first = min(home[x] for x in node.inputs)
            fills.setdefault(first, []).append(_fill(node, node.op.fill, assignment))
    return fills


def _fill(node: Node, value: float, assignment: BufferAssignment) -> KernelStep:
    access = assignment.access[node]
    suffix = SUFFIX[node.dtype]
    store = StoreElement(Load("p0", Index.along("i0")), Literal(suffix, value))
    body = (axis_loop(0, "n0", (store,)),)
    kernel = Kernel("fill", (("p0", f"{suffix}*"),), ("n0",), body)
    buffer = access.buffer
    count = assignment.buffers[buffer].count
    own = frozenset((buffer,))
    return KernelStep(kernel, ((buffer, 0),), (count,), frozenset(), own, (node,), count)
