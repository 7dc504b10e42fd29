"""Scans, loops and branches in ONNX: bodies become graphs within the graph.

A body reads what stays the same from step to step where it lies, outside: ONNX lets it see the
values of the graphs around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from staticflow.graph.node import Node
from staticflow.graph.types import TensorType
from staticflow.session.interchange.onnx_out.arrays import Call, counted
from staticflow.session.interchange.onnx_out.builder import Body, Builder, Scope, Tensor

Lines = Callable[[Sequence[Node]], list[Tensor]]  # writes nodes and all that they need


def body(
    b: Builder, name: str, given: Sequence[tuple[Node, Tensor]], inputs: Sequence[Node],
    lead: Sequence[tuple[str, TensorType]], make: Callable[[], list[tuple[Tensor, TensorType]]],
) -> Body:  # fmt: skip
    """A graph within: `given` nodes are values outside, `inputs` are the graph's own, after the
    `lead`; `make` writes what it gives.
    """
    outer = b.scope
    scope = b.scope = Scope(outer)
    scope.known.update(given)
    declared = list(lead)
    for node in inputs:
        value = Tensor(b, b.fresh(node.name), node.dtype)
        scope.known[node] = value
        declared.append((value.name, node.type))
    outputs: list[tuple[str, TensorType]] = []
    for value, type_ in make():
        outputs.append((_own(b, value, [name for name, _ in outputs]).name, type_))
    b.scope = outer
    return Body(b.fresh(name), tuple(scope.entries), tuple(declared), tuple(outputs))


def _own(b: Builder, value: Tensor, taken: Sequence[str]) -> Tensor:
    """The value under a name of its own: an output is no input, no outer value, no other output."""
    here = any(value.name in entry.outputs for entry in b.scope.entries)
    return value if here and value.name not in taken else value.op("Identity")


def written_scan(c: Call, lines: Lines) -> list[Tensor]:
    """Carries first, then what is scanned; the constants are seen outside."""
    b, op = c.builder, c.op
    init, xs, consts = op.split(c.xs)
    pairs = zip(op.consts, consts, strict=True)
    lead: list[tuple[str, TensorType]] = []
    scanned = list(xs)
    if not xs:  # ONNX counts steps by what is scanned
        scanned = [counted(b, op.length, "int64")]
        lead = [(b.fresh("step"), TensorType((), "int64"))]

    def make() -> list[tuple[Tensor, TensorType]]:
        nodes = [*op.next, *op.ys]
        return list(zip(lines(nodes), (n.type for n in nodes), strict=True))

    # A step's number would stand before the carries, so it goes behind them.
    made = body(b, "scan", list(pairs), [*op.carries, *op.xs], [], make)
    made = Body(made.name, made.entries, (*made.inputs, *lead), made.outputs)
    turned = b.flipped if op.reverse else (lambda x: x)  # other directions run in few runtimes
    dtypes = [t.dtype for t in c.node.type]
    given = [*init, *map(turned, scanned)]
    found = b.ops("Scan", given, dtypes, body=made, num_scan_inputs=len(scanned))
    return [*found[: len(init)], *map(turned, found[len(init) :])]


def written_while(c: Call, lines: Lines) -> list[Tensor]:
    """A Loop without a number of steps; the test is computed before it, and at each step's end."""
    b, op = c.builder, c.op
    init, _, consts = op.split(c.xs)
    fixed = list(zip(op.consts, consts, strict=True))
    before = Scope(b.scope, b.scope.entries, dict([*fixed, *zip(op.carries, init, strict=True)]))
    outer, b.scope = b.scope, before
    first = lines([op.test])[0].cast("bool")
    b.scope = outer

    def make() -> list[tuple[Tensor, TensorType]]:
        following = lines(op.next)
        scope = b.scope
        b.scope = Scope(
            scope, scope.entries, dict([*fixed, *zip(op.carries, following, strict=True)])
        )
        test = lines([op.test])[0].cast("bool")
        b.scope = scope
        pairs = zip(following, (n.type for n in op.next), strict=True)
        return [(test, TensorType((), "bool")), *pairs]

    lead = [
        (b.fresh("step"), TensorType((), "int64")),
        (b.fresh("goes_on"), TensorType((), "bool")),
    ]
    made = body(b, "loop", fixed, op.carries, lead, make)
    dtypes = [t.dtype for t in c.node.type]
    return b.ops("Loop", [None, first, *init], dtypes, body=made)


def written_branch(c: Call, lines: Lines) -> list[Tensor]:
    b, op = c.builder, c.op
    fixed = list(zip(op.consts, c.xs, strict=True))

    def branch(name: str, region: Sequence[Node]) -> Body:
        def make() -> list[tuple[Tensor, TensorType]]:
            return list(zip(lines(region), (n.type for n in region), strict=True))

        return body(b, name, fixed, [], [], make)

    dtypes = [t.dtype for t in c.node.type]
    return b.ops(
        "If",
        [c.x.cast("bool")],
        dtypes,
        then_branch=branch("then", op.then),
        else_branch=branch("otherwise", op.otherwise),
    )


def written_recurrence(c: Call, lines: Lines) -> list[Tensor]:
    """y_i = a_i y_(i-1) + b_i along the last axis: a Scan over it, from a zero before the first."""
    b, rank = c.builder, c.node.ndim
    order = [rank - 1, *range(rank - 1)]
    factors, terms = (x.op("Transpose", perm=order) for x in c.xs)
    row = TensorType(c.node.shape[:-1], c.node.dtype)
    zero = b.scalar(0, row.dtype)
    zeros, first = (zero.op("Expand", b.shape((*n, *row.shape))) for n in ((), (1,)))
    axis, most = b.ints([0]), b.ints([np.iinfo(np.int64).max])
    turned = b.flipped if c.op.reverse else (lambda x: x)
    # the first factor has nothing before it, and may be infinite
    kept = turned(factors).op("Slice", b.ints([1]), most, axis)
    rows = [first.op("Concat", kept, axis=0), turned(terms)]
    outer = b.scope
    scope = b.scope = Scope(outer)
    before, factor, added = (Tensor(b, b.fresh(n), row.dtype) for n in ("before", "a", "b"))
    now = factor * before + added
    outputs = [(now.name, row), (now.op("Identity").name, row)]
    b.scope = outer
    inputs = tuple((t.name, row) for t in (before, factor, added))
    made = Body(b.fresh("recurrence"), tuple(scope.entries), inputs, tuple(outputs))
    dtypes = [row.dtype] * 2
    _, ys = b.ops("Scan", [zeros, *rows], dtypes, body=made, num_scan_inputs=2)
    return [turned(ys).op("Transpose", perm=[*range(1, rank), 0])]


LOOPS: Mapping[str, Callable[[Call, Lines], list[Tensor]]] = {
    "Scan": written_scan, "While": written_while, "Branch": written_branch,
    "Recurrence": written_recurrence,
}  # fmt: skip
