"""Compiled equals interpreted, on random graphs: as loops, in shards, and as machine code.

A case is a graph of up to 19 nodes whose generated loops run as Python, where every access has
bounds, against NumPy node by node. Beside every second another graph runs in shards, and beside
every two hundredth a program of 16 graphs as machine code, at four sizes each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.campaigns import Tick
from tests.fuzz.graphs.checks import check_loops, check_pack, check_sharded

COUNT = 6000
SAMPLE = 60
FIRST, APART = 10_000, 1_000_000  # those before are the tests'


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    sharded = packed = 0
    for k in range(count):
        case = FIRST + APART * seed + k
        _named(check_loops, case, 4 + k % 16, k % 3 == 0)
        if k % 2 == 0:
            sharded += _named(check_sharded, case, 3 + k // 2 % 5, k % 4 == 0)
        if k % 200 == 0:
            packed += _named(check_pack, case, 16, k % 600 == 0)
        tick()
    return {"graphs as loops": count, "in shards": sharded, "as machine code": packed}


def _named(check: Callable[..., Any], case: int, size: int, gradients: bool) -> Any:
    """A check, whose errors name it."""
    try:
        return check(case, size, gradients)
    except Exception as error:
        call = f"{check.__name__}({case}, {size}, {gradients})"
        raise AssertionError(f"{call}: {type(error).__name__}: {error}") from error
