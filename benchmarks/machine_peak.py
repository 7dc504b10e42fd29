"""What the machine can do, measured in the run: FMA peak by cores, bandwidth by working set."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ACCUMULATORS = 12
VECTOR_BYTES = (32, 64)
WORKING_SETS = (1 << 18, 1 << 22, 1 << 24, 1 << 27)


@dataclass(frozen=True)
class Peak:
    """`flops[dtype]` is FLOP/s of one core and of all; `bandwidth` maps bytes to bytes/s of all."""

    flops: dict[str, tuple[float, float]]
    bandwidth: dict[int, float]

    def best_of(self, other: Peak) -> Peak:
        """What a busy machine hid from one measurement and showed to the other."""
        flops = {
            d: (max(one, other.flops[d][0]), max(every, one, *other.flops[d]))
            for d, (one, every) in self.flops.items()
        }
        bandwidth = {size: max(b, other.bandwidth[size]) for size, b in self.bandwidth.items()}
        return Peak(flops, bandwidth)

    def bandwidth_for(self, working_set: int) -> float:
        fits = [size for size in self.bandwidth if size >= working_set]
        return self.bandwidth[min(fits, default=max(self.bandwidth))]


def _fma_loop(builder: Any, count: Any, x: Any, lanes: int, element: Any) -> Any:
    """A loop of independent fused multiply-adds that touch no memory; returns one lane."""
    vector, index = ir.VectorType(element, lanes), ir.IntType(64)
    name = f"llvm.fma.v{lanes}f{32 if isinstance(element, ir.FloatType) else 64}"
    signature = ir.FunctionType(vector, [vector] * 3)
    fma = cgutils.get_or_insert_function(builder.module, signature, name)
    xs = ir.Constant(vector, ir.Undefined)
    for lane in range(lanes):
        xs = builder.insert_element(xs, x, ir.Constant(ir.IntType(32), lane))
    before = builder.block
    loop, after = builder.append_basic_block("fma"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(index)
    sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
    new = [builder.call(fma, [xs, xs, s]) for s in sums]
    following = builder.add(i, ir.Constant(index, 1))
    for phi, start, value in [(i, ir.Constant(index, 0), following)] + [
        (s, ir.Constant(vector, [0.0] * lanes), n) for s, n in zip(sums, new, strict=True)
    ]:
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    total = new[0]
    for value in new[1:]:
        total = builder.fadd(total, value)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def _burner(dtype: str, lanes: int) -> Callable[[int, Any], Any]:
    scalar = types.float32 if dtype == "float32" else types.float64
    element = ir.FloatType() if dtype == "float32" else ir.DoubleType()

    @intrinsic  # type: ignore[untyped-decorator]
    def burn(typing_context: Any, count: Any, x: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            count, x = arguments
            return _fma_loop(builder, count, x, lanes, element)

        return scalar(types.int64, scalar), emit

    @njit((types.int64, scalar), nogil=True)  # type: ignore[untyped-decorator]
    def run(count: int, x: Any) -> Any:
        return burn(count, x)

    return run  # type: ignore[no-any-return]


def together(work: Callable[[int], object], threads: int) -> float:
    """Seconds until `threads` threads have each done `work(thread)`."""
    workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _burn(run: Callable[[int, Any], Any], count: int, x: Any, _thread: int) -> None:
    run(count, x)


def _flops(dtype: str, threads: int, count: int = 4_000_000, rounds: int = 15) -> float:
    best = 0.0
    for size in VECTOR_BYTES:
        lanes = size // np.dtype(dtype).itemsize
        run, x = _burner(dtype, lanes), np.dtype(dtype).type(0.5)
        burn = partial(_burn, run, count, x)
        for _ in range(rounds):
            seconds = together(burn, threads)
            best = max(best, threads * count * ACCUMULATORS * 2 * lanes / seconds)
    return best


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _triad(a: Any, b: Any, c: Any, repeats: int) -> None:
    for r in range(repeats):
        s = np.float32(0.5 + r)
        for i in range(a.size):
            a[i] = b[i] + s * c[i]


def _bandwidth(working_set: int, threads: int, rounds: int = 10) -> float:
    """Bytes per second of a = b + s * c over `working_set` bytes: two reads, one write."""
    words = working_set // (3 * 4 * threads)
    arrays = [[np.ones(words, np.float32) for _ in range(3)] for _ in range(threads)]
    repeats = max(1, (1 << 28) // working_set)
    _triad(*arrays[0], 1)
    seconds = [together(lambda k: _triad(*arrays[k], repeats), threads) for _ in range(rounds)]
    return repeats * threads * words * 12 / min(seconds)


def measure() -> Peak:
    count = cores()
    flops = {d: (_flops(d, 1), _flops(d, count)) for d in ("float32", "float64")}
    return Peak(flops, {size: _bandwidth(size, count) for size in WORKING_SETS})
