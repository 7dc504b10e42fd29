"""Passes over loops: walk into bodies, merge, trim, and separate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from staticflow.bodies import slot
from staticflow.graph import Const, Node, Part, apply, parts, rebuild, toposort, with_inputs
from staticflow.recurrence import Scan


def map_bodies(
    roots: Sequence[Node], change: Callable[[Scan, Sequence[Node]], Sequence[Node]]
) -> list[Node]:
    """Rebuild every loop with a changed body, inner loops first."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        body = list(change(node.op, map_bodies(node.op.body, change)))
        count = len(node.op.next)
        op = replace(node.op, next=tuple(body[:count]), ys=tuple(body[count:]))
        return Node(op, inputs, node.type, node.where, node.label)

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
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        if number[node] not in merged:
            union = replace(node.op, ys=tuple(unions[number[node]]))
            merged[number[node]] = apply(_merged_inside(union), *inputs, where=node.where)
        return merged[number[node]]

    return rebuild(roots, unite)


def _merged_inside(op: Scan) -> Scan:
    """The scan with the scans in its body merged."""
    body = merge_scans(op.body)
    count = len(op.next)
    return replace(op, next=tuple(body[:count]), ys=tuple(body[count:]))


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
    """Give every scan nodes of its own, so that each body can be placed in memory by itself."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        op = node.op
        fresh = {s: slot(s.name, s.type) for s in op.slots}
        body = _copied(separate_bodies(op.body), fresh)
        count = len(op.next)
        new = replace(
            op,
            carries=tuple(fresh[s] for s in op.carries),
            xs=tuple(fresh[s] for s in op.xs),
            consts=tuple(fresh[s] for s in op.consts),
            next=tuple(body[:count]),
            ys=tuple(body[count:]),
        )
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
    kept: dict[Node, list[Node | None]] = {}  # the outputs of each loop, by their old numbers

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if isinstance(node.op, Part) and node.inputs[0] in kept:
            output = kept[node.inputs[0]][node.op.index]
            assert output is not None
            return output
        if not isinstance(node.op, Scan):
            return with_inputs(node, inputs)
        new, position = _trimmed(node, inputs, used.get(node, set()))
        outputs = parts(new)
        kept[node] = [
            outputs[position[i]] if i in position else None for i in range(len(node.type))
        ]
        return new

    return rebuild(roots, visit)


def _trimmed(
    node: Node, inputs: tuple[Node, ...], used: set[int]
) -> tuple[Node, dict[int, int]]:
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
