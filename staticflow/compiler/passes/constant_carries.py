"""Constants of a loop that are written as carries, or as xs that are the same in every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.passes.loop_walk import map_bodies, rebuild_loops
from staticflow.graph.kinds import View, parts
from staticflow.graph.loop_op import body_input, substitute
from staticflow.graph.node import Node, apply, operator
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import is_implicit, with_inputs


def constant_carries(roots: Sequence[Node]) -> list[Node]:
    """Make constants of carries that no step changes and of xs that are the same in every step.

    And take ys from outside where they are.
    """
    return rebuild_loops(map_bodies(roots, lambda op, body: constant_carries(body)), _constant)


def _without_repeats(op: Scan, inputs: Sequence[Node]) -> tuple[Scan, list[Node]]:
    """The loop without xs that repeat one value along the steps; one is left to tell the length."""
    init, xs, consts = op.split(inputs)
    repeated = [i for i, x in enumerate(xs) if _is_repeated(x)][: len(xs) - 1]
    if not repeated:
        return op, list(inputs)
    places: dict[Node, Node] = {s: s for s in op.body_inputs}
    added: dict[Node, Node] = {}  # for values that are none of the body's own, and these
    for i in repeated:
        view = xs[i].op
        assert isinstance(view, View)
        value = inner = xs[i].inputs[0]
        if not is_implicit(value):
            inner = body_input(op.xs[i].name, value.type)
            added[inner] = value
        same = xs[i].shape[1:] == inner.shape
        places[op.xs[i]] = inner if same else apply(view.of_one_element(), inner)
    body = substitute(op.body, places)
    count = len(op.carries)
    left = [i for i in range(len(xs)) if i not in repeated]
    new = replace(
        op,
        xs=tuple(op.xs[i] for i in left),
        consts=(*op.consts, *added),
        next=tuple(body[:count]),
        ys=tuple(body[count:]),
    )
    return new, [*init, *(xs[i] for i in left), *consts, *added.values()]


def _is_repeated(x: Node) -> bool:
    return isinstance(x.op, View) and 0 in x.op.new_axes


def _constant(node: Node, inputs: Sequence[Node]) -> Sequence[Node | None]:
    if not isinstance(node.op, Scan):
        return parts(with_inputs(node, tuple(inputs)))
    op, inputs = _without_repeats(node.op, inputs)
    init, xs, consts = op.split(inputs)
    still = [i for i, s in enumerate(op.carries) if op.next[i] is s]
    moving = [i for i in range(len(op.carries)) if i not in still]
    fixed = {op.carries[i]: init[i] for i in still}
    fixed.update(zip(op.consts, consts, strict=True))
    outside = {s: operator("broadcast_to")(x, (op.length, *x.shape)) for s, x in fixed.items()}
    outside.update(zip(op.xs, xs, strict=True))
    ys = [y for y in op.ys if y not in outside]
    new = replace(
        op,
        carries=tuple(op.carries[i] for i in moving),
        next=tuple(op.next[i] for i in moving),
        consts=tuple(fixed),
        ys=tuple(ys),
    )
    results = iter(parts(apply(new, *(init[i] for i in moving), *xs, *fixed.values(),
                               where=node.where)))  # fmt: skip
    outputs = [init[i] if i in still else next(results) for i in range(len(op.carries))]
    return [*outputs, *(outside[y] if y in outside else next(results) for y in op.ys)]
