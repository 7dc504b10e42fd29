"""Quantiles beside infinities and of numbers far apart, where NumPy has NaN."""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

SHARES = [0.0, 0.25, 0.3, 0.5, 0.75, 1.0]
INF, NAN = np.inf, np.nan
CASES = {
    (1.0, 2.0, INF): [1.0, 1.5, 1.6, 2.0, INF, INF],
    (-INF, 0.0, 2.0): [-INF, -INF, -INF, 0.0, 1.0, 2.0],
    (INF, INF, 1.0): [1.0, INF, INF, INF, INF, INF],
    (-INF, INF): [-INF, NAN, NAN, NAN, NAN, INF],
    (1e308, -1e308): [-1e308, -5e307, -4e307, 0.0, 5e307, 1e308],
    (0.1, 0.1, 0.1): [0.1] * 6,
    (1.0, NAN): [NAN] * 6,
}


@pytest.mark.parametrize("numbers", CASES, ids=str)
def test_quantiles(numbers: tuple[float, ...]) -> None:
    x = sf.input("x", (len(numbers),), "float64")
    found = ops.quantile(x, SHARES).eval(x=np.array(numbers))
    np.testing.assert_allclose(found, CASES[numbers], rtol=1e-15)
    slope = sf.grad(ops.quantile(x, 0.3), x).eval(x=np.array(numbers))
    if NAN not in numbers:
        np.testing.assert_allclose(slope.sum(), 1.0)
