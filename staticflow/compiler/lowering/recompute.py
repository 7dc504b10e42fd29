"""Compute cheap values again where they are read, rather than store them between kernels.

Before: kernel 1 stores h = relu(z) and the mask h > 0; kernel 2 loads both.
After:  kernel 1 stores h; kernel 2 loads h and computes the mask.

Only values that follow cheaply from one array that is stored anyway, and scalars, are worth it:
then a load takes the place of a load, and a store goes away. A value that only one other kernel
reads may follow from several stored ones: it moves there, and they are loaded there instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.compiler.lowering.buffers import lives_in_register, stored_nodes
from staticflow.compiler.lowering.fusion import Group
from staticflow.graph.kinds import Map, Reduce
from staticflow.graph.leaves import Const
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import is_implicit, through_views, toposort, with_inputs

CHEAP = 2


@dataclass(frozen=True)
class Recomputed(Map):
    """A cheap map that is computed in the kernel that reads it, whatever that is."""

    again = True


def recompute(groups: Sequence[Group], outputs: Sequence[Node]) -> list[Node]:
    """Rebuild the graph with a copy of each cheap value for every kernel that reads it."""
    stored = stored_nodes(groups, outputs)
    home = {node: group for group in groups for node in group.nodes}
    moved = _moved(home, stored, outputs)
    new: dict[Node, Node] = {}
    copies: dict[tuple[Node, int], Node] = {}
    for node in toposort(outputs):
        inputs = []
        for x in node.inputs:
            group = home.get(node)
            if group is not None and (x in moved or _recomputing_pays(x, node, group, stored)):
                key = (x, id(group))
                if key not in copies:
                    copies[key] = _copy(x, stored, new)
                inputs.append(copies[key])
            else:
                inputs.append(new[x])
        new[node] = with_inputs(node, tuple(inputs))
    return [new[root] for root in outputs]


def _moved(home: Mapping[Node, Group], stored: set[Node], outputs: Sequence[Node]) -> set[Node]:
    """The cheap values that only one kernel reads, and another makes of stored values."""
    readers: dict[Node, set[int]] = {}
    fixed = set(outputs)  # what is read in other ways than element by element
    for node in toposort(outputs):
        for x in node.inputs:
            if _reads_elements(node, home):
                readers.setdefault(x, set()).add(id(home[node]))
            else:
                fixed.add(x)
    return {
        x
        for x, groups in readers.items()
        if x in stored and x not in fixed and x in home and groups.isdisjoint({id(home[x])})
        if len(groups) == 1 and isinstance(x.op, Map) and x.op.row.cost <= CHEAP
        if all(_is_at_hand(y, stored) for y in x.inputs)
    }


def _reads_elements(node: Node, home: Mapping[Node, Group]) -> bool:
    group = home.get(node)
    return group is not None and group.kind is Kind.MAP and isinstance(node.op, Map | Reduce)


def _is_at_hand(y: Node, stored: set[Node]) -> bool:
    root, _ = through_views(y)
    return is_implicit(root) or root in stored or root.op.kind is Kind.LEAF


def _recomputing_pays(x: Node, node: Node, group: Group, stored: set[Node]) -> bool:
    if group.kind is not Kind.MAP or not isinstance(x.op, Map) or x not in stored:
        return False
    if lives_in_register(x, (), node, group) or node.op.kind in (Kind.GATHER, Kind.SCATTER):
        return False
    chain = _chain(x, stored)
    return chain is not None and sum(op.row.cost for op in chain) <= CHEAP


def _chain(x: Node, stored: set[Node]) -> list[Map] | None:
    """The maps from one stored value to x, that of x first; None if it needs more values."""
    assert isinstance(x.op, Map)
    roots = {through_views(y)[0] for y in x.inputs}
    sources = [r for r in roots if not is_implicit(r)]
    arrays = [r for r in sources if r.ndim]  # a scalar beside them costs nothing to load
    main = arrays or sources
    if len(main) != 1 or isinstance(main[0].op, Const):
        return None
    (source,) = main
    if not all(r is source or r in stored or r.op.kind is Kind.LEAF for r in sources):
        return None
    if source in stored or source.op.kind is Kind.LEAF:
        return [x.op]
    if not isinstance(source.op, Map) or source not in x.inputs:
        return None
    rest = _chain(source, stored)
    return None if rest is None else [x.op, *rest]


def _copy(x: Node, stored: set[Node], new: dict[Node, Node]) -> Node:
    """The value computed again, from the stored value on."""
    assert isinstance(x.op, Map)
    inputs = []
    for y in x.inputs:
        again = isinstance(y.op, Map) and y not in stored and not is_implicit(y)
        inputs.append(_copy(y, stored, new) if again else new[y])
    return Node(Recomputed(x.op.row), tuple(inputs), x.type, x.where, x.label)
