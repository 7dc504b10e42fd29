"""The scalar math functions against wider arithmetic: error bounds, special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from staticflow.native.math.scalar import FUNCTIONS
from tests.native.math.math_kernels import FLOAT, FORMATS, every_exponent, kernel

WIDE_ENOUGH = np.finfo(np.longdouble).nmant >= 63


def neighbours(points: Any, dtype: Any) -> Any:
    """Each point and the eight numbers around it."""
    x = np.asarray(points, dtype)
    found = [x]
    for direction in (-np.inf, np.inf):
        y = x
        for _ in range(4):
            y = np.nextafter(y, dtype(direction))
            found.append(y)
    return np.concatenate(found)


def ulps(got: Any, exact: Any) -> Any:
    """The error in units of the result's last place.

    A subnormal result may be 0 or nearly right.
    """
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        spacing = np.spacing(np.maximum(np.abs(rounded), info.tiny)).astype(exact.dtype)
        error = np.abs(got.astype(exact.dtype) - exact) / spacing
    error[(np.abs(exact) < info.tiny) & (got == 0)] = 0
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error[same & ~np.isfinite(rounded)] = 0
    error[np.isnan(error)] = np.inf
    return error.astype(np.float64)


def softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# name -> (reference, bound in ulp for float32 and for float64)
UNARY: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "exp": (np.exp, 1.1, 1.1),
    "exp2": (np.exp2, 1.1, 1.1),
    "expm1": (np.expm1, 1.5, 2.1),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.1, 2.2),
    "tanh": (np.tanh, 1.95, 2.8),
    "sinh": (np.sinh, 0.6, 2.7),
    "cosh": (np.cosh, 0.6, 1.7),
    "log": (np.log, 1.0, 1.0),
    "log2": (np.log2, 1.8, 1.8),
    "log10": (np.log10, 2.0, 2.2),
    "log1p": (np.log1p, 1.5, 1.5),
    "softplus": (softplus, 1.9, 2.2),
    "arcsinh": (np.arcsinh, 0.6, 2.0),
    "arccosh": (np.arccosh, 0.6, 2.5),
    "arctanh": (np.arctanh, 0.6, 2.0),
    "sin": (np.sin, 1.6, 1.2),
    "cos": (np.cos, 1.6, 1.2),
    "tan": (np.tan, 0.6, 2.8),
    "sin_far": (np.sin, 1.6, 1.2),  # of float64, for every argument
    "cos_far": (np.cos, 1.6, 1.2),
    "tan_far": (np.tan, 0.6, 2.8),
    "arcsin": (np.arcsin, 0.6, 2.4),
    "arccos": (np.arccos, 0.6, 1.4),
    "arctan": (np.arctan, 0.6, 1.6),
    "cbrt": (np.cbrt, 0.6, 1.0),
    "sqrt": (np.sqrt, 0.6, 0.6),
    "floor": (np.floor, 0.0, 0.0),
    "ceil": (np.ceil, 0.0, 0.0),
    "trunc": (np.trunc, 0.0, 0.0),
    "rint": (np.rint, 0.0, 0.0),
    "sign": (np.sign, 0.0, 0.0),
}
EDGES = [
    *(
        0.0,
        1.0,
        0.5,
        0.25,
        0.55,
        1.5,
        2.0,
        2.5,
        8.0,
        10.0,
        np.pi,
        np.pi / 2,
        np.pi / 4,
        0.75 * np.pi,
    ),
    *(88.72283, 87.33654, 88.0, 17.0, 9.02, 128.0, 126.0, 127.0, 89.4, 103.97, 20.0),
    *(709.782712893384, 708.3964185322641, 745.1, 710.4758, 1024.0, 1022.0, 36.7, 19.1, 40.0),
    *(np.sqrt(0.5), np.sqrt(2), np.sqrt(2) - 1, 0.34657359, 1e-8, 1e-4, 2.0**50, 2.0**77, 2.0**104),
    *(
        1.17549435e-38,
        2.2250738585072014e-308,
        5e-324,
        3.4028234e38,
        1.7976931348623157e308,
        2.0**60,
    ),
]


def points(format_: str) -> Any:
    dtype = FLOAT[format_]
    with np.errstate(over="ignore"):
        edges = neighbours(EDGES, dtype)
    return np.concatenate([every_exponent(format_), edges, -edges])


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", UNARY)
def test_error_bound(name: str, format_: str) -> None:
    if format_ == "f8" and not WIDE_ENOUGH:
        pytest.skip("no wider format to compare with")
    reference, *bounds = UNARY[name]
    x = points(format_)
    if format_ == "f8" and name in ("sin", "cos", "tan"):
        x = x[np.abs(x) < 2.0**50]
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64 if format_ == "f4" else np.longdouble))
    error = ulps(kernel(name, format_)(x), exact)
    worst = int(np.argmax(error))
    assert error[worst] <= bounds[FORMATS.index(format_)], (x[worst], exact[worst])


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str, format_: str) -> None:
    """Infinities, NaN and the sign of zero are those of the reference."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan], FLOAT[format_])
    with np.errstate(all="ignore"):
        expected = UNARY[name][0](x)
    got = kernel(name, format_)(x)
    close = 0 if name not in ("softplus", "arccos") else 4 * np.finfo(x.dtype).eps
    np.testing.assert_allclose(got, expected, rtol=close, atol=0)
    zeros = expected[:2] == 0
    assert (np.signbit(got[:2]) == np.signbit(expected[:2]))[zeros].all()


