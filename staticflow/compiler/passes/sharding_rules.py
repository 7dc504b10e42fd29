"""Where the result of an op lies, given where its inputs do.

    rows of x, whole w              x @ w           rows
    rows of x, rows of g            x.T @ g         partial sum
    rows of y                       y.sum(axis=0)   partial sum
    rows of y                       y[1:]           cannot be sharded

The rules key on the axes that the sharded dimension reaches, never on a name in an op.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.kinds import Assemble, Gather, Map, Part, Reduce, Scatter, View
from staticflow.graph.leaves import Input
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Kind, Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import dims_of, is_zero, toposort
from staticflow.graph.types import TensorType

WHOLE = "whole"
PARTIAL = "partial"
# whole, partial, or the axis along which rows are split; of each output, for several
Sharded = Any


class CannotShardError(Exception):
    """Something in the program needs the whole batch in a way that no collective provides."""


class Mixed(NamedTuple):
    """Rows merged with other axes, `before` and `after` them: time * batch, say.

    Each shard holds the elements of its own rows, which do not lie together in the whole.
    """

    axis: int
    before: tuple[AnyDim, ...]
    after: tuple[AnyDim, ...]


def axis_of(at: Sharded) -> int | None:
    """The axis along which a value is split."""
    return at.axis if isinstance(at, Mixed) else at if isinstance(at, int) else None


def _moved(at: Sharded, axis: int) -> Sharded:
    return at._replace(axis=axis) if isinstance(at, Mixed) else axis


def _shifted(at: Sharded, by: int) -> Sharded:
    """The same in a value with one leading axis more or less."""
    axis = axis_of(at)
    return at if axis is None else _moved(at, axis + by)


def has_dim(dim: AnyDim, shard: str) -> bool:
    """Whether a size is made of the sharded dimension."""
    return isinstance(dim, Dim) and shard in dim.names


def keeps_partial(node: Node, at: Sequence[Sharded], shard: str) -> bool:
    """Whether a node of partial sums is itself a partial sum; nothing with rows can be one."""
    if PARTIAL not in at:
        return True
    if any(has_dim(n, shard) for n in dims_of(node)):
        return False
    op = node.op
    if op.kind in (Kind.VIEW, Kind.ALIAS, Kind.PART):
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
    if isinstance(op, Assemble):
        return all(a == PARTIAL for a in at) and not op.fill
    return False


def result_at(node: Node, at: Sequence[Sharded], shard: str) -> Sharded:
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
        return _loop(node, at, shard)
    if isinstance(node.op, Part):
        return at[0][node.op.index] if type(at[0]) is tuple else at[0]
    if kind is Kind.CONTRACT:
        return _contraction(node, at)
    if all(a == WHOLE for a in at):
        if isinstance(node.type, TensorType):
            _no_rows(node, shard)
            return WHOLE
        return (WHOLE,) * len(node.type)
    if kind is Kind.GATHER:
        return _gather(node, at)
    if kind is Kind.SCATTER:
        return _scatter(node, at)
    if kind is Kind.ASSEMBLE and len({a for a in at}) == 1:
        return _assembly(node, at[0], shard)
    raise CannotShardError(f"{node.op.name} at {node.where} needs the whole batch")


def _loop(node: Node, at: Sequence[Sharded], shard: str) -> Sharded:
    """A loop is sharded if its carries keep theirs; a sum that starts at zero may be partial.

    There are no collectives within a loop.
    """
    op = node.op
    assert isinstance(op, Loop)
    if not isinstance(op, Scan):
        return _control(node, op, at, shard)
    init, xs, consts = op.split(at)
    if any(axis_of(x) == 0 for x in xs):
        raise CannotShardError(f"{op.name} at {node.where} loops over {shard}")
    inner = [_shifted(x, -1) for x in xs]
    zeros = [i for i, x in enumerate(node.inputs[: len(init)]) if is_zero(x)]
    for _ in range(len(init) + 1):
        known = dict(zip(op.body_inputs, [*init, *inner, *consts], strict=True))
        free = {op.carries[i] for i in zeros if init[i] == WHOLE}
        held, became = _body(op.body, known, shard, free)
        following = held[: len(init)]
        moved = [
            PARTIAL if s in became or (s in free and new == PARTIAL) else old
            for s, old, new in zip(op.carries, init, following, strict=True)
        ]
        if moved == init:
            break
        init = moved
    if following != init:
        raise CannotShardError(f"{op.name} at {node.where} moves a carry between shards")
    return (*init, *(_shifted(y, 1) for y in held[len(init) :]))


def _control(node: Node, op: Loop, at: Sequence[Sharded], shard: str) -> Sharded:
    """A branch is sharded if all shards take the same one, and both bodies leave values alike; a
    loop that runs until something is so, if nothing in it is split.
    """
    known = dict(zip(op.body_inputs, at, strict=True))
    one, other = (_body(region, known, shard, set())[0] for region in op.regions)
    if op.carries:
        if any(a != WHOLE for a in (*at, *one, *other)):
            raise CannotShardError(f"{op.name} at {node.where} ends by rows of {shard}")
        return (WHOLE,) * len(op.carries)
    if at[0] != WHOLE:
        raise CannotShardError(f"{op.name} at {node.where} is decided by rows of {shard}")
    outputs = zip(*op.regions, one, other, strict=True)
    return tuple(_either(node, *output) for output in outputs)


def _either(node: Node, x: Node, y: Node, a: Sharded, b: Sharded) -> Sharded:
    """Where a branch leaves an output that is `x` at `a`, or `y` at `b`."""
    if a == b:
        return a
    if (a == PARTIAL and is_zero(y)) or (b == PARTIAL and is_zero(x)):
        return PARTIAL
    raise CannotShardError(f"{node.op.name} at {node.where} places its branches apart")


def _body(
    outputs: Sequence[Node], known: dict[Node, Sharded], shard: str, free: set[Node]
) -> tuple[list[Sharded], set[Node]]:
    """What shards hold in a body, given what they hold of its inputs; and which of these, in
    `free` and whole so far, must be partial sums because partial sums are added to them.
    """
    at = dict(known)
    became: set[Node] = set()
    for node in toposort(outputs):
        if node in at:
            continue
        held = [at[x] for x in node.inputs]
        if not keeps_partial(node, held, shard):
            held = [PARTIAL if x in free else a for x, a in zip(node.inputs, held, strict=True)]
            if not keeps_partial(node, held, shard):
                raise CannotShardError(f"{node.op.name} at {node.where} needs a sum within a loop")
            became |= free & set(node.inputs)
        at[node] = result_at(node, held, shard)
    return [at[node] for node in outputs], became


def _no_rows(node: Node, shard: str) -> None:
    if any(has_dim(n, shard) for n in node.shape):
        raise CannotShardError(f"{node.op.name} at {node.where} makes its own {shard} rows")


def _leaf(node: Node, shard: str) -> Sharded:
    axes = [axis for axis, n in enumerate(node.shape) if has_dim(n, shard)]
    if not axes:
        return WHOLE
    if axes != [0] or node.shape[0] != shard or not isinstance(node.op, Input):
        raise CannotShardError(f"{node.name} does not have {shard} as its leading dimension only")
    return 0


def _map(node: Node, at: Sequence[Sharded], shard: str) -> Sharded:
    if PARTIAL in at:
        return PARTIAL
    held = {a for a in at if a != WHOLE}
    if not held:
        rows = [axis for axis, n in enumerate(node.shape) if has_dim(n, shard)]
        if node.op.is_random and [node.shape[axis] for axis in rows] == [shard]:
            return rows[0]  # drawn by row number, and a shard knows its first row
        _no_rows_made(node, shard)
        return WHOLE
    if len(held) > 1:
        raise CannotShardError(f"{node.op.name} at {node.where} mixes rows of different axes")
    (sharding,) = held
    axis = axis_of(sharding)
    assert axis is not None
    for x, a in zip(node.inputs, at, strict=True):
        if a == WHOLE and x.ndim and has_dim(x.shape[axis], shard):
            raise CannotShardError(f"{node.op.name} at {node.where} mixes rows and a whole batch")
    return sharding


def _no_rows_made(node: Node, shard: str) -> None:
    """An index or a random value over the batch would need the shard's place in it."""
    if any(has_dim(n, shard) for n in node.shape):
        if not node.inputs or node.op.is_random:
            raise CannotShardError(f"{node.op.name} at {node.where} counts over {shard}")


