"""float32 sums and products over very long axes: what one sum in float32 would lose is not lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf

LONG = 2**24 + 2**22  # one sum of as many ones would stay at 2^24

SUMS: dict[str, tuple[int, Callable[[Any], Any], float]] = {
    "sum": (1, lambda x: x.sum(), LONG),
    "mean": (1, lambda x: x.mean(), 1),
    "columns": (1, lambda x: x.sum(0), LONG),
    "squares": (1, lambda x: (x * x).sum(), LONG),
    "inner product": (1, lambda x: x[:, 0] @ x[:, 0], LONG),
    "product of two columns": (2, lambda x: x.T @ x, LONG),
    "gradient of a weight": (1, lambda x: sf.grad((x @ sf.const(np.ones((1, 1), "f4"))).sum(), x)
                             .sum(), LONG),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_ones_over_a_very_long_axis(name: str) -> None:
    columns, function, right = SUMS[name]
    x = sf.input("x", ("n", columns))
    found = sf.function([x], function(x))(np.ones((LONG, columns), np.float32))
    np.testing.assert_array_equal(found, np.full(np.shape(found), right, np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 8), (17, 5), (8, 40), (40, 33)])
def test_the_error_of_a_product_does_not_grow_with_its_length(shape: tuple[int, int]) -> None:
    """All signs are equal, so that nothing cancels; sums of k terms one by one would lose more."""
    rng = np.random.default_rng(0)
    a, b = sf.input("a", ("k", shape[0])), sf.input("b", ("k", shape[1]))
    f = sf.function([a, b], [a.T @ b, b.T @ a])
    for k in (1000, 2**14, 2**14 + 1, 200_000, 2**20):
        x, y = (rng.uniform(0, 1, (k, n)).astype(np.float32) for n in shape)
        right = x.T.astype(float) @ y.astype(float)
        for found, wanted in zip(f(x, y), (right, right.T), strict=True):
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert error < 4e-6, (k, error)
