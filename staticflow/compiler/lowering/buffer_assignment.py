"""Give every value that leaves a kernel its place; in a loop, places that move from step to step.

A carry whose past is read (by the derivative, or because it is a y itself) keeps its HISTORY, one
place for each step and one more:

    place      0      1      2    ...   length
               init   c1     c2         c_length      step t reads place t, writes place t + 1

so that the stack of carries before each step, and the stack after each step, are two views of one
buffer and nothing is copied. Any other carry alternates between two places. In a reverse loop, step
t reads place t + 1 and writes place t.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.lowering.buffers import (
    Buffer,
    BufferAssignment,
    Counter,
    Moving,
    MovingPlace,
    assembly_regions,
    stored_nodes,
)
from staticflow.compiler.lowering.fusion import Group, fuse
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.kinds import Part
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Axes, Kind, Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import is_implicit, through_views, toposort

# Where a step finds its element of a stack, or of a history, and the place behind it.
HERE, NEXT = MovingPlace(Counter.POSITION), MovingPlace(Counter.POSITION, 1)
# A carry without a history has two places: a step reads one and writes the other.
EVEN, ODD = MovingPlace(Counter.STEPS, alternate=True), MovingPlace(Counter.STEPS, 1, True)
LAST = MovingPlace(Counter.LENGTH, alternate=True)  # what the last step has written


def assign_buffers(
    sized: SizedGraph, groups: Sequence[Group], outputs: Sequence[Node]
) -> BufferAssignment:
    """Give every leaf and every stored value a contiguous buffer of its own."""
    assignment = BufferAssignment(sized, [], {})
    for order in (sized.order, *sized.bodies.values()):
        for node in order:
            if isinstance(node.op, Part):
                assignment.parts[node.inputs[0], node.op.index] = node
    assign_nodes(assignment, sized.order, stored_nodes(groups, outputs), outputs)
    return assignment


def assign_nodes(
    assignment: BufferAssignment, order: Sequence[Node], stored: set[Node], outputs: Sequence[Node]
) -> None:
    """Give buffers to the nodes of one region: the program, or the body of a loop."""
    finals = {through_views(node)[0] for node in outputs}
    for node in order:
        if node in assignment.access:
            continue  # a value that a loop has placed
        role = "output" if node in finals else "temp"
        if node.op.kind is Kind.LEAF and not is_implicit(node):
            _add(assignment, node, "leaf")
        elif node.op.kind is Kind.LOOP:
            assign_loop(assignment, node)
        elif isinstance(node.op, Part) or (node in stored and not isinstance(node.type, tuple)):
            _add(assignment, node, role)


def _add(assignment: BufferAssignment, node: Node, role: str) -> None:
    shape = assignment.sized.axes[node]
    index = len(assignment.buffers)
    assignment.buffers.append(Buffer(index, node, node.dtype, product(shape), role))
    assignment.access[node] = StridedView.contiguous(index, shape)


def assign_loop(assignment: BufferAssignment, node: Node) -> None:
    """Give a loop's values their places; see the module's docstring."""
    op = node.op
    assert isinstance(op, Loop)
    assignment.loops[node] = len(assignment.loops)
    init, xs, consts = op.split(node.inputs)
    length = assignment.sized.axes[node][-1][0] if isinstance(op, Scan) else 1
    if op.carries:
        _carries(assignment, node, op, init, length)
    for s, x in zip(op.xs, xs, strict=True):
        outer = assignment.of(x)
        moving = Moving(outer.buffer, outer.offset, outer.strides[0], HERE, assignment.loops[node])
        shape = assignment.sized.axes[s]
        buffer = _buffer(assignment, s, shape, "moving", moving)
        assignment.access[s] = StridedView(buffer, 0, shape, outer.strides[1:])
    for s, x in zip(op.consts, consts, strict=True):
        assignment.access[s] = assignment.of(x)
    if isinstance(op, Scan):
        _stacks(assignment, node, op, length)
    elif not op.carries:
        _branches(assignment, node, op)
    assignment.groups[node] = []
    for region in op.regions:
        order = toposort(region)
        groups = fuse(assignment.sized, order)
        stored = stored_nodes(groups, region)
        assignment.groups[node].append((groups, stored))
        assign_nodes(assignment, order, stored, ())


def _branches(assignment: BufferAssignment, node: Node, op: Loop) -> None:
    """Let every body compute an output into the same memory."""
    for i, outputs in enumerate(zip(*op.regions, strict=True)):
        part = assignment.part(node, i)
        first = outputs[0] if part is None else part
        home = _buffer(assignment, first, assignment.sized.axes[first], "temp")
        for output in (first, *outputs):
            for each in (through_views(output)[0], output):
                assignment.access[each] = StridedView.contiguous(home, assignment.sized.axes[each])


def _buffer(
    assignment: BufferAssignment, node: Node, shape: Axes, role: str, moving: Moving | None = None
) -> int:
    index = len(assignment.buffers)
    assignment.buffers.append(Buffer(index, node, node.dtype, product(shape), role, moving))
    return index


def keeps_history(op: Loop, position: int) -> bool:
    """Whether a carry's values at all steps are read."""
    return isinstance(op, Scan) and (op.next[position] in op.ys or op.carries[position] in op.ys)


