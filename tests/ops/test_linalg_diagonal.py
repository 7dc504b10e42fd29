"""Diagonals of matrices of any sizes, also of sizes that come with the data."""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret

SIZES = ((1, 1), (3, 3), (2, 3), (3, 2), (5, 3), (4, 1))


def diagonals(x: sf.Node, offset: int) -> list[sf.Node]:
    """A diagonal, its sum, and the derivative of its squares' sum."""
    y = ops.diagonal(x, offset, -2, -1)
    return [y, ops.trace(x, offset, -2, -1), sf.grad(ops.sum(y * y), x)]


def check(found: list[np.ndarray], given: np.ndarray, offset: int) -> None:
    right = np.diagonal(given, offset, -2, -1)
    assert found[0].shape == right.shape
    np.testing.assert_array_equal(found[0], right)
    np.testing.assert_array_equal(found[1], np.trace(given, offset, -2, -1))
    row, column = np.indices(given.shape[-2:])
    np.testing.assert_array_equal(found[2], 2 * given * (column - row == offset))


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (0, 2), (2, 0), (3, 1, 4)], ids=str)
def test_a_diagonal_that_is_not_there_is_empty(shape: tuple[int, ...]) -> None:
    x = sf.input("x", shape, "float64")
    given = 1.0 + np.arange(np.prod(shape), dtype=float).reshape(shape)
    for offset in (-9, -3, -1, 0, 1, 2, 4):
        check(interpret(diagonals(x, offset), {x: given}), given, offset)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_the_smaller_of_two_sizes_at_run_time(offset: int) -> None:
    x = sf.input("x", ("n", "m"), "float64")
    f = sf.function([x], diagonals(x, offset))
    for shape in SIZES:
        given = 1.0 + np.arange(np.prod(shape), dtype=float).reshape(shape)
        check(f(given), given, offset)


def test_diagonals_of_a_square_have_simple_sizes() -> None:
    x = sf.input("x", ("n", "n"))
    assert [str(ops.diagonal(x, k).shape[0]) for k in (-2, 0, 1)] == ["n - 2", "n", "n - 1"]
