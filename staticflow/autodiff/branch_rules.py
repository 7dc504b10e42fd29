"""The derivatives of branches and of while loops.

The derivative of a branch is a branch between the derivatives of its bodies, in which the body that
was taken computes again what it needs. A while loop is differentiated in reverse only if the number
of its steps is bounded: then it is a scan over so many steps, each a branch that does nothing once
the loop has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from staticflow.autodiff.accumulate import is_float, pull_back, push_forward
from staticflow.errors import GraphError, fail
from staticflow.graph.branch_ops import Branch, While
from staticflow.graph.kinds import parts
from staticflow.graph.loop_op import LoopRules, body_input, substitute
from staticflow.graph.node import Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.ops import zeros

_TRANSPOSED: WeakKeyDictionary[Branch, tuple[Branch, list[int]]] = WeakKeyDictionary()
_BOUNDED: WeakKeyDictionary[While, Scan] = WeakKeyDictionary()


def pull_back_branch(
    op: Branch, g: Sequence[Node], y: Node, inputs: Sequence[Node]
) -> list[Node | None]:
    """Cotangents of the inputs, given those of the outputs."""
    moving = _moving(op)
    backward, floats = _transposed(op)
    gs = [g[i] for i in floats]
    found = iter(parts(apply(backward, *inputs, *gs)) if moving else ())
    return [next(found) if s in moving else None for s in op.body_inputs]


def _moving(op: Branch) -> list[Node]:
    """The body inputs that have derivatives."""
    return [s for s in op.consts if is_float(s)]


def _transposed(op: Branch) -> tuple[Branch, list[int]]:
    """The branch that computes cotangents, and of which outputs it takes cotangents."""
    if op not in _TRANSPOSED:
        floats = [i for i, node in enumerate(op.then) if is_float(node)]
        gs = [body_input(f"cotangent of {op.then[i].name}", op.then[i].type) for i in floats]
        wrt = _moving(op)
        bodies = [pull_back([region[i] for i in floats], gs, wrt) for region in op.regions]
        backward = Branch((*op.consts, *gs), tuple(bodies[0]), tuple(bodies[1]))
        _TRANSPOSED[op] = backward, floats
    return _TRANSPOSED[op]


def push_through_branch(
    op: Branch, tangents: Sequence[Any], inputs: Sequence[Node]
) -> tuple[Node, ...]:
    """The tangents of all outputs, by a branch between the tangents of the bodies."""
    pairs = zip(op.body_inputs, tangents, strict=True)
    given = [(s, t) for s, t in pairs if t is not None and is_float(s)]
    moving = [s for s, _ in given]
    ts = [body_input(f"tangent of {s.name}", s.type) for s in moving]
    floats = [i for i, node in enumerate(op.then) if is_float(node)]
    bodies = [push_forward([region[i] for i in floats], moving, ts) for region in op.regions]
    pushed = Branch((*op.consts, *ts), tuple(bodies[0]), tuple(bodies[1]))
    made = iter(parts(apply(pushed, *inputs, *(t for _, t in given))))
    return tuple(
        next(made) if is_float(node) else zeros(node.shape, node.dtype) for node in op.then
    )


def push_through_while(
    op: While, tangents: Sequence[Any], inputs: Sequence[Node]
) -> tuple[Node, ...]:
    """The tangents of all outputs, by a loop over values and tangents together."""
    pairs = zip(op.body_inputs, tangents, strict=True)
    given = {s: t for s, t in pairs if t is not None and is_float(s)}
    for s, x in zip(op.carries, inputs, strict=False):
        if is_float(s):
            given.setdefault(s, zeros(x.shape, x.dtype))
    moving = [s for s in op.body_inputs if s in given]
    ts = {s: body_input(f"tangent of {s.name}", s.type) for s in moving}
    floats = [node for node in op.next if is_float(node)]
    pushed = push_forward(floats, moving, [ts[s] for s in moving])
    own = [s for s in op.carries if s in ts]
    more = [s for s in op.consts if s in ts]
    joint = replace(
        op,
        carries=(*op.carries, *(ts[s] for s in own)),
        consts=(*op.consts, *(ts[s] for s in more)),
        next=(*op.next, *pushed),
    )
    init, _, consts = op.split(inputs)
    operands = [*init, *(given[s] for s in own), *consts, *(given[s] for s in more)]
    made = iter(parts(apply(joint, *operands))[len(init) :])
    return tuple(next(made) if is_float(s) else zeros(s.shape, s.dtype) for s in op.carries)


def pull_back_while(
    op: While, g: Sequence[Node], y: Node, inputs: Sequence[Node]
) -> Sequence[Node | None]:
    """Cotangents of the inputs, given those of the outputs; raises GraphError without a bound."""
    if op.max_steps is None:
        fail(
            GraphError,
            "while_loop: reverse mode needs a bound on the number of steps",
            do="pass max_steps=, or use sf.jvp",
            where=y.where,
        )
    if op not in _BOUNDED:
        _BOUNDED[op] = _bounded(op, op.max_steps)
    init, _, consts = op.split(inputs)
    scan = apply(_BOUNDED[op], *init, *consts, where=y.where)
    return scan.op.vjp(g, scan, *scan.inputs)


def _bounded(op: While, steps: int) -> Scan:
    """The scan over as many steps as there can be, which has the same last carries."""
    carries = [body_input(s.name, s.type) for s in op.carries]
    consts = [body_input(s.name, s.type) for s in op.consts]
    places = dict(zip(op.body_inputs, [*carries, *consts], strict=True))
    (test,) = substitute([op.test], places)
    going = body_input("going on", test.type)
    branch = Branch((going, *op.body_inputs), op.next, op.carries)
    following = parts(apply(branch, test, *carries, *consts))
    return Scan(
        carries=tuple(carries),
        xs=(),
        consts=tuple(consts),
        next=tuple(following),
        ys=(),
        length=steps,
        reverse=False,
        origin=object(),
    )


BRANCH_RULES = LoopRules(pull_back_branch, push_through_branch)
WHILE_RULES = LoopRules(pull_back_while, push_through_while)
