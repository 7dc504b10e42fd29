"""Decide what each shard of the batch holds of every value: rows, everything, or a partial sum.

    x[batch, 784]      rows 0          its shard's rows, along axis 0
    w[784, 128]        whole           the same on every shard
    dw = x.T @ g       partial sum     the sum over all shards is the value

Linear ops keep a partial sum. What is added to one and is whole, a penalty on the weights, is added
in shares, of which every shard has one. Anything else that needs the value gets a collective before
it: a sum over all shards, which every shard then holds whole. A program in which something cannot
be sharded at all runs on one shard; `reason` says what it was. The rules for each kind of op are in
`sharding_rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.passes.sharding_rules import (
    PARTIAL,
    WHOLE,
    CannotShardError,
    Sharded,
    has_dim,
    keeps_partial,
    result_at,
)
from staticflow.graph.calls import Collective
from staticflow.graph.kinds import Map
from staticflow.graph.leaves import Const, Hyper
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.traversal import through_views, toposort, with_inputs
from staticflow.graph.types import TensorType

SHARE = "share"  # the label of the number by which a shard multiplies what all have: 1 / shards


@dataclass(frozen=True)
class AllReduce(Collective):
    """The sum of a value over all shards; on one shard, the value."""

    combine: str

    @property
    def name(self) -> str:
        return f"all_{self.combine}"

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Array) -> Any:
        return xs[0]

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return xs[0]

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Sharding:
    """The graph with its collectives, and what each shard holds of the outputs."""

    outputs: tuple[Node, ...]
    of_outputs: tuple[Sharded, ...]
    shard: str | None  # the sharded dimension, None if the program runs on one shard
    reason: str

    def split_draws(self, sized: SizedGraph) -> dict[Node, int]:
        """The random nodes that hold one shard's rows, and along which axis."""
        nodes = (n for order in (sized.order, *sized.bodies.values()) for n in order)
        shard = self.shard
        return {
            node: axis
            for node in nodes
            if shard is not None and node.op.is_random
            for axis, n in enumerate(node.shape)
            if has_dim(n, shard)
        }


def shard_graph(
    outputs: Sequence[Node], shard: str | None, whole: Collection[int] = ()
) -> Sharding:
    """Decide on every value, inserting collectives; falls back to one shard with a reason.

    Every shard gets the outputs at the positions `whole` with their partial sums added up.
    """
    if shard is None:
        return Sharding(tuple(outputs), (WHOLE,) * len(outputs), None, "no dimension to shard")
    try:
        return _shard_graph(outputs, shard, whole)
    except CannotShardError as error:
        return Sharding(tuple(outputs), (WHOLE,) * len(outputs), None, str(error))


def _shard_graph(outputs: Sequence[Node], shard: str, needed: Collection[int]) -> Sharding:
    at: dict[Node, Sharded] = {}
    new: dict[Node, Node] = {}
    reduced: dict[Node, Node] = {}
    shares: dict[Node, Node] = {}

    def whole(node: Node) -> Node:
        """The node with its partial sums added up."""
        if at[node] != PARTIAL:
            return node
        if node not in reduced:
            reduced[node] = apply(AllReduce("sum"), node, where=node.where)
            at[reduced[node]] = WHOLE
        return reduced[node]

    def share(node: Node) -> Node:
        """A partial sum whose sum over the shards is the whole value."""
        if at[node] == PARTIAL:
            return node
        if node not in shares:
            part = apply(Hyper(SHARE, TensorType((), node.dtype)))
            shares[node] = node * part
            at[shares[node]] = PARTIAL
        return shares[node]

    for node in toposort(outputs):
        inputs = tuple(new[x] for x in node.inputs)
        if _adds_shares(node, [at[x] for x in inputs]):
            inputs = tuple(share(x) for x in inputs)
        if not keeps_partial(node, [at[x] for x in inputs], shard):
            inputs = tuple(whole(x) for x in inputs)
        result = with_inputs(node, inputs)
        new[node] = result
        at[result] = result_at(result, [at[x] for x in inputs], shard)
    roots = tuple(whole(new[n]) if i in needed else new[n] for i, n in enumerate(outputs))
    return Sharding(roots, tuple(at[root] for root in roots), shard, "")


def _adds_shares(node: Node, at: Sequence[Sharded]) -> bool:
    """Whether a partial sum and a whole value are added or subtracted.

    Not if it is a constant, which is most likely an epsilon under a root.
    """
    joint = isinstance(node.op, Map) and node.op.row.linear == "joint"
    if not joint or set(at) != {PARTIAL, WHOLE} or node.dtype not in ("float32", "float64"):
        return False
    return not any(isinstance(through_views(x)[0].op, Const) for x in node.inputs)
