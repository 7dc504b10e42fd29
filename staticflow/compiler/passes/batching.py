"""Compute body nodes for all steps of a loop at once: stacked along a new leading axis.

    in the loop, for each t:   z = x_t @ w          x_t: (batch, features)
    batched:                   Z = X @ w            X:   (time, batch, features)

A product with a constant on one side becomes one product over the rows of all steps. A scan within
the loop becomes one scan whose carries, xs and ys have the new axis, where they depend on the step:

    for each e: for each t: h = tanh(h @ u + e_t)       h: (hidden,)
    for each t: H = tanh(H @ u + E_t)                   H: (rows of e, hidden)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import Gather, Part, Scatter, parts
from staticflow.graph.loop_op import BodyInput, body_input
from staticflow.graph.node import Kind, Node, apply, operator
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import dependents


class CannotBatchError(Exception):
    """Some op has no form over all steps at once."""


class Batcher:
    """Batches nodes of one body; `stacked` and `outer` say what body inputs stand for.

    `need(node)` is asked for the stack of a node that only the loop can compute.
    """

    def __init__(
        self,
        length: AnyDim,
        stacked: Mapping[Node, Node],
        outer: Mapping[Node, Node],
        need: Callable[[Node], Node],
    ) -> None:
        self.length = length
        self.stacked = dict(stacked)
        self.outer = dict(outer)
        self.need = need
        self._scans: dict[Node, list[tuple[Node, bool]]] = {}

    def batched(self, node: Node) -> tuple[Node, bool]:
        """The node over all steps, and whether it has the steps' axis."""
        if node in self.stacked:
            return self.stacked[node], True
        if node in self.outer:
            return self.outer[node], False
        if node.op.kind is Kind.LEAF:
            return (self.need(node), True) if not self._is_free(node) else (node, False)
        if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
            return self._scan(node.inputs[0])[node.op.index]
        inputs = [self.batched(x) for x in node.inputs]
        if not any(is_batched for _, is_batched in inputs):
            result = apply(node.op, *(x for x, _ in inputs), where=node.where)
            self.outer[node] = result
            return result, False
        result = self._apply(node, inputs)
        self.stacked[node] = result
        return result, True

    def batch_all(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes over all steps; those that do not depend on the step are repeated."""
        return [self._repeated(x, is_batched) for x, is_batched in map(self.batched, nodes)]

    def _is_free(self, node: Node) -> bool:
        return not isinstance(node.op, BodyInput)

    def _apply(self, node: Node, inputs: list[tuple[Node, bool]]) -> Node:
        if node.op.kind is Kind.CONTRACT:
            return self._product(node, inputs)
        if node.op.kind is Kind.GATHER:
            return self._gather(node, inputs)
        op = node.op.batched(self.length)
        if op is None:
            raise CannotBatchError(node.op.name)
        return apply(
            op, *(self._spread(x, is_batched) for x, is_batched in inputs), where=node.where
        )

    def _spread(self, x: Node, is_batched: bool) -> Node:
        """A value that does not depend on the step, repeated for every step, for an op that takes
        scalars as they are.
        """
        if x.ndim == 0 and x.op.kind is Kind.LEAF:
            return x
        return self._repeated(x, is_batched)

    def _repeated(self, x: Node, is_batched: bool) -> Node:
        """A value with the steps' axis, along which it is repeated if it is not batched."""
        return x if is_batched else operator("broadcast_to")(x, (self.length, *x.shape))

    def _gather(self, node: Node, inputs: list[tuple[Node, bool]]) -> Node:
        (table, table_batched), (index, index_batched) = inputs
        op = node.op
        assert isinstance(op, Gather)
        over_all = op.batched(self.length)
        if table_batched and not index_batched and over_all is not None:
            return apply(over_all, table, index, where=node.where)
        if index_batched and not table_batched and not op.along and op.axis == 0:
            return apply(op, table, index, where=node.where)
        raise CannotBatchError(op.name)

    def _product(self, node: Node, inputs: list[tuple[Node, bool]]) -> Node:
        (a, a_batched), (b, b_batched) = inputs
        if a_batched and not b_batched and b.ndim == 2:
            rows = a.reshape(self.length * node.shape[0], a.shape[-1])
            return apply(node.op, rows, b, where=node.where).reshape(self.length, *node.shape)
        if b_batched and not a_batched and a.ndim == 2:
            rows = b.transpose(0, 2, 1).reshape(self.length * node.shape[1], b.shape[1])
            product = apply(node.op, rows, a.T, where=node.where)
            stacked = product.reshape(self.length, node.shape[1], node.shape[0])
            return stacked.transpose(0, 2, 1)
        spread = [self._spread(x, is_batched) for x, is_batched in inputs]
        return apply(node.op, *spread, where=node.where)

    def _scan(self, node: Node) -> list[tuple[Node, bool]]:
        """The outputs of a scan, and whether they have the steps' axis."""
        if node not in self._scans:
            self._scans[node] = self._batched_scan(node, [self.batched(x) for x in node.inputs])
        return self._scans[node]

    def _batched_scan(self, node: Node, inputs: list[tuple[Node, bool]]) -> list[tuple[Node, bool]]:
        op = node.op
        assert isinstance(op, Scan)
        wide = _wide_inputs(op, [is_batched for _, is_batched in inputs])
        if not wide:
            same = apply(op, *(x for x, _ in inputs), where=node.where)
            return [(part, False) for part in parts(same)]
        inside, ys_wide = self._batched_body(op, wide)
        given = [
            self._repeated(x, is_batched) if s in wide else x
            for s, (x, is_batched) in zip(op.body_inputs, inputs, strict=True)
        ]
        init, xs, consts = op.split(given)
        stepped = [_swapped(x) if s in wide else x for s, x in zip(op.xs, xs, strict=True)]
        results = parts(apply(inside, *init, *stepped, *consts, where=node.where))
        count = len(op.carries)
        lasts = [(x, c in wide) for c, x in zip(op.carries, results[:count], strict=True)]
        stacks = zip(results[count:], ys_wide, strict=True)
        return [*lasts, *((_swapped(x) if is_wide else x, is_wide) for x, is_wide in stacks)]

    def _batched_body(self, op: Scan, wide: set[Node]) -> tuple[Scan, list[bool]]:
        """The scan with the steps' axis behind these body inputs, and which of its ys have it."""
        body_inputs = [
            body_input(s.name, s.type.with_shape((self.length, *s.shape))) if s in wide else s
            for s in op.body_inputs
        ]
        pairs = dict(zip(op.body_inputs, body_inputs, strict=True))
        stacked = {old: new for old, new in pairs.items() if old in wide}
        body = Batcher(
            self.length, stacked, {s: s for s in op.body_inputs if s not in wide}, refuse
        )
        following = [
            body.batch_all([n])[0] if c in wide else n
            for c, n in zip(op.carries, op.next, strict=True)
        ]
        ys = [body.batched(y) for y in op.ys]
        inside = op.renewed(body_inputs, [[*following, *(y for y, _ in ys)]])
        return inside, [is_wide for _, is_wide in ys]

    def sum_of_products(self, node: Node) -> Node:
        """sum over steps of A_t @ B_t, as one product with the steps among the summed rows."""
        (a, a_batched), (b, b_batched) = (self.batched(x) for x in node.inputs)
        if not (a_batched and b_batched and node.ndim == 2):
            raise CannotBatchError("a sum of products with a constant factor")
        inner = self.length * a.shape[2]
        wide = a.transpose(1, 0, 2).reshape(a.shape[1], inner)
        tall = b.reshape(inner, b.shape[2])
        return apply(node.op, wide, tall, where=node.where)

    def sum_of_scatters(self, node: Node) -> Node:
        """sum over steps of what is added at run-time indices, as one scatter of all steps."""
        (g, g_batched), (index, index_batched) = (self.batched(x) for x in node.inputs)
        op = node.op
        assert isinstance(op, Scatter)
        if op.along or op.axis != 0 or not (g_batched and index_batched):
            raise CannotBatchError("a scatter that is not by rows")
        return apply(op, g, index, where=node.where)


def _wide_inputs(op: Scan, batched: Sequence[bool]) -> set[Node]:
    """What depends on the step of the loop around: through inputs, or through carries."""
    wide = {s for s, is_batched in zip(op.body_inputs, batched, strict=True) if is_batched}
    while True:
        reached = dependents(wide, op.body)
        more = {c for c, n in zip(op.carries, op.next, strict=True) if n in reached} - wide
        if not more:
            return wide
        wide |= more


def _swapped(x: Node) -> Node:
    """The first two axes exchanged: the steps of two loops."""
    return x.transpose(1, 0, *range(2, x.ndim))


def refuse(node: Node) -> Node:
    raise CannotBatchError(node.name)
