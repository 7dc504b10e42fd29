"""Steps with their kernels changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

from staticflow.compiler.ir.steps import (
    BlockStep,
    BranchStep,
    CallStep,
    CollectiveStep,
    HalvesStep,
    KernelStep,
    LoopStep,
    PackStep,
    ProductStep,
    Step,
)


def map_kernels(
    steps: Sequence[Step], change: Callable[[KernelStep], KernelStep], *, whole_loops: bool = False
) -> list[Step]:
    """The steps with every kernel changed, in loops, branches, blocks and behind products too.

    Kernels that are whole loops are left as they are, unless asked for.
    """

    def changed(step: Step) -> Step:
        match step:
            case KernelStep():
                return change(step)
            case ProductStep():
                epilogue = step.epilogue
                if epilogue is None:
                    return step
                return replace(step, epilogue=epilogue.with_kernel(change(epilogue.kernel)))
            case PackStep() | CollectiveStep() | CallStep():
                return step
            case LoopStep() if step.in_parts and not whole_loops:
                return step
            case LoopStep() | BlockStep():
                return replace(step, body=all_changed(step.body))
            case BranchStep():
                then, otherwise = all_changed(step.then), all_changed(step.otherwise)
                return replace(step, then=then, otherwise=otherwise)
            case HalvesStep():
                parts = (step.before, step.body, step.whole)
                before, body, whole = map(all_changed, parts)
                return replace(step, before=before, body=body, whole=whole)
            case _:
                assert_never(step)

    def all_changed(inner: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(map(changed, inner))

    return list(all_changed(steps))
