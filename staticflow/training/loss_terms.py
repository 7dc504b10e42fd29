"""Tell apart the terms of a loss that read different data.

    mean(net(x) ** 2) + 10 * mean(net(b) ** 2) + 1e-4 * sum(w ** 2)      x: (n, 2), b: (m, 2)

    by n, the batch: mean(net(x) ** 2) + 1e-4 * sum(w ** 2)
    by m:            10 * mean(net(b) ** 2)

The rows of a batch run in blocks, and are cut into shards. What does not depend on them, the second
line here, would run again in each block and on each shard: it becomes a program of its own, with
blocks and shards of its own rows. Only terms that do some work are told apart: a simple penalty on
the parameters stays with the batch, or goes with others that read no rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from staticflow.graph.dims import Dim, names_of
from staticflow.graph.kinds import Map
from staticflow.graph.leaves import Input, const
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import dims_of, leaves, toposort, with_inputs

_HEAVY = (Kind.CONTRACT, Kind.LOOP, Kind.CALL)


class Data(NamedTuple):
    """What something is computed from: rows of the batch, or these other inputs."""

    batch: bool
    inputs: frozenset[str]


_FREE = Data(False, frozenset())  # computed from parameters and constants alone
_Terms = Mapping[Data, Node]


@dataclass(frozen=True)
class Term:
    """What the loss and the metrics have of one group of inputs; None where they have nothing."""

    rows: str  # the dimension whose rows may be cut; "" if there is none
    scalars: tuple[Node | None, ...]


def split_terms(scalars: Sequence[Node], batch: str) -> tuple[Term, ...]:
    """The terms of a loss and its metrics: first those of the batch, then those of other data."""
    whole = Term(batch, tuple(scalars))
    if not batch:
        return (whole,)
    found = _terms(scalars, batch)
    of_loss = found[scalars[0]]
    groups: dict[str, list[Data]] = {}
    for data, node in of_loss.items():
        if not data.batch and any(x.op.kind in _HEAVY for x in toposort([node])):
            groups.setdefault(_rows(scalars, data), []).append(data)
    if "" in groups and _FREE in of_loss and _FREE not in groups[""]:
        groups[""].append(_FREE)
    apart = {data for group in groups.values() for data in group}
    if not apart or apart == set(of_loss):
        return (whole,)

    def term(rows: str, wanted: Sequence[Data]) -> Term:
        parts = [[n for data, n in found[x].items() if data in wanted] for x in scalars]
        return Term(rows, tuple(_sum(nodes) for nodes in parts))

    every = dict.fromkeys(data for x in scalars for data in found[x])
    rest = [data for data in every if data not in apart]
    return (term(batch, rest), *(term(rows, group) for rows, group in groups.items()))


def _terms(roots: Sequence[Node], batch: str) -> dict[Node, _Terms]:
    """Each node as a sum, by what the terms are computed from; only scalars have several."""
    found: dict[Node, _Terms] = {}
    for node in toposort(roots):
        parts = [found[x] for x in node.inputs]
        keys = [data for part in parts for data in part]
        names = {node.name} if isinstance(node.op, Input) else set()
        own = Data(
            batch in names_of(dims_of(node)) or any(data.batch for data in keys),
            frozenset(names).union(*(data.inputs for data in keys)),
        )
        linear = _linear_in(node, parts) if len(set(keys)) > 1 else ()
        found[node] = _split(node, parts, linear) if linear else {_normal(own): node}
    return found


def _normal(data: Data) -> Data:
    """All that reads the batch is of one group."""
    return Data(True, frozenset()) if data.batch else data


def _linear_in(node: Node, parts: Sequence[_Terms]) -> Sequence[int]:
    """The operands of which a scalar is a linear function, the others being fixed; () if some of
    the others are sums of several terms, or it is no such function.
    """
    if any(n != 1 for x in (node, *node.inputs) for n in dims_of(x)):
        return ()
    linear: Sequence[int] = ()
    if node.op.kind in (Kind.VIEW, Kind.ALIAS):
        linear = (0,)
    elif isinstance(node.op, Map):
        reading = [i for i, part in enumerate(parts) if set(part) != {_FREE}]
        if node.op.row.linear == "joint":
            linear = range(len(node.inputs))
        elif node.op.row.linear == "each" and len(reading) == 1:
            linear = reading
        elif node.op.row.linear == "first" and reading == [0]:
            linear = (0,)
    return linear


def _split(node: Node, parts: Sequence[_Terms], linear: Sequence[int]) -> _Terms:
    """The node's op on each term of its operands."""
    result: dict[Data, Node] = {}
    for data in dict.fromkeys(data for i in linear for data in parts[i]):
        operands = [
            parts[i].get(data, _zeros(x)) if i in linear else x for i, x in enumerate(node.inputs)
        ]
        result[data] = with_inputs(node, tuple(operands))
    return result


def _zeros(node: Node) -> Node:
    """What stands for the terms that are elsewhere."""
    return const(np.zeros([1] * node.ndim, node.dtype))


def _sum(terms: Sequence[Node]) -> Node | None:
    total: Node | None = None
    for term in terms:
        total = term if total is None else total + term
    return total


def _rows(scalars: Sequence[Node], data: Data) -> str:
    """The first named dimension that leads one of the inputs, and is an inner one of none."""
    inputs = [node for node in leaves(scalars, Input) if node.name in data.inputs]
    inner = names_of(n for node in inputs for n in node.shape[1:])
    for node in inputs:
        lead = node.shape[0] if node.ndim else 0
        if isinstance(lead, Dim) and str(lead).isidentifier() and str(lead) not in inner:
            return str(lead)
    return ""
