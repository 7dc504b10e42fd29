"""Initial values: their moments against the formulas, and the refusal of what is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from staticflow import init
from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError

SHAPE = (200, 300)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (init.normal(std=0.02), 0.02),
        (init.uniform(-0.3, 0.3), 0.3 / math.sqrt(3)),
        (init.glorot_uniform, math.sqrt(2 / 500)),
        (init.glorot_normal, math.sqrt(2 / 500)),
        (init.he_uniform, math.sqrt(2 / 200)),
        (init.he_normal, math.sqrt(2 / 200)),
        (init.lecun, math.sqrt(1 / 200)),
        (init.orthogonal, math.sqrt(1 / 300)),
    ],
    ids=str,
)
def test_deviation(initializer: init.Initializer, deviation: float) -> None:
    value = initializer(rng(), SHAPE)
    assert value.shape == SHAPE
    assert value.dtype == np.float64
    assert abs(value.mean()) < 5 * deviation / math.sqrt(value.size)
    assert value.std() == pytest.approx(deviation, rel=0.02)


def test_uniform_ones_stay_within_their_bound() -> None:
    assert np.abs(init.glorot_uniform(rng(), SHAPE)).max() <= math.sqrt(6 / 500)
    assert np.abs(init.he_uniform(rng(), SHAPE)).max() <= math.sqrt(6 / 200)


def test_axes_before_the_last_two_are_positions() -> None:
    value = init.glorot_uniform(rng(), (5, 40, 60))
    assert np.abs(value).max() == pytest.approx(math.sqrt(6 / (5 * 100)), rel=1e-2)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (2, 3, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = init.orthogonal(rng(), shape).reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)
    np.testing.assert_allclose(init.orthogonal(2.0)(rng(), shape).reshape(q.shape), 2 * q)


def test_orthogonal_needs_a_matrix() -> None:
    with pytest.raises(ShapeError, match="takes a matrix"):
        init.initialise("orthogonal", rng(), (3,), "float32")


def test_settings_make_another_initializer() -> None:
    assert init.constant(3.0) == init.constant(value=3)
    assert repr(init.normal(std=0.5)) == "normal(std=0.5)"
    assert repr(init.zeros) == "zeros"
    with pytest.raises(TypeError):
        init.normal(0.1)
    with pytest.raises(TypeError):
        init.uniform(bound=0.1)


@pytest.mark.parametrize("name", init.NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_name(name: str, dtype: str) -> None:
    value = init.initialise(name, rng(), (3, 4), dtype)
    assert value.shape == (3, 4)
    assert value.dtype == dtype
    assert value.flags.c_contiguous
    np.testing.assert_array_equal(value, init.initialise(name, rng(), (3, 4), dtype))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 4), (4, 0)])
def test_small_shapes(shape: tuple[int, ...]) -> None:
    for name in set(init.NAMES) - {"orthogonal"}:
        assert init.initialise(name, rng(), shape, "float32").shape == shape


def test_arrays_scalars_and_functions() -> None:
    given = np.arange(6).reshape(2, 3)
    made = init.initialise(given, rng(), (2, 3), "float32")
    np.testing.assert_array_equal(made, given)
    given[0, 0] = 9
    assert made[0, 0] == 0, "a copy"
    np.testing.assert_array_equal(init.initialise(2, rng(), (2,), "float64"), [2, 2])
    np.testing.assert_array_equal(
        init.initialise(lambda r, shape: np.full(shape, 0.5), rng(), (2,), "float32"), [0.5, 0.5]
    )
    assert init.initialise("zeros", rng(), (2,), "int64").dtype == np.int64
    assert init.initialise(np.ones(2), rng(), (2,), "bool").tolist() == [True, True]


def test_unknown_name() -> None:
    with pytest.raises(GraphError) as caught:
        init.initialise("glorot_unifrom", rng(), (2,), "float32", "w")
    text = str(caught.value)
    assert "w: there is no initializer 'glorot_unifrom'" in text
    assert "did you mean 'glorot_uniform'?" in text
    assert all(name in text for name in init.NAMES)


@pytest.mark.parametrize(
    ("value", "dtype", "error", "text"),
    [
        (np.ones(3), "float32", ShapeError, r"\(3,\) for \(2,\)"),
        (lambda r, shape: 1.0, "float32", ShapeError, r"\(\) for \(2,\)"),
        (lambda r, shape: np.ones((1, 2)), "float32", ShapeError, r"\(1, 2\) for \(2,\)"),
        ([1.0, math.nan], "float32", NumericsError, "NaN or Inf"),
        ([1.0, math.inf], "float64", NumericsError, "NaN or Inf"),
        ([1.0, 1e300], "float32", DTypeError, r"1e\+300 at \(1,\)"),
        ([1.0, 0.5], "int64", DTypeError, r"0.5 at \(1,\)"),
        (2**40, "int32", DTypeError, "cannot hold"),
        (["a", "b"], "float32", DTypeError, "numeric"),
        ([1j, 2j], "float32", DTypeError, "numeric"),
        ([[1], [1, 2]], "float32", ShapeError, "not an array"),
    ],
)
def test_refused(value: object, dtype: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        init.initialise(value, rng(), (2,), dtype, "w")
