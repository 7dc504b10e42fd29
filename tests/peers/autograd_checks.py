"""Calls of the peer table against JAX: values, and derivatives of first and second order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

import staticflow as sf
from staticflow.compiler.compile import compile_graph
from tests.peers.autograd_table import POSITIVE, WELL, Row, Span
from tests.support.libraries import our_library, their_library
from tests.support.source_interpreter import run_loops

OURS, THEIRS = our_library(), their_library()
Array = np.ndarray[Any, Any]
Function = Callable[..., Any]  # of a library and of arrays


def drawn(span: Span, rng: np.random.Generator) -> Array:
    """An array of a span's kind."""
    if span.kind == WELL:
        return rng.normal(size=span.shape) / 2 + 3 * np.eye(span.shape[-1])
    if span.kind == POSITIVE:
        a = rng.normal(size=span.shape)
        positive: Array = a @ np.swapaxes(a, -1, -2) + np.eye(span.shape[-1])
        return positive
    return np.asarray(rng.uniform(span.low, span.high, span.shape))


def combinations(row: Row) -> Iterator[tuple[list[Array], dict[str, Any]]]:
    """Arrays and options: all alternatives with each other, but operands that do not fit."""
    rng = np.random.default_rng(17)
    for spans in itertools.product(*row.arguments):
        for values in itertools.product(*row.options.values()):
            yield [drawn(s, rng) for s in spans], dict(zip(row.options, values, strict=True))


def tuple_of(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def check(function: Function, arrays: Sequence[Array]) -> None:
    """Compare one call."""
    rng = np.random.default_rng(23)
    directions = [rng.normal(size=a.shape) for a in arrays]
    shapes = [y.shape for y in jax.eval_shape(lambda *xs: tuple_of(function(THEIRS, *xs)), *arrays)]
    weights = [rng.normal(size=shape) for shape in shapes]

    def loss(m: Any, *xs: Any) -> Any:
        ys = tuple_of(function(m, *xs))
        return sum((m.sin(y) * w).sum() for y, w in zip(ys, weights, strict=True))

    xs = [sf.input(f"x{k}", a.shape, "float64") for k, a in enumerate(arrays)]
    total = loss(OURS, *xs)
    gradient, forward = sf.grad(total, xs), sf.jvp(total, xs, directions)
    outputs = [
        *tuple_of(function(OURS, *xs)), *gradient, forward,
        *(sf.jvp(g, xs, directions) for g in gradient), *sf.grad(forward, xs),
    ]  # fmt: skip
    found = run_loops(compile_graph(outputs), dict(zip(xs, arrays, strict=True)), {})
    places = tuple(range(len(arrays)))
    (_, slopes), (slope, changes) = jax.jvp(
        jax.value_and_grad(lambda *xs: loss(THEIRS, *xs), places), tuple(arrays), tuple(directions)
    )
    values = tuple_of(function(THEIRS, *map(jax.numpy.asarray, arrays)))
    expected = [*values, *slopes, slope, *changes, *changes]
    simple = len(values) + len(slopes) + 1
    for place, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        bound = 1e-10 if place < simple else 1e-8
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=bound, err_msg=f"{place}")


def call(row: Row, options: dict[str, Any]) -> Function:
    """A row's function with options, of either library."""

    def function(m: Any, *xs: Any) -> Any:
        if row.name == "where":
            return m.where(xs[0] > 0.1, m.sin(xs[0]), xs[1])
        return getattr(m, row.name)(*([list(xs)] if row.listed else xs), **options)

    return function


def check_row(row: Row, most: int | None = None) -> int:
    """Compare up to so many of a row's calls, spread over all; returns their number."""
    calls = [(call(row, options), arrays) for arrays, options in combinations(row)]
    calls = [(function, arrays) for function, arrays in calls if _fits(function, arrays)]
    for function, arrays in calls[:: -(-len(calls) // most) if most else 1]:
        check(function, arrays)
    return len(calls)


def _fits(function: Function, arrays: Sequence[Array]) -> bool:
    """Whether the operands go together."""
    try:
        jax.eval_shape(lambda *xs: tuple_of(function(THEIRS, *xs)), *arrays)
    except (TypeError, ValueError):
        return False
    return True
