"""Scans that save little: a loop over segments, each of which is a loop over steps.

    steps       0 1 2 3 | 4 5 6 7 | 8 9 10 11 | 12 13
    saved       c         c         c           (all)      segments of 4; what is left over last

The derivative goes back over the segments: it runs the steps of one again, now saving what it needs
of them, and then back over these. Memory is that of one segment and of a carry for each; the price
is another forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticflow.graph.dims import AnyDim, floor_divide
from staticflow.graph.kinds import parts
from staticflow.graph.loop_op import body_input
from staticflow.graph.node import Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.ops.assemble import concatenate
from staticflow.ops.shape import reshape
from staticflow.ops.slices import slice_axis


def scan_in_segments(
    op: Scan, init: Sequence[Node], xs: Sequence[Node], consts: Sequence[Node], every: AnyDim
) -> list[Node]:
    """The outputs of a scan, run in segments of `every` steps and one of what is left over."""
    segments = floor_divide(op.length, every)
    covered = segments * every
    rest = op.length - covered
    count = len(op.carries)
    carry, before, after = list(init), list[Node](), list[Node]()
    for leftover in (True, False) if op.reverse else (False, True):
        if leftover and rest != 0:
            tail = [slice_axis(x, 0, covered, op.length) for x in xs]
            found = parts(apply(_of_length(op, rest), *carry, *tail, *consts))
            carry, after = list(found[:count]), list(found[count:])
        if not leftover and segments != 0:
            shape = (segments, every)
            head = [reshape(slice_axis(x, 0, 0, covered), (*shape, *x.shape[1:])) for x in xs]
            found = parts(apply(_over_segments(op, segments, every), *carry, *head, *consts))
            carry = list(found[:count])
            before = [reshape(y, (covered, *y.shape[2:])) for y in found[count:]]
    if before and after:
        return [*carry, *(concatenate(pair) for pair in zip(before, after, strict=True))]
    return [*carry, *(before or after)]


def _of_length(op: Scan, length: AnyDim) -> Scan:
    """The same scan over another number of steps."""
    return replace(op, length=length, origin=object())


def _over_segments(op: Scan, segments: AnyDim, every: AnyDim) -> Scan:
    """A scan each of whose steps is the scan `op` over one segment."""
    inner = _of_length(op, every)
    carries = [body_input(s.name, s.type) for s in op.carries]
    xs = [body_input(s.name, s.type.with_shape((every, *s.shape))) for s in op.xs]
    consts = [body_input(s.name, s.type) for s in op.consts]
    body = parts(apply(inner, *carries, *xs, *consts))
    return Scan(
        carries=tuple(carries),
        xs=tuple(xs),
        consts=tuple(consts),
        next=tuple(body[: len(carries)]),
        ys=tuple(body[len(carries) :]),
        length=segments,
        reverse=op.reverse,
        origin=object(),
        segmented=True,
    )
