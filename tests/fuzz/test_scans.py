"""Random cells: compiled scans against steps written out; the campaign `random_cells` has more."""

from __future__ import annotations

from hypothesis import given, settings

from tests.fuzz.cells import Recipe, check, recipes


@settings(max_examples=12)
@given(recipes())
def test_random_cells(recipe: Recipe) -> None:
    check(recipe)


@settings(max_examples=4)
@given(recipes())
def test_random_cells_to_second_order(recipe: Recipe) -> None:
    check(recipe, second=True)
