"""The loops of a group of fused nodes, and how what it reads and writes lies along them.

    a group over [n0, n1] of contiguous arrays     one loop of n0 * n1 steps, strides of 1
    the same with a row added, b[n1]               two loops; b has the strides 0 and 1

Neighbouring loops become one where every access allows it, so that a map over contiguous arrays is
a single loop whatever its rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from staticflow.compiler.lowering.buffers import BufferAssignment, lives_in_register, view_access
from staticflow.compiler.lowering.fusion import Group
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.kinds import FlatMap, Gather, Reduce, Scatter
from staticflow.graph.leaves import Const
from staticflow.graph.node import Kind, Node
from staticflow.graph.strides import StridedView, contiguous_strides
from staticflow.graph.traversal import is_implicit, through_views


@dataclass
class Nest:
    """The loops of a group after merging, outermost first."""

    members: list[list[int]]  # the axes of the group's space that each loop covers
    extents: list[AnyDim]

    def strides(self, strides: Sequence[AnyDim]) -> list[AnyDim]:
        """The strides of an access along the merged loops."""
        return [strides[m[-1]] if m[-1] < len(strides) else 0 for m in self.members]


def merge_loops(
    group: Group, assignment: BufferAssignment, stored: set[Node], split: Mapping[Node, int]
) -> Nest:
    """Merge neighbouring loops where every access of the group lies evenly along them."""
    space = group.space
    accesses = list(_accesses(group, assignment, stored, split))
    members: list[list[int]] = []
    for axis in range(len(space)):
        keeps_inner = group.has_rows and axis == len(space) - 1
        if members and not keeps_inner and all(_even(s, axis, space[axis]) for s in accesses):
            members[-1].append(axis)
        else:
            members.append([axis])
    return Nest(members, [product(space[a] for a in m) for m in members])


def _even(strides: Sequence[AnyDim], axis: int, extent: AnyDim) -> bool:
    if axis >= len(strides):
        return True
    return strides[axis - 1] == strides[axis] * extent


def _accesses(
    group: Group, assignment: BufferAssignment, stored: set[Node], split: Mapping[Node, int]
) -> Iterator[tuple[AnyDim, ...]]:
    """Every element access of a group, as strides along the axes of its space."""
    for node in group.nodes:
        for x in _loop_inputs(node):
            root, views = through_views(x)
            if isinstance(root.op, Const) and root.op.is_scalar:
                continue
            if is_implicit(root):
                yield implicit_access(x, assignment).strides
            elif not lives_in_register(root, views, node, group):
                yield loop_access(node, x, assignment).strides
        if node.op.kind is Kind.GATHER:
            yield gather_strides(node, assignment)
        if node in stored:
            yield store_strides(node, assignment)
        if isinstance(node.op, FlatMap):
            yield flat_strides(node, assignment, split)


def _loop_inputs(node: Node) -> tuple[Node, ...]:
    """The inputs read at the loop's own index."""
    return node.inputs[1:] if node.op.kind is Kind.GATHER else node.inputs


def loop_access(node: Node, x: Node, assignment: BufferAssignment) -> StridedView:
    """The access of an input, with a stride for each loop of `node`.

    The indices of a gather or scatter run over some of the loops only.
    """
    access = assignment.of(x)
    if not isinstance(node.op, Gather | Scatter) or x is not node.inputs[1]:
        return access
    rank = len(assignment.sized.axes[node if isinstance(node.op, Gather) else node.inputs[0]])
    return replace(access, strides=node.op.index_strides(access.strides, rank))


def flat_strides(
    node: Node, assignment: BufferAssignment, split: Mapping[Node, int]
) -> tuple[AnyDim, ...]:
    """The strides of a value that counts its positions; those of the whole, of which it is part."""
    shape = list(assignment.sized.axes[node])
    axis = split.get(node, 0)
    if axis:  # the size of the leading axis itself does not matter
        shape[axis] = assignment.sized.symbols[node][axis]
    return contiguous_strides(tuple(shape))


def implicit_access(node: Node, assignment: BufferAssignment) -> StridedView:
    """The access of a value without a buffer: an index counts its own positions."""
    if node.op.kind is Kind.VIEW:
        access = view_access(node, implicit_access(node.inputs[0], assignment), assignment.sized)
        assert access is not None, f"{node} should have been copied"
        return access
    if node.op.kind is Kind.ALIAS:
        return implicit_access(node.inputs[0], assignment)
    return StridedView.contiguous(-1, assignment.sized.axes[node])


def gather_strides(node: Node, assignment: BufferAssignment) -> tuple[AnyDim, ...]:
    """The strides of a gather's table along the loops, without the gathered axis."""
    assert isinstance(node.op, Gather)
    table = assignment.of(node.inputs[0])
    return node.op.loop_strides(table.strides, len(assignment.sized.axes[node.inputs[1]]))


def store_strides(node: Node, assignment: BufferAssignment) -> tuple[AnyDim, ...]:
    """The strides of a node's own buffer along the loops that compute it."""
    own = assignment.access[node].strides
    if isinstance(node.op, Reduce):
        kept = iter(own)
        rank = len(own) + len(node.op.axes)
        return tuple(0 if axis in node.op.axes else next(kept) for axis in range(rank))
    if isinstance(node.op, Scatter):
        strides = node.op.loop_strides(own, len(assignment.sized.axes[node.inputs[1]]))
        return strides
    return own
