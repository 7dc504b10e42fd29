"""Decide what each shard of the batch holds of every value: rows, everything, or a partial sum.

    x[batch, 784]      rows 0          its shard's rows, along axis 0
    w[784, 128]        whole           the same on every shard
    dw = x.T @ g       partial sum     the sum over all shards is the value

Linear ops keep a partial sum; anything else that needs the value gets a collective before it: a
sum over all shards, which every shard then holds whole. A program in which something cannot be
sharded at all runs on one shard; `reason` says what it was. The analysis keys on the axes that the
sharded dimension reaches, never on a name in an op.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.dims import AnyDim, Dim
from staticflow.generalise import Generalised
from staticflow.graph import Input, Node, apply, dims_of, toposort, with_inputs
from staticflow.op import Kind, Map, Op, OutType, Reduce, View
from staticflow.types import TensorType

WHOLE = "whole"
PARTIAL = "partial"
At = str | int  # whole, partial, or the axis along which rows are split


class CannotShardError(Exception):
    """Something in the program needs the whole batch in a way that no collective provides."""


@dataclass(frozen=True)
class AllReduce(Op):
    """The sum (or maximum ...) of a value over all shards; on one shard, the value."""

    combine: str
    kind = Kind.CALL

    @property
    def name(self) -> str:
        return f"all_{self.combine}"

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Any) -> Any:
        return xs[0]

    def relate(self, classes: Any, out: OutType, *xs: Any) -> Any:
        return xs[0]

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Placement:
    """The graph with its collectives, and where the outputs are."""

    outputs: tuple[Node, ...]
    at: tuple[At, ...]  # of each output
    shard: str | None  # the sharded dimension, None if the program runs on one shard
    reason: str

    def sharded_of(self, g: Generalised) -> frozenset[Node]:
        """The nodes whose leading axis holds one shard's rows."""
        if self.shard is None:
            return frozenset()
        return frozenset(
            node
            for node in g.order
            if isinstance(node.type, TensorType) and node.shape and _has(node.shape[0], self.shard)
        )


def place(
    outputs: Sequence[Node], shard: str | None, whole: Collection[int] = ()
) -> Placement:
    """Place every value, inserting collectives; falls back to one shard with a reason.

    Every shard gets the outputs at the positions `whole` with their partial sums added up.
    """
    if shard is None:
        return Placement(tuple(outputs), (WHOLE,) * len(outputs), None, "no dimension to shard")
    try:
        return _place(outputs, shard, whole)
    except CannotShardError as error:
        return Placement(tuple(outputs), (WHOLE,) * len(outputs), None, str(error))


def _place(outputs: Sequence[Node], shard: str, needed: Collection[int]) -> Placement:
    at: dict[Node, At] = {}
    new: dict[Node, Node] = {}
    reduced: dict[Node, Node] = {}

    def whole(node: Node) -> Node:
        """The node with its partial sums added up."""
        if at[node] != PARTIAL:
            return node
        if node not in reduced:
            reduced[node] = apply(AllReduce("sum"), node, where=node.where)
            at[reduced[node]] = WHOLE
        return reduced[node]

    for node in toposort(outputs):
        inputs = tuple(new[x] for x in node.inputs)
        if not _keeps_partial(node, [at[x] for x in inputs], shard):
            inputs = tuple(whole(x) for x in inputs)
        result = with_inputs(node, inputs)
        new[node] = result
        at[result] = _result(result, [at[x] for x in inputs], shard)
    roots = tuple(whole(new[n]) if i in needed else new[n] for i, n in enumerate(outputs))
    return Placement(roots, tuple(at[root] for root in roots), shard, "")


def _has(dim: AnyDim, shard: str) -> bool:
    return isinstance(dim, Dim) and shard in dim.names


def _keeps_partial(node: Node, at: Sequence[At], shard: str) -> bool:
    """Whether a node of partial sums is itself a partial sum; nothing with rows can be one."""
    if PARTIAL not in at:
        return True
    if any(_has(n, shard) for n in dims_of(node)):
        return False
    op = node.op
    if op.kind in (Kind.VIEW, Kind.ALIAS):
        return True
    if isinstance(op, Map):
        if op.row.linear == "joint":
            return all(a == PARTIAL for a in at)
        if op.row.linear == "each":
            return list(at).count(PARTIAL) == 1
        if op.row.linear == "first":
            return at[0] == PARTIAL and PARTIAL not in at[1:]
        return False
    if isinstance(op, Reduce):
        return op.row.linear
    if op.kind is Kind.CONTRACT:
        return list(at).count(PARTIAL) == 1 and all(a in (PARTIAL, WHOLE) for a in at)
    if op.kind is Kind.ASSEMBLE:
        return all(a == PARTIAL for a in at) and not getattr(op, "fill", None)
    return False


