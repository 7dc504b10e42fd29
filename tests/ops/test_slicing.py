"""Slices that take nothing, whichever way they go."""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.runtime.interpreter import interpret

SLICES = [
    slice(-5, None, -1), slice(-4, -4, -2), slice(-6, 0, -1), slice(1, 1, -1), slice(3, 1),
    slice(7, None), slice(2, -9, -1), slice(9, None, -1), slice(0, 0, 3), slice(1, -7, 2),
]  # fmt: skip


def parts(x: Node) -> list[Node]:
    return [x[index] for index in SLICES]


def test_slices_that_end_before_they_begin() -> None:
    x, given = sf.input("x", (3, 2), "float64"), np.arange(6.0).reshape(3, 2)
    right = [given[index] for index in SLICES]
    slopes = sf.grad(sum(ops.sum(part) for part in parts(x)), x)
    outputs = [*parts(x), slopes]
    for found in (interpret(outputs, {x: given}), sf.function([x], outputs)(given)):
        for ours, expected in zip(found, right, strict=False):
            np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(found[-1], np.full((3, 2), 2.0))


@pytest.mark.parametrize("index", SLICES, ids=str)
def test_of_an_empty_axis(index: slice) -> None:
    x = sf.input("x", (0, 2), "float64")
    (found,) = interpret([x[index]], {x: np.zeros((0, 2))})
    assert found.shape == np.zeros((0, 2))[index].shape
