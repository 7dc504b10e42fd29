"""Make one kernel of a loop whose steps touch few elements, with the loop inside.

Before:  for k0 in range(n):                        calls through pointers, carries in memory
             carry_6 = carry_5 + 8 * (k0 % 2)
             shared_gemm_f8(3, 3, 3, carry_6, ...)
             multiply_add(...)
After:   for first0 in range(0, n, 4096):           a look at the stop flag
             scan(carry_5, ..., first0, min(first0 + 4096, n))

A value in the body that has up to MOST_ELEMENTS elements, whatever the data, is structure: loops
over it have numbers as bounds, which LLVM unrolls, and products are loops as well. What only the
body touches, and what one step hands to the next, lies in local arrays, which become registers.
Between the parts of a loop that runs for long carries are in memory, where they are without this
pass, so that whatever follows the loop finds them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from staticflow.compiler.ir.loops import Code, For, Stmt
from staticflow.compiler.ir.steps import KernelStep, LoopStep, ProductStep, Step, children
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.compiler.schedule.loop_body import LoopBody, Unsuitable
from staticflow.compiler.schedule.product_loops import is_plain, known_sizes, literal
from staticflow.graph.dims import AnyDim, product
from staticflow.native.toolchain.target import LOCAL_ELEMENTS

MOST_ELEMENTS = LOCAL_ELEMENTS  # of a value that is structure
MOST_STEPS = 400  # of the body

Known = Mapping[str, int]
Users = Mapping[int, set[int]]


def loop_kernels(
    steps: Sequence[Step], buffers: Sequence[Buffer], sizes: Sequence[AnyDim]
) -> list[Step]:
    """The steps with one kernel for each innermost loop over few elements.

    `sizes` holds what the size classes stand for, in the user's names.
    """
    known = known_sizes(sizes)
    users = _users(steps)
    return [_changed(step, buffers, known, users) for step in steps]


def _users(steps: Sequence[Step]) -> Users:
    """The innermost loops that touch each buffer, by number; -1 stands for what is in no loop."""
    users: dict[int, set[int]] = {}

    def visit(steps: Sequence[Step], loop: int) -> None:
        for step in steps:
            for body in children(step):
                visit(body, step.number if isinstance(step, LoopStep) else loop)
            if isinstance(step, LoopStep):  # where values are before it and after it
                touched = step.bases | set(step.after)
            else:
                touched = step.reads | step.writes
            for buffer in touched:
                users.setdefault(buffer, set()).add(loop)

    visit(steps, -1)
    return users


def _changed(step: Step, buffers: Sequence[Buffer], known: Known, users: Users) -> Step:
    if not isinstance(step, LoopStep) or step.flag is not None:
        return step
    if not 0 < len(step.body) <= MOST_STEPS or not all(_is_small(s, known) for s in step.body):
        inner = tuple(_changed(s, buffers, known, users) for s in step.body)
        return replace(step, body=inner)
    own = frozenset(
        b for b, loops in users.items() if loops == {step.number} and buffers[b].role == "temp"
    )
    try:
        kernel = LoopBody(step, buffers, known, own, MOST_ELEMENTS).kernel_step()
    except Unsuitable:
        return step
    return replace(step, body=(kernel,), moving=(), in_parts=True)


def _is_small(step: Step, known: Known) -> bool:
    """Whether a step touches values of few elements, whose numbers are known."""
    if isinstance(step, ProductStep):
        matrices = ((step.m, step.k), (step.k, step.n), (step.m, step.n))
        counts = [literal(product((*step.batch, *matrix)), known) for matrix in matrices]
        return is_plain(step) and all(n is not None and n <= MOST_ELEMENTS for n in counts)
    if not isinstance(step, KernelStep) or step.kernel.calls:
        return False
    sizes = dict(zip(step.kernel.sizes, step.sizes, strict=True))
    turns = _turns(step.kernel.body, sizes, known)
    return turns is not None and turns <= MOST_ELEMENTS


def _turns(body: Sequence[Stmt], sizes: Mapping[str, AnyDim], known: Known) -> int | None:
    """How often the innermost statements of the longest nest run; None where nobody knows."""
    most = 1
    for statement in body:
        if isinstance(statement, For):
            extent = statement.extent
            if isinstance(extent, Code):
                return None
            count = literal(extent if isinstance(extent, int) else sizes[extent], known)
            inner = _turns(statement.body, sizes, known)
            if count is None or inner is None:
                return None
            most = max(most, count * inner)
    return most
