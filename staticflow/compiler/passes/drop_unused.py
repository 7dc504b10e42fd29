"""Drop what of a loop nobody reads: ys, carries, and what only these need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.compiler.passes.loop_walk import rebuild_loops
from staticflow.graph.kinds import Part, parts
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import toposort


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


def _trimmed(node: Node, inputs: tuple[Node, ...], used: set[int]) -> tuple[Node, dict[int, int]]:
    """A smaller loop, and where the old outputs are among the new."""
    op = node.op
    assert isinstance(op, Scan)
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
    op = node.op
    assert isinstance(op, Loop)
    kept = list(range(len(node.type))) if op.carries else sorted(used)
    regions = [
        drop_unused(region if op.carries else [region[i] for i in kept]) for region in op.regions
    ]
    new = apply(op.renewed(op.body_inputs, regions), *inputs, where=node.where)
    return new, {old: i for i, old in enumerate(kept)}


def _live_carries(op: Scan, used: set[int]) -> list[int]:
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
