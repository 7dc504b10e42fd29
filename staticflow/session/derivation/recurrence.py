"""Backpropagation through time: the derivative through a scan, as a recurrence.

h[t] = tanh(Wh @ h[t-1] + Wx @ x[t])                            one step of the scan
delta[t] = df/dh[t]
delta[t-1] = Wh.T @ (delta[t] * (1 - h[t] ** 2))                df = tr(delta[t]' dh[t])
df/dWh = sum((delta[t] * (1 - h[t] ** 2)) @ h[t-1].T for t in range(1, T + 1))

Each carry has a delta of its own, and a scan in reverse counts its steps down, from t = T to 1.
"""

from __future__ import annotations

from dataclasses import replace

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.session.derivation.chains import Link, named_value, paired
from staticflow.session.derivation.converter import size_of
from staticflow.session.derivation.expr import (
    Expr,
    add,
    symbol,
    zero,
)
from staticflow.session.derivation.latex import symbol_latex
from staticflow.session.derivation.lines import Lines, Names, differentials, gradient, traced
from staticflow.session.derivation.loops import Loop, loop_of
from staticflow.session.derivation.reader import GraphReader
from staticflow.session.derivation.steps import Step
from staticflow.session.derivation.verify import ONE_STEP

OVER_TIME = "occurs in every step: the sum over t"


def through_time(
    f: Node, X: Node, scan: Node, f_name: str, x_name: str, reader: GraphReader
) -> tuple[list[Step], Expr]:
    """The lines for a scalar f of what a scan gives."""
    return _Recurrence(loop_of(f, scan), f, X, f_name, x_name).derived(reader)


