"""Errors from outside end a call with an exception, after whole steps, and nothing else.

Exceptions in callbacks, iterators and validation; full disks; limits of memory, of open files and
of threads; compile caches that are damaged, foreign or unusable; processes made by fork (while
others train as well), spawn, forkserver and joblib. Nothing hangs, crashes or is lost; what goes on
is the same, bit for bit, as if nothing had been.
"""

from __future__ import annotations

import random

from tests.campaigns import Tick
from tests.support.faults.caches import Caches
from tests.support.faults.exceptions import Exceptions
from tests.support.faults.limits import Limits
from tests.support.faults.processes import Processes

COUNT = 1200
SAMPLE = 16


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    kinds = {
        "exceptions": Exceptions(), "limits": Limits(), "caches": Caches(), "processes": Processes()
    }  # fmt: skip
    tried = dict.fromkeys(kinds, 0)
    for k in range(count):
        kind = list(kinds)[k % len(kinds)]
        try:
            kinds[kind](random.Random(f"{seed} {k}"))
        except Exception as error:
            raise AssertionError(f"case {k} of seed {seed}, {kind}: {error!r}") from error
        tried[kind] += 1
        tick()
    return dict(tried)
