"""Backpropagation through time: the derivative through a scan, as a recurrence.

h[t] = tanh(Wh @ h[t-1] + Wx @ x[t])                            one step of the scan
delta[t] = df/dh[t]
delta[t-1] = Wh.T @ (delta[t] * (1 - h[t] ** 2))                df = tr(delta[t]' dh[t])
df/dWh = sum((delta[t] * (1 - h[t] ** 2)) @ h[t-1].T for t in range(1, T + 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staticflow.errors import GraphError, fail
from staticflow.graph.kinds import Part
from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort
from staticflow.session.derivation.chains import Link, named_value, paired
from staticflow.session.derivation.lines import Lines, Names, differentials, gradient, traced
from staticflow.session.derivation.matrix import Expr, add, symbol
from staticflow.session.derivation.printing import symbol_latex
from staticflow.session.derivation.reader import GraphReader
from staticflow.session.derivation.reading import size_of
from staticflow.session.derivation.steps import Step

STANDS_FOR = "delta[t] stands for df/dh[t]"
ONE_STEP = "one step of the scan"
THROUGH_TIME = "backpropagation through time: df = tr(delta[t]' dh[t])"
OVER_TIME = "occurs in every step: the sum over t"


@dataclass(frozen=True)
class _Loop:
    """A scan with one carry, whose outputs are that carry: the last one, and all of them."""

    node: Node
    op: Scan
    last: Node | None
    stack: Node | None
    name: str

    @property
    def all(self) -> str:
        """What the carries of all steps are called, a row each."""
        return str(
            self.stack.label if self.stack is not None and self.stack.label else self.name + "s"
        )

    def at(self, index: str) -> Expr:
        return symbol(f"{self.name}[{index}]", size_of(self.op.carries[0].shape))

    def delta(self, index: str) -> Expr:
        return symbol(f"delta[{index}]", size_of(self.op.carries[0].shape))


def through_time(
    f: Node, X: Node, scan: Node, f_name: str, x_name: str, reader: GraphReader
) -> tuple[list[Step], Expr]:
    """The lines for a scalar f of what a scan gives."""
    loop = _loop(f, scan)
    x = symbol(x_name, size_of(X.shape))
    body, given = _body(f, X, loop, x_name)
    step = body.read(loop.op.next[0], [loop.op.carries[0], X], given)
    link = Link(loop.at("t"), step, ())
    names = Names(f_name, x, f_name)
    first = Step(
        str(link.symbol.attr), symbol_latex(link.symbol), step, ONE_STEP, f"{loop.name}[t]"
    )
    steps = [first, *_outside(f, X, loop, f_name, reader)]
    back, through = _backwards(link, loop.at("t-1"), loop, f_name)
    steps.append(Step("delta[T]", r"\delta_{T}", _last(loop, f_name), STANDS_FOR, "delta[T]"))
    steps += through
    seen = _seen(loop, f_name, "t-1")
    left = ("delta[t-1]", r"\delta_{t-1}")
    whole = add([back, seen], back.shape) if seen is not None else back
    steps.append(Step(*left, whole, THROUGH_TIME, "delta[t-1]"))
    if X in scan.inputs[:1]:
        result = loop.delta("0")
        return [*steps, Step(*names.by(), result, "the first carry", "df/dX")], result
    term, lines = _backwards(link, x, loop, f_name)
    total = Expr("sum_t", term.shape, (term,), loop.op.length)
    return [*steps, *lines, Step(*names.by(), total, OVER_TIME, "df/dX")], total


def _loop(f: Node, scan: Node) -> _Loop:
    op = scan.op
    assert isinstance(op, Scan)
    parts = [n for n in toposort([f]) if isinstance(n.op, Part) and n.inputs[0] is scan]
    places = {n: n.op.index for n in parts if isinstance(n.op, Part)}
    stacks = [n for n in parts if places[n] and op.ys[places[n] - 1] is op.next[0]]
    last = [n for n in parts if places[n] == 0]
    if len(op.carries) != 1 or len(last) + len(stacks) != len(parts) or op.reverse:
        fail(
            GraphError,
            "derive: goes through scans forwards with one carry, which is also what they give",
            got=str(scan),
            do="use sf.grad and sf.explain for others",
        )
    labels = [n.label for n in last if n.label]
    name = labels[0] if labels else "h"
    return _Loop(scan, op, next(iter(last), None), next(iter(stacks), None), str(name))


def _body(f: Node, X: Node, loop: _Loop, x_name: str) -> tuple[GraphReader, dict[Node, Node]]:
    """A reader of one step, and what the body inputs of constants stand for outside."""
    op = loop.op
    _, xs, consts = op.split(loop.node.inputs)
    names = {X: x_name, op.carries[0]: f"{loop.name}[t-1]"}
    for k, (own, node) in enumerate(zip(op.xs, xs, strict=True)):
        names[own] = f"{_outer_name(node, k)}[t]"
    if any(X in toposort([n]) for n in xs):
        fail(
            GraphError,
            "derive: what is scanned over depends on what is differentiated by",
            got=str(X),
            do="compute it in the step of the scan",
        )
    return GraphReader([f, X, *op.next], names), dict(zip(op.consts, consts, strict=True))


def _outer_name(node: Node, k: int) -> str:
    return node.label or node.op.given_name or f"x{k}"


def _outside(f: Node, X: Node, loop: _Loop, f_name: str, reader: GraphReader) -> list[Step]:
    """The derivatives of f by what the scan gives."""
    ends = [n for n in (loop.last, loop.stack) if n is not None]
    names = {n: f"{loop.name}[T]" if n is loop.last else loop.all for n in ends}
    reader.names.update(names)
    value = reader.read(f, [X, *ends])
    own = symbol(reader.names[X], size_of(X.shape))
    if value.has(own):
        fail(GraphError, "derive: f depends on X beside the scan too", str(X),
             "derive the two parts one by one")  # fmt: skip
    steps: list[Step] = []
    for node in ends:
        by = symbol(names[node], size_of(node.shape))
        lines, _ = gradient(value, by, Names(f_name, by, f_name))
        steps += _labelled(lines, f"d{f_name}/d{by.attr}")
    return steps


def _labelled(lines: Sequence[Step], quantity: str) -> list[Step]:
    return [
        Step(s.left, s.left_latex, s.expr, s.rule,
             quantity if s.quantity == "derivative" else f"{s.left} by {quantity}")
        for s in lines
    ]  # fmt: skip


def _seen(loop: _Loop, f_name: str, index: str) -> Expr | None:
    """What f itself sees of one step's carry: that row of its derivative by all of them."""
    if loop.stack is None:
        return None
    return symbol(f"d{f_name}/d{loop.all}[{index}]", loop.at(index).shape)


def _last(loop: _Loop, f_name: str) -> Expr:
    """delta[T]: what f sees of the last carry."""
    end = symbol(f"d{f_name}/d{loop.name}[T]", loop.at("T").shape)
    seen = _seen(loop, f_name, "T")
    parts = [*([] if loop.last is None else [end]), *([] if seen is None else [seen])]
    return add(parts, end.shape)


def _backwards(link: Link, by: Expr, loop: _Loop, f_name: str) -> tuple[Expr, list[Step]]:
    """The lines of df = tr(delta[t]' dh[t]), by what changes in one step."""
    delta = loop.delta("t")
    dh = named_value(differentials(link.value, by, Lines(("", ""), "")), link)
    start = paired(delta, dh)
    quantity = f"d{f_name} by {by.attr}"
    lines = Lines((f"d{f_name}", f"d{f_name}"), quantity)
    lines.add(start, f"d{link.symbol.attr} put in df = tr(delta[t]' d{link.symbol.attr})")
    steps, result = traced(start, by, Names(f_name, by, f_name), lines)
    return result, steps[:-1]
