"""Whether a program has work that is large enough for helpers to take part in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.ir.steps import (
    BlockStep,
    HalvesStep,
    ProductStep,
    Step,
    fold,
    sizes_within,
)
from staticflow.compiler.lowering.buffers import ITEMSIZE
from staticflow.graph.dims import evaluate
from staticflow.native.threads.product_pool import (
    CHAIN_ROWS,
    SHARED,
    SHARED_CHAIN,
    SHARED_THIN,
    worth_sharing,
)


def has_large_products(steps: Sequence[Step], sizes: Mapping[str, int]) -> bool:
    """Whether a product of the program is shared at these sizes, when somebody is there."""
    known = sizes_within(steps, sizes)

    def is_shared(step: Step, bodies: tuple[list[bool], ...]) -> bool:
        if isinstance(step, BlockStep):
            return evaluate(step.rows * step.row_count, known) >= SHARED_THIN
        if isinstance(step, ProductStep):
            return worth_sharing(*(evaluate(dim, known) for dim in (step.m, step.n, step.k)))
        return any(any(body) for body in bodies)

    found: list[bool] = fold(steps, is_shared)
    return any(found)


def has_chains(steps: Sequence[Step], sizes: Mapping[str, int]) -> bool:
    """Whether a chain of smaller products is shared at these sizes, when somebody is there."""
    return any(isinstance(step, HalvesStep) and is_halved(step, sizes) for step in steps)


def is_halved(step: HalvesStep, sizes: Mapping[str, int]) -> bool:
    """Whether two threads make one half of the rows each, as the driver decides."""
    cost = 0
    for inner in step.products:
        m, n, k = (evaluate(dim, sizes) for dim in (inner.m, inner.n, inner.k))
        if m * n * k >= SHARED:
            return False
        cost += m * n * k * ITEMSIZE[inner.dtype] // 4
    return evaluate(step.rows, sizes) >= CHAIN_ROWS and cost >= SHARED_CHAIN
