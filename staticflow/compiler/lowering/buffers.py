"""Where values live: which nodes own a buffer, and how every other node looks into one.

Leaves are bound from outside, values that kernels hand to later kernels (or to the caller) own a
buffer, views are accesses into the buffer of their root, and everything else lives in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.lowering.fusion import Group, is_row_reduction
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Assemble, View
from staticflow.graph.node import Kind, Node
from staticflow.graph.strides import StridedView
from staticflow.graph.traversal import is_implicit, through_views

SUFFIX = {"float32": "f4", "float64": "f8", "int32": "i4", "int64": "i8", "bool": "b1"}
ITEMSIZE = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "bool": 1}


class Counter(Enum):
    """What tells one step of a loop from another."""

    POSITION = auto()  # in xs and ys
    STEPS = auto()  # that are done
    LENGTH = auto()  # of the loop


@dataclass(frozen=True)
class MovingPlace:
    """Which of the places in a buffer: a counter plus a number, modulo 2 if places `alternate`."""

    counter: Counter
    plus: int = 0
    alternate: bool = False


@dataclass(frozen=True)
class Moving:
    """A place within another buffer that changes with the steps of a loop.

    The address is that of the base plus place * stride, in elements.
    """

    base: int
    offset: AnyDim
    stride: AnyDim
    place: MovingPlace
    loop: int  # the number of the loop it moves with


@dataclass(frozen=True)
class Buffer:
    """A flat array: a leaf, a value between kernels, or an output."""

    index: int
    node: Node
    dtype: str
    count: AnyDim  # elements, in size classes
    role: str  # leaf, temp, output or moving
    moving: Moving | None = None

    @property
    def suffix(self) -> str:
        return SUFFIX[self.dtype]

    @property
    def itemsize(self) -> int:
        return ITEMSIZE[self.dtype]


@dataclass
class BufferAssignment:
    """All buffers, and the access of every node that has one."""

    sized: SizedGraph
    buffers: list[Buffer]
    access: dict[Node, StridedView]
    loops: dict[Node, int] = field(default_factory=dict)  # numbered
    # of each of a loop's bodies: its groups, and what of it is stored
    groups: dict[Node, list[tuple[list[Group], set[Node]]]] = field(default_factory=dict)
    history: dict[tuple[Node, int], int] = field(default_factory=dict)  # carries' buffers
    parts: dict[tuple[Node, int], Node] = field(default_factory=dict)

    def part(self, node: Node, index: int) -> Node | None:
        """The node that stands for an output of an op that has several, if anything reads it."""
        return self.parts.get((node, index))

    def of(self, node: Node) -> StridedView:
        """The access of a node that owns or shows a buffer."""
        if node not in self.access:
            self.access[node] = self._view(node)
        return self.access[node]

    def _view(self, node: Node) -> StridedView:
        if node.op.kind is Kind.ALIAS:
            return self.of(node.inputs[0])
        assert node.op.kind is Kind.VIEW, f"{node} has no buffer"
        access = view_access(node, self.of(node.inputs[0]), self.sized)
        assert access is not None, f"{node} should have been copied"
        return access


def view_access(node: Node, base: StridedView, sized: SizedGraph) -> StridedView | None:
    """What a view makes of the access of its input."""
    assert isinstance(node.op, View)
    return node.op.view(base, sized.axes[node], sized.symbols[node])


def stored_nodes(groups: Sequence[Group], outputs: Sequence[Node]) -> set[Node]:
    """The computed nodes that need a buffer: others read them, or a later stage."""
    stored = {through_views(node)[0] for node in outputs}
    for group in groups:
        for node in group.nodes:
            if group.kind is not Kind.MAP or node.op.kind not in (Kind.MAP, Kind.GATHER):
                stored.add(node)
            for x in node.inputs:
                root, views = through_views(x)
                if root.op.kind is Kind.LEAF or is_implicit(root):
                    continue
                if not lives_in_register(root, views, node, group):
                    stored.add(root)
    return {
        n for n in stored if n.op.kind is not Kind.LEAF and not is_implicit(n)
    } - _register_reductions(groups, stored, outputs)


def lives_in_register(root: Node, views: Sequence[Node], node: Node, group: Group) -> bool:
    """Whether `node` can read `root` as a scalar of the same kernel."""
    if root not in group.level or group.kind is not Kind.MAP:
        return False
    if node.op.kind is Kind.GATHER and node.inputs[0] is root:
        return False
    if group.level[root] == "row" or is_row_reduction(root, group.space):
        return True
    return not views and group.stage[root] == group.stage[node]


def _register_reductions(
    groups: Sequence[Group], stored: set[Node], outputs: Sequence[Node]
) -> set[Node]:
    """Row reductions that only their own kernel reads; they need no buffer."""
    read_outside = {through_views(node)[0] for node in outputs}
    for group in groups:
        for node in group.nodes:
            for x in node.inputs:
                root, views = through_views(x)
                if not lives_in_register(root, views, node, group):
                    read_outside.add(root)
    return {
        node
        for group in groups
        for node in group.nodes
        if group.kind is Kind.MAP
        and is_row_reduction(node, group.space)
        and node in stored
        and node not in read_outside
    }


def assembly_regions(node: Node, assignment: BufferAssignment) -> tuple[StridedView, ...]:
    """The region of each part within an assembly's buffer."""
    op = node.op
    assert isinstance(op, Assemble)
    whole = assignment.access[node]
    shapes = tuple(assignment.sized.axes[x] for x in node.inputs)
    regions = []
    for shape, starts in zip(
        shapes, op.regions(shapes, assignment.sized.symbols[node]), strict=True
    ):
        offset = whole.offset
        for start, stride in zip(starts, whole.strides, strict=True):
            offset = offset + start * stride
        regions.append(StridedView(whole.buffer, offset, shape, whole.strides))
    return tuple(regions)
