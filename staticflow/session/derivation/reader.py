"""A graph, and the nodes of it that go by names, as matrix expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.formula.algebra import Algebra, Pattern
from staticflow.compiler.formula.choice_patterns import weight
from staticflow.compiler.formula.explain import RULES
from staticflow.compiler.formula.names import leaf_names, sizes_of
from staticflow.compiler.formula.reader import Reader, Seen, full
from staticflow.compiler.formula.terms import Term
from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.ops.alias import StopGradient
from staticflow.ops.native_call import Ruled
from staticflow.session.derivation.converter import Converter
from staticflow.session.derivation.expr import (
    Expr,
)
from staticflow.session.derivation.naming import NAMES
from staticflow.session.derivation.reading import HEADS

EMPTY: Mapping[Node, Node] = {}
MOST_PARTS = 150  # of a function that is written out as one; a person gives names long before


def _stopped(reader: Reader, node: Node) -> Seen:
    """stop_gradient(x), a constant: its own function, so that nothing is taken apart in it."""
    seen = reader.seen[node.inputs[0]]
    return Seen(reader.m.call("stop_gradient", seen.term.shape, [seen.term]), seen.axes)


def _within_rules(roots: Sequence[Node]) -> set[Node]:
    """The nodes by which ops with a derivative of their own compute their value: none stops."""
    ruled = [n for n in toposort(roots) if isinstance(n.op, Ruled)]
    operands = {x for n in ruled for x in n.inputs[1:]}
    stopped = [n for n in toposort([n.inputs[0] for n in ruled]) if isinstance(n.op, StopGradient)]
    return {n for n in stopped if n.inputs[0] in operands}


def _is_whole(node: Node, seen: Seen) -> bool:
    """Whether a term has all of a node: a column's is the vector that it holds."""
    term = seen.term
    if node.ndim == 2 and term.ndim == 1 and node.shape[1] == 1 and seen.axes == (0, None):
        return True
    return seen == full(term) and node.ndim == term.ndim


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

    def _reader(self, roots: Sequence[Node] = ()) -> Reader:
        own = _within_rules(roots)

        def stopped(reader: Reader, node: Node) -> Seen:
            return reader.seen[node.inputs[0]] if node in own else _stopped(reader, node)

        rules = {**RULES, StopGradient: stopped}
        return Reader(self.algebra, rules, self.leaves, rows=False)

    def is_long(self, node: Node) -> bool:
        """Whether a node has too many parts to be read."""
        return weight(self.algebra, self._seen(node, EMPTY)[1]) > MOST_PARTS

    def _seen(
        self, node: Node, given: Mapping[Node, Node]
    ) -> tuple[Reader, Term, Mapping[Node, Term]]:
        """The term of a node, the reader that knows those it is made of, and the names' terms."""
        reader = self._reader([node, *given.values()])
        seen = {n: reader.named(n, text, n) for n, text in self.names.items()}
        reader.seen.update({n: s for n, s in seen.items() if n is not node})
        reader.read(list(given.values()))
        reader.seen.update({own: reader.seen[outer] for own, outer in given.items()})
        (term,) = reader.read([node])
        return reader, term, {n: s.term for n, s in seen.items()}

    def read(self, node: Node, moving: Sequence[Node], given: Mapping[Node, Node] = EMPTY) -> Expr:
        """A node in terms of the named ones; those in `moving` change.

        `given` tells for body inputs of a loop's body which nodes outside they stand for. Raises
        GraphError for what has too many parts where it is written out: x * x + x, thirty times
        over, would have a thousand million.
        """
        reader, term, symbols = self._seen(node, given)
        parts = weight(self.algebra, term)
        if parts > MOST_PARTS:
            count = str(parts) if parts < 10**6 else "more than a million"
            fail(
                GraphError,
                f"derive: writes out {MOST_PARTS} parts at most",
                got=f"{self.names.get(node, 'one')} of {count} parts",
                do="give parts of it names by .named, or use sf.explain(sf.grad(f, X))",
            )
        converter = Converter([symbols[n] for n in moving], HEADS)
        expr = converter.expr(term)
        whole = [(n, s) for n, s in reader.seen.items() if not isinstance(n.type, tuple)]
        nodes = {s.term: n for n, s in whole if _is_whole(n, s)}
        nodes.update({s.term: n for n, s in whole if isinstance(n.op, Leaf)})
        nodes.update({t: n for n, t in symbols.items()})
        self.known.update({e: nodes[t] for e, t in converter.known.items() if t in nodes})
        return expr