def _reduction(node: Node, at: Sharded) -> Sharded:
    op = node.op
    assert isinstance(op, Reduce)
    split = axis_of(at)
    if split is None:
        return at
    if split in op.axes:
        if op.row.linear:
            return PARTIAL
        raise CannotShardError(f"{op.name} at {node.where} runs over the rows of all shards")
    return _moved(at, split - sum(axis < split for axis in op.axes))


def _view(node: Node, at: Sharded, shard: str) -> Sharded:
    axis = axis_of(at)
    if axis is None:
        return at if at == PARTIAL else _spread(node, shard)
    if node.op.kind is Kind.ALIAS:
        return at
    assert isinstance(node.op, View)
    shape = node.inputs[0].shape
    if isinstance(at, Mixed):
        parted = node.op.parts_axis(axis, at.before, at.after)
        if parted is not None:
            return parted
    else:
        mixed = node.op.mixes_axis(axis, shape)
        if mixed is not None:
            return Mixed(*mixed)
    moved = node.op.moves_axis(axis, shape)
    keeps = moved is not None and has_dim(node.shape[moved], shard)
    if moved is None or not keeps or (isinstance(at, Mixed) and node.shape[moved] != shape[axis]):
        raise CannotShardError(f"{node.op.name} at {node.where} takes the rows apart")
    return _moved(at, moved)