@pytest.mark.parametrize("name", UNARY)
def test_nan_with_a_payload(name: str) -> None:
    x = np.array([0x7FC00001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFC12345], np.uint32).view(np.float32)
    assert np.isnan(kernel(name, "f4")(x)).all()


def test_float64_angles_beyond_the_reduction_are_nan() -> None:
    x = np.array([2.0**50, -1e300])
    for name in ("sin", "cos", "tan"):
        assert np.isnan(kernel(name, "f8")(x)).all()


def test_bounded_functions_stay_in_their_range() -> None:
    x = points("f4")
    for name, low, high in (("tanh", -1, 1), ("sigmoid", 0, 1), ("erf", -1, 1), ("sin", -1, 1)):
        y = kernel(name, "f4")(x)
        assert np.nanmin(y) >= low and np.nanmax(y) <= high, name
    assert (kernel("expm1", "f4")(x) >= -1).all()


# --- against mpmath, on samples -------------------------------------------------------------------


def _exact(mpmath: Any, function: Callable[[Any], Any], *inputs: Any) -> Any:
    """The function in 120 bits, as the sum of two float64."""
    result = np.empty(inputs[0].shape, np.longdouble)
    with mpmath.workprec(120):
        for i, values in enumerate(zip(*inputs, strict=True)):
            exact = function(*(mpmath.mpf(float(v)) for v in values))
            high = float(exact)
            result[i] = np.longdouble(high)
            if np.isfinite(high):
                result[i] += np.longdouble(float(exact - mpmath.mpf(high)))
    return result


def _lgamma(mpmath: Any) -> Callable[[Any], Any]:
    return lambda x: mpmath.loggamma(x)


