"""Sizes that are known at run time only are numbers like any other, and sizes of other arrays."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

ROWS = np.arange(12.0).reshape(4, 3)


def test_a_size_is_a_number_in_an_expression() -> None:
    x = sf.input("x", ("n", 3), "float64")
    n = x.shape[0]
    k = ops.arange("n")
    outputs = {
        "quotient": x.sum() / n, "product": n * x, "place": n - 1 - ops.argmax(x, 0),
        "below": k < n - 2, "above": n - 2 > k, "rest": k % n, "root": ops.sqrt(n) * x,
        "inverse": (1.0 / n) * x, "maximum": ops.maximum(k, n // 2), "power": x**n,
        "array": n - sf.const(np.array([1, 2, 3])), "choice": ops.where(x > 5, n, x),
        "quotient of sizes": x + n // 3 * 0.1, "numbers": (0.5 * n + 2.5 - n / 8) * x,
        "square": n**2 * x, "power of two": 2**n * x, "below 0": n**-1 * x, "as a root": n**0.5 * x,
    }  # fmt: skip
    found = sf.function([x], outputs)(ROWS)
    size, place = 4, np.arange(4)
    expected = {
        "quotient": ROWS.sum() / 4, "product": 4 * ROWS, "place": 3 - np.argmax(ROWS, 0),
        "below": place < 2, "above": place < 2, "rest": place % 4, "root": 2 * ROWS,
        "inverse": ROWS / 4, "maximum": np.maximum(place, 2), "power": ROWS**4,
        "array": size - np.array([1, 2, 3]), "choice": np.where(ROWS > 5, 4.0, ROWS),
        "quotient of sizes": ROWS + 0.1, "numbers": 4.0 * ROWS,
        "square": 16 * ROWS, "power of two": 16 * ROWS, "below 0": ROWS / 4, "as a root": 2 * ROWS,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-15, err_msg=name)
        assert found[name].dtype == np.asarray(value).dtype, name


def test_a_size_in_float64_is_not_rounded_to_float32() -> None:
    x = sf.input("x", ("n",), "float64")
    third = (1.0 / x.shape[0]) * x
    assert third.dtype == "float64"
    np.testing.assert_array_equal(sf.function([x], third)(np.ones(3)), np.full(3, 1 / 3))


def test_quotients_and_remainders_of_sizes_are_sizes() -> None:
    x = sf.input("x", ("n", 3), "float64")
    n = x.shape[0]
    half, odd = sf.function([x], [x[: n // 2], x[: n % 3]])(ROWS)
    np.testing.assert_array_equal(half, ROWS[:2])
    np.testing.assert_array_equal(odd, ROWS[:1])
    assert (6 * n) // 3 == 2 * n and (6 * n) % 3 == 0
    assert n**2 == n * n and n**0 == 1
    with pytest.raises(TypeError):
        n + "rows"
    with pytest.raises(sf.ShapeError):
        n // 0


@pytest.mark.parametrize("shift", [0, 1, -1, 2, 5, -5, 9, -9])
def test_roll_by_more_than_there_are_rows(shift: int) -> None:
    x = sf.input("x", ("n", 3), "float64")
    y = ops.roll(x, shift, 0)
    assert y.shape == x.shape
    f = sf.function([x], [y, sf.grad(ops.sum(y * y * y), x)])
    for rows in (1, 2, 3, 4):
        value, slope = f(ROWS[:rows])
        np.testing.assert_array_equal(value, np.roll(ROWS[:rows], shift, 0))
        np.testing.assert_allclose(slope, 3 * ROWS[:rows] ** 2)


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "rint", "fix"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
def test_integers_are_whole_already(name: str, dtype: str) -> None:
    given = np.array([2**24 + 1, -3, 0]).astype(dtype)
    x = sf.input("x", (3,), dtype)
    y = getattr(ops, name)(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(sf.function([x], y)(given), given)


def test_functions_of_rows_have_signatures() -> None:
    assert str(inspect.signature(ops.add)) == "(x: 'Any', y: 'Any', /) -> 'Node'"
    assert list(inspect.signature(ops.where).parameters) == ["condition", "x", "y"]


@pytest.mark.parametrize("state", ["raise", "warn", "ignore"])
def test_numpys_error_state_changes_nothing(state: str) -> None:
    """Constants, conversions and what is fed beyond a dtype's range become what the dtype has."""
    with np.errstate(all=state):
        x = sf.input("x", (2,))
        f = sf.function([x], {
            "fed": x, "number": x + 1e300, "folded": ops.exp(1000.0) * x,
            "constant": sf.const(np.array([1e300, 1.0]), "float32"),
            "cast": sf.const(np.array([np.nan, 1e300])).astype("int32"),
            "fill": ops.full((2,), 1e300, "float32"), "zero": x / 0.0,
        })  # fmt: skip
        found = f(np.array([1e300, -1e-300]))
    np.testing.assert_array_equal(found["fed"], [np.inf, 0.0])
    np.testing.assert_array_equal(found["number"], [np.inf, np.inf])
    np.testing.assert_array_equal(found["constant"], [np.inf, 1.0])
    np.testing.assert_array_equal(found["cast"], [0, 2**31 - 1])
    np.testing.assert_array_equal(found["fill"], [np.inf, np.inf])