def _result(node: Node, at: Sequence[At], shard: str) -> At:
    kind = node.op.kind
    if kind is Kind.LEAF:
        return _leaf(node, shard)
    if kind is Kind.MAP:
        return _map(node, at, shard)
    if kind is Kind.REDUCE:
        return _reduction(node, at[0])
    if kind in (Kind.VIEW, Kind.ALIAS):
        return _view(node, at[0], shard)
    if kind is Kind.LOOP:
        raise CannotShardError("loops later")
    if kind is Kind.CONTRACT:
        return _contraction(node, at)
    if all(a == WHOLE for a in at):
        if isinstance(node.type, TensorType):
            _no_rows(node, shard)
        return WHOLE
    if kind is Kind.GATHER:
        return _gather(node, at)
    if kind is Kind.SCATTER:
        return _scatter(node, at)
    if kind is Kind.ASSEMBLE and len({a for a in at}) == 1:
        return _assembly(node, at[0], shard)
    raise CannotShardError(f"{node.op.name} at {node.where} needs the whole batch")


def _no_rows(node: Node, shard: str) -> None:
    if any(_has(n, shard) for n in node.shape):
        raise CannotShardError(f"{node.op.name} at {node.where} makes its own {shard} rows")


def _leaf(node: Node, shard: str) -> At:
    axes = [axis for axis, n in enumerate(node.shape) if _has(n, shard)]
    if not axes:
        return WHOLE
    if axes != [0] or node.shape[0] != shard or not isinstance(node.op, Input):
        raise CannotShardError(f"{node.name} does not have {shard} as its leading dimension only")
    return 0


def _map(node: Node, at: Sequence[At], shard: str) -> At:
    if PARTIAL in at:
        return PARTIAL
    axes = {a for a in at if a != WHOLE}
    if not axes:
        flat_rows = getattr(node.op, "is_random", False) and node.shape and _has(node.shape[0], shard)
        if flat_rows:
            return 0
        _no_rows_made(node, shard)
        return WHOLE
    (axis,) = axes if len(axes) == 1 else (None,)
    if axis is None:
        raise CannotShardError(f"{node.op.name} at {node.where} mixes rows of different axes")
    for x, a in zip(node.inputs, at, strict=True):
        if a == WHOLE and x.ndim and _has(x.shape[int(axis)], shard):
            raise CannotShardError(f"{node.op.name} at {node.where} mixes rows and a whole batch")
    return axis


def _no_rows_made(node: Node, shard: str) -> None:
    """An index or a random value over the batch would need the shard's place in it."""
    if any(_has(n, shard) for n in node.shape):
        if not node.inputs or getattr(node.op, "is_random", False):
            raise CannotShardError(f"{node.op.name} at {node.where} counts over {shard}")


def _reduction(node: Node, at: At) -> At:
    op = node.op
    assert isinstance(op, Reduce)
    if not isinstance(at, int):
        return at
    if at in op.axes:
        if op.row.linear:
            return PARTIAL
        raise CannotShardError(f"{op.name} at {node.where} runs over the rows of all shards")
    return at - sum(axis < at for axis in op.axes)


def _view(node: Node, at: At, shard: str) -> At:
    if not isinstance(at, int):
        return at if at == PARTIAL else _spread(node, shard)
    if node.op.kind is Kind.ALIAS:
        return at
    assert isinstance(node.op, View)
    moved = node.op.moves_axis(at, node.inputs[0].shape)
    if moved is None:
        raise CannotShardError(f"{node.op.name} at {node.where} takes the rows apart")
    return moved


def _spread(node: Node, shard: str) -> At:
    """A whole value repeated along the rows is a row value like any other."""
    axes = [axis for axis, n in enumerate(node.shape) if _has(n, shard)]
    source = [axis for axis, n in enumerate(node.inputs[0].shape) if _has(n, shard)]
    if len(axes) == 1 and not source and node.op.name == "broadcast":
        return axes[0]
    if axes:
        raise CannotShardError(f"{node.op.name} at {node.where} spreads over {shard} twice")
    return WHOLE


def _contraction(node: Node, at: Sequence[At]) -> At:
    rank = node.ndim
    a, b = at
    if a == WHOLE and b == WHOLE:
        return WHOLE
    if PARTIAL in at:
        return PARTIAL
    if a == rank - 1 and b == rank - 2:
        return PARTIAL  # the contracted axis is the sharded one
    if isinstance(a, int) and a < rank - 2 and a == b:
        return a
    if a == rank - 2 and b == WHOLE:
        return rank - 2
    if b == rank - 1 and a == WHOLE:
        return rank - 1
    raise CannotShardError(f"{node.op.name} at {node.where} pairs rows of different shards")


def _gather(node: Node, at: Sequence[At]) -> At:
    op: Any = node.op
    table, index = at
    if op.name == "take" and table == WHOLE and isinstance(index, int):
        return int(op.axis) + index
    if op.name != "take" and table == index and table != op.axis:
        return table
    raise CannotShardError(f"{op.name} at {node.where} looks up rows of other shards")


def _scatter(node: Node, at: Sequence[At]) -> At:
    op: Any = node.op
    g, index = at
    if op.name == "scatteradd" and isinstance(index, int) and g == int(op.axis) + index:
        return PARTIAL
    if op.name != "scatteradd" and g == index and g != op.axis:
        return g
    raise CannotShardError(f"{op.name} at {node.where} adds to rows of other shards")


def _assembly(node: Node, at: At, shard: str) -> At:
    if isinstance(at, int) and node.shape[at] != node.inputs[0].shape[at]:
        raise CannotShardError(f"{node.op.name} at {node.where} joins rows of different shards")
    return at
