"""Seeing nodes as terms: what a graph says about axes one by one becomes NumPy's broadcasting.

A node is SEEN as a term and, for each of its axes, the axis of the term that it is, or None where
it is not there: of size 1, or repeated. So views that only align, insert or repeat axes change no
term, and leave no trace where NumPy broadcasts.

    node                                     term      axes
    ----------------------------------       -----     ---------
    b: float32[3]                            b         (0,)
    broadcast(b, shape=(n, 3), axes=(1,))    b         (None, 0)
    transpose(w: float32[4, 3])              w         (1, 0)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.compiler.formula.algebra import Algebra
from staticflow.compiler.formula.names import is_function
from staticflow.compiler.formula.terms import Term, shape_text
from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Array, Kind, Node, Op
from staticflow.graph.traversal import toposort
from staticflow.graph.types import Shape
from staticflow.ops.accumulate import RunningSum
from staticflow.ops.alias import Tied
from staticflow.ops.custom_op import CustomCall
from staticflow.ops.indexing import ScatterAdd, ScatterAlong, TakeAlong
from staticflow.ops.linalg_native import LuSolve

WRITTEN_OUT = 16  # elements at most of a constant that is printed where it is used
# What users know an op by, where its class is called otherwise.
NAMES: Mapping[type[Op], str] = {
    RunningSum: "cumsum",
    CustomCall: "custom",
    LuSolve: "lu_solve",
    ScatterAdd: "scatter_add",
    ScatterAlong: "scatter_along",
    TakeAlong: "take_along_axis",
}


@dataclass(frozen=True)
class Seen:
    """A node's value: element (i0, i1, ..) is the term's element at its own axes' indices."""

    term: Term
    axes: tuple[int | None, ...]

    @property
    def present(self) -> tuple[int, ...]:
        """The node's axes that the term has."""
        return tuple(k for k, axis in enumerate(self.axes) if axis is not None)


