"""Let a value take over the memory of one that is read for the last time where it is computed.

    dot = x @ w                        buffer 3
    h = relu(dot + b)                  buffer 3 again: nothing else reads dot
    ...
    g = where(h > 0, up, 0)            in the place of `up`

Sound for the same reason as a donated leaf (`donation`): every read of the old value happens in an
earlier kernel, or in the same kernel at the same element. It saves memory, and with it cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.lowering.buffers import BufferAssignment
from staticflow.compiler.lowering.donation import may_overwrite, readers_of
from staticflow.compiler.lowering.fusion import Group
from staticflow.graph.node import Kind, Node
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import through_views


def reuse_operands(assignment: BufferAssignment, groups: Sequence[Group], outputs: bool) -> None:
    """Redirect values of the program's elementwise kernels into the memory of their operands.

    With `outputs`, the operands of an output lie in the output's memory before it does.
    """
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    readers = readers_of(assignment)
    shared = _shared(assignment)
    holder = {  # the value that a temporary buffer of its own holds at this point
        buffer.index: buffer.node
        for buffer in assignment.buffers
        if buffer.role in _roles(outputs) and buffer.index not in shared
    }
    for group in groups:
        if group.kind is not Kind.MAP:
            continue
        for node in group.nodes:
            own = assignment.access.get(node)
            if own is None or holder.get(own.buffer) is not node:
                continue
            for source in _operands(node, group):
                old = assignment.access.get(source)
                if (
                    old is not None
                    and source in home
                    and holder.get(old.buffer) is source
                    and assignment.buffers[old.buffer].role == "temp"
                    and _fits(old, own, source, node, assignment)
                    and may_overwrite(source, node, groups, home, readers)
                ):
                    if assignment.buffers[own.buffer].role == "output":
                        old = _move(assignment, old.buffer, own)
                    assignment.access[node] = old
                    holder[old.buffer] = node
                    break


def _roles(outputs: bool) -> tuple[str, ...]:
    return ("temp", "output") if outputs else ("temp",)


def _move(assignment: BufferAssignment, buffer: int, new: StridedView) -> StridedView:
    """Let all that lies in a buffer lie in another one."""
    for node, access in assignment.access.items():
        if access.buffer == buffer:
            assignment.access[node] = new
    return new


def _operands(node: Node, group: Group) -> list[Node]:
    """What the kernel reads on the way to a node, from its nearest operands on."""
    found: list[Node] = []
    pending = [node]
    for current in pending:
        for x in current.inputs:
            root, views = through_views(x)
            if views or root in pending:
                continue
            if root in group.level:
                pending.append(root)
            elif root not in found:
                found.append(root)
    return found


def _fits(
    old: StridedView, own: StridedView, source: Node, node: Node, assignment: BufferAssignment
) -> bool:
    """Whether both are all of a buffer, of the same shape and dtype."""
    return (
        source.dtype == node.dtype
        and assignment.sized.axes[source] == assignment.sized.axes[node]
        and (old.offset, own.offset) == (0, 0)
        and old.strides == own.strides
        and old.shape == own.shape
    )


def _shared(assignment: BufferAssignment) -> set[int]:
    """The buffers that several nodes lie in: parts of an assembly, values of a loop."""
    seen: set[int] = set()
    shared = {b.moving.base for b in assignment.buffers if b.moving is not None}
    for access in assignment.access.values():
        (shared if access.buffer in seen else seen).add(access.buffer)
    return shared
