"""Every function that HIPS autograd differentiates agrees with JAX, in all calls of the peer table.

A case is a row: its function with all alternatives for each argument and option.
"""

from __future__ import annotations

import random

from tests.campaigns import Tick
from tests.peers.autograd_checks import check_row
from tests.peers.autograd_table import ROWS

COUNT = len(ROWS)
SAMPLE = 3


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    rows = random.Random(seed).sample(ROWS, min(count, len(ROWS)))
    calls = 0
    for row in rows:
        try:
            calls += check_row(row)
        except Exception as error:
            raise AssertionError(f"row {row.peer}: {type(error).__name__}: {error}") from error
        tick()
    return {"calls": calls, "rows": len(rows)}
