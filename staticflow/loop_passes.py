"""Passes over loops: walk into bodies, merge, trim, and separate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from staticflow.bodies import Loop, slot, substitute
from staticflow.kinds import Part, parts
from staticflow.leaves import Const
from staticflow.node import Node, apply, operator
from staticflow.ops.views import Broadcast
from staticflow.recurrence import Scan
from staticflow.traversal import is_implicit, rebuild, toposort, with_inputs


def map_bodies(
    roots: Sequence[Node], change: Callable[[Any, Sequence[Node]], Sequence[Node]]
) -> list[Node]:
    """Rebuild every loop, inner ones first, with the bodies that `change(op, outputs)` gives."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        op = node.op
        regions = [list(change(op, map_bodies(region, change))) for region in op.regions]
        return Node(op.renewed(op.slots, regions), inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def merge_scans(roots: Sequence[Node]) -> list[Node]:
    """Make one scan of those that have one body and equal inputs, with all their ys."""
    order = toposort(roots)
    number = _numbered(order)
    unions: dict[int, dict[Node, None]] = {}
    for node in order:
        if isinstance(node.op, Scan):
            unions.setdefault(number[node], {}).update(dict.fromkeys(node.op.ys))
    merged: dict[int, Node] = {}

    def unite(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
            source = node.inputs[0]
            position = _index_in_union(node.op.index, node.inputs[0].op, unions[number[source]])
            return apply(Part(position), inputs[0], where=node.where)
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        if number[node] not in merged:
            op: Loop = node.op
            if isinstance(op, Scan):
                op = replace(op, ys=tuple(unions[number[node]]))
            inside = op.renewed(op.slots, [merge_scans(region) for region in op.regions])
            merged[number[node]] = apply(inside, *inputs, where=node.where)
        return merged[number[node]]

    return rebuild(roots, unite)


def _index_in_union(index: int, op: Scan, ys: Iterable[Node]) -> int:
    count = len(op.carries)
    return index if index < count else count + list(ys).index(op.ys[index - count])


def _numbered(order: Sequence[Node]) -> dict[Node, int]:
    """A number for each node, equal for equal values; scans of one body and equal inputs count as
    one, however many ys they return.
    """
    numbers: dict[Node, int] = {}
    found: dict[Any, int] = {}
    for node in order:
        numbers[node] = found.setdefault(_identity(node, numbers), len(found))
    return numbers


def _identity(node: Node, numbers: dict[Node, int]) -> Any:
    inputs = tuple(numbers[x] for x in node.inputs)
    if isinstance(node.op, Scan):
        return (id(node.op.origin), node.op.reverse, inputs)
    if isinstance(node.op, Part) and isinstance(node.inputs[0].op, Scan):
        op, index = node.inputs[0].op, node.op.index - len(node.inputs[0].op.carries)
        return (Part, inputs, node.op.index if index < 0 else op.ys[index])
    if isinstance(node.op, Const) and node.op.is_scalar:
        return (Const, node.dtype, node.op.value.tobytes())
    return (node.op, inputs)


def separate_bodies(roots: Sequence[Node]) -> list[Node]:
    """Give every body nodes of its own, so that each can be placed in memory by itself."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Loop):
            return with_inputs(node, inputs)
        op = node.op
        fresh = {s: slot(s.name, s.type) for s in op.slots}
        regions = [_copied(separate_bodies(region), fresh) for region in op.regions]
        new = op.renewed([fresh[s] for s in op.slots], regions)
        return Node(new, inputs, node.type, node.where, node.label)

    return rebuild(roots, visit)


def _copied(roots: Sequence[Node], fresh: dict[Node, Node]) -> list[Node]:
    new = dict(fresh)
    for node in toposort(roots):
        if node not in new:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, inputs, node.type, node.where, node.label)
    return [new[root] for root in roots]


def drop_unused(roots: Sequence[Node]) -> list[Node]:
    """Remove ys that nobody reads, or that are there twice, and what no body uses."""
    used: dict[Node, set[int]] = {}
    for node in toposort(roots):
        if isinstance(node.op, Part):
            used.setdefault(node.inputs[0], set()).add(node.op.index)

    def trim(node: Node, inputs: tuple[Node, ...]) -> list[Node | None]:
        trimmed = _trimmed if isinstance(node.op, Scan) else _trimmed_branches
        new, position = trimmed(node, inputs, used.get(node, set()))
        outputs = parts(new)
        return [outputs[position[i]] if i in position else None for i in range(len(node.type))]

    return rebuild_loops(roots, trim)


def rebuild_loops(
    roots: Sequence[Node],
    outputs_of: Callable[[Node, tuple[Node, ...]], Sequence[Node | None]],
) -> list[Node]:
    """Rebuild a graph with other nodes for the outputs of its loops; None where nobody reads."""
    made: dict[Node, Sequence[Node | None]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and node.inputs[0] in made:
            output = made[node.inputs[0]][node.op.index]
            assert output is not None
            return output
        if isinstance(node.op, Loop):
            made[node] = outputs_of(node, inputs)
        return with_inputs(node, inputs)

    return rebuild(roots, visit)


def settle(roots: Sequence[Node]) -> list[Node]:
    """Make constants of carries that no step changes and of xs that are the same in every step.

    And take ys from outside where they are.
    """
    return rebuild_loops(map_bodies(roots, lambda op, body: settle(body)), _settled)


def _without_repeats(op: Scan, inputs: Sequence[Node]) -> tuple[Scan, list[Node]]:
    """The loop without xs that repeat one value along the steps; one is left to tell the length."""
    init, xs, consts = op.split(inputs)
    repeated = [i for i, x in enumerate(xs) if _is_repeated(x)][: len(xs) - 1]
    if not repeated:
        return op, list(inputs)
    places: dict[Node, Node] = {s: s for s in op.slots}
    added: dict[Node, Node] = {}  # slots for values that are none of the body's own, and these
    for i in repeated:
        view: Any = xs[i].op
        value = inner = xs[i].inputs[0]
        if not is_implicit(value):
            inner = slot(op.xs[i].name, value.type)
            added[inner] = value
        each = Broadcast(view.shape[1:], tuple(axis - 1 for axis in view.axes))
        places[op.xs[i]] = apply(each, inner) if each.shape != inner.shape else inner
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
    return isinstance(x.op, Broadcast) and 0 in x.op.new_axes


def _settled(node: Node, inputs: Sequence[Node]) -> Sequence[Node | None]:
    op: Any = node.op
    if not isinstance(op, Scan):
        return parts(with_inputs(node, tuple(inputs)))
    op, inputs = _without_repeats(op, inputs)
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


def _trimmed(node: Node, inputs: tuple[Node, ...], used: set[int]) -> tuple[Node, dict[int, int]]:
    """A smaller loop, and where the old outputs are among the new."""
    op: Any = node.op
    count = len(op.carries)
    carries = _live_carries(op, used)
    ys = list(dict.fromkeys(y for i, y in enumerate(op.ys) if count + i in used))
    body = drop_unused([*(op.next[i] for i in carries), *ys])
    reached = set(toposort(body))
    init, xs, consts = op.split(inputs)
    keep_x = [i for i, s in enumerate(op.xs) if s in reached]
    if not keep_x and op.xs and not isinstance(op.length, int):
        keep_x = [0]  # a run-time length must come from some array
    keep_c = [i for i, s in enumerate(op.consts) if s in reached]
    new = replace(
        op,
        carries=tuple(op.carries[i] for i in carries),
        next=tuple(body[: len(carries)]),
        ys=tuple(body[len(carries) :]),
        xs=tuple(op.xs[i] for i in keep_x),
        consts=tuple(op.consts[i] for i in keep_c),
    )
    operands = [init[i] for i in carries] + [xs[i] for i in keep_x] + [consts[i] for i in keep_c]
    position = {old: i for i, old in enumerate(carries)}
    for i, y in enumerate(op.ys):
        if y in ys:
            position[count + i] = len(carries) + ys.index(y)
    return apply(new, *operands, where=node.where), position


def _trimmed_branches(
    node: Node, inputs: tuple[Node, ...], used: set[int]
) -> tuple[Node, dict[int, int]]:
    """Of a loop that is no scan, without the outputs that nobody reads if it is a branch."""
    op: Any = node.op
    kept = list(range(len(node.type))) if op.carries else sorted(used)
    regions = [
        drop_unused(region if op.carries else [region[i] for i in kept]) for region in op.regions
    ]
    new = apply(op.renewed(op.slots, regions), *inputs, where=node.where)
    return new, {old: i for i, old in enumerate(kept)}


def _live_carries(op: Any, used: set[int]) -> list[int]:
    """The carries that are read from outside, or that what is read depends on."""
    count = len(op.carries)
    live = {i for i in range(count) if i in used}
    roots = [op.ys[i - count] for i in used if i >= count]
    while True:
        reached = set(toposort([*roots, *(op.next[i] for i in live)]))
        more = {i for i, s in enumerate(op.carries) if s in reached} | live
        if more == live:
            return sorted(live)
        live = more
