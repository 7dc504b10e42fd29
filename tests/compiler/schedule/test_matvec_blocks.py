"""Matrices that are read in blocks of rows: the numbers are those of whole products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

RNG = np.random.default_rng(0)
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


def logistic(x: Any, t: Any, y: Any) -> Any:
    z = x @ t
    return (ops.softplus(z) - y * z).mean()


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def gradient(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    return sf.grad(logistic(x, t, y), t), lambda x, t, y, v: x.T @ (sigmoid(x @ t) - y) / len(x)


def curvature(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    def expected(x: Any, t: Any, y: Any, v: Any) -> Any:
        p = sigmoid(x @ t)
        return x.T @ (p * (1 - p) * (x @ v)) / len(x)

    return sf.hvp(logistic(x, t, y), t, v), expected


def exponential(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    return sf.grad(y @ ops.exp(x @ t), t), lambda x, t, y, v: x.T @ (y * np.exp(x @ t))


def from_the_left(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    u = ops.tanh(x @ t)
    return (u * y) @ x, lambda x, t, y, v: (np.tanh(x @ t) * y) @ x


def with_a_sum_between(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    """The sum over all rows must be known before the second product."""
    u = ops.tanh(x @ t)
    return (
        u / (1 + (u * u).sum())
    ) @ x, lambda x, t, y, v: (np.tanh(x @ t) / (1 + (np.tanh(x @ t) ** 2).sum())) @ x


def with_positions(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    """A row's number counts from the start of the matrix, not of a block."""
    u = (x @ t) * ops.cumsum(ops.ones_like(y))
    return u @ x, lambda x, t, y, v: ((x @ t) * np.arange(1, len(x) + 1)) @ x


def backwards(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    """The rows in another order."""
    u = ops.flip(ops.tanh(x @ t))
    return (u + y) @ x, lambda x, t, y, v: (np.tanh(x @ t)[::-1] + y) @ x


def in_two_steps(x: Any, t: Any, y: Any, v: Any) -> tuple[Any, Callable[..., Any]]:
    """What comes out of the first chain goes into the second."""
    w = ops.tanh(x @ t) @ x
    return ops.sin(x @ w) @ x, lambda x, t, y, v: np.sin(x @ (np.tanh(x @ t) @ x)) @ x


CASES = [gradient, curvature, exponential, from_the_left, with_a_sum_between, with_positions,
         backwards, in_two_steps]  # fmt: skip


def feeds(rows: int, columns: int, dtype: str) -> list[np.ndarray]:
    shapes = ((rows, columns), (columns,), (rows,), (columns,))
    arrays = [RNG.standard_normal(shape).astype(dtype) for shape in shapes]
    arrays[0] /= max(rows * columns, 1) ** 0.5
    return arrays


def function(make: Callable[..., Any], dtype: str) -> tuple[sf.Function, Callable[..., Any]]:
    shapes = {"x": ("n", "m"), "t": ("m",), "y": ("n",), "v": ("m",)}
    nodes = [sf.input(name, shape, dtype) for name, shape in shapes.items()]
    output, expected = make(*nodes)
    return sf.function(nodes, output), expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", CASES)
def test_same_numbers(make: Callable[..., Any], dtype: str) -> None:
    f, expected = function(make, dtype)
    for rows, columns in ((1, 1), (3, 1), (1, 7), (4, 4), (5, 8000), (257, 1000), (3000, 33)):
        fed = feeds(rows, columns, dtype)
        found, wanted = f(*fed), expected(*(a.astype("float64") for a in fed))
        scale = max(np.abs(wanted).max(), 1e-3)
        np.testing.assert_allclose(found, wanted, TOLERANCE[dtype], TOLERANCE[dtype] * scale)


def test_no_rows_and_no_columns() -> None:
    f, _ = function(exponential, "float64")
    for rows, columns in ((0, 3), (3, 0), (0, 0)):
        np.testing.assert_array_equal(f(*feeds(rows, columns, "float64")), np.zeros(columns))


@pytest.mark.parametrize("make", [gradient, curvature, exponential, from_the_left, in_two_steps])
def test_chains_over_rows_are_blocked(make: Callable[..., Any]) -> None:
    f, _ = function(make, "float64")
    assert f.source.count("for at") == (2 if make is in_two_steps else 1)


@pytest.mark.parametrize("make", [with_a_sum_between, backwards])
def test_what_needs_other_rows_is_not(make: Callable[..., Any]) -> None:
    f, _ = function(make, "float64")
    assert "for at" not in f.source


def test_the_same_bits_every_time() -> None:
    f, _ = function(curvature, "float64")
    fed = feeds(777, 900, "float64")
    first = f(*fed)
    for _ in range(20):
        np.testing.assert_array_equal(f(*fed), first)
