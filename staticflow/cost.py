"""The cost model: how long a step takes, and so on how many shards it pays to run it.

A pure function of sizes, thread count and vector width, so that runs repeat bit for bit. Its
constants are nanoseconds on a current core, rounded; what matters is their ratio to the cost of a
barrier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staticflow.buffers import ITEMSIZE
from staticflow.dims import evaluate, product
from staticflow.native.products import vector_bytes
from staticflow.schedule import BranchStep, KernelStep, LoopStep, PackStep, ProductStep, Step

FLOPS_PER_LANE_NS = 13.0  # of the matrix product, for each lane of a vector
NS_PER_ELEMENT = 0.015  # of a fused loop over 64-byte vectors, in additions
NS_PER_PACKED = 0.1
NS_PER_CALL = 10.0
NS_PER_REGION = 1500.0  # two barriers, and shards that do not finish at the same time
MIN_GAIN = 1.15


@dataclass(frozen=True)
class Choice:
    """The number of shards, and the estimates behind it."""

    shards: int
    serial_ns: float
    sharded_ns: float
    reason: str


def estimate(steps: Sequence[Step], sizes: Mapping[str, int]) -> float:
    """Nanoseconds that the steps take on one core."""
    total = 0.0
    width = vector_bytes()
    for step in steps:
        total += NS_PER_CALL
        if isinstance(step, ProductStep):
            flops = 2.0 * evaluate(step.m, sizes) * evaluate(step.n, sizes)
            flops *= evaluate(step.k, sizes) * evaluate(product(step.batch), sizes)
            lanes = width / ITEMSIZE[step.dtype]
            total += flops / (lanes * FLOPS_PER_LANE_NS)
        elif isinstance(step, PackStep):
            elements = evaluate(step.product.k, sizes) * evaluate(step.product.n, sizes)
            total += NS_PER_PACKED * elements
        elif isinstance(step, LoopStep):
            total += evaluate(step.length, sizes) * estimate(step.body, sizes)
        elif isinstance(step, BranchStep):
            total += max(estimate(step.then, sizes), estimate(step.otherwise, sizes))
        elif isinstance(step, KernelStep):
            total += NS_PER_ELEMENT * (64 / width) * evaluate(step.work, sizes)
    return total


def choose_shards(
    serial_ns: float, update_ns: float, threads: int, rows: int, reason: str
) -> Choice:
    """How many shards a step runs on: as many as threads, if that gains enough."""
    if threads == 1 or reason or rows < 2 * threads:
        why = reason or ("one thread" if threads == 1 else f"only {rows} rows")
        return Choice(1, serial_ns + update_ns, serial_ns + update_ns, why)
    whole = serial_ns + update_ns
    # every shard also reads all the others' gradients
    split = whole / threads + NS_PER_REGION + 0.2 * update_ns
    if whole < MIN_GAIN * split:
        return Choice(1, whole, split, "waiting for each other would cost more than it saves")
    return Choice(threads, whole, split, "")
