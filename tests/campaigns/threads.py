"""Eight threads that run, fit, save, copy and pickle what they share get what one thread gets.

A case is a round of 480 operations in a process of its own (tests/support/thread_round.py,
which says what they are), whose seed is the case's number.
"""

from __future__ import annotations

import json
from collections import Counter

from tests.campaigns import Tick
from tests.support.processes import run_python

COUNT = 120
SAMPLE = 1
OPERATIONS = 60  # of each of the eight threads
SECONDS = 300.0


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    seen = Counter[str]()
    for number in range(seed, seed + count):
        command = ["-m", "tests.support.thread_round", str(number), str(OPERATIONS)]
        ended = run_python(*command, seconds=SECONDS)
        assert ended.status == 0, f"round {number}: {ended}"
        seen.update(json.loads(ended.out))
        tick()
    return {"rounds": count, "operations": 8 * OPERATIONS * count, **seen}
