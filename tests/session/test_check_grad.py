"""`check_grad` and `node.eval`."""

from __future__ import annotations

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops


def declared() -> tuple[sf.Node, sf.Node, sf.Node]:
    x, w = sf.input("x", ("n", 3), "float64"), sf.param("w", (3, 2), dtype="float64")
    return x, w, ops.tanh(x @ w)


RNG = np.random.default_rng(0)
FEEDS = {"x": RNG.normal(size=(4, 3)), "w": RNG.normal(size=(3, 2))}


def test_right_derivatives_pass() -> None:
    x, w, y = declared()
    found = sf.check_grad((y**2).sum(), [x, w], FEEDS)
    assert found and found.passed and found.error < 1e-8
    assert {c.mode for c in found.checks} == {"reverse", "forward", "second order"}
    assert {c.wrt for c in found.checks} == {"x", "w"}
    assert sf.check_grad(y, w, {x: FEEDS["x"], w: FEEDS["w"]})
    assert sf.check_grad(y, {"weights": w}, FEEDS)
    assert "second order" in str(found) and repr(found) == str(found)
    assert "WRONG" not in str(found)


def test_a_wrong_derivative_is_found_and_named() -> None:
    """The value uses x[1] twice, the derivative once."""
    x = sf.input("x", (3,), "float64")
    y = (x**2).sum() + ops.stop_gradient(x[1]) * 5.0
    found = sf.check_grad(y, x, {"x": [0.1, 0.2, 0.3]})
    assert not found and found.error > 0.1
    assert found.worst.startswith("x[1]: 0.4, by differences 5.4") and "WRONG" in str(found)


def test_float32_and_scans() -> None:
    a, xs = sf.input("a", (3, 3)), sf.input("xs", ("t", 3))
    h, _ = sf.scan(lambda h, x: (ops.tanh(a @ h + x), None), ops.zeros(3), xs)
    feeds = {"a": RNG.normal(size=(3, 3)), "xs": RNG.normal(size=(4, 3))}
    assert sf.check_grad(h.sum(), [a, xs], feeds)


def test_what_cannot_be_checked_is_refused() -> None:
    x, w, y = declared()
    with pytest.raises(sf.GraphError, match="moves inputs and parameters only"):
        sf.check_grad(y.sum(), x @ w, FEEDS)
    with pytest.raises(sf.GraphError, match="no value is given for 'w'"):
        sf.check_grad(y.sum(), x, {"x": FEEDS["x"]})


def test_a_node_is_a_calculator() -> None:
    _, _, y = declared()
    np.testing.assert_allclose(y.eval(**FEEDS), np.tanh(FEEDS["x"] @ FEEDS["w"]))
    assert (sf.const(2.0) * 3).eval() == 6
    with pytest.raises(sf.GraphError, match="no value is given for 'w'"):
        y.eval(x=FEEDS["x"])
    with pytest.raises(sf.GraphError, match="nothing here is called 'z'"):
        y.eval(**FEEDS, z=1)
    with pytest.raises(sf.ShapeError):
        y.eval(x=np.zeros((4, 5)), w=FEEDS["w"])