SAMPLED: dict[str, tuple[Callable[[Any], Callable[[Any], Any]], float, float, float, float]] = {
    "erf": (lambda mpmath: mpmath.erf, -6.0, 6.0, 1.1, 1.2),
    "erfc": (lambda mpmath: mpmath.erfc, -6.0, 26.0, 0.6, 4.0),
    "lgamma": (_lgamma, 0.001, 30.0, 0.6, 5.0),
    "digamma": (lambda mpmath: mpmath.digamma, 0.001, 30.0, 0.6, 4.0),
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", SAMPLED)
def test_error_bound_on_samples(name: str, format_: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    if format_ == "f8" and not WIDE_ENOUGH:
        pytest.skip("no wider format to compare with")
    reference, low, high, *bounds = SAMPLED[name]
    random = np.random.default_rng(1)
    x = np.concatenate([random.uniform(low, high, 1500), 10 ** random.uniform(-30, 0.3, 300)])
    x = np.concatenate([x, neighbours([0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 8.0, 10.0], np.float64)])
    x = x.astype(FLOAT[format_])
    error = ulps(kernel(name, format_)(x), _exact(mpmath, reference(mpmath), x))
    worst = int(np.argmax(error))
    assert error[worst] <= bounds[FORMATS.index(format_)], x[worst]


@pytest.mark.parametrize("format_", FORMATS)
def test_special_values_of_the_error_and_gamma_functions(format_: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, 2.0, -1.0], FLOAT[format_])
    inf, nan = np.inf, np.nan
    e, euler = 0.8427007929497149, 0.5772156649015329
    for name, expected in {
        "erf": [0, 0, 1, -1, nan, e, 0.9953222650189527, -e],
        "erfc": [1, 1, 0, 2, nan, 1 - e, 0.004677734981047266, 1 + e],
        "lgamma": [inf, inf, inf, inf, nan, 0, 0, inf],
        "digamma": [-inf, inf, inf, nan, nan, -euler, 1 - euler, nan],
    }.items():
        got = kernel(name, format_)(x)
        np.testing.assert_allclose(got, np.array(expected, x.dtype), rtol=8 * np.finfo(x.dtype).eps)
    assert np.signbit(kernel("erf", format_)(x)[1])


@pytest.mark.parametrize(("format_", "bound"), [("f4", 0.6), ("f8", 1.3)])
def test_pow_error_bound(format_: str, bound: float) -> None:
    mpmath = pytest.importorskip("mpmath")
    if not WIDE_ENOUGH:
        pytest.skip("no wider format to compare with")
    random = np.random.default_rng(2)
    limit = 87 if format_ == "f4" else 700
    base = np.concatenate(
        [
            np.exp(random.uniform(-limit, limit, 700)),
            1 + 1e-3 * random.standard_normal(700),
            random.uniform(0.01, 20, 700),
        ]
    ).astype(FLOAT[format_])
    base = base[base != 1]
    exponent = random.uniform(-limit, limit, base.size) / np.log(base.astype(np.float64))
    exponent = exponent.astype(FLOAT[format_])
    exact = _exact(mpmath, mpmath.power, base, exponent)
    assert ulps(kernel("pow", format_, 2)(base, exponent), exact).max() <= bound


BINARY: dict[str, tuple[Callable[[Any, Any], Any], float]] = {
    "pow": (np.power, 4.0),
    "arctan2": (np.arctan2, 2.0),
    "hypot": (np.hypot, 2.0),
    "remainder": (np.remainder, 0.0),
    "floor_divide": (np.floor_divide, 0.0),
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_special_values(name: str, format_: str) -> None:
    """Every pair of zeros, ones, infinities, NaN, odd and even integers, fractions and extremes."""
    reference, bound = BINARY[name]
    dtype = FLOAT[format_]
    info = np.finfo(dtype)
    positive = [0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 7.0, 8388609.0, 16777217.0, 1e30, 1e-30, np.inf]
    positive += [float(info.max), float(info.tiny), float(info.smallest_subnormal)]
    if format_ == "f8":
        positive += [9007199254740993.0, 1e300]
    values = np.array([*positive, *(-p for p in positive), np.nan], dtype)
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = reference(x, y)
    got = kernel(name, format_, 2)(x, y)
    with np.errstate(all="ignore"):
        near = np.abs(got - expected) <= bound * np.spacing(np.abs(expected))
    same = (got == expected) | (np.isnan(got) & np.isnan(expected)) | near
    same |= (got == 0) & (np.abs(expected) < info.tiny) & (bound > 0)
    same &= (np.signbit(got) == np.signbit(expected)) | np.isnan(expected)
    assert same.all(), list(zip(x[~same], y[~same], got[~same], expected[~same], strict=True))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ["arctan2", "hypot", "remainder", "floor_divide"])
def test_random_pairs(name: str, format_: str) -> None:
    random = np.random.default_rng(3)
    x, y = (
        (random.standard_normal(20000) * np.exp(random.uniform(-20, 20, 20000))).astype(
            FLOAT[format_]
        )
        for _ in range(2)
    )
    reference, bound = BINARY[name]
    got = kernel(name, format_, 2)(x, y)
    if bound == 0:
        np.testing.assert_array_equal(got, reference(x, y))
    else:
        exact = reference(x.astype(np.longdouble), y.astype(np.longdouble))
        assert ulps(got, exact).max() <= bound


def test_every_name_exists_in_both_formats() -> None:
    names = {name.rpartition("_")[0] for name in FUNCTIONS}
    assert {f"{name}_{f}" for name in names for f in FORMATS} == set(FUNCTIONS)
    assert names >= {*UNARY, *BINARY, *SAMPLED}
