"""`sf.vmap` is the function of each element, stacked; and so are its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.errors import GraphError, ShapeError

RNG = np.random.default_rng(0)


def compute(inputs: list[sf.Node], outputs: Any, *arrays: Any) -> Any:
    return sf.function(inputs, outputs)(*arrays)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_it_stacks_what_the_function_gives(count: int) -> None:
    x, w = sf.input("x", ("n", 3), "float64"), sf.input("w", (3, 2), "float64")
    ys = sf.vmap(lambda row: ops.tanh(row @ w))(x)
    a, b = RNG.normal(size=(count, 3)), RNG.normal(size=(3, 2))
    assert ys.shape[1:] == (2,)
    np.testing.assert_allclose(compute([x, w], ys, a, b), np.tanh(a @ b), rtol=1e-12)
    found = compute([x, w], sf.grad(ys.sum(), [x, w]), a, b)
    slopes = 1 - np.tanh(a @ b) ** 2
    np.testing.assert_allclose(found[0], slopes @ b.T, rtol=1e-12)
    np.testing.assert_allclose(found[1], a.T @ slopes, rtol=1e-12, atol=1e-15)


def test_a_gradient_of_each_element() -> None:
    """The gradient by a parameter, sample by sample."""
    x, t, w = (sf.input(n, s, "float64") for n, s in (("x", ("n", 3)), ("t", ("n",)), ("w", (3,))))
    each = sf.vmap(lambda row, y: sf.grad((ops.sin(row @ w) - y) ** 2, w))(x, t)
    a, b, c = RNG.normal(size=(6, 3)), RNG.normal(size=6), RNG.normal(size=3)
    expected = 2 * ((np.sin(a @ c) - b) * np.cos(a @ c))[:, None] * a
    np.testing.assert_allclose(compute([x, t, w], each, a, b, c), expected, rtol=1e-12)


def test_axes_and_structures() -> None:
    x, y = sf.input("x", (4, "n"), "float64"), sf.input("y", (4,), "float64")

    def f(pair: dict[str, sf.Node], whole: sf.Node) -> tuple[sf.Node, dict[str, sf.Node]]:
        return pair["x"] * whole, {"sum": (pair["x"] + whole).sum()}

    product, rest = sf.vmap(f, in_axes=(1, None), out_axes=-1)({"x": x}, y)
    a, b = RNG.normal(size=(4, 5)), RNG.normal(size=4)
    found = compute([x, y], [product, rest["sum"]], a, b)
    np.testing.assert_allclose(found[0], a * b[:, None])
    np.testing.assert_allclose(found[1], (a + b[:, None]).sum(0))


def test_it_may_stand_in_itself() -> None:
    x, y = sf.input("x", ("n", 3), "float64"), sf.input("y", ("m", 3), "float64")
    distances = sf.vmap(lambda p: sf.vmap(lambda q: ((p - q) ** 2).sum())(y))(x)
    a, b = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 3))
    expected = ((a[:, None] - b) ** 2).sum(-1)
    np.testing.assert_allclose(compute([x, y], distances, a, b), expected, rtol=1e-12)


def test_what_it_refuses() -> None:
    x, y = sf.input("x", (4, 3)), sf.input("y", (5,))
    for error, call in (
        (GraphError, lambda: sf.vmap(lambda v: v, in_axes=None)(x)),
        (GraphError, lambda: sf.vmap(lambda v: v, in_axes=(0, 0))(x)),
        (GraphError, lambda: sf.vmap(lambda v: ())(x)),
        (ShapeError, lambda: sf.vmap(lambda v, w: v + w)(x, y)),
        (ShapeError, lambda: sf.vmap(lambda v: v, in_axes=2)(x)),
    ):
        with pytest.raises(error, match=r"vmap|scan|axis"):
            call()
