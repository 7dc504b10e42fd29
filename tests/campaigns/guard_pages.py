"""Native code touches no byte outside of its memory, which lies between inaccessible pages.

A case is a count of steps: training steps, runs, and calls of functions and of jitted functions,
in networks, scans, linear algebra, ops and random graphs of random sizes, on up to 16 threads. Each
is made with arrays that end where a page begins that nobody may touch, with arrays that begin where
such a page ends, and without pages: the results are the same, and those that NumPy gives where it
is asked. Cases run in processes of their own, so that one that dies is named by its seed:

    python -m tests.fuzz.guard_pages.worker SEED SEED+1
"""

from __future__ import annotations

from tests.campaigns import Tick
from tests.fuzz.guard_pages.worker import check

COUNT = 20_000
SAMPLE = 300
APART = 1_000_000
TOGETHER = 24  # seeds for a process, which keeps the code of all


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    training = calls = arrays = cases = 0
    first = APART * seed
    while training + calls < count:
        for done in check(range(first, first + TOGETHER)):
            cases += 1
            training += done["training"]
            calls += done["calls"]
            arrays += done["regions"]
            for _ in range(done["training"] + done["calls"]):
                tick()
            if training + calls >= count:
                break
        first += TOGETHER
    return {
        "training steps": training, "calls": calls, "cases": cases, "arrays between pages": arrays,
    }  # fmt: skip
