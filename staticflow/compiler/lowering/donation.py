"""Let an output take over the buffer of a leaf: a parameter's next value in the parameter's place.

This is sound when every read of the leaf happens before the write: in an earlier kernel, or in the
same kernel at the same element. Where it is not, the output is computed aside and copied last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from staticflow.compiler.ir.loops import Index, Kernel, Let, Load, StoreElement, axis_loop
from staticflow.compiler.ir.steps import KernelStep, Step
from staticflow.compiler.lowering.buffers import SUFFIX, BufferAssignment
from staticflow.compiler.lowering.fusion import Group
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import through_views

Readers = Mapping[Node, Sequence[tuple[Node, bool]]]


def donate(
    assignment: BufferAssignment,
    groups: Sequence[Group],
    outputs: Sequence[Node],
    donations: Mapping[int, Node],
) -> list[Step]:
    """Redirect donated outputs into their leaves; returns the copies to run at the end."""
    home = {node: i for i, group in enumerate(groups) for node in group.nodes}
    readers = readers_of(assignment)
    late: list[Step] = []
    for position, leaf in donations.items():
        root, views = through_views(outputs[position])
        own = assignment.access[root]
        if leaf not in assignment.access:  # nothing reads it: the output's buffer is the leaf's
            assignment.buffers[own.buffer] = replace(
                assignment.buffers[own.buffer], node=leaf, role="leaf"
            )
            continue
        target = assignment.access[leaf]
        if not views and may_overwrite(leaf, root, groups, home, readers):
            assignment.access[root] = replace(target, shape=own.shape, strides=own.strides)
        else:
            temp = assignment.buffers[own.buffer]
            assignment.buffers[own.buffer] = replace(temp, role="temp")
            late.append(_copy(assignment, own.buffer, target.buffer, root))
    return late


def readers_of(assignment: BufferAssignment) -> Readers:
    """What reads each value, and whether it reads the value in its own place."""
    readers: dict[Node, list[tuple[Node, bool]]] = {}
    for node in assignment.sized.order:
        if node.op.kind in (Kind.VIEW, Kind.ALIAS):
            continue
        for x in node.inputs:
            source, views = through_views(x)
            in_place = not views and node.op.kind is not Kind.GATHER
            readers.setdefault(source, []).append((node, in_place))
    return readers


def may_overwrite(
    leaf: Node, root: Node, groups: Sequence[Group], home: Mapping[Node, int], readers: Readers
) -> bool:
    """Whether `root` may be written where `leaf` lies: every read of that has happened."""
    group = groups[home[root]]
    if group.kind is not Kind.MAP or root.op.kind is not Kind.MAP:
        return False
    for node, in_place in readers.get(leaf, ()):
        if home[node] > home[root]:
            return False
        if home[node] == home[root]:
            same_place = in_place and group.level[node] == group.level[root]
            if not same_place or group.stage[node] > group.stage[root]:
                return False
    return True


def _copy(assignment: BufferAssignment, source: int, target: int, node: Node) -> KernelStep:
    suffix = SUFFIX[node.dtype]
    index = Index.along("i0")
    store = StoreElement(Load("p1", index), "v0")
    body = (axis_loop(0, "n0", (Let("v0", Load("p0", index), suffix), store)),)
    kernel = Kernel("copy", (("p0", f"{suffix}*"), ("p1", f"{suffix}*")), ("n0",), body)
    return KernelStep(
        kernel,
        ((source, 0), (target, 0)),
        (assignment.buffers[source].count,),
        frozenset((source,)),
        frozenset((target,)),
        (node,),
        assignment.buffers[source].count,
    )
