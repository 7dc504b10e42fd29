"""`explain`: what a graph computes, as a formula in matrix notation.

    loss = ((X @ W - y) ** 2).mean()
    print(sf.explain({"dL/dW": sf.grad(loss, W)}))        dL/dW = 2 / n * X.T @ (X @ W - y)

The graph is simplified, seen as terms (`seen`, by rules in `maps`, `views`, `products`) that
keep themselves tidy (`terms`, `patterns`), and written (`text`). The text is NumPy: operators and
broadcasting mean what they mean there, sizes are the names of dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticflow.compiler.formula.algebra import Algebra
from staticflow.compiler.formula.axis_patterns import AXIS_PATTERNS
from staticflow.compiler.formula.chain_patterns import CHAIN_PATTERNS
from staticflow.compiler.formula.choice_patterns import CHOICE_PATTERNS
from staticflow.compiler.formula.columns import typed
from staticflow.compiler.formula.elementwise_patterns import ELEMENTWISE_PATTERNS
from staticflow.compiler.formula.function_rules import FUNCTION_RULES, whole_functions
from staticflow.compiler.formula.latex import latex
from staticflow.compiler.formula.loop_rules import LOOP_RULES, with_bodies
from staticflow.compiler.formula.map_rules import MAP_RULES
from staticflow.compiler.formula.matrix_patterns import MATRIX_PATTERNS
from staticflow.compiler.formula.names import leaf_names, sizes_of
from staticflow.compiler.formula.patterns import PATTERNS
from staticflow.compiler.formula.product_rules import PRODUCT_RULES
from staticflow.compiler.formula.reader import Reader
from staticflow.compiler.formula.rolled import rolled
from staticflow.compiler.formula.spread_patterns import SPREAD_PATTERNS
from staticflow.compiler.formula.terms import Term
from staticflow.compiler.formula.view_rules import VIEW_RULES
from staticflow.compiler.formula.writer import written
from staticflow.compiler.passes.constant_carries import constant_carries
from staticflow.compiler.passes.drop_unused import drop_unused
from staticflow.compiler.passes.hoist import rearrange
from staticflow.compiler.passes.simplify import simplify
from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Const
from staticflow.graph.node import Kind, Node
from staticflow.graph.traversal import toposort
from staticflow.ops.views import Expand, Squeeze

TABLES = (
    CHOICE_PATTERNS,
    ELEMENTWISE_PATTERNS,
    AXIS_PATTERNS,
    CHAIN_PATTERNS,
    MATRIX_PATTERNS,
    PATTERNS,
    SPREAD_PATTERNS,
)
ALL_PATTERNS = {
    head: tuple(pattern for one in TABLES for pattern in one.get(head, ()))
    for table in TABLES
    for head in table
}
RULES = {**MAP_RULES, **VIEW_RULES, **PRODUCT_RULES, **FUNCTION_RULES}


class Formula(str):
    """Text that shows itself as it is, also at the prompt; `.latex()` is the same as LaTeX."""

    __slots__ = ("_latex",)
    _latex: str

    @classmethod
    def of(cls, text: str, shown: str) -> Formula:
        """A text and its LaTeX."""
        found = cls(text)
        found._latex = shown
        return found

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """The formula in the notation of a textbook; several lines are an `aligned`."""
        return self._latex

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self._latex}$"


def explain(nodes: Any) -> Formula:
    """The formula of a node, or of several: a list, or a dict that gives them names.

    Leaves go by their declared names and nodes by those given by `.named`. What occurs more than
    once gets a line and a name of its own. A Jacobian or Hessian by columns (n, 1) is written as
    the matrix that it is, without its axes of size 1. Raises GraphError for what is not a node.
    """
    named = _named(nodes)
    roots = _without_loops(simplify(rolled(whole_functions([node for _, node in named]))))
    order = with_bodies(roots)
    leaves = leaf_names(order, sizes_of(order))
    reader = Reader(Algebra(ALL_PATTERNS), {**RULES, **LOOP_RULES}, leaves)
    reader.taken |= sizes_of(order)
    terms, writing = typed(
        reader.read(roots),
        [None if isinstance(r.type, tuple) else r.shape for r in roots],
        [_is_jacobian(node) for _, node in named],
    )
    labels = {writing.of(term): name for term, name in _labels(reader).items()}
    taken = reader.taken
    pairs = [(name, term) for (name, _), term in zip(named, terms, strict=True)]
    found = written(pairs, labels, taken)
    return Formula.of("\n".join([*_legend(reader), *found.lines]), latex(found))


def _legend(reader: Reader) -> list[str]:
    """Of constants that are too large to be printed: what they are."""
    named = [(node.op, name, reader.seen[node].term) for node, name in reader.leaves.items()
             if node in reader.seen]  # fmt: skip
    return [
        f"# {name}: {op.type}, from {op.value.min():.6g} to {op.value.max():.6g}"
        for op, name, term in named
        if isinstance(op, Const) and term.head == "name" and term.name == name
    ]


def _is_jacobian(node: Node) -> bool:
    """Whether a node is one of passes by columns (n, 1) that were put in shape by `jacobian`."""
    views = 0
    while node.op.kind is Kind.ALIAS or isinstance(node.op, Expand | Squeeze):
        views += node.op.kind is not Kind.ALIAS
        node = node.inputs[0]
    return views > 1


def _without_loops(roots: list[Node]) -> list[Node]:
    """The same values by operations on whole arrays, if these can say all that the loops do."""
    if not _has_loop(roots):
        return roots
    used = drop_unused(constant_carries(roots))
    moved = simplify(rearrange(used))
    return simplify(used) if _has_loop(moved) else moved


def _has_loop(roots: list[Node]) -> bool:
    return any(node.op.kind is Kind.LOOP for node in toposort(roots))


def _named(nodes: Any) -> list[tuple[str, Node]]:
    if isinstance(nodes, Mapping):
        pairs = [(str(name), node) for name, node in nodes.items()]
    elif isinstance(nodes, list | tuple):
        pairs = [(_label(node) or f"[{k}]", node) for k, node in enumerate(nodes)]
    else:
        pairs = [(_label(nodes), nodes)]
    for _, node in pairs:
        if not isinstance(node, Node):
            fail(GraphError, "explain: takes nodes", repr(node)[:80], "pass what ops returned")
    return pairs


def _label(node: Any) -> str:
    return (node.label or "") if isinstance(node, Node) else ""


def _labels(reader: Reader) -> dict[Term, str]:
    """The names that nodes were given, by what they stand for."""
    seen = [(node, seen.term) for node, seen in reader.seen.items() if node.label]
    return {term: node.label or "" for node, term in seen if term.args}


__all__ = ["Formula", "explain"]