def _spread(node: Node, shard: str) -> Sharded:
    """A whole value repeated along the rows is a row value like any other."""
    axes = [axis for axis, n in enumerate(node.shape) if has_dim(n, shard)]
    source = [axis for axis, n in enumerate(node.inputs[0].shape) if has_dim(n, shard)]
    repeats = isinstance(node.op, View) and axes == [k for k in axes if k in node.op.new_axes]
    if len(axes) == 1 and not source and repeats:
        return axes[0]
    if axes:
        raise CannotShardError(f"{node.op.name} at {node.where} spreads over {shard} twice")
    return WHOLE


def _contraction(node: Node, at: Sequence[Sharded]) -> Sharded:
    rank = node.ndim
    if all(x == WHOLE for x in at):
        return WHOLE
    if PARTIAL in at:
        return PARTIAL
    a, b = (axis_of(x) for x in at)
    same = isinstance(at[0], Mixed) == isinstance(at[1], Mixed)
    if isinstance(at[0], Mixed) and isinstance(at[1], Mixed):
        same = at[0][1:] == at[1][1:]
    if a == rank - 1 and b == rank - 2 and same:
        return PARTIAL  # the contracted axis is the sharded one
    if a is not None and a < rank - 2 and at[0] == at[1]:
        return at[0]
    if a == rank - 2 and b is None:
        return at[0]
    if b == rank - 1 and a is None:
        return at[1]
    raise CannotShardError(f"{node.op.name} at {node.where} pairs rows of different shards")


def _gather(node: Node, at: Sequence[Sharded]) -> Sharded:
    op = node.op
    assert isinstance(op, Gather)
    table, index = at
    if not op.along and table == WHOLE and isinstance(index, int):
        return op.axis + index
    if op.along and table == index and table != op.axis:
        return table
    raise CannotShardError(f"{op.name} at {node.where} looks up rows of other shards")


def _scatter(node: Node, at: Sequence[Sharded]) -> Sharded:
    op = node.op
    assert isinstance(op, Scatter)
    g, index = at
    if not op.along and isinstance(index, int) and g == op.axis + index:
        return PARTIAL
    if op.along and g == index and g != op.axis:
        return g
    raise CannotShardError(f"{op.name} at {node.where} adds to rows of other shards")


def _assembly(node: Node, at: Sharded, shard: str) -> Sharded:
    if isinstance(at, int) and node.shape[at] != node.inputs[0].shape[at]:
        raise CannotShardError(f"{node.op.name} at {node.where} joins rows of different shards")
    return at
