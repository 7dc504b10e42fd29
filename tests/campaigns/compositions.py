"""Any composition of ops has the value and the derivatives, in every mode, that JAX gives.

Compositions of 2 to 7 ops of the whole vocabulary, ten of which share a program of machine code;
one of the ten is interpreted as a graph as well, and its generated source run as Python, where
every access has bounds.
"""

from __future__ import annotations

from tests.campaigns import Tick
from tests.fuzz.compositions.checks import check_loops, check_pack

COUNT = 560
SAMPLE = 2
PACK = 10
FIRST, APART = 2000, 1_000_000  # those before are the tests'


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    first = FIRST + APART * seed
    starts = range(first, first + count, PACK)
    for start in starts:
        pack = range(start, min(start + PACK, first + count))
        try:
            check_pack(pack)
        except Exception:
            for one in pack:  # so that the error names one
                _check(one)
            raise
        check_loops(start)
        for _ in pack:
            tick()
    return {"compositions as machine code": count, "as source": len(starts)}


def _check(one: int) -> None:
    try:
        check_pack([one])
    except Exception as error:
        raise AssertionError(f"composition({one}): {type(error).__name__}: {error}") from error
