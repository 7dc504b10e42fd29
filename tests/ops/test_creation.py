"""Ranges have NumPy's numbers of elements and values, also below 0, and far from it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

STARTS = (0, 1, -1, 0.5, 1e3)
STOPS = (0, 1, 0.3, 0.6, 0.9, 1.1, 2.1, 10, -3, 1e3 + 1)


@pytest.mark.parametrize("step", [0.1, 0.3, 0.7, 1, 2, -1, -0.1, 3], ids=str)
def test_ranges(step: float) -> None:
    for start, stop in product(STARTS, STOPS):
        found = ops.arange(start, stop, step, dtype="float64").eval()
        count = len(np.arange(start, stop, step))  # whose values have the step rounded beside start
        assert found.shape == (count,), (start, stop)
        np.testing.assert_allclose(found, start + step * np.arange(count), rtol=1e-15, atol=1e-15)


def test_integers_are_exact() -> None:
    for bounds in (
        (-3,),
        (-3, 2),
        (2**60, 2**60 + 10, 3),
        (5, -6, -2),
        (np.int64(-1), np.int32(3)),
    ):
        found = ops.arange(*bounds).eval()
        assert found.dtype == "int64"
        np.testing.assert_array_equal(found, np.arange(*bounds))
    np.testing.assert_array_equal(ops.arange(2**40, 2**40 + 7, 2, "float64").eval(),
                                  np.arange(2**40, 2**40 + 7, 2.0))  # fmt: skip


def test_a_range_to_a_size_from_below_0() -> None:
    x = sf.input("x", ("n",), "float64")
    shifted = x * ops.arange(-2, x.shape[0] - 2)
    np.testing.assert_array_equal(sf.function([x], shifted)(np.ones(4)), [-2, -1, 0, 1])


def test_parts_of_masks_are_masks() -> None:
    """As an integer, its complement would be true throughout."""
    x = sf.input("x", (3, 3), "bool")
    given = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
    for k in (-1, 0, 1):
        for node, right in (
            (~ops.tril(x, k), ~np.tril(given, k)),
            (~ops.triu(x, k), ~np.triu(given, k)),
            (~ops.diag(x[0], k), ~np.diag(given[0], k)),
        ):
            found = node.eval(x=given)
            assert found.dtype == "bool"
            np.testing.assert_array_equal(found, right)
    assert ops.tril(sf.input("k", (2, 2), "int32")).dtype == "int32"
