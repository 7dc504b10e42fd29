"""The function `derive`: what is asked for, and what of it can be written as a derivation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.compiler.formula.names import identifier, leaf_names, sizes_of
from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort
from staticflow.session.derivation.aliases import aliased
from staticflow.session.derivation.chains import chain, links_of
from staticflow.session.derivation.converter import size_of
from staticflow.session.derivation.expr import (
    Expr,
)
from staticflow.session.derivation.latex import symbol_latex
from staticflow.session.derivation.layers import hidden_layers
from staticflow.session.derivation.lines import Names, gradient, jacobian
from staticflow.session.derivation.matrix import (
    turn,
)
from staticflow.session.derivation.printing import text
from staticflow.session.derivation.reader import GraphReader
from staticflow.session.derivation.recurrence import through_time
from staticflow.session.derivation.steps import Derivation, Step
from staticflow.session.derivation.vec_rules import by_columns
from staticflow.session.derivation.verify import verify

LAYOUTS = (None, "numerator", "denominator")
LONG = 80  # characters of a function whose hidden layers get names of their own


def derive(f: Any, X: Any, *, layout: str | None = None, check: bool = False) -> Derivation:
    """The derivation of df/dX as it is done by hand, line by line, each with its rule.

    Matrices have two axes, and vectors (n,) are columns. A scalar's derivative is its gradient, of
    the shape of X (denominator layout), and a vector's by a vector its Jacobian (numerator layout),
    unless `layout` is "numerator" or "denominator". A matrix's derivative, or one by a matrix of a
    vector, is that of vec(f) by vec(X), the columns under each other. Nodes given a name by
    `.named` are derived one after the other (composite rule). With `check=True` the values of the
    lines are compared at random points; GraphError says which line is wrong.

    Returns a Derivation: `.steps` with `.text`, `.latex` and `.rule`, `str()`, `.latex()`. Raises
    GraphError where no rule is known, for arrays of more axes, and where a function or a named part
    of it would be written out as more than 150 parts: `sf.explain(sf.grad(f, X))` prints the result
    of those, with names for what is shared.

        sf.derive(a @ ops.exp(X @ b), X)        # ...  df/dX = (a * exp(X @ b)) @ b.T
    """
    steps, reader = derivation(f, X, layout)
    if check:
        verify(f, X, steps, reader)
    return Derivation(tuple(steps))


def derivation(f: Any, X: Any, layout: str | None = None) -> tuple[list[Step], GraphReader]:
    """The lines, and the reader that knows the nodes behind their symbols."""
    for node in (f, X):
        if not isinstance(node, Node):
            fail(GraphError, "derive: takes nodes", repr(node)[:80], "pass what ops returned")
    if layout not in LAYOUTS:
        fail(GraphError, "derive: no such layout", repr(layout), f"one of {LAYOUTS}")
    _check_shapes(f, X)
    order, depending = toposort([f]), _depending(f, X)
    between = [n for n in depending if n is not f and n is not X]
    named = [] if _is_matrix(f, X) else [n for n in between if n.label]
    moving = set(between) - set(named)
    given = {n: identifier(n.label) for n in order if n.label and n not in moving}
    names = {**given, X: _name(X, order), f: identifier(f.label or "f")}
    reader = GraphReader([f, X], names)
    if any(isinstance(n.op, Scan) for n in between) and size_of(f.shape) == (1, 1):
        return _through_time(f, X, reader, layout), reader
    if not named and size_of(f.shape) == (1, 1) and _is_long(reader, f, X):
        layers = hidden_layers(between, {*names.values(), *reader.leaves.values()})
        reader, named = GraphReader([f, X], {**names, **layers}), list(layers)
        shown = [_layer(reader, n, [*layers, X]) for n in layers]
        return [*shown, *_steps(f, X, named, reader, layout)], reader
    return _steps(f, X, named, reader, layout), reader


def _layer(reader: GraphReader, node: Node, moving: Sequence[Node]) -> Step:
    """What the name of a hidden layer stands for."""
    value = reader.read(node, moving)
    by = Expr("symbol", value.shape, (), reader.names[node])
    return Step(str(by.attr), symbol_latex(by), value, "a hidden layer", str(by.attr))


def _through_time(f: Node, X: Node, reader: GraphReader, layout: str | None) -> list[Step]:
    scan = next(n for n in reversed(_depending(f, X)) if isinstance(n.op, Scan))
    steps, result = through_time(f, X, scan, reader.names[f], reader.names[X], reader)
    return _laid_out(steps, result, layout or "denominator", "denominator")


def _is_long(reader: GraphReader, f: Node, X: Node) -> bool:
    """Whether f has so many parts that a person gives names to some of them."""
    return reader.is_long(f) or len(text(reader.read(f, [X]))) > LONG


def _steps(
    f: Node, X: Node, named: list[Node], reader: GraphReader, layout: str | None
) -> list[Step]:
    taken = {*reader.names.values(), *reader.leaves.values()}
    return aliased(_found(f, X, named, reader, layout), taken)


def _found(
    f: Node, X: Node, named: list[Node], reader: GraphReader, layout: str | None
) -> list[Step]:
    scalar = size_of(f.shape) == (1, 1)
    wanted = layout or ("denominator" if scalar else "numerator")
    links = links_of(reader, f, named, X)
    x = Expr("symbol", size_of(X.shape), (), reader.names[X])
    if named:
        steps, result = chain(links, x, wanted)
        factors = any(s.expr.head == "chain" or s.quantity.endswith("whole") for s in steps)
        return steps if factors else _laid_out(steps, result, wanted, "denominator")
    link = links[0]
    names = Names(str(link.symbol.attr), x, symbol_latex(link.symbol))
    if _is_matrix(f, X) and not x.is_scalar:
        return _laid_out(*by_columns(link.value, x, names), wanted, "numerator")
    steps, result = (gradient if scalar else jacobian)(link.value, x, names)
    return _laid_out(steps, result, wanted, "denominator" if scalar else "numerator")


def _laid_out(steps: list[Step], result: Expr, wanted: str, own: str) -> list[Step]:
    """The derivation, and a last line that turns its result where the other layout is wanted."""
    if wanted == own or result.is_scalar:
        return steps
    last = steps[-1]
    rule = f"{wanted} layout: the transpose"
    return [*steps, Step(last.left, last.left_latex, turn(result), rule, "turned")]


def _is_matrix(f: Node, X: Node) -> bool:
    """Whether the derivative is that of a matrix, or by one of a vector."""
    above, below = size_of(f.shape), size_of(X.shape)
    return above != (1, 1) and (above[1] != 1 or below[1] != 1)


def _name(X: Node, order: Sequence[Node]) -> str:
    """What X is called; no dimension and no function is called so."""
    if isinstance(X.op, Leaf):
        return leaf_names([*order, X], sizes_of(order))[X]
    return identifier(X.label or "X")


def _depending(f: Node, X: Node) -> list[Node]:
    """The nodes of f that depend on X, inner ones first."""
    depends = {X: None}
    for node in toposort([f]):
        if any(x in depends for x in node.inputs):
            depends[node] = None
    return list(depends)


def _check_shapes(f: Node, X: Node) -> None:
    if f is X:
        fail(GraphError, "derive: f and X are the same node", str(f), "derive something by X")
    for node in (f, X):
        if not node.type.is_float:
            fail(GraphError, "derive: only floats have derivatives", str(node))
