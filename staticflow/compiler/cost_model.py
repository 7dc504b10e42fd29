"""The cost model: how long a step takes, and so on how many shards it pays to run it.

A pure function of sizes, thread count and vector width, so that runs repeat bit for bit. Its
constants are nanoseconds on a current core, rounded; what matters is their ratio to the cost of a
barrier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    fold,
    sizes_within,
    walk,
)
from staticflow.compiler.lowering.buffers import ITEMSIZE
from staticflow.graph.dims import evaluate, product
from staticflow.native.routines.table import is_known, nanoseconds
from staticflow.native.toolchain.target import vector_bytes

FLOPS_PER_LANE_NS = 13.0  # of the matrix product, for each lane of a vector
NS_PER_ELEMENT = 0.015  # of a fused loop over 64-byte vectors, in additions of 4 bytes
NS_PER_PACKED = 0.1
NS_PER_CALL = 10.0
NS_PER_UNKNOWN = 10.0  # and element, of a function of the user's
NS_PER_BARRIER = 200.0
NS_PER_BYTE = 0.04  # that another core has written
HALVING = 1.08  # parts of the rows take a little longer than the rows: more edges, uneven ends
MIN_GAIN = 1.25


@dataclass(frozen=True)
class Work:
    """What a training step costs: nanoseconds on one core, and what shards tell each other."""

    step_ns: float
    update_ns: float
    parameter_bytes: int = 0
    barriers: int = 2


@dataclass(frozen=True)
class Choice:
    """The number of shards, and the estimates behind it."""

    shards: int
    serial_ns: float
    sharded_ns: float
    reason: str


def estimate(steps: Sequence[Step], sizes: Mapping[str, int]) -> float:
    """Nanoseconds that the steps take on one core."""
    known = sizes_within(steps, sizes)

    def cost(step: Step, bodies: tuple[list[float], ...]) -> float:
        return NS_PER_CALL + _cost(step, known) + _runs(step, known, bodies)

    return sum(fold(steps, cost), 0.0)


def _runs(step: Step, sizes: Mapping[str, int], bodies: tuple[list[float], ...]) -> float:
    """What the bodies of a step cost, as often as they run; of a branch the dearer one counts."""
    costs = [sum(body) for body in bodies]
    if isinstance(step, LoopStep):
        calls = len(step.body) * NS_PER_CALL if step.in_parts else 0.0  # not one for each step
        return evaluate(step.length, sizes) * (costs[0] - calls)
    return max(costs) if isinstance(step, BranchStep) else sum(costs)


def _cost(step: Step, sizes: Mapping[str, int]) -> float:
    """What a step costs beside its call and its bodies."""
    match step:
        case KernelStep():
            return NS_PER_ELEMENT * (64 / vector_bytes()) * evaluate(step.work, sizes)
        case ProductStep():
            flops = 2.0 * evaluate(step.m, sizes) * evaluate(step.n, sizes)
            flops *= evaluate(step.k, sizes) * evaluate(product(step.batch), sizes)
            own = flops / (vector_bytes() / ITEMSIZE[step.dtype] * FLOPS_PER_LANE_NS)
            return own if step.epilogue is None else own + _cost(step.epilogue.kernel, sizes)
        case PackStep():
            elements = evaluate(step.product.k, sizes) * evaluate(step.product.n, sizes)
            return NS_PER_PACKED * elements
        case CallStep() if is_known(step.routine):
            return nanoseconds(step.routine, [evaluate(n, sizes) for n in step.sizes])
        case CallStep():
            return NS_PER_UNKNOWN * evaluate(step.elements, sizes)
        case CollectiveStep() | LoopStep() | BranchStep() | BlockStep() | HalvesStep():
            return 0.0
    assert_never(step)


def unbounded(steps: Sequence[Step]) -> bool:
    """Whether there are steps whose time no estimate knows: loops until something is so, and calls
    of the user's functions.
    """
    return any(
        (isinstance(step, CallStep) and not is_known(step.routine))
        or (isinstance(step, LoopStep) and step.flag is not None)
        for step in walk(steps)
    )


def barriers(steps: Sequence[Step], sizes: Mapping[str, int]) -> int:
    """How often the shards wait for each other within the steps."""

    def count(step: Step, bodies: tuple[list[float], ...]) -> float:
        return 2 * isinstance(step, CollectiveStep) + _runs(step, sizes, bodies)

    return int(sum(fold(steps, count)))


def choose_shards(work: Work, threads: int, rows: int, reason: str) -> Choice:
    """How many shards a step runs on: as many as threads, if that gains enough.

    Every shard reads its slice of the others' gradients, and then the parameters that they have
    updated. Two shards against one, measured where they start to pay (microseconds; Zen 5, two
    idle cores, each the least of some 40 short fits):

        rows                 4           8          16          32          64         128
        4-16-1                                 0.35  0.51  0.44  0.63  0.67  0.77  1.18  1.04
        10-45-45-10     1.31  1.65  1.69  1.84  2.55  2.50  4.68  4.36  6.43  5.71  12.4  9.35
        16-64-64-1      1.53  1.99  2.09  2.38  3.13  3.00  5.19  4.35  9.26  6.99  17.6  13.3
        64-64-64-1      2.02  2.75  2.71  3.18  4.12  3.88  6.72  5.81  12.6  10.3  22.7  15.4
        784-128-10      23.6  27.0  29.9  33.4  42.6  37.2  72.0  54.4   123  79.5   243   145
    """
    whole = work.step_ns + work.update_ns
    if threads == 1 or reason or rows < 2 * threads:
        why = reason or ("one thread" if threads == 1 else f"only {rows} rows")
        return Choice(1, whole, whole, why)
    others = 2 * (threads - 1) / threads * work.parameter_bytes
    split = HALVING * whole / threads + NS_PER_BARRIER * work.barriers + NS_PER_BYTE * others
    if whole < MIN_GAIN * split:
        return Choice(1, whole, split, "waiting for each other would cost more than it saves")
    return Choice(threads, whole, split, "")
