"""Residuals of small steps that are computed again instead of being saved.

A value of a few numbers costs more to write and to read back than an addition or a product: the
residuals of thousands of steps leave the first-level caches. So of what back-propagation through
time reads, what follows by cheap ops from the rest, the xs and the constants is not saved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from staticflow.graph.dims import product
from staticflow.graph.kinds import Map
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import is_implicit, toposort

MOST_ELEMENTS = 64  # of a value whose number of elements no data change
MOST_COST = 5  # of an op, in additions
MOST_OPS = 12  # between a residual and what it is computed from


def costly(saved: Sequence[Node], given: Collection[Node]) -> list[Node]:
    """Those of the residuals that have to be saved, in order; `given` is there in any case."""
    kept = dict.fromkeys(saved)
    for node in reversed(toposort(list(saved))):
        if node in kept and _follows(node, kept, given):
            del kept[node]
    return list(kept)


def _follows(node: Node, kept: Collection[Node], given: Collection[Node]) -> bool:
    """Whether a few cheap ops lead to a node from others that are kept, or given."""
    done, stack = set[Node](), [node]
    while stack:
        x = stack.pop()
        if x in done or (x in kept and x is not node) or x in given or is_implicit(x):
            continue
        done.add(x)
        if len(done) > MOST_OPS or not _is_cheap(x):
            return False
        stack += x.inputs
    return True


def _is_cheap(node: Node) -> bool:
    """Whether a value of a few numbers takes no longer to compute than to load."""
    count = product(node.shape) if not isinstance(node.type, tuple) else None
    if not isinstance(count, int) or count > MOST_ELEMENTS:
        return False
    if node.op.kind in (Kind.VIEW, Kind.ALIAS):
        return True
    return isinstance(node.op, Map) and node.op.row.cost <= MOST_COST
