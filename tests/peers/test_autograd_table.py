"""Every function that HIPS autograd differentiates agrees with JAX here, or is said to be missing.

Values and derivatives of first order within 1e-10, and of second order within 1e-8, forward over
reverse and reverse over forward. Two of a row's combinations are tested; the campaign
`peer_table` has all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")

import staticflow as sf
from staticflow import ops
from staticflow.compiler.compile import compile_graph
from tests.peers.autograd_checks import THEIRS, check, check_row
from tests.peers.autograd_table import CONSTANT, EINSUMS, ELSEWHERE, INDICES, MISSING, ROWS
from tests.support.source_interpreter import run_loops

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("position", range(len(ROWS)), ids=[f"{r.peer}" for r in ROWS])
def test_row(position: int) -> None:
    assert check_row(ROWS[position], most=2)


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
