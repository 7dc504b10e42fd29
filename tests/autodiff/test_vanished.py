"""Derivatives that no longer read what gives their sizes; scans derived over all steps at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops


def linear(x: sf.Node) -> sf.Node:
    return ops.sum(x @ sf.const(np.array([2.0, -1.0])))


def derivatives(x: sf.Node) -> dict[str, sf.Node]:
    ones = sf.const(np.ones((1, 2)))
    return {
        "grad": sf.grad(linear(x), x),
        "vjp": sf.vjp(3.0 * x, x, ops.ones(("batch", 2), "float64")),
        "jvp": sf.jvp(x * 2.0, x, ops.ones(("batch", 2), "float64")),
        "hessian": sf.hessian(ops.sum(x**2), x),
        "of a mean by a constant": sf.grad(ops.mean(x + ones), ones),
        "twice": sf.grad(ops.sum(sf.grad(ops.sum(x**2), x) * 1.5), x),
        "not reached": sf.grad(ops.sum(ops.stop_gradient(x)), x),
    }


RIGHT: dict[str, Callable[[int], Any]] = {
    "grad": lambda n: np.tile([2.0, -1.0], (n, 1)),
    "vjp": lambda n: np.full((n, 2), 3.0),
    "jvp": lambda n: np.full((n, 2), 2.0),
    "hessian": lambda n: 2 * np.eye(2 * n).reshape(n, 2, n, 2),
    "of a mean by a constant": lambda n: np.full((1, 2), 0.5),
    "twice": lambda n: np.full((n, 2), 3.0),
    "not reached": lambda n: np.zeros((n, 2)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_derivative_is_an_output_of_its_own(name: str) -> None:
    x = sf.input("x", ("batch", 2), "float64")
    session = sf.Session(outputs={"g": derivatives(x)[name]}, threads=1)
    for n in (3, 1, 7):
        np.testing.assert_allclose(session.run("g", {"x": np.ones((n, 2))}), RIGHT[name](n))
    with pytest.raises(sf.GraphError, match="'x'"):
        session.run("g", {})


def test_the_gradient_of_a_linear_network_by_its_input() -> None:
    x = sf.input("x", ("batch", 2))
    slope = sf.grad(ops.sum(models.FNN([2, 1])(x)), x)
    session = sf.Session(outputs={"g": slope}, threads=1)
    (weight,) = (v for name, v in session.params.items() if name.endswith("weight"))
    found = session.run("g", {"x": np.ones((3, 2))})
    np.testing.assert_array_equal(found, np.tile(weight[:, 0], (3, 1)))


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda c, x: (c + x, c + x),
    "product": lambda c, x: (c * x, c * x + x),
    "network": lambda c, x: (ops.tanh(0.5 * c + x), ops.sin(c) * x),
    "delay": lambda c, x: (x, c * x),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("start", ["constant", "input", "number"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_with_a_scalar_carry_by_its_elements(name: str, start: str, reverse: bool) -> None:
    """Each column of the Jacobian, and row of the Hessian, by differences."""
    xs, first = sf.input("xs", ("n",), "float64"), sf.input("first", (), "float64")
    init = {"constant": sf.const(np.array(0.7)), "input": first, "number": 0.7}[start]
    last, ys = sf.scan(STEPS[name], init, xs, reverse=reverse)
    total = ops.sum(ys * ys) + last * last
    f = sf.function([xs, first], [sf.jacobian(ys, xs), sf.hessian(total, xs)])
    g = sf.function([xs, first], [ys, sf.grad(total, xs)])
    given = np.array([0.6, 1.3, 0.9, 1.1])
    jacobian, hessian = f(given, 0.7)
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        up, down = g(given + step, 0.7), g(given - step, 0.7)
        np.testing.assert_allclose(jacobian[:, k], (up[0] - down[0]) / 2e-5, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(hessian[k], (up[1] - down[1]) / 2e-5, rtol=1e-6, atol=1e-7)
