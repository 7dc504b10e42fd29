"""The composite rule: derivatives through nodes that were given names.

b = (w1 * a).named("b"); d = (w3 * b + w4 * c).named("d"); L = (10 - d).named("L")

dL/dd = -1, dd/db = w3, db/dw1 = a          one derivative after the other
dL/dw1 = (dL/dd)(dd/db)(db/dw1)             of scalars and vectors: the product, for each path
dL/db = w3.T @ dL/dd                        of matrices: dL = tr((dL/dd)' dd), then put dd in
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.session.derivation.expr import (
    Expr,
    add,
    scale,
    symbol,
)
from staticflow.session.derivation.latex import symbol_latex
from staticflow.session.derivation.lines import (
    GRADIENT,
    JACOBIAN,
    Lines,
    Names,
    differentials,
    gradient,
    jacobian,
    traced,
)
from staticflow.session.derivation.matrix import (
    flipped,
    mul,
    rebuilt,
    trace,
    turn,
)
from staticflow.session.derivation.reader import GraphReader
from staticflow.session.derivation.steps import Step

COMPOSITE = "composite rule"
PUT_IN = "factors put in"
MOST_PATHS = 64  # each is one product of derivatives


@dataclass(frozen=True)
class Link:
    """A named quantity, what it is in terms of others, and which of these change."""

    symbol: Expr
    value: Expr
    through: tuple[Expr, ...]


def links_of(reader: GraphReader, f: Node, named: Sequence[Node], x: Node) -> list[Link]:
    """f and the named nodes between it and x, outermost first."""
    links = []
    for node in (f, *reversed(named)):
        moving = [n for n in (*named, x) if n is not node]
        value = reader.read(node, moving)
        symbols = [_symbol(reader, n) for n in moving]
        links.append(Link(_symbol(reader, node), value, tuple(s for s in symbols if value.has(s))))
    return links


def _symbol(reader: GraphReader, node: Node) -> Expr:
    from_term = reader.symbol(node)
    shape = from_term.shape
    rows = shape[0] if shape else 1
    return symbol(reader.names[node], (rows, shape[1] if len(shape) == 2 else 1))


def chain(links: Sequence[Link], x: Expr, layout: str) -> tuple[list[Step], Expr]:
    """The lines of the derivative of the first link by x."""
    quantities = [*(link.symbol for link in links), x]
    if any(q.shape[1] != 1 for q in quantities):
        return _adjoints(links, x)
    paths = _count(links, x)
    if paths <= MOST_PATHS:
        return _factors(links, x, layout)
    if not links[0].symbol.is_scalar:
        fail(GraphError, f"derive: writes {MOST_PATHS} products of derivatives at most",
             got=f"{paths} ways from {links[0].symbol.attr} to {x.attr}",
             do="name less of the parts, or use sf.explain(sf.jacobian(f, X))")  # fmt: skip
    return _adjoints(links, x)


def _count(links: Sequence[Link], x: Expr) -> int:
    """How many ways lead from the first link to x: innermost links first, each counted once."""
    ways = {x: 1}
    for link in reversed(links):
        ways[link.symbol] = sum(ways[inner] for inner in link.through)
    return ways[links[0].symbol]


def _name(above: Expr, below: Expr) -> str:
    return f"d{above.attr}/d{below.attr}"


def _factors(links: Sequence[Link], x: Expr, layout: str) -> tuple[list[Step], Expr]:
    """Of scalars and vectors: a product of derivatives along each path, in numerator layout."""
    steps: list[Step] = []
    values: dict[Expr, Expr] = {}
    for link in links:
        for inner in link.through:
            names = Names(str(link.symbol.attr), inner, symbol_latex(link.symbol))
            lines, value = _local(link, inner, names)
            quantity = _name(link.symbol, inner)
            steps += [Step(s.left, s.left_latex, s.expr, s.rule, _of(s, quantity)) for s in lines]
            values[symbol(quantity, value.shape)] = value
    paths = _paths(links, links[0].symbol, x)
    f = links[0].symbol
    shape = (f.shape[0], x.shape[0])
    products = [[_factor(values, a, b) for a, b in path] for path in paths]
    names = Names(str(f.attr), x, symbol_latex(f))
    chains = [Expr("chain", shape, tuple(product)) for product in products]
    left, quantity = names.by(), f"{_name(f, x)} whole"
    steps.append(Step(*left, add(chains, shape), COMPOSITE, quantity))
    result = add([mul(*(values[s] for s in product)) for product in products], shape)
    steps.append(Step(*left, result, PUT_IN, quantity))
    if layout == "denominator" and shape != (1, 1):
        result = turn(result)
        steps.append(Step(*left, result, "denominator layout: the transpose", "turned"))
    return steps, result


def _of(step: Step, quantity: str) -> str:
    return quantity if step.quantity == "derivative" else f"{step.left} by {quantity}"


def _local(link: Link, inner: Expr, names: Names) -> tuple[list[Step], Expr]:
    """One factor, in numerator layout: of a scalar, the gradient's transpose."""
    if not link.value.is_scalar:
        return jacobian(link.value, inner, names)
    steps, value = gradient(link.value, inner, names)
    if value.is_scalar:
        return steps, value
    last = steps[-1]
    row = turn(value)
    rule = last.rule.replace(GRADIENT, JACOBIAN)
    return [*steps[:-1], Step(last.left, last.left_latex, row, rule, last.quantity)], row


