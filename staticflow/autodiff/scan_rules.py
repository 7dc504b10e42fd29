"""The derivatives of a scan: back-propagation through time, and tangents.

Back-propagation through time is a scan over the same elements in the opposite order. Its carries
are the cotangents of the carries, and a sum for each constant's cotangent. Of the forward body it
reads RESIDUALS; the forward scan that returns them is the same scan with more ys, and `merge_scans`
makes one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from staticflow.autodiff.accumulate import is_float, pull_back, push_forward
from staticflow.autodiff.cheap_residuals import costly
from staticflow.graph.dims import Dim, product
from staticflow.graph.kinds import Part, parts
from staticflow.graph.loop_op import BodyInput, LoopRules, body_input, substitute
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import is_implicit, is_zero, through_views, toposort
from staticflow.ops.creation import zeros
from staticflow.ops.slices import Slice


@dataclass(frozen=True)
class Transposed:
    """The derivative of a scan: what saves the residuals, and what runs back over them.

    Slots say for which inputs of the scan the outputs of `backward` are cotangents.
    """

    extended: Scan
    backward: Scan
    carried: tuple[int, ...]  # the float carries, by position
    float_ys: tuple[int, ...]
    sums: tuple[Node, ...]  # the constants whose cotangents are summed over the steps
    spread: tuple[Node, ...]  # the xs whose cotangents each step has for itself


_TRANSPOSED: WeakKeyDictionary[Scan, Transposed] = WeakKeyDictionary()
# the scans that compute tangents too, by the body inputs that have tangents
_PUSHED: WeakKeyDictionary[Scan, dict[tuple[Node, ...], Scan]] = WeakKeyDictionary()


def transpose(op: Scan) -> Transposed:
    """Derive back-propagation through time from a scan's body."""
    outs = [node for node in op.body if is_float(node)]
    cotangents = [body_input(f"cotangent of {node.name}", node.type) for node in outs]
    wrt = [s for s in op.body_inputs if is_float(s)]
    grads = dict(zip(wrt, pull_back(outs, cotangents, wrt), strict=True))
    carried = [i for i, c in enumerate(op.carries) if is_float(c)]
    summed = [s for s in op.consts if s in grads and not is_zero(grads[s])]
    sums = [body_input(f"sum for {s.name}", s.type) for s in summed]
    spread = [s for s in op.xs if s in grads and not is_zero(grads[s])]
    following = [grads[op.carries[i]] for i in carried]
    following += [total + grads[s] for total, s in zip(sums, summed, strict=True)]
    body = [*following, *(grads[s] for s in spread)]
    saved = costly(residuals(body, op), {*op.xs, *op.consts})
    places = {s: body_input(s.name, s.type) for s in (*op.xs, *op.consts)}
    places.update({node: body_input(f"saved {node.name}", node.type) for node in saved})
    body = substitute(body, places)
    backward = Scan(
        carries=(*cotangents[: len(carried)], *sums),
        xs=(*cotangents[len(carried) :], *places_of(saved, places), *places_of(op.xs, places)),
        consts=tuple(places_of(op.consts, places)),
        next=tuple(body[: len(following)]),
        ys=tuple(body[len(following) :]),
        length=op.length,
        reverse=not op.reverse,
        origin=object(),
        segmented=op.segmented,
    )
    float_ys = [i for i, node in enumerate(op.ys) if is_float(node)]
    extended = replace(op, ys=(*op.ys, *saved))
    return Transposed(
        extended, backward, tuple(carried), tuple(float_ys), tuple(summed), tuple(spread)
    )


def transposed(op: Scan) -> Transposed:
    """Back-propagation through time; every derivative of this op shares it."""
    if op not in _TRANSPOSED:
        _TRANSPOSED[op] = transpose(op)
    return _TRANSPOSED[op]


def pull_back_scan(
    op: Scan, gs: Sequence[Node], y: Node, inputs: Sequence[Node]
) -> list[Node | None]:
    """Cotangents of the inputs, given those of the outputs."""
    count = len(op.carries)
    derived = transposed(op)
    stacks = parts(apply(derived.extended, *inputs))[count + len(op.ys) :]
    _, xs, consts = op.split(inputs)
    init = [gs[i] for i in derived.carried] + [zeros(s.shape, s.dtype) for s in derived.sums]
    dys = [gs[count + i] for i in derived.float_ys]
    found = parts(apply(derived.backward, *init, *dys, *stacks, *xs, *consts))
    body_inputs = [*(op.carries[i] for i in derived.carried), *derived.sums, *derived.spread]
    by_input = dict(zip(body_inputs, found, strict=True))
    return [by_input.get(s) for s in op.body_inputs]


