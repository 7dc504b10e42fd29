"""Calls a second of one session from one thread and from eight, beside a bare function of Numba's.

    python -m benchmarks.calls_from_threads

A call gives up Python's lock while it computes, and needs it again to hand over its result. How
fast threads get it from each other is Python's: a function of the same length, compiled with
`nogil=True` and called with one array, shows what that costs any library. Each contender runs in a
process of its own, in turns; the ratio is that to one thread's calls, for each core.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

ROUNDS, SECONDS, THREADS = 5, 1.0, 8
ROWS = (10, 100, 1000)  # of a batch for 784-128-10


def ours(rows: int) -> Callable[[], object]:
    """`session.run` of a net on so many rows."""
    import staticflow as sf
    from staticflow import models

    x = sf.input("x", ("batch", 784))
    session = sf.Session(outputs={"y": models.FNN([784, 128, 10])(x)}, threads=1)
    feeds = {"x": np.random.default_rng(0).standard_normal((rows, 784)).astype("f4")}
    return lambda: session.run("y", feeds)


def bare(nanoseconds: float) -> Callable[[], object]:
    """A function that computes for so long without the lock."""
    import numba

    values = np.ones(1000)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def work(values: np.ndarray, times: int) -> float:
        total = 0.0
        for _ in range(times):
            for i in range(values.size):
                total += values[i]
        return total

    work(values, 1)
    began = time.perf_counter_ns()
    work(values, 1000)
    times = max(1, round(1000 * nanoseconds / (time.perf_counter_ns() - began)))
    return lambda: work(values, times)


def rate(call: Callable[[], object], threads: int) -> float:
    """Calls a second of so many threads together."""
    over, counts = threading.Event(), [0] * threads

    def work(k: int) -> None:
        while not over.is_set():
            call()
            counts[k] += 1

    workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(SECONDS)
    over.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


def turn(contender: str, argument: float) -> None:
    """Print microseconds of a call, and the calls of many threads as a share of one's, a core."""
    call = ours(round(argument)) if contender == "ours" else bare(argument)
    for _ in range(200):
        call()
    one = rate(call, 1)
    cores = min(THREADS, len(os.sched_getaffinity(0)))
    print(1e6 / one, rate(call, THREADS) / one / cores)


def run(contender: str, argument: float) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.calls_from_threads", contender, str(argument)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(shown[0]), float(shown[1])


def main() -> None:
    for rows in ROWS:
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        for _ in range(ROUNDS):
            found["ours"].append(run("ours", rows))
            found["bare"].append(run("bare", 1e3 * found["ours"][-1][0]))
        for name, turns in found.items():
            us, shares = (sorted(column) for column in zip(*turns, strict=True))
            print(f"{rows:5d} rows, {name}: {statistics.median(us):8.1f} us a call;", end=" ")
            print(f"{THREADS} threads make {statistics.median(shares):.2f}", end=" ")
            print(f"({shares[0]:.2f} to {shares[-1]:.2f}) of one thread's calls for each core")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        turn(sys.argv[1], float(sys.argv[2]))
    else:
        main()
