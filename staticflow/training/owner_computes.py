"""The gradients that shards make in parts, each for the slice of the parameters that it updates.

`mark_owner_computes` says which products can be left to their owners. Here it is decided, for given
sizes, which are: those whose result is so much larger than what they read that it would cost more
to add up the shards' results. The flat array of parameters is then cut at rows of these results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.compiler.ir.steps import Operand, ProductStep
from staticflow.compiler.lowering.buffers import ITEMSIZE
from staticflow.graph.dims import AnyDim, evaluate
from staticflow.runtime.parameters import FlatArray, Span
from staticflow.runtime.program import Frame
from staticflow.training.step_programs import StepPrograms

LARGER = 1.25  # than its operands must a result be
MOST_WORK = 1 << 29  # multiplications: such a product can't be stopped half-way
LINE = 16  # elements of a cache line


@dataclass(frozen=True)
class OwnedProduct:
    """A product whose result is the gradient of one parameter."""

    step: ProductStep
    span: Span
    rows: int
    columns: int

    @property
    def end(self) -> int:
        return self.span.start + self.rows * self.columns


def owned_products(
    programs: StepPrograms, flat: FlatArray, env: Mapping[str, int]
) -> list[OwnedProduct]:
    """The products that are worth leaving to their owners, for a batch of the sizes `env`."""
    compiled = programs.forward.compiled
    sizes = compiled.sized.sizes_by_name(env)
    gradients = compiled.output_buffers[1 + len(programs.metrics) :]
    spans = dict(zip(gradients, flat.spans, strict=False))
    found = []
    for step in compiled.steps:
        if not isinstance(step, ProductStep) or not step.owner_bit or step.c.place[0] not in spans:
            continue
        m, n, k = (evaluate(d, sizes) for d in (step.m, step.n, step.k))
        if m * n > LARGER * (m + n) * k and m * n * k <= MOST_WORK:
            found.append(OwnedProduct(step, spans[step.c.place[0]], m, n))
    return found


def slices(size: int, count: int, owned: Sequence[OwnedProduct]) -> list[tuple[int, int]]:
    """Cut a flat array into slices that start at cache lines, or at rows of an owned gradient."""
    lines = size // LINE
    cuts = [LINE * (lines * i // count) for i in range(count)]
    for x in owned:
        cuts = [
            x.span.start + (c - x.span.start) // x.columns * x.columns
            if x.span.start < c < x.end
            else c
            for c in cuts
        ]
    return list(pairwise([*cuts, size]))


def summed(first: int, end: int, owned: Sequence[OwnedProduct]) -> list[tuple[int, int]]:
    """The parts of a slice whose gradients the shards still have to add up."""
    parts = []
    for x in sorted(owned, key=lambda x: x.span.start):
        if first < min(x.span.start, end):
            parts.append((first, min(x.span.start, end)))
        first = max(first, min(x.end, end))
    if first < end:
        parts.append((first, end))
    return parts


def records(
    owned: Sequence[OwnedProduct], first: int, end: int, frames: Sequence[Frame],
    gradient: int, work: int,
) -> list[list[int]]:  # fmt: skip
    """What a shard with this slice has to multiply: see `training.layout.Owned`.

    `frames` are those of all shards, `gradient` and `work` the addresses of the flat gradient and
    of scratch memory.
    """
    rows: list[list[int]] = []
    for x in owned:
        start, n = x.span.start, x.columns
        top, bottom = (min(max((c - start) // n, 0), x.rows) for c in (first, end))
        if top == bottom:
            continue
        item = ITEMSIZE[x.step.dtype]
        target = gradient + item * (start + top * n)
        for peer, frame in enumerate(frames):
            sizes = frame.sizes_by_name()
            k = evaluate(x.step.k, sizes)
            a = _operand(x.step.a, frame, sizes, item, top)
            b = _operand(x.step.b, frame, sizes, item, 0)
            rows.append([bottom - top, n, k, *a, *b, target, n, int(peer > 0), work])
    return rows


def _operand(
    operand: Operand, frame: Frame, sizes: Mapping[str, int], item: int, row: int
) -> list[int]:
    def value(dim: AnyDim) -> int:
        return evaluate(dim, sizes)

    entry = frame.addresses[0] + 8 * (HEADER + operand.place[0])
    stride = value(operand.row)
    offset = item * (value(operand.place[1]) + row * stride)
    return [entry, offset, stride, value(operand.column)]
