"""float64's sin, cos and tan of every argument, huge ones among others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import KernelStep
from staticflow.compiler.schedule.large_arguments import LIMIT

RNG = np.random.default_rng(0)
# Every exponent of float64, with either sign, and the edge at which the way changes.
EXPONENTS = np.arange(-1074, 1024)
EVERY = np.concatenate(
    [RNG.choice([-1, 1], EXPONENTS.size) * np.ldexp(RNG.uniform(1, 2, EXPONENTS.size), EXPONENTS),
     [LIMIT, np.nextafter(LIMIT, 0), np.nextafter(LIMIT, np.inf), np.finfo(float).max]]
)  # fmt: skip


def distance(got: Any, want: Any) -> Any:
    """The difference in units of the last place; subnormal results may be flushed to zero."""
    unit = np.spacing(np.maximum(np.abs(want), np.finfo(float).tiny))
    return np.abs(got - want) / unit


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_every_exponent(name: str) -> None:
    x = sf.input("x", ("n",), "float64")
    f = sf.function([x], getattr(ops, name)(x))
    want = getattr(np, name)(EVERY)
    tiny = np.abs(EVERY) < np.finfo(float).tiny  # subnormal arguments count as 0
    got = f(EVERY)
    assert distance(got, want)[~tiny].max() <= 4
    assert np.abs(got - want)[tiny].max() <= np.finfo(float).tiny


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_infinity_and_nan(name: str) -> None:
    x = sf.input("x", ("n",), "float64")
    f = sf.function([x], getattr(ops, name)(x))
    got = f(np.array([np.inf, -np.inf, np.nan, 1e300, 0.5]))
    assert np.isnan(got[:3]).all()
    np.testing.assert_allclose(got[3:], getattr(np, name)(np.array([1e300, 0.5])), rtol=1e-15)


def test_a_huge_neighbour_changes_no_bit() -> None:
    x = sf.input("x", ("n", 7), "float64")
    f = sf.function([x], ops.sin(x) + ops.cos(x))
    values = RNG.standard_normal((50, 7)) * 100
    near = f(values)
    values[31, 3] = 1e200
    far = f(values)
    changed = np.argwhere(near != far)
    np.testing.assert_array_equal(changed, [[31, 3]])
    np.testing.assert_allclose(far[31, 3], np.sin(1e200) + np.cos(1e200), rtol=1e-14)


@pytest.mark.parametrize("huge", [False, True])
def test_sums_and_narrow_rows_beside_them(huge: bool) -> None:
    """Rows side by side, a bias, sums over rows, columns and all: each counted once."""
    x, b = sf.input("x", ("n", 7), "float64"), sf.input("b", (7,), "float64")
    y = ops.sin(x + b)
    f = sf.function([x, b], (y, y.sum(0), y.sum(), ops.tan(y).sum(1)))
    values, bias = RNG.standard_normal((100, 7)), RNG.standard_normal(7)
    values[55, 2] = 1e30 if huge else 0.0
    want = np.sin(values + bias)
    for got, expected in zip(
        f(values, bias), (want, want.sum(0), want.sum(), np.tan(want).sum(1)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_a_derivative_in_training_and_in_jit() -> None:
    x = sf.input("x", ("n", 3), "float64")
    w = sf.param("w", (3, 2), init=np.full((3, 2), 1e16), dtype="float64")
    y = ops.sin(x @ w)
    session = sf.Session(outputs={"y": y, "g": sf.grad(y.sum(), x)})
    rows = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    got = session.run({"y": "y", "g": "g"}, {"x": rows})
    z = rows @ session.params["w"]
    np.testing.assert_allclose(got["y"], np.sin(z), rtol=1e-14)
    np.testing.assert_allclose(got["g"], np.cos(z) @ session.params["w"].T, rtol=1e-14)
    np.testing.assert_array_equal(session.jit("y")(rows), got["y"])


@pytest.mark.parametrize(("rows", "columns"), [(5, 1), (600, 7), (5, 9000)])
def test_beside_sums_of_float32_in_blocks(rows: int, columns: int) -> None:
    """Either way of summing up finds huge arguments, and the search adds up nothing."""
    x = sf.input("x", ("rows", "columns"), "float32")
    y = ops.sin(x.astype("float64")).astype("float32")
    f = sf.function([x], [y.sum(1), y.sum(0), y.sum()])
    scales = RNG.choice([0.1, 1.0, 2.0**20, 2.0**60, 2.0**100], (rows, 1))
    values = (RNG.integers(-9, 10, (rows, columns)) * scales).astype("float32")
    want = np.sin(values.astype("f8"))
    for got, expected in zip(f(values), (want.sum(1), want.sum(0), want.sum()), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)


def test_a_search_stores_nothing() -> None:
    """What lies where an operand lay would be computed from itself."""
    x = sf.input("x", ("n", 4), "float32")
    y = ops.sin(ops.softplus(ops.log_softmax(x)).astype("float64"))
    f = sf.function([x], sf.grad(y.sum(), x))
    values = RNG.uniform(-2, 2, (6, 4)).astype("float32")
    share = np.exp(values.astype("f8"))
    share /= share.sum(1, keepdims=True)
    slope = np.cos(np.log1p(share)) * share / (1 + share)  # e^log_softmax is the share
    want = slope - share * slope.sum(1, keepdims=True)
    np.testing.assert_allclose(f(values), want, rtol=1e-5, atol=1e-6)


def test_arguments_from_what_the_same_kernel_stores() -> None:
    """The search comes before what it would read is stored."""
    x = sf.input("x", ("n", 6), "float64")
    e = ops.exp(x)
    f = sf.function([x], [e, ops.sin(ops.where(9.0 * e > e.max(1, keepdims=True), e, 0.0))])
    for middle in (0.0, 50.0, -1.0):
        stored, got = f(middle + RNG.standard_normal((5, 6)))
        large = 9.0 * stored > stored.max(1, keepdims=True)
        np.testing.assert_allclose(got, np.sin(np.where(large, stored, 0.0)), rtol=1e-13)


def test_arguments_from_what_the_same_kernel_sums_up() -> None:
    """All sums here are exact, so that huge arguments are what they are in NumPy."""
    x, v = sf.input("x", ("n", 6), "float64"), sf.input("v", ("m",), "float64")
    total = x.sum(1)
    f = sf.function(
        [x, v],
        [ops.sin(x - total[:, None]), ops.cos(total), ops.cos(v - v.sum()), ops.tan(v.sum())],
    )
    for scale in (2.0**-8, 2.0**56):
        rows, vector = (RNG.integers(1, 9, shape) * scale for shape in ((5, 6), (11,)))
        sums, whole = rows.sum(1), vector.sum()
        want = np.sin(rows - sums[:, None]), np.cos(sums), np.cos(vector - whole), np.tan(whole)
        for got, expected in zip(f(rows, vector), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15)


def test_blocks_of_rows() -> None:
    """A matrix that is read once for both its products with vectors."""
    x, b = sf.input("x", (300, 200), "float64"), sf.input("b", (200,), "float64")
    y = ops.sin(x @ b)
    f = sf.function([x, b], (y, x.T @ y))
    assert "_block" in f.source
    rows, vector = RNG.integers(-9, 9, (300, 200)) * 2.0**60, np.ones(200)
    values, sums = f(rows, vector)
    want = np.sin(rows @ vector)  # sums of integers: exact
    np.testing.assert_allclose(values, want, rtol=1e-14)
    np.testing.assert_allclose(sums, rows.T @ want, rtol=1e-10)


def sources(*outputs: sf.Node) -> str:
    """The kernels of compiled outputs."""
    steps = compile_graph(outputs).steps
    return "".join(kernel_source(s.kernel, "k") for s in steps if isinstance(s, KernelStep))


def test_only_float64_looks_for_huge_arguments() -> None:
    wide, single = (sf.input("x", ("n", 8), d) for d in ("float64", "float32"))
    assert "far" in sources(ops.sin(wide))
    assert "far" not in sources(ops.sin(single))
    assert "far" not in sources(ops.sinh(wide) + ops.arctan(wide))
