"""Metrics that are means over rows, and so can be averaged over batches.

    mean over rows of |y - t|                    its batches' values, weighted by rows, give it
    1 - sum (y - t)^2 / sum (t - mean t)^2       no such mean: 0.49 by batches of 8, 0.56 of all

A metric is one if it is linear in sums over rows (`sharding_rules` says what is linear), and of
degree 0 in the number of rows: a sum has degree 1, and divided by the number of rows it has 0.
What cannot be proven so is refused as well: nobody sees from a number that it is a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from staticflow.compiler.passes.sharding_rules import (
    PARTIAL,
    WHOLE,
    CannotShardError,
    has_dim,
    keeps_partial,
    result_at,
)
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, Dim, evaluate
from staticflow.graph.kinds import Map, Reduce
from staticflow.graph.leaves import Input
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import is_zero, leaves, toposort
from staticflow.graph.types import TensorType

Degree = int | None  # None where it cannot be told


def check_row_means(metrics: Mapping[str, Node], batches: Sequence[str]) -> None:
    """Refuse metrics, by name, whose value over all rows does not follow from that of batches.

    `batches` are the names of dimensions that data may be cut along; with several it is not known
    yet which.
    """
    for name, node in metrics.items() if len(batches) == 1 else ():
        (resolved,) = resolve_mode([node], training=False)
        fault = _Rows(batches[0]).fault(resolved)
        if fault:
            fail(
                GraphError,
                f"metric {name!r} is no mean over rows: its value over all of them is no average "
                "of its values over batches",
                got=fault,
                do="take a metric that is the mean of a value for each row, or put this among the "
                "outputs and run it on all rows at once",
                where=node.where,
            )


class _Rows:
    """Where the nodes of a metric lie, and their degrees in the number of rows."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        self.at: dict[Node, Any] = {}
        self.degree: dict[Node, Degree] = {}
        self.fed: set[Node] = set()  # what depends on rows that are fed

    def fault(self, metric: Node) -> str:
        """What makes the metric no mean over rows; "" if nothing does."""
        rows = [n for n in leaves([metric], Input) if any(has_dim(d, self.batch) for d in n.shape)]
        self.fed.update(rows)
        for node in toposort([metric]):
            if any(x in self.fed for x in node.inputs):
                self.fed.add(node)
            held = [self.at[x] for x in node.inputs]
            if PARTIAL in held and not self._is_linear(node, held):
                return f"{node.name} of a sum over rows, made at {node.where}"
            try:
                sharding = self._sharding_of(node, held)
            except CannotShardError:
                return f"{node.name} over rows, made at {node.where}"
            counts = sharding == PARTIAL and PARTIAL not in held
            if counts and node not in self.fed:
                sharding = WHOLE  # the sum of a constant
            self.at[node] = sharding
            self.degree[node] = self._degree(node, int(counts))
        if self.degree[metric] == 0:
            return ""
        what = "a sum over rows" if self.at[metric] == PARTIAL else "a value"
        if self.degree[metric] is None:
            return f"{what}, of which it cannot be told how it grows with the number of rows"
        return f"{what}, which grows with the number of rows"

    def _sharding_of(self, node: Node, held: Sequence[Any]) -> Any:
        """Where the rows of a node are; CannotShardError where it is not made row by row."""
        if isinstance(node.op, Input):
            axes = [k for k, d in enumerate(node.shape) if has_dim(d, self.batch)]
            if len(axes) > 1:
                raise CannotShardError(f"{node.name} has rows on several axes")
            return axes[0] if axes else WHOLE
        try:
            return result_at(node, held, self.batch)
        except CannotShardError:
            if node.op.kind is Kind.CALL and set(held) == {0} and _is_by_rows(node):
                return 0 if isinstance(node.type, TensorType) else (0,) * len(node.type)
            raise

    def _is_linear(self, node: Node, held: Sequence[Any]) -> bool:
        """Whether a node of sums over rows is linear in them, and of one degree."""
        if isinstance(node.op, Map) and node.op.row.linear == "joint":
            degrees = {self.degree[x] for x in node.inputs if not is_zero(x)} - {None}
            return {*held} <= {PARTIAL, WHOLE} and not node.ndim and len(degrees) < 2
        return keeps_partial(node, held, self.batch)

    def _degree(self, node: Node, more: int) -> Degree:
        """The degree of a node; `more` if it is a sum over rows."""
        if not node.inputs:
            return self._degree_of_size(node)
        degrees = [self.degree[x] for x in node.inputs]
        if set(degrees) == {0}:
            return more
        known = [d for d in degrees if d is not None]
        if len(known) < len(degrees):
            return None
        first, *others = known
        linear = node.op.row.linear if isinstance(node.op, Map) else ""
        if linear == "each" or node.op.kind is Kind.CONTRACT:
            return sum(known) + more
        if linear == "first":
            return first - sum(others)
        moved = isinstance(node.op, Reduce) and node.op.row.linear
        moved = moved or node.op.kind in (Kind.VIEW, Kind.ALIAS)
        if linear == "joint" or moved:
            kept = {d for x, d in zip(node.inputs, known, strict=True) if not is_zero(x)}
            return kept.pop() + more if len(kept) == 1 else None
        return None

    def _degree_of_size(self, node: Node) -> Degree:
        """The degree of a leaf: 1 of the number of rows, 0 of a constant."""
        if node.op.kind is not Kind.MAP or node.ndim:
            return 0
        sizes: Sequence[AnyDim] = [d for d in node.op.sizes() if has_dim(d, self.batch)]
        return _power(sizes[0], self.batch) if sizes else 0


def _is_by_rows(node: Node) -> bool:
    """Whether a routine takes the first axis for a batch, which it goes over: it takes one row."""
    if node.op.batched(1) is None:
        return False
    try:
        node.op.check(*(replace(x.type, shape=x.shape[1:]) for x in node.inputs))
    except GraphError:
        return False
    return True


def _power(size: AnyDim, batch: str) -> Degree:
    """n if a size is some number times the n-th power of the number of rows."""
    assert isinstance(size, Dim)
    env = dict.fromkeys(size.names, 3)
    one, two = (evaluate(size, {**env, batch: rows}) for rows in (3, 6))
    ratios = {one * 2**n: n for n in range(1, 4)}
    return ratios.get(two)
