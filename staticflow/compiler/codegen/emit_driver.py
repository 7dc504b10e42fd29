"""Print the driver of a program as Numba source. The last pass: before it, no step is text.

The driver takes two tables: T with the addresses of buffers and S with the sizes (`driver_abi`),
reads both once, and calls the kernels (`kernels`), the products and the routines in order:

    def step(T, S):
        n0, n1, n2 = S[1], S[2], S[3]
        x, w, z = T[8], T[9], T[10]
        gemm_f4(n0, n2, n1, x, n1, 1, w, n2, 1, z, n2, 0, T[0], T[5])  # model.py:12: z = x @ w
        add_maximum(z, b, h, n0, n2)                                 # model.py:13: h = ...
        return 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.compiler.codegen.driver import Driver, DriverText, Emitter
from staticflow.compiler.codegen.driver_abi import STOP
from staticflow.compiler.codegen.emit_calls import (
    emit_call,
    emit_collective,
    emit_kernel,
    emit_pack,
    emit_product,
)
from staticflow.compiler.codegen.emit_threads import emit_block, emit_halves
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.compiler.ir.steps import (
    BlockStep,
    BranchStep,
    CallStep,
    CollectiveStep,
    HalvesStep,
    KernelStep,
    LoopStep,
    PackStep,
    Place,
    ProductStep,
    Step,
    part_names,
)
from staticflow.compiler.lowering.buffers import Buffer

PART_STEPS = 4096  # of a loop in one kernel between two looks: some milliseconds at most


def driver_source(
    name: str,
    steps: Sequence[Step],
    buffers: Sequence[Buffer],
    size_count: int,
    *,
    timed: bool = False,
    pool: bool = False,
    polls: bool = False,
    between: bool = False,
) -> DriverText:
    """The driver that runs the steps of a program in order.

    With `timed`, it adds the cycles of step i to the i-th entry of the table at T[PROFILE]; a loop
    or a branch comes before its own steps. With a `pool`, its helpers may take part of products.
    With `polls`, it looks at the stop flag between steps, and asks `stopped` what that means; with
    `between`, it looks there and gives up. So does a driver with a loop, whose sizes may make it
    long, and beside which a look is nothing: one driver does for all sizes.
    """
    attentive = polls or between or any(isinstance(step, LoopStep) for step in steps)
    clocks = 0 if timed else None
    driver = Driver(buffers, size_count, name, EMITTERS, pool, clocks, polls, attentive)
    driver.write.depth = 1
    for number, step in enumerate(steps):
        if attentive and number:
            driver.poll()
        driver.step(step)
    assert not driver.handed, "a step reads what a loop moves, and the loop has not run"
    head = SourceWriter()
    with head.block(f"def {name}(T, S):"):
        driver.read_tables(head)
    unfinished = bool(driver.products or driver.blocks)  # a product may be
    if unfinished and polls:
        driver.poll()
    stopped = f"1 if load_acquire(T[{STOP}]) != 0 else 0"
    driver.write(f"return {stopped if unfinished and not polls else 0}")
    return driver.text(head)


def _emit_loop(driver: Driver, step: LoopStep) -> None:
    write = driver.write
    k, t = f"k{step.number}", f"t{step.number}"
    length = driver.size(step.length)
    if step.in_parts:
        _emit_parts(driver, step, length)
        return
    if step.flag:
        write(f"{k} = 0")
    with write.block("while True:" if step.flag else f"for {k} in range({length}):"):
        driver.poll()
        write(f"{t} = {length} - 1 - {k}" if step.reverse else f"{t} = {k}")
        for buffer in step.moving:
            driver.move(buffer, k, t, length)
        for position, inner in enumerate(step.body):
            if step.flag and position == step.tests:
                _emit_test(driver, step.flag, "== 0", "break")
            driver.step(inner)
        if step.flag:
            write(f"{k} += 1")
    for buffer in step.after:
        driver.move(buffer, k, t, k if step.flag else length)


def _emit_parts(driver: Driver, step: LoopStep, length: str) -> None:
    """Call the loop's kernel for some steps at a time, and look at the stop flag in between."""
    first, last = part_names(step.number)
    with driver.write.block(f"for {first} in range(0, {length}, {PART_STEPS}):"):
        driver.poll()
        driver.write(f"{last} = min({first} + {PART_STEPS}, {length})")
        for inner in step.body:
            driver.step(inner)
    for buffer in step.after:
        driver.move(buffer, length, length, length)


def _emit_test(driver: Driver, flag: Place, test: str, then: str) -> None:
    driver.write(f"if load_acquire({driver.address(*flag)}) {test}:")
    driver.write(f"    {then}")


def _emit_branch(driver: Driver, step: BranchStep) -> None:
    heads = (f"if load_acquire({driver.address(*step.flag)}) != 0:", "else:")
    for head, body in zip(heads, (step.then, step.otherwise), strict=True):
        with driver.write.block(head):
            for inner in body:
                driver.step(inner)
            driver.write("pass")


EMITTERS: Mapping[type, Emitter] = {
    KernelStep: emit_kernel,
    ProductStep: emit_product,
    PackStep: emit_pack,
    CollectiveStep: emit_collective,
    CallStep: emit_call,
    LoopStep: _emit_loop,
    BranchStep: _emit_branch,
    BlockStep: emit_block,
    HalvesStep: emit_halves,
}
