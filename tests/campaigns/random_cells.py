"""A compiled scan of any cell is the unrolled graph, with its gradients of first and second order.

Cells are made, and where one fails made smaller, by hypothesis, whose message has the cell.
"""

from __future__ import annotations

import hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.campaigns import Tick
from tests.fuzz.cells import Recipe, check, recipes

COUNT = 1000
SAMPLE = 4


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    orders = [0, 0]

    @hypothesis.seed(seed)
    @settings(max_examples=count, derandomize=False, database=None, deadline=None)
    @given(recipes(), st.booleans())
    def cells(recipe: Recipe, second: bool) -> None:
        check(recipe, second)
        orders[second] += 1
        tick()

    cells()
    return {"cells to first order": orders[0], "to second order": orders[1]}
