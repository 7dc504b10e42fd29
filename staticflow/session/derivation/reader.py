"""A graph, and the nodes of it that go by names, as matrix expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.explain import RULES
from staticflow.compiler.formula.patterns import PATTERNS
from staticflow.compiler.formula.reader import Reader, Seen, full
from staticflow.compiler.formula.terms import Algebra, Term
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.ops.native_call import Ruled
from staticflow.session.derivation.matrix import Expr
from staticflow.session.derivation.reading import Converter

EMPTY: Mapping[Node, Node] = {}


def _value(reader: Reader, node: Node) -> Seen:
    """Of an op with a derivative of its own: its value."""
    return reader.seen[node.inputs[0]]


class GraphReader:
    """Reads nodes as expressions in symbols: the leaves, and the nodes with a given name."""

    def __init__(self, roots: Sequence[Node], names: Mapping[Node, str]) -> None:
        self.algebra = Algebra(PATTERNS)
        self.names = dict(names)
        self.leaves = {n: n.op.label for n in toposort(roots) if isinstance(n.op, Leaf)}
        self.known: dict[Expr, Node] = {}

    def symbol(self, node: Node) -> Term:
        return self.algebra.make("name", node.shape, (), (self.names[node], node))

    def read(self, node: Node, moving: Sequence[Node], given: Mapping[Node, Node] = EMPTY) -> Expr:
        """A node in terms of the named ones; those in `moving` change.

        `given` tells for body inputs of a loop's body which nodes outside they stand for.
        """
        rules = {**RULES, Ruled: _value}
        reader = Reader(self.algebra, rules, self.leaves)
        symbols = {n: self.symbol(n) for n in self.names}
        reader.seen.update({n: full(t) for n, t in symbols.items() if n is not node})
        reader.read(list(given.values()))
        reader.seen.update({own: reader.seen[outer] for own, outer in given.items()})
        (term,) = reader.read([node])
        converter = Converter([symbols[n] for n in moving])
        expr = converter.expr(term)
        whole = [(n, s) for n, s in reader.seen.items() if not isinstance(n.type, tuple)]
        nodes = {s.term: n for n, s in whole if s == full(s.term) and n.ndim == s.term.ndim}
        nodes.update({t: n for n, t in symbols.items()})
        self.known.update({e: nodes[t] for e, t in converter.known.items() if t in nodes})
        return expr
