"""Every function that HIPS autograd differentiates agrees with JAX here, or is said to be missing.

Values and derivatives of first order within 1e-10, and of second order within 1e-8, forward over
reverse and reverse over forward. Two of a row's combinations are tested; the campaign has all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from libraries import our_library, their_library  # noqa: E402
from loop_interpreter import run_loops  # noqa: E402
from peer_table import (  # noqa: E402
    CONSTANT,
    EINSUMS,
    ELSEWHERE,
    INDICES,
    MISSING,
    POSITIVE,
    ROWS,
    WELL,
    Row,
    Span,
)

import staticflow as sf  # noqa: E402
from staticflow import ops  # noqa: E402
from staticflow.compile import compile_graph  # noqa: E402

pytestmark = pytest.mark.peers
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


@pytest.mark.parametrize("position", range(len(ROWS)), ids=[f"{r.peer}" for r in ROWS])
def test_row(position: int) -> None:
    assert check_row(ROWS[position], most=2)


@pytest.mark.campaign
def test_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    calls = sum(check_row(row) for row in ROWS)
    with capsys.disabled():
        print(f"\n{calls} calls of {len(ROWS)} rows")


def _fits(function: Function, arrays: Sequence[Array]) -> bool:
    """Whether the operands go together."""
    try:
        jax.eval_shape(lambda *xs: tuple_of(function(THEIRS, *xs)), *arrays)
    except (TypeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("text", EINSUMS)
def test_einsum(text: str) -> None:
    rng = np.random.default_rng(5)
    check(lambda m, *xs: m.einsum(text, *xs), [rng.normal(size=s) for s in EINSUMS[text]])


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index(index: Any) -> None:
    def function(m: Any, x: Any) -> Any:
        arrays = [np.array(k) if isinstance(k, list) and m is THEIRS else k for k in index]
        return x[tuple(arrays)]

    check(function, [np.random.default_rng(6).normal(size=(5, 6, 4))])


def test_full() -> None:
    check(lambda m, x: m.broadcast_to(x, (2, 3)), [np.array(1.5)])


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_has_no_derivative(name: str) -> None:
    """Where the result is a float, its derivative is zero; else it is no float."""
    x = sf.input("x", (4,), "float64")
    function = getattr(ops, CONSTANT[name])
    binary = ("equal", "greater", "less", "logical_and", "logical_or", "logical_xor", "not_equal",
              "greater_equal", "less_equal", "floor_divide", "searchsorted",
              "allclose", "isclose")  # fmt: skip
    operands = [x, x * 0.5] if name in binary else [x]
    y = function(*operands, *([2.0] if name == "full_like" else []))
    if y.type.is_float:
        (gradient,) = run_loops(compile_graph([sf.grad(y.sum(), x)]), {x: np.arange(4.0) + 0.3}, {})
        np.testing.assert_array_equal(gradient, np.zeros(4))
    else:
        with pytest.raises(sf.DTypeError, match="only floats have derivatives"):
            sf.vjp(y, x, np.ones(y.shape))


def differentiated_by_autograd() -> set[str]:
    """The names of everything that autograd has a derivative for, or says to be constant."""
    pytest.importorskip("autograd")
    import autograd.numpy
    import autograd.scipy.integrate
    import autograd.scipy.linalg
    import autograd.scipy.signal
    import autograd.scipy.special
    import autograd.scipy.stats  # noqa: F401
    from autograd.core import primitive_vjps
    from autograd.tracer import notrace_primitives

    functions = [*primitive_vjps, *(f for each in notrace_primitives.values() for f in each)]
    return {_name(getattr(f, "fun", f), f) for f in functions}


def _name(function: Any, primitive: Any) -> str:
    """Its name behind the part of the library that it is from."""
    name = getattr(primitive, "__name__", "")
    module = getattr(function, "__module__", None) or "scipy.special"
    for part, prefix in (
        ("scipy.special", "scipy.special."), ("stats", "scipy.stats."),
        ("scipy.integrate", "scipy.integrate."), ("scipy.linalg", "scipy.linalg."),
        ("signal", "scipy.signal."), ("fft", "fft."), ("linalg", "linalg."),
        ("autograd.core", "core."), ("builtins", "builtins."),
    ):  # fmt: skip
        if part in module:
            return prefix + name
    return name


def test_what_is_missing_is_listed() -> None:
    """Neither more nor less: a function that gets written leaves the list."""
    here = {row.peer for row in ROWS} | set(ELSEWHERE) | set(CONSTANT)
    assert not here & set(MISSING)
    assert differentiated_by_autograd() - here == set(MISSING)
    assert not {name for name in MISSING if name.rpartition(".")[2] in ops.__all__} - {"core.add"}