def _carries(
    assignment: BufferAssignment, node: Node, op: Loop, init: list[Node], length: AnyDim
) -> None:
    reverse = isinstance(op, Scan) and op.reverse
    for position, (s, following) in enumerate(zip(op.carries, op.next, strict=True)):
        shape = assignment.sized.axes[s]
        size = product(shape)
        history = keeps_history(op, position)
        places = length + 1 if history else 2
        home = _buffer(assignment, s, (places, *shape), "temp")
        read, write = _places(history and reverse, history)
        first: AnyDim = length * size if history and reverse else 0
        assignment.access[init[position]] = _at(home, first, shape)
        assignment.history[node, position] = home
        number = assignment.loops[node]
        _move(assignment, s, home, size, read, number)
        _move(assignment, following, home, size, write, number)
        part = assignment.part(node, position)
        if part is None:
            continue
        if history:
            last: AnyDim = 0 if reverse else length * size
            assignment.access[part] = _at(home, last, shape)
        else:
            _move(assignment, part, home, size, LAST, number)


def _places(reverse: bool, history: bool) -> tuple[MovingPlace, MovingPlace]:
    """Which place a step reads, and which it writes."""
    if not history:
        return EVEN, ODD
    return (NEXT, HERE) if reverse else (HERE, NEXT)


def _at(buffer: int, offset: AnyDim, shape: Axes) -> StridedView:
    plain = StridedView.contiguous(buffer, shape)
    return StridedView(buffer, offset, shape, plain.strides)


def _move(
    assignment: BufferAssignment, node: Node, home: int, size: AnyDim, place: MovingPlace, loop: int
) -> None:
    """Let a value, and what it shows all of, lie at a place that moves."""
    root, _ = through_views(node)
    moving = Moving(home, 0, size, place, loop)
    buffer = _buffer(assignment, node, assignment.sized.axes[node], "moving", moving)
    for each in (root, node):
        assignment.access[each] = StridedView.contiguous(buffer, assignment.sized.axes[each])


def _stacks(assignment: BufferAssignment, node: Node, op: Scan, length: AnyDim) -> None:
    """The stacks of ys: buffers of their own, or views of a carry's history."""
    count = len(op.carries)
    for position, y in enumerate(op.ys):
        part = assignment.part(node, count + position)
        if part is None:
            continue
        shape = assignment.sized.axes[part]
        size = product(shape[1:])
        if y in op.carries or y in op.next:
            before = y in op.carries
            carry = op.carries.index(y) if before else op.next.index(y)
            home = assignment.history[node, carry]
            shift = before == op.reverse  # the place after
            assignment.access[part] = _at(home, size if shift else 0, shape)
        else:
            home = _buffer(assignment, part, shape, "temp")
            assignment.access[part] = StridedView.contiguous(home, shape)
            _move(assignment, y, home, size, HERE, assignment.loops[node])


def place_assemblies(assignment: BufferAssignment) -> None:
    """Let every part of an assembly be computed right in its region of the whole."""
    for order in (assignment.sized.order, *assignment.sized.bodies.values()):
        for node in reversed(order):
            if node.op.kind is Kind.ASSEMBLE:
                regions = assembly_regions(node, assignment)
                assignment.access.update(zip(node.inputs, regions, strict=True))