def places_of(nodes: Sequence[Node], places: dict[Node, Node]) -> list[Node]:
    """The body inputs that stand for nodes."""
    return [places[node] for node in nodes]


def residuals(body: Sequence[Node], op: Scan) -> list[Node]:
    """What of the forward body a backward body reads, apart from xs and constants.

    What a loop within the body saves for its own derivative is part of the forward body, unless
    that is to be computed again.
    """
    forward = set(toposort(op.body)) | set(op.body_inputs)
    if not op.segmented:
        forward |= _saved_by_loops(body, op.body_inputs)
    given = set(op.xs) | set(op.consts)
    found: dict[Node, None] = {}
    cut: dict[Node, list[Node]] = {}  # what is read in slices, and these
    stack = list(body)
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node.op, Part) and node.inputs[0] in forward:
            forward.add(node)  # a derivative may be the first to read this output
        root, _ = through_views(node)
        if node in forward and root is node and not is_implicit(node) and node not in given:
            found[node] = None
        elif node in forward and isinstance(node.op, Slice) and _is_computed(node.inputs[0], op):
            cut.setdefault(root, []).append(node)
        elif node not in given:
            stack += node.inputs
    for root, slices in cut.items():
        if root not in found:
            found.update(dict.fromkeys(slices if _are_less(slices, root) else [root]))
    return list(found)


def _is_computed(node: Node, op: Scan) -> bool:
    """Whether this is a value of the step: a state is kept anyway."""
    return through_views(node)[0] is node and node not in op.body_inputs and not is_implicit(node)


def _are_less(slices: Sequence[Node], whole: Node) -> bool:
    """Whether slices have, for sure, fewer elements than what they are of."""
    rest = product(whole.shape) - sum((product(x.shape) for x in slices), 0)
    return all(count > 0 for _, count in rest.terms) if isinstance(rest, Dim) else rest > 0


def _saved_by_loops(body: Sequence[Node], body_inputs: Sequence[Node]) -> set[Node]:
    """The outputs of loops that depend on the given body inputs only."""
    known = set(body_inputs)
    found: set[Node] = set()
    for node in toposort(body):
        if (
            node in known
            or isinstance(node.op, BodyInput)
            or not all(x in known for x in node.inputs)
        ):
            continue
        known.add(node)
        if isinstance(node.op, Part) and node.inputs[0].op.kind is Kind.LOOP:
            found.add(node)
    return found


def push_through_scan(
    op: Scan, tangents: Sequence[Any], inputs: Sequence[Node]
) -> tuple[Node, ...]:
    """The tangents of all outputs, by a scan over values and tangents together."""
    given = {
        s: t for s, t in zip(op.body_inputs, tangents, strict=True) if t is not None and is_float(s)
    }
    for s, x in zip(op.carries, inputs, strict=False):
        if is_float(s):
            given.setdefault(s, zeros(x.shape, x.dtype))
    moving = tuple(s for s in op.body_inputs if s in given)
    pushed = _PUSHED.setdefault(op, {})
    if moving not in pushed:
        pushed[moving] = _with_tangents(op, moving)
    joint = pushed[moving]
    init, xs, consts = op.split(inputs)

    def beside(values: Sequence[Node], body_inputs: Sequence[Node]) -> list[Node]:
        return [*values, *(given[s] for s in body_inputs if s in given)]

    operands = [*beside(init, op.carries), *beside(xs, op.xs), *beside(consts, op.consts)]
    made = iter(parts(apply(joint, *operands))[len(op.carries) :])
    types = op.infer()
    assert isinstance(types, tuple)
    return tuple(
        next(made) if is_float(node) else zeros(t.shape, t.dtype)
        for node, t in zip(op.body, types, strict=True)
    )


def _with_tangents(op: Scan, moving: Sequence[Node]) -> Scan:
    """The scan whose carries, xs and constants are followed by tangents of those in `moving`."""
    ts = {s: body_input(f"tangent of {s.name}", s.type) for s in moving}
    outs = [node for node in op.body if is_float(node)]
    pushed = push_forward(outs, moving, [ts[s] for s in moving])
    count = sum(is_float(node) for node in op.next)

    def both(body_inputs: Sequence[Node]) -> tuple[Node, ...]:
        return (*body_inputs, *(ts[s] for s in body_inputs if s in ts))

    return Scan(
        carries=both(op.carries),
        xs=both(op.xs),
        consts=both(op.consts),
        next=(*op.next, *pushed[:count]),
        ys=tuple(pushed[count:]),
        length=op.length,
        reverse=op.reverse,
        origin=object(),
        segmented=op.segmented,
    )


SCAN_RULES = LoopRules(pull_back_scan, push_through_scan)
