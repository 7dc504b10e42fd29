"""Derivatives that read less than they were derived from keep what gives their sizes.

    y = (x @ w).sum();  grad(y, x) = w, repeated along x's rows        how many, only x tells

Such a result is TIED to the inputs that have the sizes, so that it can be an output of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from staticflow.graph.dims import Dim, names_of
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node, apply
from staticflow.graph.traversal import dims_of, leaves, toposort
from staticflow.ops.alias import Tied

Names = frozenset[str]


def tied(results: Sequence[Node], sources: Sequence[Node]) -> list[Node]:
    """The results, each tied to those inputs of `sources` that alone have sizes of its formula."""
    missing = _missing(results)
    if not any(missing.values()):
        return list(results)
    inputs = leaves(sources, Input)
    found = []
    for node in results:
        givers = [x for x in inputs if missing[node] & _given(x)]
        found.append(apply(Tied(), node, *givers, where=node.where) if givers else node)
    return found


def _missing(results: Iterable[Node]) -> dict[Node, Names]:
    """For each result, the names that its formula has and none of its inputs has as an axis."""
    none: Names = frozenset()
    known: dict[Node, tuple[Names, Names]] = {}  # the names in a node's formula, and those given
    for node in toposort(results):
        used, given = names_of((*dims_of(node), *node.op.sizes())), none
        if isinstance(node.op, Input):
            given = _given(node)
        for x in node.inputs:
            more, also = known[x]
            used, given = used | more, given | also
        known[node] = used, given
    return {node: known[node][0] - known[node][1] for node in results}


def _given(x: Node) -> Names:
    """The sizes that an input's axes are."""
    return frozenset(n.name for n in x.shape if isinstance(n, Dim) and n.name is not None)
