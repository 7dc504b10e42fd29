"""Let a value take over the memory of one that is read for the last time where it is computed.

    dot = x @ w                        buffer 3
    h = relu(dot + b)                  buffer 3 again: nothing else reads dot
    ...
    g = where(h > 0, up, 0)            in the place of `up`

Sound for the same reason as a donated leaf (`donate.py`): every read of the old value happens in an
earlier kernel, or in the same kernel at the same element. It saves memory, and with it cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.buffers import Layout
from staticflow.donate import sound
from staticflow.fuse import Group
from staticflow.graph import Node, through_views
from staticflow.op import Access, Kind


def take_over(layout: Layout, groups: Sequence[Group]) -> None:
    """Redirect values of the program's elementwise kernels into the memory of their operands."""
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    holder = {  # the value that a temporary buffer holds at this point
        buffer.index: buffer.node for buffer in layout.buffers if buffer.role == "temp"
    }
    for group in groups:
        if group.kind is not Kind.MAP:
            continue
        for node in group.nodes:
            own = layout.access.get(node)
            if own is None or holder.get(own.buffer) is not node or not _alone(node, layout):
                continue
            for source in _operands(node, group):
                old = layout.access.get(source)
                if (
                    old is not None
                    and source in home
                    and holder.get(old.buffer) is source
                    and _fits(old, own, source, node, layout)
                    and sound(source, node, groups, home, layout)
                ):
                    layout.access[node] = old
                    holder[old.buffer] = node
                    break


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


def _fits(old: Access, own: Access, source: Node, node: Node, layout: Layout) -> bool:
    """Whether both are all of a buffer, of the same shape and dtype."""
    return (
        source.dtype == node.dtype
        and layout.g.axes[source] == layout.g.axes[node]
        and (old.offset, own.offset) == (0, 0)
        and old.strides == own.strides
        and old.shape == own.shape
    )


def _alone(node: Node, layout: Layout) -> bool:
    """Whether nothing else has been told yet where the node lies: no view, no loop."""
    buffer = layout.access[node].buffer
    if any(b.moving is not None and b.moving.base == buffer for b in layout.buffers):
        return False
    return sum(access.buffer == buffer for access in layout.access.values()) == 1