class Reader:
    """Reads a graph: `rules` say how nodes of an op are seen, `leaves` what leaves are called.

    Columns (n, 1) are seen as the vectors that they hold; rows (1, n) too, unless `rows` is False.
    """

    def __init__(
        self, algebra: Algebra, rules: Rules, leaves: Mapping[Node, str], rows: bool = True
    ) -> None:
        self.m = algebra
        self.rows = rows
        self.rules = rules
        self.leaves = leaves
        self.seen: dict[Node, Seen] = {}
        self.taken = set(leaves.values())
        self.outputs: dict[tuple[Node, int], Term] = {}  # of loops that are known without a loop

    def again(self) -> Reader:
        """A reader of a body, which knows what this one has seen."""
        inner = Reader(self.m, self.rules, self.leaves, self.rows)
        inner.seen, inner.taken = dict(self.seen), self.taken
        return inner

    def fresh(self, name: str) -> str:
        """A name that nothing else has: this one, or with a number."""
        numbered = (name if k == 1 else f"{name}_{k}" for k in range(1, len(self.taken) + 2))
        found = next(n for n in numbered if n not in self.taken and not is_function(n))
        self.taken.add(found)
        return found

    def read(self, roots: Sequence[Node]) -> list[Term]:
        """The terms of nodes, of their shapes."""
        for node in toposort(roots):
            if node not in self.seen:
                self.seen[node] = _thin(self.m, self._node(node))
        return [self.whole(root) for root in roots]

    def _node(self, node: Node) -> Seen:
        op = node.op
        if isinstance(op, Leaf):
            return self._leaf(node, op)
        rule = self.rules.get(type(op))
        if rule is not None:
            return rule(self, node)
        if op.kind is Kind.ALIAS and (len(node.inputs) == 1 or isinstance(op, Tied)):
            return self.seen[node.inputs[0]]
        return self.by_name(node)

    def inside(self, node: Node, outer: Mapping[Node, Node]) -> Seen:
        """How a node of a loop's body is seen, where its body inputs stand for nodes outside."""
        self.seen.update({own: self.seen[x] for own, x in outer.items()})
        for inner in toposort([node]):
            if inner not in self.seen:
                self.seen[inner] = self._node(inner)
        return self.seen[node]

    def aligned(self, node: Node, axes: Sequence[int]) -> Term:
        """A node's term with its axes among `axes`, which hold all it has, as NumPy aligns them."""
        seen = self.seen[node]
        places = [axes.index(k) for k in seen.present]
        return self.m.place(self.in_order(seen), places, len(axes))

    def in_order(self, seen: Seen) -> Term:
        """The term with its axes in the order of the node's."""
        return self.m.transpose(seen.term, tuple(a for a in seen.axes if a is not None))

    def whole(self, node: Node) -> Term:
        """A term of the node's own shape."""
        seen = self.seen[node]
        return seen.term if isinstance(node.type, tuple) else self.whole_of(seen, node.shape)

    def whole_of(self, seen: Seen, shape: Shape) -> Term:
        """A term of this shape for what is seen of it."""
        missing = tuple(k for k in range(len(shape)) if k not in seen.present)
        if all(shape[k] == 1 for k in missing):
            term = self.in_order(seen)
            return self.m.make("index", shape, [term], missing) if missing else term
        term = self.m.place(self.in_order(seen), seen.present, len(shape))
        if term is self.m.number(1):
            return self.m.ones(shape)
        if term is self.m.number(0):
            return self.m.zeros(shape)
        if self.m.unscaled(term)[1] is term and not term.ndim and not term.is_nan:
            return self.m.times(term, self.m.ones(shape))
        return self.m.call("broadcast_to", shape, [term], shape_text(shape))

    def _leaf(self, node: Node, op: Leaf) -> Seen:
        if isinstance(op, Const) and op.value.size:
            first = op.value.flat[0]
            if np.array_equal(op.value, np.full_like(op.value, first), equal_nan=True):
                return Seen(self.m.number(_shortest(first)), (None,) * node.ndim)
            if op.value.size <= WRITTEN_OUT:
                text = f"array({shortest_list(op.value)})"
                return self.named(node, text, op)
        return self.named(node, self.leaves[node], op)

    def named(self, node: Node, text: str, stands_for: Hashable) -> Seen:
        """A name for a node; of a column (n, 1) for the vector that it holds, with its shape."""
        shape = tuple(node.shape)
        column = len(shape) == 2 and shape[1] == 1 and shape[0] != 1
        flat = len(shape) <= 2 and any(isinstance(n, int) and n == 1 for n in shape)
        if not (column or (flat and self.rows)):
            return full(self.m.make("name", shape, (), (text, stands_for)))
        kept = [k for k, n in enumerate(shape) if n != 1]
        term = self.m.make("name", tuple(shape[k] for k in kept), (), (text, stands_for, shape))
        return Seen(term, tuple(kept.index(k) if k in kept else None for k in range(len(shape))))

    def by_name(self, node: Node) -> Seen:
        """A call of the op's name: what has no rule of its own."""
        args = [self.whole(x) for x in node.inputs]
        name = NAMES.get(type(node.op), node.op.name)
        shape = () if isinstance(node.type, tuple) else node.shape
        return full(self.m.call(name, shape, args, node.op.attributes(), node.op))


def _shortest(value: Any) -> float:
    """A number as it is written in its own dtype: 0.1 of float32 is 0.1."""
    found: float = float(str(value)) if value.dtype.kind == "f" else value.item()
    return found


def shortest_list(array: Array) -> str:
    """An array's elements as a list, each as it is written in its own dtype."""
    if not array.ndim:
        return str(_shortest(array[()]))
    return f"[{', '.join(shortest_list(row) for row in array)}]"


Rules = Mapping[type[Op], Callable[[Reader, Node], Seen]]


def _thin(m: Algebra, seen: Seen) -> Seen:
    """The identity of size 1, and ones of it, are the number 1."""
    one = seen.term.calls("ones") and seen.term.ndim and all(n == 1 for n in seen.term.shape)
    return Seen(m.number(1), (None,) * len(seen.axes)) if one else seen


def full(term: Term) -> Seen:
    """A term with the node's axes as they are."""
    return Seen(term, tuple(range(term.ndim)))


def renumbered(axes: Sequence[int | None]) -> tuple[int | None, ...]:
    """The axes of a term of which others are gone."""
    left = sorted(a for a in axes if a is not None)
    return tuple(None if a is None else left.index(a) for a in axes)