def _factor(values: dict[Expr, Expr], above: Expr, below: Expr) -> Expr:
    name = _name(above, below)
    return next(s for s in values if s.attr == name)


def _paths(links: Sequence[Link], start: Expr, x: Expr) -> list[list[tuple[Expr, Expr]]]:
    """The ways from a quantity to x, each a list of (above, below)."""
    if start == x:
        return [[]]
    link = next(link for link in links if link.symbol == start)
    return [[(start, inner), *rest] for inner in link.through for rest in _paths(links, inner, x)]


def _adjoints(links: Sequence[Link], x: Expr) -> tuple[list[Step], Expr]:
    """Of matrices: df = tr((df/dY)' dY), in which dY is put in, from f down to x."""
    f = links[0].symbol
    steps: list[Step] = []
    for below in (*(link.symbol for link in links[1:]), x):
        users = [link for link in links if below in link.through]
        if len(users) == 1 and users[0].symbol == f:
            steps += _first(links[0], below)
            continue
        lines = Lines((f"d{f.attr}", f"d{symbol_latex(f)}"), f"d{f.attr} by {below.attr}")
        inner = []
        for user in users:
            du = differentials(user.value, below, Lines(("", ""), ""))
            du = named_value(du, user)
            if user.symbol == f:
                inner.append(du)
                continue
            g = symbol(_name(f, user.symbol), user.symbol.shape)
            inner.append(paired(g, du))
        rule = f"{COMPOSITE}: {', '.join(f'd{u.symbol.attr} put in' for u in users)}"
        lines.add(add(inner, (1, 1)), rule)
        names = Names(str(f.attr), below, symbol_latex(f))
        found, _ = traced(add(inner, (1, 1)), below, names, lines)
        steps += _labelled(found, _name(f, below))
    return steps, steps[-1].expr


def named_value(x: Expr, link: Link) -> Expr:
    """An expression with a quantity's name for its value: tanh(X @ W) is H."""
    if x == link.value:
        return link.symbol
    return rebuilt(x, tuple(named_value(a, link) for a in x.args))


def paired(g: Expr, du: Expr) -> Expr:
    return scale(g, du) if g.is_scalar else trace(mul(flipped(g), du))


def _first(link: Link, below: Expr) -> list[Step]:
    names = Names(str(link.symbol.attr), below, symbol_latex(link.symbol))
    steps, _ = gradient(link.value, below, names)
    return _labelled(steps, _name(link.symbol, below))


def _labelled(steps: Sequence[Step], quantity: str) -> list[Step]:
    return [Step(s.left, s.left_latex, s.expr, s.rule, _of(s, quantity)) for s in steps]
