"""Move work out of loops: products that need no carry before them, sums and products after them.

    for t: z = x_t @ w + h @ u; ...                 xw = x @ w, all steps in one product, before
    for t (backwards): dw = dw + x_t.T @ dz_t       dw = x.T @ dz, one product, behind
    for t (backwards): dx_t = dz_t @ w.T            dx = dz @ w.T, one product, behind

The first is HOISTED: its operands are xs and constants. So are inner loops over such operands: one
over all steps at once takes their place (`batched`), for one the passes of a Jacobian through time.
The second is a carry that is only added to, the third a y that nothing in the loop reads: both are
SUNK, for which the loop returns the stack of what they read (here dz). This is what makes a
recurrent layer fast, and it holds for any body, since it looks at kinds of ops and at what depends
on what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from staticflow.compiler.passes.batching import Batcher, CannotBatchError, refuse
from staticflow.compiler.passes.loop_walk import map_bodies, rebuild_loops
from staticflow.errors import Where
from staticflow.graph.contiguous import in_order
from staticflow.graph.kinds import Assemble, Map, Part, Reduce, View, parts
from staticflow.graph.loop_op import BodyInput, body_input, substitute
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import dependents, through_views, toposort, with_inputs


def rearrange(roots: Sequence[Node]) -> list[Node]:
    """Move work out of every loop, inner loops first."""
    found = _rearrange_level(map_bodies(roots, lambda op, body: _rearrange_level(body)))
    assert not any(isinstance(n.op, BodyInput) for n in toposort(found)), (
        "an input of a body outside of it"
    )
    return found


def _rearrange_level(roots: Sequence[Node]) -> list[Node]:
    def outputs_of(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
        # The point of segments is to hold little at a time.
        if not isinstance(node.op, Scan) or node.op.segmented:
            return list(parts(with_inputs(node, inputs)))
        return _sink(node.op, inputs, node.where)

    return rebuild_loops(roots, outputs_of)


def _hoist(op: Scan, inputs: Sequence[Node], where: Where) -> list[Node]:
    """The outputs of a loop, with what needs no carry computed before it.

    That is products, what inner loops make, and ys. The loop reads them as xs, if it reads them,
    and may be left with nothing to do.
    """
    carried = dependents(op.carries, op.body)
    stepping = dependents(op.xs, op.body)
    init, xs, consts = op.split(inputs)
    batcher = Batcher(op.length, *_stands_for(op, inputs), refuse)
    stacks: dict[Node, Node] = {}
    for node in toposort(op.body):
        worth = _is_worth_moving(node) and node in stepping
        if node not in carried and node not in op.body_inputs and (worth or node in op.ys):
            with suppress(CannotBatchError):
                (stacks[node],) = batcher.batch_all([node])
    new = {node: body_input(f"all {node.name}", node.type) for node in stacks}
    body = substitute(op.body, {**{s: s for s in op.body_inputs}, **new})
    count = len(op.next)
    left = [i for i, y in enumerate(op.ys) if y not in stacks]
    ys = tuple(body[count + i] for i in left)
    results: Iterator[Node] = iter(())
    if op.carries or left:
        smaller = replace(op, xs=(*op.xs, *new.values()), next=tuple(body[:count]), ys=ys)
        operands = (*init, *xs, *stacks.values(), *consts)
        results = iter(parts(apply(smaller, *operands, where=where)))
    lasts = [next(results) for _ in op.carries]
    return [*lasts, *(stacks[y] if y in stacks else next(results) for y in op.ys)]


def _is_worth_moving(node: Node) -> bool:
    """Whether a node is a product or comes from an inner loop."""
    inner = isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan)
    return inner or node.op.kind is Kind.CONTRACT


def _stands_for(op: Scan, inputs: Sequence[Node]) -> tuple[dict[Node, Node], dict[Node, Node]]:
    """What the body inputs for xs and for constants stand for outside the loop."""
    _, xs, consts = op.split(inputs)
    stacked = dict(zip(op.xs, map(in_order, xs), strict=True))
    return stacked, dict(zip(op.consts, consts, strict=True))


@dataclass
class _Sinking:
    """What a loop must return besides, for what is computed behind it."""

    op: Scan
    extra: dict[Node, Node] = field(default_factory=dict)  # a node, and what stands for its stack

    def need(self, node: Node) -> Node:
        """A stand-in for the stack of a body node."""
        if node not in self.extra:
            stacked = node.type.with_shape((self.op.length, *node.shape))
            self.extra[node] = body_input(f"stack of {node.name}", stacked)
        return self.extra[node]


class _BodyBatcher(Batcher):
    """Batches what is cheaply so, views and products, from stacks of what the loop computes."""

    def batched(self, node: Node) -> tuple[Node, bool]:
        root, views = through_views(node)
        if root is not node and not views:
            return self.batched(root)
        if node in self.stacked or node in self.outer or node.op.kind is Kind.LEAF or views:
            return super().batched(node)
        self.stacked[root] = self.need(root)
        return self.stacked[root], True


class _OutputBatcher(_BodyBatcher):
    """Batches whatever the next carries do not need."""

    recurrent: set[Node]

    def batched(self, node: Node) -> tuple[Node, bool]:
        return super().batched(node) if node in self.recurrent else Batcher.batched(self, node)


def _sink(op: Scan, inputs: Sequence[Node], where: Where) -> list[Node]:
    """The outputs of a loop, with sums and products computed behind it where that is possible."""
    sinking = _Sinking(op)
    batcher = _BodyBatcher(op.length, *_stands_for(op, inputs), sinking.need)
    count = len(op.carries)
    behind: dict[int, Node] = {}
    for i in range(count):
        total = _sunk_sum(op, i, batcher)
        if total is not None:
            behind[i] = inputs[i] + total
    apart = _OutputBatcher(op.length, batcher.stacked, batcher.outer, sinking.need)
    apart.recurrent = set(toposort(op.next)) | set(op.carries)
    carried = dependents(op.carries, op.body)
    for i, y in enumerate(op.ys):
        if y in carried and _multiplies_apart(y, apart.recurrent):
            with suppress(CannotBatchError):
                (behind[count + i],) = apart.batch_all([y])
    if not behind:
        return _hoist(op, inputs, where)
    return _rebuilt(op, inputs, where, behind, sinking)


def _multiplies_apart(y: Node, recurrent: set[Node]) -> bool:
    """Whether there are products in what an output needs beside the next carries."""
    stack, seen = [y], {y}
    while stack:
        node = stack.pop()
        if node in recurrent:
            continue
        if node.op.kind is Kind.CONTRACT:
            return True
        stack += [x for x in node.inputs if x not in seen]
        seen.update(node.inputs)
    return False


def _rebuilt(
    op: Scan, inputs: Sequence[Node], where: Where, behind: dict[int, Node], sinking: _Sinking
) -> list[Node]:
    """The loop without what is computed behind it, and all outputs of the old loop."""
    count = len(op.carries)
    kept_carries = [i for i in range(count) if i not in behind]
    kept_ys = [i for i in range(len(op.ys)) if count + i not in behind]
    init, xs, consts = op.split(inputs)
    needed = [n for n in sinking.extra if n not in op.xs]
    smaller = replace(
        op,
        carries=tuple(op.carries[i] for i in kept_carries),
        next=tuple(op.next[i] for i in kept_carries),
        ys=(*(op.ys[i] for i in kept_ys), *needed),
    )
    operands = [*(init[i] for i in kept_carries), *xs, *consts]
    results = _hoist(smaller, operands, where)
    stacks = results[len(kept_carries) + len(kept_ys) :]
    places = {sinking.extra[n]: stack for n, stack in zip(needed, stacks, strict=True)}
    found = dict(zip(behind, substitute(list(behind.values()), places), strict=True))
    outputs: list[Node] = []
    for i in range(count + len(op.ys)):
        if i in found:
            outputs.append(found[i])
        elif i < count:
            outputs.append(results[kept_carries.index(i)])
        else:
            outputs.append(results[len(kept_carries) + kept_ys.index(i - count)])
    return outputs


def _is_add(node: Node) -> bool:
    return isinstance(node.op, Map) and node.op.row.adds


def _addends(node: Node, carry: Node) -> list[Node] | None:
    """The terms of a sum in which `carry` stands once, without it; None if this is no such sum."""
    if node is carry:
        return []
    if not _is_add(node):
        return None
    for position in (0, 1):
        rest = _addends(node.inputs[position], carry)
        if rest is not None:
            return [*rest, node.inputs[1 - position]]
    return None


def _sunk_sum(op: Scan, position: int, batcher: _BodyBatcher) -> Node | None:
    """What all steps add to a carry that is only added to; None if it is not, or is no product."""
    carry = op.carries[position]
    terms = _addends(op.next[position], carry)
    if not terms:
        return None
    rest = [n for i, n in enumerate(op.next) if i != position]
    if carry in toposort([*rest, *op.ys, *terms]):
        return None
    if op.next[position] in toposort([*rest, *op.ys]):
        return None
    try:
        totals = [_total(term, batcher) for term in terms]
    except CannotBatchError:
        return None
    result = totals[0]
    for total in totals[1:]:
        result = result + total
    return result


def _total(term: Node, batcher: _BodyBatcher) -> Node:
    """The sum over steps of a linear function of products and sums."""
    if term.op.kind is Kind.CONTRACT:
        return batcher.sum_of_products(term)
    if isinstance(term.op, Reduce) and term.op.row.linear:
        stack, is_batched = batcher.batched(term.inputs[0])
        if not is_batched:
            raise CannotBatchError("a sum of constants")
        axes = (0, *(axis + 1 for axis in term.op.axes))
        return apply(Reduce(term.op.row, axes), stack, where=term.where)
    if term.op.kind is Kind.SCATTER:
        return batcher.sum_of_scatters(term)
    op = term.op
    if isinstance(op, View) or (isinstance(op, Assemble) and not op.fill):
        return apply(op, *(_total(x, batcher) for x in term.inputs), where=term.where)
    if _is_add(term):
        a, b = (_total(x, batcher) for x in term.inputs)
        return a + b
    raise CannotBatchError(op.name)
