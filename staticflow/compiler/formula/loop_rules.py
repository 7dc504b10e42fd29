"""How loops are seen: by their bodies, as Python writes them.

    h = h0
    for t in range(T):
        h = tanh(A @ h + xs[t])

A loop is a term whose arguments are what it starts from and reads; its body are terms of the
carries, by names of their own. Its outputs are those names.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.compiler.formula.function_rules import solved
from staticflow.compiler.formula.reader import Reader, Rules, Seen, full
from staticflow.compiler.formula.terms import LoopBody, Term
from staticflow.graph.branch_ops import While
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort

CARRIES = ("h", "c")  # what carries are called, those of a cell in their order


def with_bodies(roots: Sequence[Node]) -> list[Node]:
    """The nodes of a graph, and those of its loops' bodies."""
    found = []
    for node in toposort(roots):
        found.append(node)
        if isinstance(node.op, Loop):
            found += [n for region in node.op.regions for n in with_bodies(region)]
    return found


def scan(reader: Reader, node: Node) -> Seen:
    op = node.op
    assert isinstance(op, Scan)
    names, index = _carry_names(reader, op.next), reader.fresh("t")
    whole, inner = _inside(reader, node, names, index)
    stacks = [reader.fresh(_stack_name(names, op, y)) for y in op.ys]
    following, ys = inner.read(op.next), inner.read(op.ys)
    for k, y in enumerate(ys):
        at_once = _at_once(reader, y, index)
        if at_once is not None:
            reader.outputs[node, len(op.next) + k] = at_once
    shapes = tuple(n.shape for n in op.next)
    body = LoopBody(names, shapes, tuple(following), tuple(stacks), tuple(ys), None,
                    op.length, op.reverse, index)  # fmt: skip
    return full(reader.m.make("loop", (), whole, (body,)))


def _at_once(reader: Reader, y: Term, index: str) -> Term | None:
    """What all steps give, if each solves one system for a row of an array: solve(A, X.T).T"""
    m = reader.m
    column = y.head == "index" and y.attrs == (1,) and y.ndim == 2
    inner = y.args[0] if column else y
    if not inner.calls("solve") or inner.ndim != 1:
        return None
    a, row = inner.args
    if row.head != "part" or row.attrs != (index,) or row.args[0].ndim != 2 or a.head == "part":
        return None
    found = m.transpose(solved(m, a, m.transpose(row.args[0], (1, 0))), (1, 0))
    return m.make("index", (*found.shape, 1), [found], (2,)) if column else found


def while_loop(reader: Reader, node: Node) -> Seen:
    op = node.op
    assert isinstance(op, While)
    names = _carry_names(reader, op.next)
    whole, inner = _inside(reader, node, names, "")
    (test,) = inner.read([op.test])
    body = LoopBody(names, tuple(n.shape for n in op.next), tuple(inner.read(op.next)),
                    (), (), test, None, False, "")  # fmt: skip
    return full(reader.m.make("loop", (), whole, (body,)))


def _inside(
    reader: Reader, node: Node, names: Sequence[str], index: str
) -> tuple[list[Term], Reader]:
    """What the loop starts from and reads, and a reader of its body."""
    op = node.op
    assert isinstance(op, Scan | While)
    init, xs, consts = op.split(node.inputs)
    inner = reader.again()
    for own, name in zip(op.carries, names, strict=True):
        inner.seen[own] = reader.named(own, name, own)
    for own, outer in zip(op.consts, consts, strict=True):
        inner.seen[own] = reader.seen[outer]
    arrays = []
    for own, x in zip(op.xs, xs, strict=True):
        seen = reader.seen[x]
        if seen.axes[0] is None:  # the same at all steps
            inner.seen[own] = Seen(seen.term, seen.axes[1:])
        else:
            arrays.append(reader.whole(x))
            one = reader.m.make("part", own.shape, [arrays[-1]], (index,))
            inner.seen[own] = full(one)
    read = [reader.seen[x].term for x in consts]
    return [*(reader.whole(x) for x in init), *arrays, *read], inner


def _carry_names(reader: Reader, following: Sequence[Node]) -> tuple[str, ...]:
    few = len(following) <= len(CARRIES)
    usual = CARRIES if few else [f"h{k + 1}" for k in range(len(following))]
    return tuple(reader.fresh(n.label or name) for n, name in zip(following, usual, strict=False))


def _stack_name(names: Sequence[str], op: Scan, y: Node) -> str:
    same = [name for name, n in zip(names, op.next, strict=True) if n is y]
    return f"{same[0]}s" if same else "ys"


LOOP_RULES: Rules = {Scan: scan, While: while_loop}