class _Recurrence:
    """One derivation through a loop."""

    def __init__(self, loop: Loop, f: Node, X: Node, f_name: str, x_name: str) -> None:
        self.loop, self.f, self.X, self.f_name = loop, f, X, f_name
        self.x = symbol(x_name, size_of(X.shape))
        self.links, self.gates = self._links(x_name)

    def derived(self, reader: GraphReader) -> tuple[list[Step], Expr]:
        loop = self.loop
        inner = [n for n in (*loop.over, *loop.init) if n is not self.X]
        if any(self.X in toposort([n]) for n in inner):
            fail(
                GraphError,
                "derive: goes through a scan's steps, not through what is scanned over or its"
                " first carry",
                got=str(self.X),
                do="compute it in the step of the scan",
            )
        steps = self._in_order([self._one_step(link) for link in (*self.gates, *self.links)])
        steps += self._outside(reader)
        steps += [self._last(k) for k in range(len(loop.names))]
        if self.X in loop.over:
            by = loop.over[self.X]
            result, lines = self._backwards(symbol(by, size_of(self.X.shape[1:])))
            return [*steps, *self._recurrences(), *lines, self._by(by, result)], result
        steps += self._recurrences()
        if self.X in loop.init:
            k = loop.init.index(self.X)
            result = loop.delta(k, loop.first)
            return [*steps, self._final(result, "the first carry")], result
        term, lines = self._backwards(self.x)
        total = Expr("sum_t", term.shape, (term,), loop.op.length)
        return [*steps, *lines, self._final(total, OVER_TIME)], total

    def _links(self, x_name: str) -> tuple[list[Link], list[Link]]:
        """Each carry, and what else the steps give, by the carries before; and the gates."""
        loop, op = self.loop, self.loop.op
        names = {self.X: x_name, **{own: loop.within[own] for own in loop.within}}
        inner = [n for n in op.regions[0] if n.label]
        reader = GraphReader([self.f, self.X, *op.regions[0], *inner], names)
        given = dict(zip(op.consts, loop.consts, strict=True))
        moving = [*op.carries, *op.xs, self.X]
        values = [(loop.at(k, "t"), node) for k, node in enumerate(op.next)]
        values += [(symbol(f"{name}[t]", size_of(node.shape)), node)
                   for name, node in loop.outputs]  # fmt: skip
        gates = [(symbol(name, size_of(n.shape)), n) for n, name in loop.gates.items()]
        links, gated = (
            [Link(s, reader.read(node, moving, given), ()) for s, node in pairs]
            for pairs in (values, gates)
        )
        return links, gated

    def _named(self, x: Expr, *besides: Link) -> Expr:
        """An expression with the names of carries and gates for their values."""
        for link in (*self.links, *reversed(self.gates)):
            if link not in besides:
                x = named_value(x, link)
        return x

    def _one_step(self, link: Link) -> Step:
        name = str(link.symbol.attr)
        shown = self._named(link.value, link)
        return Step(name, symbol_latex(link.symbol), shown, ONE_STEP, name)

    def _in_order(self, steps: list[Step]) -> list[Step]:
        """Each after those whose values it needs."""
        symbols = {link.symbol for link in (*self.links, *self.gates)}
        found: list[Step] = []
        while len(found) < len(steps):
            made = {s.left for s in found}
            left = [s for s in steps if s not in found]
            ready = [
                s
                for s in left
                if not any(
                    s.expr.has(x) and x.attr not in made and x.attr != s.left for x in symbols
                )
            ]
            found += ready or left
        return found

    def _outside(self, reader: GraphReader) -> list[Step]:
        """The derivatives of f by what the scan gives."""
        loop = self.loop
        reader.names.update(loop.ends)
        value = reader.read(self.f, [self.X, *loop.ends])
        if value.has(symbol(reader.names[self.X], size_of(self.X.shape))):
            fail(GraphError, "derive: f depends on X beside the scan too", str(self.X),
                 "derive the two parts one by one")  # fmt: skip
        steps: list[Step] = []
        for node, name in loop.ends.items():
            by = symbol(name, size_of(node.shape))
            lines, _ = gradient(value, by, Names(self.f_name, by, self.f_name))
            quantity = f"d{self.f_name}/d{by.attr}"
            steps += [
                replace(s, quantity=quantity if s.quantity == "derivative" else f"d by {quantity}")
                for s in lines
            ]
        return steps

    def _seen(self, name: str | None, index: str, of: Expr) -> list[Expr]:
        """What f itself sees of one step: that row of its derivative by all of them."""
        if name is None:
            return []
        return [symbol(f"d{self.f_name}/d{name}[{index}]", of.shape)]

    def _last(self, k: int) -> Step:
        """delta at the end: what f sees of the last carry."""
        loop = self.loop
        delta = loop.delta(k, loop.end)
        at_end = f"{loop.names[k]}[{loop.end}]"
        own = [symbol(f"d{self.f_name}/d{at_end}", delta.shape)] if loop.reads_last[k] else []
        parts = [*own, *self._seen(loop.stacks[k], loop.end, delta)]
        name = str(delta.attr)
        rule = f"{loop.delta(k, 't').attr} stands for d{self.f_name}/d{loop.names[k]}[t]"
        value = add(parts, delta.shape) if parts else zero(delta.shape)
        return Step(name, symbol_latex(delta), value, rule, name)

    def _recurrences(self) -> list[Step]:
        """For each carry, its delta one step before."""
        loop = self.loop
        steps: list[Step] = []
        for k in range(len(loop.names)):
            back, lines = self._backwards(loop.at(k, loop.before))
            delta = loop.delta(k, loop.before)
            seen = self._seen(loop.stacks[k], loop.before, delta)
            whole = add([back, *seen], delta.shape)
            name = str(delta.attr)
            rule = f"backpropagation through time: {self._sum_of_traces()}"
            steps += [*lines, Step(name, symbol_latex(delta), whole, rule, name)]
        return steps

    def _sum_of_traces(self) -> str:
        pairs = [(str(d.attr), str(link.symbol.attr))
                 for link, d in zip(self.links, self._deltas(), strict=True)]  # fmt: skip
        return f"d{self.f_name} = " + " + ".join(f"tr({d}' d{name})" for d, name in pairs)

    def _deltas(self) -> list[Expr]:
        """What the derivative by each quantity of a step is called."""
        loop = self.loop
        own = [loop.delta(k, "t") for k in range(len(loop.names))]
        others = [
            symbol(f"d{self.f_name}/d{link.symbol.attr}", link.symbol.shape)
            for link in self.links[len(own) :]
        ]
        return [*own, *others]

    def _backwards(self, by: Expr) -> tuple[Expr, list[Step]]:
        """The lines of df = tr(delta[t]' dh[t]), by what changes in one step."""
        terms, names = [], []
        for link, delta in zip(self.links, self._deltas(), strict=True):
            if not link.value.has(by):
                continue
            change = differentials(link.value, by, Lines(("", ""), ""))
            terms.append(paired(delta, self._named(change)))
            names.append(f"d{link.symbol.attr}")
        start = add(terms, (1, 1))
        lines = Lines((f"d{self.f_name}", f"d{self.f_name}"), f"d{self.f_name} by {by.attr}")
        if not terms:
            return zero(by.shape), []
        lines.add(start, f"{', '.join(names)} put in {self._sum_of_traces()}")
        steps, result = traced(start, by, Names(self.f_name, by, self.f_name), lines)
        return result, steps[:-1]

    def _final(self, result: Expr, rule: str) -> Step:
        names = Names(self.f_name, self.x, self.f_name)
        return Step(*names.by(), result, rule, "df/dX")

    def _by(self, name: str, result: Expr) -> Step:
        """The derivative by one step of what is scanned over."""
        names = Names(self.f_name, symbol(name, result.shape), self.f_name)
        return Step(*names.by(), result, "one step of what is scanned over", "df/dX")
