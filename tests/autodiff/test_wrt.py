"""What one differentiates by may be a node, a list or a dict: results have the same structure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.runtime.interpreter import interpret

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 3)), RNG.normal(size=3)
a, b = sf.input("a", (2, 3), "float64"), sf.input("b", (3,), "float64")
y = ops.tanh(a @ b).sum() * (b * b).sum()
BY_NAME = {"second": b, "first": a}  # in an order of its own


def value(node: sf.Node) -> Any:
    return interpret([node], {a: A, b: B})[0]


def values(structure: Any) -> Any:
    if isinstance(structure, dict):
        return {name: values(x) for name, x in structure.items()}
    return [values(x) for x in structure] if isinstance(structure, list) else value(structure)


def test_dicts_have_the_values_of_lists_under_their_names() -> None:
    directions = {"first": np.ones((2, 3)), "second": np.arange(3.0)}
    in_order = [directions[name] for name in BY_NAME]
    nodes, z = list(BY_NAME.values()), a @ b
    pairs = [
        (sf.grad(y, BY_NAME), sf.grad(y, nodes)),
        (sf.vjp(z, BY_NAME, np.ones(2)), sf.vjp(z, nodes, np.ones(2))),
        (sf.jacobian(z, BY_NAME), sf.jacobian(z, nodes)),
        (sf.hvp(y, BY_NAME, directions), sf.hvp(y, nodes, in_order)),
    ]
    for by_name, by_place in pairs:
        assert list(by_name) == list(BY_NAME) and isinstance(by_place, list)
        found = values(by_name)
        for name, expected in zip(BY_NAME, values(by_place), strict=True):
            np.testing.assert_array_equal(found[name], expected)
            assert found[name].shape[-BY_NAME[name].ndim :] == BY_NAME[name].shape
    np.testing.assert_array_equal(
        value(sf.jvp(y, BY_NAME, directions)), value(sf.jvp(y, nodes, in_order))
    )


def test_a_hessian_is_a_dict_of_dicts() -> None:
    by_name, rows = values(sf.hessian(y, BY_NAME)), values(sf.hessian(y, [b, a]))
    for k, row in enumerate(BY_NAME):
        for m, column in enumerate(BY_NAME):
            np.testing.assert_array_equal(by_name[row][column], rows[k][m])
    assert by_name["first"]["second"].shape == (2, 3, 3)


def test_a_models_parameters() -> None:
    """By an FNN with norms and an RNN: names, and gradients that a session has as well."""
    x = sf.input("x", ("n", 5, 3))
    rnn, fnn = models.RNN(4), models.FNN([4, 6, 1], norm="layer")
    assert fnn.parameters == {}
    loss = (fnn(rnn(x)) ** 2).mean()
    assert list(fnn.parameters) == [
        "fnn.0.weight", "fnn.0.bias", "fnn.1.weight", "fnn.1.bias",
        "fnn.0.norm.weight", "fnn.0.norm.bias",
    ]  # fmt: skip
    parameters = {**rnn.parameters, **fnn.parameters}
    session = sf.Session(loss, params=None)
    assert set(session.params) == set(parameters)
    feeds = {"x": RNG.normal(size=(7, 5, 3)).astype("float32")}
    gradients, found = session.gradients(feeds), session.run(sf.grad(loss, parameters), feeds)
    assert list(found) == list(parameters)
    for name, value in found.items():
        np.testing.assert_allclose(value, gradients[name], rtol=1e-4, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(sf.GraphError, match=r"one tangent for each node, in a dict"):
        sf.jvp(y, BY_NAME, [np.ones(3), np.ones((2, 3))])
    with pytest.raises(sf.GraphError, match="got: tangents for 'first', 'third'"):
        sf.jvp(y, BY_NAME, {"first": np.ones((2, 3)), "third": np.ones(3)})
    with pytest.raises(sf.GraphError, match="got: 1 vectors for 2 nodes"):
        sf.hvp(y, [a, b], [np.ones((2, 3))])
    with pytest.raises(sf.ShapeError, match="the tangent's type differs from that of b"):
        sf.jvp(y, BY_NAME, {"first": np.ones((2, 3)), "second": np.ones(4)})
    with pytest.raises(sf.GraphError, match="grad: differentiates nodes"):
        sf.grad(y, {"a": a, "b": "b"})
