"""Where numbers and NaN have their places in a sorted vector."""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

VECTORS = ([], [np.nan], [0.0, 1.0, 1.0, 2.0], [-np.inf, 0.0, np.inf, np.nan, np.nan])
VALUES = np.array([[0.0, 1.0, np.nan], [np.inf, -np.inf, 5.0]])


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side: str) -> None:
    for vector in VECTORS:
        a, v = sf.input("a", (len(vector),), "float64"), sf.input("v", (2, 3), "float64")
        found = ops.searchsorted(a, v, side).eval(a=np.array(vector), v=VALUES)
        np.testing.assert_array_equal(found, np.searchsorted(np.array(vector), VALUES, side))
