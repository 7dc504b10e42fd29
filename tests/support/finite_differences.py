"""Derivatives by central differences, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import Node, ops
from staticflow.runtime.interpreter import interpret

Array = NDArray[Any]
STEP = 1e-5


def by_differences(function: Callable[[Array], Any], x: Array) -> Array:
    """The derivatives of every element of function(x) by every element of x."""
    columns = []
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = STEP
        shift = step.reshape(x.shape)
        columns.append((np.asarray(function(x + shift)) - function(x - shift)) / (2 * STEP))
    if not columns:
        return np.zeros((*np.shape(function(x)), *x.shape))
    return np.stack(columns, -1).reshape((*columns[0].shape, *x.shape))


def leaves_for(arrays: Sequence[Array]) -> list[Node]:
    """An input for each array."""
    return [sf.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]


def check_derivatives(build: Callable[..., Node], arrays: Sequence[Array], order: int = 2) -> None:
    """Compare both modes with central differences, and then those of the gradient itself."""
    xs = leaves_for(arrays)
    env = dict(zip(xs, arrays, strict=True))
    floats = [x for x in xs if x.type.is_float]
    y = build(*xs)
    rng = np.random.default_rng(7)
    shape: Any = y.shape
    weights = rng.uniform(0.5, 1.5, shape)
    scalar = ops.sum(y * sf.const(weights, y.dtype))
    for _ in range(order):
        gradients = sf.grad(scalar, floats)
        _check_reverse(scalar, floats, gradients, env)
        moved = [rng.uniform(-1, 1, env[x].shape) for x in floats]
        _check_forward(scalar, floats, gradients, moved, env)
        scalar = _total([ops.vdot(g, v) for g, v in zip(gradients, moved, strict=True)])


def _check_reverse(
    scalar: Node, xs: Sequence[Node], gradients: Sequence[Node], env: dict[Node, Array]
) -> None:
    for x, g in zip(xs, gradients, strict=True):
        expected = by_differences(partial(_value, scalar, env, x), env[x])
        np.testing.assert_allclose(interpret([g], env)[0], expected, rtol=2e-5, atol=2e-6)


def _value(scalar: Node, env: dict[Node, Array], x: Node, v: Array) -> Any:
    return interpret([scalar], {**env, x: v})[0]


def _check_forward(
    scalar: Node,
    xs: Sequence[Node],
    gradients: Sequence[Node],
    moved: Sequence[Array],
    env: dict[Node, Array],
) -> None:
    """Forward mode is the transpose of reverse mode."""
    forward, *backward = interpret([sf.jvp(scalar, xs, moved), *gradients], env)
    along = sum(np.vdot(g, v) for g, v in zip(backward, moved, strict=True))
    np.testing.assert_allclose(forward, along, rtol=1e-9, atol=1e-9)


def _total(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
