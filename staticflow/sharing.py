"""Whether a program has products that are large enough for helpers to take part in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.dims import evaluate
from staticflow.native.product_crew import SHARED_THIN, worth_sharing
from staticflow.schedule import BlockStep, BranchStep, LoopStep, ProductStep, Step


def has_large_products(steps: Sequence[Step], sizes: Mapping[str, int]) -> bool:
    """Whether a product of the program is shared at these sizes, when somebody is there."""
    for step in steps:
        if isinstance(step, LoopStep | BranchStep) and has_large_products(step.body, sizes):
            return True
        if isinstance(step, BlockStep):
            if evaluate(step.rows * step.row_count, sizes) >= SHARED_THIN:
                return True
        elif isinstance(step, ProductStep):
            extents = [evaluate(dim, sizes) for dim in (step.m, step.n, step.k)]
            if worth_sharing(*extents):
                return True
    return False
