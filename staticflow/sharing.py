"""Whether a program has work that is large enough for helpers to take part in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.buffers import ITEMSIZE
from staticflow.dims import evaluate
from staticflow.native.product_crew import (
    CHAIN_ROWS,
    SHARED,
    SHARED_CHAIN,
    SHARED_THIN,
    worth_sharing,
)
from staticflow.schedule import BlockStep, BranchStep, HalvesStep, LoopStep, ProductStep, Step


def has_large_products(steps: Sequence[Step], sizes: Mapping[str, int]) -> bool:
    """Whether a product of the program is shared at these sizes, when somebody is there."""
    for step in steps:
        if isinstance(step, LoopStep | BranchStep) and has_large_products(step.body, sizes):
            return True
        if isinstance(step, HalvesStep) and has_large_products(step.steps, sizes):
            return True
        if isinstance(step, BlockStep):
            if evaluate(step.rows * step.row_count, sizes) >= SHARED_THIN:
                return True
        elif isinstance(step, ProductStep):
            extents = [evaluate(dim, sizes) for dim in (step.m, step.n, step.k)]
            if worth_sharing(*extents):
                return True
    return False


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
