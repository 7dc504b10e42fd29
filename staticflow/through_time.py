"""The derivatives of a scan: back-propagation through time, and tangents.

Back-propagation through time is a scan over the same elements in the opposite order. Its carries
are the cotangents of the carries, and a sum for each constant's cotangent. Of the forward body it
reads RESIDUALS; the forward scan that returns them is the same scan with more ys, and `merge_scans`
makes one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from staticflow.bodies import Slot, slot, substitute
from staticflow.differentiate import pull_back, push_forward
from staticflow.graph import Const, Node, Part, apply, is_implicit, parts, through_views, toposort
from staticflow.op import Kind
from staticflow.ops.creation import zeros
from staticflow.recurrence import Scan


def _is_float(node: Node) -> bool:
    return bool(node.type.is_float)


def _is_zero(node: Node) -> bool:
    root, _ = through_views(node)
    return isinstance(root.op, Const) and not np.any(root.op.value)


def pull_back_scan(op: Scan, gs: Sequence[Node], inputs: Sequence[Node]) -> list[Node | None]:
    """Back-propagation through time: cotangents of the inputs."""
    count = len(op.carries)
    outs = [node for node in op.body if _is_float(node)]
    cotangents = [slot(f"cotangent of {node.name}", node.type) for node in outs]
    wrt = [s for s in op.slots if _is_float(s)]
    grads = dict(zip(wrt, pull_back(outs, cotangents, wrt), strict=True))
    carried = [i for i, c in enumerate(op.carries) if _is_float(c)]
    dcs = cotangents[: len(carried)]
    summed = [s for s in op.consts if s in grads and not _is_zero(grads[s])]
    sums = [slot(f"sum for {s.name}", s.type) for s in summed]
    spread = [s for s in op.xs if s in grads and not _is_zero(grads[s])]
    following = [grads[op.carries[i]] for i in carried]
    following += [total + grads[s] for total, s in zip(sums, summed, strict=True)]
    body = [*following, *(grads[s] for s in spread)]

    saved = residuals(body, op)
    extended = replace(op, ys=(*op.ys, *saved))
    results = parts(apply(extended, *inputs))
    stacks = results[count + len(op.ys) :]
    places = {node: slot(f"saved {node.name}", node.type) for node in saved}
    elements = [slot(x.name, x.type) for x in op.xs]
    places.update(zip(op.xs, elements, strict=True))
    consts = [slot(c.name, c.type) for c in op.consts]
    places.update(zip(op.consts, consts, strict=True))
    body = substitute(body, places)

    _, xs, outer = op.split(inputs)
    float_ys = [i for i, node in enumerate(op.ys) if _is_float(node)]
    dys = cotangents[len(carried) :]
    backward = Scan(
        carries=(*dcs, *sums),
        xs=(*dys, *places_of(saved, places), *elements),
        consts=tuple(consts),
        next=tuple(body[: len(following)]),
        ys=tuple(body[len(following) :]),
        length=op.length,
        reverse=not op.reverse,
        origin=object(),
    )
    init = [gs[i] for i in carried] + [zeros(s.shape, s.dtype) for s in summed]
    found = parts(apply(backward, *init, *(gs[count + i] for i in float_ys), *stacks, *xs, *outer))
    by_slot: dict[Node, Node] = {}
    by_slot.update(zip((op.carries[i] for i in carried), found, strict=False))
    by_slot.update(zip(summed, found[len(carried) :], strict=False))
    by_slot.update(zip(spread, found[len(following) :], strict=True))
    return [by_slot.get(s) for s in op.slots]


def places_of(nodes: Sequence[Node], places: dict[Node, Node]) -> list[Node]:
    """The slots that stand for nodes."""
    return [places[node] for node in nodes]


def residuals(body: Sequence[Node], op: Scan) -> list[Node]:
    """What of the forward body a backward body reads, apart from xs and constants.

    What a loop within the body saves for its own derivative is part of the forward body.
    """
    forward = set(toposort(op.body)) | set(op.slots) | _saved_by_loops(body, op.slots)
    given = set(op.xs) | set(op.consts)
    found: dict[Node, None] = {}
    stack = list(body)
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        root, _ = through_views(node)
        if node in forward and root is node and not is_implicit(node) and node not in given:
            found[node] = None
        elif node not in given:
            stack += node.inputs
    return list(found)


def _saved_by_loops(body: Sequence[Node], slots: Sequence[Node]) -> set[Node]:
    """The outputs of loops that depend on the given slots only."""
    known = set(slots)
    found: set[Node] = set()
    for node in toposort(body):
        if node in known or isinstance(node.op, Slot) or not all(x in known for x in node.inputs):
            continue
        known.add(node)
        if isinstance(node.op, Part) and node.inputs[0].op.kind is Kind.LOOP:
            found.add(node)
    return found


def push_through_scan(op: Scan, tangents: Sequence[Any], inputs: Sequence[Node]) -> Any:
    """A scan over values and tangents together; returns the tangents of all outputs."""
    moving = [s for s in op.slots if _is_float(s)]
    ts = {s: slot(f"tangent of {s.name}", s.type) for s in moving}
    outs = [node for node in op.body if _is_float(node)]
    pushed = dict(zip(outs, push_forward(outs, moving, list(ts.values())), strict=True))
    given = {
        s: zeros(x.shape, x.dtype) if t is None else t
        for s, x, t in zip(op.slots, inputs, tangents, strict=True)
        if s in ts
    }

    def both(slots: Sequence[Node]) -> list[Node]:
        return [ts[s] for s in slots if s in ts]

    def values(slots: Sequence[Node]) -> list[Node]:
        return [given[s] for s in slots if s in ts]

    init, xs, consts = op.split(inputs)
    next_t = [pushed[n] for n in op.next if _is_float(n)]
    ys_t = [pushed[n] for n in op.ys if _is_float(n)]
    joint = Scan(
        carries=(*op.carries, *both(op.carries)),
        xs=(*op.xs, *both(op.xs)),
        consts=(*op.consts, *both(op.consts)),
        next=(*op.next, *next_t),
        ys=tuple(ys_t),
        length=op.length,
        reverse=op.reverse,
        origin=object(),
    )
    found = parts(
        apply(
            joint, *init, *values(op.carries), *xs, *values(op.xs), *consts, *values(op.consts)
        )
    )
    made = iter(found[len(op.carries) :])
    by_output = {i: next(made) for i, n in enumerate(op.body) if _is_float(n)}
    types = op.infer()
    assert isinstance(types, tuple)
    return tuple(
        by_output[i] if i in by_output else zeros(t.shape, t.dtype) for i, t in enumerate(types)
    )
