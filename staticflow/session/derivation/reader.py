"""A graph, and the nodes of it that go by names, as matrix expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.explain import RULES
from staticflow.compiler.formula.names import leaf_names, sizes_of
from staticflow.compiler.formula.reader import Reader, full
from staticflow.compiler.formula.terms import Term
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.session.derivation.converter import Converter
from staticflow.session.derivation.expr import (
    Expr,
)
from staticflow.session.derivation.naming import NAMES
from staticflow.session.derivation.reading import HEADS

EMPTY: Mapping[Node, Node] = {}


class GraphReader:
    """Reads nodes as expressions in symbols: the leaves, and the nodes with a given name."""

    def __init__(
        self,
        roots: Sequence[Node],
        names: Mapping[Node, str],
        patterns: Mapping[str, Sequence[Pattern]] = NAMES,
    ) -> None:
        self.algebra = Algebra(patterns)
        self.names = dict(names)
        order = toposort(roots)
        self.leaves = leaf_names(order, sizes_of(order))
        self.known: dict[Expr, Node] = {}

    def symbol(self, node: Node) -> Term:
        """The name of a node."""
        return self._reader().named(node, self.names[node], node).term

    def _reader(self) -> Reader:
        return Reader(self.algebra, RULES, self.leaves, rows=False)

    def read(self, node: Node, moving: Sequence[Node], given: Mapping[Node, Node] = EMPTY) -> Expr:
        """A node in terms of the named ones; those in `moving` change.

        `given` tells for body inputs of a loop's body which nodes outside they stand for.
        """
        reader = self._reader()
        seen = {n: reader.named(n, text, n) for n, text in self.names.items()}
        symbols = {n: s.term for n, s in seen.items()}
        reader.seen.update({n: s for n, s in seen.items() if n is not node})
        reader.read(list(given.values()))
        reader.seen.update({own: reader.seen[outer] for own, outer in given.items()})
        (term,) = reader.read([node])
        converter = Converter([symbols[n] for n in moving], HEADS)
        expr = converter.expr(term)
        whole = [(n, s) for n, s in reader.seen.items() if not isinstance(n.type, tuple)]
        nodes = {s.term: n for n, s in whole if s == full(s.term) and n.ndim == s.term.ndim}
        nodes.update({s.term: n for n, s in whole if isinstance(n.op, Leaf)})
        nodes.update({t: n for n, t in symbols.items()})
        self.known.update({e: nodes[t] for e, t in converter.known.items() if t in nodes})
        return expr
