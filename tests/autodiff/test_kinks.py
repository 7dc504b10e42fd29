"""Where a function has no derivative, ours is JAX's: forward, in reverse, in float32 and float64.

Points at infinity and outside a function's domain are no kinks; the ops' special points have those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import staticflow as sf  # noqa: E402
from staticflow.runtime.interpreter import interpret  # noqa: E402
from tests.support.libraries import our_library, their_library  # noqa: E402

pytestmark = pytest.mark.peers
OURS, THEIRS = our_library(), their_library()
Array = np.ndarray[Any, Any]
Function = Callable[..., Any]  # of a library and arrays

POINTS = np.array([0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 0.5, 6.0])
SIMPLE = (
    "abs", "fabs", "relu", "sign", "floor", "ceil", "trunc", "rint", "sqrt", "cbrt", "leaky_relu",
    "elu", "selu", "hard_tanh", "hard_sigmoid", "softsign", "nan_to_num", "sinc", "reciprocal",
    "log", "square", "softplus", "arcsin", "arccos",
)  # fmt: skip
FIRST, SECOND = (
    grid.ravel() for grid in np.meshgrid([0.0, -0.0, 1.0, -1.0, 2.0], [0.0, -0.0, 1.0, -1.0, 2.0])
)
AWAY = (FIRST != 0) | (SECOND != 0)  # from the origin
PAIRS = (
    "maximum", "minimum", "fmax", "fmin", "copysign", "logaddexp", "heaviside", "divide", "arctan2",
)  # fmt: skip
TABLES = {
    "ties": np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, -0.0, -1.0], [5.0, 4.0, 5.0]]),
    "zeros": np.zeros((2, 3)),
    "some zeros": np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0]]),
}
ALONG = (
    "max", "min", "prod", "var", "std", "median", "logsumexp", "sort", "cumprod", "nanmax",
    "nanmin", "nanprod", "softmax", "ptp",
)  # fmt: skip
# At a tie of singular values each of them has no derivative, and the tie is as the bits fall.
ORDERS = (None, 1, 2, 3, math.inf, -math.inf)
MATRIX_ORDERS = ("fro", 1, -1, 2, math.inf, -math.inf)


def named(name: str, *args: Any, **options: Any) -> Function:
    return lambda m, *xs: getattr(m, name)(*xs, *args, **options)


CASES: dict[str, tuple[Function, list[Array]]] = {
    **{name: (named(name), [POINTS]) for name in SIMPLE},
    **{name: (named(name), [FIRST, SECOND]) for name in PAIRS},
    "hypot": (named("hypot"), [FIRST[AWAY], SECOND[AWAY]]),
    **{f"{name}, {kind}": (named(name, axis=1), [table])
       for name in ALONG for kind, table in TABLES.items()},
    **{f"{name} of all": (named(name), [TABLES["ties"]]) for name in ("max", "min", "prod")},
    **{f"power {k}": (named("power", k), [POINTS]) for k in (1.0, 2.0, 3.0, 1.5, -1.0)},
    **{f"norm {k} at 0": (named("norm", ord=k), [np.zeros(3)]) for k in ORDERS},
    **{f"norm {k}, ties": (named("norm", ord=k), [np.array([1.0, -1.0, 0.0])]) for k in ORDERS},
    **{f"matrix norm {k} at 0": (named("norm", ord=k), [np.zeros((2, 2))]) for k in MATRIX_ORDERS},
    "clip": (named("clip", -1.0, 1.0), [POINTS]),
    "clip from below": (named("clip", 0.0), [POINTS]),
    "clip to a point": (named("clip", 1.0, 1.0), [POINTS]),
    "clip by arrays": (named("clip"), [
        np.array([0.0, 1.0, 2.0, 1.0]), np.array([0.0, 0.0, 2.0, 1.0]),
        np.array([1.0, 1.0, 2.0, 3.0]),
    ]),
    "where": (lambda m, x: m.where(x > 0, m.sqrt(x), x), [POINTS]),
    "top_k": (lambda m, x: m.top_k(x, 2)[0], [TABLES["ties"]]),
    "mae": (named("mae"), [np.array([0.0, 1.0]), np.array([0.0, 2.0])]),
    "abs of -x": (lambda m, x: m.abs(-x), [POINTS]),
    "abs twice": (lambda m, x: m.abs(m.abs(x)), [POINTS]),
    "det": (named("det"), [np.array([[1.0, 2.0], [2.0, 4.0]])]),
    "det at 0": (named("det"), [np.zeros((3, 3))]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float64") for name in CASES),
        *((name, "float32") for name in (*SIMPLE, *PAIRS, "hypot")),
    ],
)
def test_kinks_have_jaxs_derivatives(name: str, dtype: str) -> None:
    function, points = CASES[name]
    rng = np.random.default_rng(5)
    arrays = [np.asarray(point, dtype) for point in points]
    tangents = [rng.uniform(0.5, 1.5, a.shape).astype(dtype) for a in arrays]
    value, pull = jax.vjp(lambda *xs: function(THEIRS, *xs), *arrays)
    cotangent = rng.uniform(0.5, 1.5, value.shape).astype(dtype)
    _, pushed = jax.jvp(lambda *xs: function(THEIRS, *xs), tuple(arrays), tuple(tangents))
    xs = [sf.input(f"x{k}", a.shape, dtype) for k, a in enumerate(arrays)]
    y = function(OURS, *xs)
    outputs = [*sf.vjp(y, xs, cotangent), sf.jvp(y, xs, tangents)]
    with np.errstate(all="ignore"):
        found = interpret(outputs, dict(zip(xs, arrays, strict=True)))
    rtol = 1e-4 if dtype == "float32" else 1e-10
    for ours, theirs in zip(found, [*pull(cotangent), pushed], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol / 100)


def test_a_power_of_zero_is_constant() -> None:
    """Where JAX gives NaN: x^0 is 1 for every x, and has a derivative."""
    x = sf.input("x", (3,), "float64")
    slope = sf.grad(OURS.power(x, 0.0).sum(), x)
    (found,) = interpret([slope], {x: np.array([0.0, -0.0, 2.0])})
    np.testing.assert_array_equal(found, 0.0)


def test_hypot_gives_each_leg_half_at_the_origin() -> None:
    """So did JAX up to 0.10; later it gives NaN there."""
    x, y = (sf.input(name, (2,), "float64") for name in "xy")
    slopes = sf.grad(OURS.hypot(x, y).sum(), [x, y])
    for found in interpret(slopes, {x: np.array([0.0, -0.0]), y: np.array([0.0, 0.0])}):
        np.testing.assert_array_equal(found, 0.5)
