"""Group nodes into kernels by the kind of their op: one loop nest, one product, one call each.

    z = dot(x, w)          -> group 0: product
    h = maximum(z + b, 0)  -> group 1: loops over [batch, n1]      add, maximum
    l = sum(h * h)         ->          the same loops              multiply, sum

A loop group has an iteration space, the size classes of its loops. A node joins the first group
that has its space, that comes no earlier than its producers, and in which every producer is read
at the index that is being computed:

        inner node        space == group's space             inside all loops
        row node          space == group's space[:-1]        beside the innermost loop

A reduction over the last axis makes a row value, which inner nodes can read only in a later STAGE,
that is, in another innermost loop of the same row:

        for row:  [inner loop of stage 0: max]  [inner loop of stage 1: exp, sum]  [stage 2: divide]

Any other reduction (and a scatter) accumulates over the whole nest and is read by later groups.
The diamond problem does not arise, since groups are kept in execution order and a node never moves
behind a producer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.graph.kinds import Map, Reduce, View
from staticflow.graph.node import Axes, Kind, Node
from staticflow.graph.traversal import is_implicit, through_views

LOOP_KINDS = (Kind.MAP, Kind.REDUCE, Kind.GATHER, Kind.SCATTER)
# A kernel is compiled as one function, whose compile time grows faster than its length.
MAX_NODES = 48
# An element's work, in additions, beyond which functions of functions have a kernel of their own:
# a processor holds only so many instructions at a time, and if these belong to two or three
# elements, they all wait for one another. Measured: an LSTM's gates with the tanh of the state
# apart, 1.2 times as fast.
LONG, FUNCTION = 40, 10


@dataclass
class Group:
    """What one kernel computes; `level` and `stage` place loop nodes in the nest."""

    kind: Kind
    space: Axes
    nodes: list[Node] = field(default_factory=list)
    level: dict[Node, str] = field(default_factory=dict)  # inner or row
    stage: dict[Node, int] = field(default_factory=dict)

    @property
    def has_rows(self) -> bool:
        """Whether something happens beside the innermost loop."""
        return any(
            level == "row" or is_row_reduction(node, self.space)
            for node, level in self.level.items()
        )


def iteration_space(node: Node, sized: SizedGraph) -> Axes:
    """The loops that a map, gather, reduction or scatter runs over."""
    source = node.inputs[0] if node.op.kind in (Kind.REDUCE, Kind.SCATTER) else node
    axes: Axes = sized.axes[source]
    return axes


def is_row_reduction(node: Node, space: Axes) -> bool:
    """Whether a node of this group reduces just the innermost loop."""
    return isinstance(node.op, Reduce) and node.op.axes == (len(space) - 1,)


def fuse(sized: SizedGraph, order: Sequence[Node] | None = None) -> list[Group]:
    """Put every node of `order` that computes something into a group, in execution order."""
    groups: list[Group] = []
    home: dict[Node, int] = {}
    for node in sized.order if order is None else order:
        kind = node.op.kind
        if kind in (Kind.LEAF, Kind.VIEW, Kind.ALIAS, Kind.PART) or is_implicit(node):
            continue
        if node.op.again:
            continue  # placed with what reads it
        first = _earliest(node, home)
        if kind in LOOP_KINDS:
            home[node] = _join_loops(node, sized, groups, home, first)
            _place_copies(node, groups[home[node]], home)
        else:
            groups.append(Group(kind, (), [node]))
            home[node] = len(groups) - 1
    return groups


def _place_copies(node: Node, group: Group, home: dict[Node, int]) -> None:
    """Put the cheap values that were copied for this node right before it."""
    for x in node.inputs:
        if x.op.again and x not in home:
            group.nodes.insert(group.nodes.index(node), x)
            group.level[x], group.stage[x] = group.level[node], group.stage[node]
            home[x] = home[node]
            _place_copies(x, group, home)


def producers(node: Node) -> Iterable[Node]:
    """The nodes that compute what a node reads, looking through views and parts."""
    for x in node.inputs:
        root, _ = through_views(x)
        while root.op.kind in (Kind.PART, Kind.VIEW, Kind.ALIAS):
            root = root.inputs[0]
        yield root


def _earliest(node: Node, home: Mapping[Node, int]) -> int:
    first = 0
    for p in producers(node):
        first = max(first, home[p] if p in home else _earliest(p, home) if p.op.again else 0)
    return first


def _join_loops(
    node: Node, sized: SizedGraph, groups: list[Group], home: dict[Node, int], first: int
) -> int:
    space = iteration_space(node, sized)
    for position in range(first, len(groups)):
        group = groups[position]
        if group.kind is Kind.MAP and _try_join(node, space, group, home):
            return position
    group = Group(Kind.MAP, space)
    groups.append(group)
    joined = _try_join(node, space, group, home)
    assert joined, "a node always fits a group of its own"
    return len(groups) - 1


def _try_join(node: Node, space: Axes, group: Group, home: Mapping[Node, int]) -> bool:
    if len(group.nodes) >= MAX_NODES or _would_wait(node, group):
        return False
    level = _level(node, space, group)
    if level is None:
        return False
    widen = level == "widen"
    stage = _stage(node, group, home, "inner" if widen else level, widen)
    if stage is None:
        return False
    if widen:
        group.space = space
        group.level = dict.fromkeys(group.level, "row")
        level = "inner"
    group.nodes.append(node)
    group.level[node] = level
    group.stage[node] = stage
    return True


def _would_wait(node: Node, group: Group) -> bool:
    """Whether a costly function would wait for another one in a kernel of much work."""
    if _cost(node) < FUNCTION or not node.ndim or sum(map(_cost, group.nodes)) < LONG:
        return False
    pending = [x for x in node.inputs if x in group.level]
    for x in pending:
        if _cost(x) >= FUNCTION:
            return True
        pending += [y for y in x.inputs if y in group.level and y not in pending]
    return False


def _cost(node: Node) -> int:
    """What an element of an elementwise value costs, in additions."""
    return node.op.row.cost if isinstance(node.op, Map) else 0


def _level(node: Node, space: Axes, group: Group) -> str | None:
    if space == group.space:
        return "inner"
    if space == group.space[:-1] and group.space and node.op.kind in (Kind.MAP, Kind.GATHER):
        return "row"
    only_maps = all(n.op.kind in (Kind.MAP, Kind.GATHER) for n in group.nodes)
    if space and space[:-1] == group.space and only_maps and not group.has_rows:
        return "widen"
    return None


def _stage(
    node: Node, group: Group, home: Mapping[Node, int], level: str, widen: bool
) -> int | None:
    """The innermost loop in which a node can run; None if it must wait for the group's end."""
    stage = 0
    space_rank = len(group.space) + (1 if widen else 0)
    for position, x in enumerate(node.inputs):
        if x.op.again and x not in home:
            copied = _stage(x, group, home, level, widen)  # what it reads is read here as well
            if copied is None:
                return None
            stage = max(stage, copied)
        root, views = through_views(x)
        if root not in group.level:
            continue
        if node.op.kind is Kind.GATHER and position == 0:
            return None  # the table of a gather must be complete
        row_value = widen or group.level[root] == "row" or is_row_reduction(root, group.space)
        if root.op.kind in (Kind.REDUCE, Kind.SCATTER) and not row_value:
            return None
        if row_value:
            aligned = _adds_last_axis(views, space_rank) if level == "inner" else not views
        else:
            aligned = not views and level == "inner"
        if not aligned:
            return None
        later = 1 if is_row_reduction(root, group.space) and not widen else 0
        stage = max(stage, group.stage[root] + later)
    return stage


def _adds_last_axis(views: tuple[Node, ...], rank: int) -> bool:
    """Whether views repeat a row value along the innermost loop, and do nothing else."""
    if len(views) != 1 or not isinstance(views[0].op, View):
        return False
    return views[0].op.new_axes == (rank - 1,)
