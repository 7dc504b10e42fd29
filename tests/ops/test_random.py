"""Random ops: their moments and bits, each node, step and seed with values of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret


def test_dropout_scales_what_it_keeps() -> None:
    x = sf.input("x", (200, 50), "float64")
    y = ops.dropout(x, 0.25)
    ones = np.ones((200, 50))
    dropped, gradient = interpret([y, sf.grad(ops.sum(y), x)], {x: ones})
    np.testing.assert_array_equal(np.unique(dropped), [0, 1 / 0.75])
    np.testing.assert_array_equal(dropped, gradient)
    assert abs(np.mean(dropped == 0) - 0.25) < 0.02
    np.testing.assert_array_equal(interpret([y], {x: ones}, training=False)[0], ones)


MOMENTS = [("uniform", 0.5, 1 / 12), ("normal", 0.0, 1.0)]


@pytest.mark.parametrize(("name", "mean", "variance"), MOMENTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_values_have_their_moments(
    name: str, mean: float, variance: float, dtype: str
) -> None:
    x = getattr(ops.random, name)((300, 300), dtype=dtype)
    first, again = (interpret([x], {}, seed=5, step=2)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == dtype
    assert abs(first.mean() - mean) < 0.01
    assert abs(first.var() - variance) < 0.02
    neighbours = np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.01


def test_each_random_node_step_and_seed_has_its_own_values() -> None:
    x, y = ops.random.uniform((50,)), ops.random.uniform((50,))
    first, second = interpret([x, y], {}, seed=1, step=0)
    keys = ((1, 1), (2, 0), (-1, 0))
    others = [second, *(interpret([x], {}, seed=s, step=t)[0] for s, t in keys)]
    for other in others:
        assert not np.isin(first, other).any()


def test_random_numbers_scale() -> None:
    x = ops.random.uniform((1000,), -2.0, 6.0, "float64")
    values, normal, coins = interpret(
        [x, ops.random.normal((1000,), 5.0, 0.1), ops.random.bernoulli((1000,), 0.9)], {}
    )
    assert -2 <= values.min() < -1.9 < 5.9 < values.max() < 6
    assert abs(normal.mean() - 5) < 0.02
    assert coins.dtype == bool and abs(coins.mean() - 0.9) < 0.05


def test_classes_are_drawn_with_their_probabilities() -> None:
    shares = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    logits = sf.input("logits", (2, 3), "float64")
    draws = {
        "many": ops.categorical(logits, shape=(20_000, 2)),
        "each": ops.random.categorical(logits),
        "columns": ops.categorical(logits, axis=0),
    }
    with np.errstate(divide="ignore"):
        feeds = {"logits": np.log(shares)}
    one, two = (sf.Session(outputs=draws, seed=3, threads=n).run(draws, feeds) for n in (1, 2))
    many = one["many"]
    assert many.dtype == np.int64 and one["each"].shape == (2,) and one["columns"].shape == (3,)
    found = (many[..., None] == np.arange(3)).mean(0)
    assert np.abs(found - shares).max() < 0.015
    assert found[1, 2] == 0
    for name in draws:
        np.testing.assert_array_equal(one[name], two[name])
    with pytest.raises(sf.ShapeError, match="must end in the shape of the rows"):
        ops.categorical(logits, shape=(4,))


def test_compiled_random_numbers_have_the_same_bits() -> None:
    numba = pytest.importorskip("numba")
    from staticflow.native.math.random import FUNCTIONS
    from staticflow.native.math.random_formulas import draw

    for name, function in FUNCTIONS.items():
        dist, suffix = name.split("_")
        dtype = {"f4": "float32", "f8": "float64"}[suffix]
        out = np.empty(1000, dtype)
        numba.njit(fastmath=True, error_model="numpy")(filler(function))(out)
        np.testing.assert_array_equal(out, draw(dist, dtype, -3, 2, 7, 1000))


def filler(function: Any) -> Callable[[Any], None]:
    def fill(out: Any) -> None:
        for k in range(out.size):
            out[k] = function(-3, 2, 7, np.int64(k))

    return fill
