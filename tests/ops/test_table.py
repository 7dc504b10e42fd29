"""Every op in the table: its value, its loop body, its types and its derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.kinds import MapRow, ReduceRow
from staticflow.graph.op_table import Declaration, table
from staticflow.graph.traversal import toposort
from staticflow.ops.arithmetic import INTEGER_POWER, INTEGER_QUOTIENT, INTEGER_REMAINDER
from staticflow.runtime.interpreter import interpret
from tests.ops.cases.elementwise import MAPS, ROWS, operands
from tests.ops.cases.table import CASES, SPECIAL, Array, Case
from tests.support.finite_differences import check_derivatives, leaves_for

INTEGER_ROWS = (INTEGER_POWER, INTEGER_QUOTIENT, INTEGER_REMAINDER)
DOMAINS = {
    "number": ("float64", "float32", "int64", "int32"), "float": ("float64", "float32"),
    "integer": ("int64", "int32", "bool"), "whole": ("int64", "int32"), "bool": ("bool",),
    "any": ("float64", "int32"),
}  # fmt: skip
SUFFIX = {"float32": "f4", "float64": "f8", "int32": "i4", "int64": "i8", "bool": "b1"}


# Files of `ops` with tests of their own.
ELSEWHERE = (
    "linalg", "linalg_diagonal", "linalg_factor", "linalg_matrix", "accumulate", "convolution",
    "einsum", "nan_reductions", "ordering",
)  # fmt: skip


def test_every_op_has_a_case() -> None:
    named = {case.op for case in CASES} | set(SPECIAL) | {entry.name for entry in ROWS}
    functions = {name: inspect.unwrap(entry.function) for name, entry in table().items()}
    files = {name: Path(inspect.getfile(f)).stem for name, f in functions.items()}
    elsewhere = {name for name, file in files.items() if file in ELSEWHERE}
    assert named - elsewhere == set(files) - elsewhere


def test_every_op_is_public_under_its_name() -> None:
    for name, entry in table().items():
        if name != "getitem":
            assert getattr(ops, name) is entry.function
            assert name in ops.__all__


@pytest.mark.parametrize("entry", table().values(), ids=lambda entry: entry.name)
def test_an_op_is_documented(entry: Declaration) -> None:
    assert entry.doc.strip().endswith((".", ")"))
    assert entry.function.__name__ == entry.name
    if isinstance(entry.row, MapRow | ReduceRow) and entry.row.vjp is not None:
        assert entry.row.formula


@pytest.mark.parametrize("row", MAPS, ids=lambda row: row.name)
def test_a_row_computes_numpys_value(row: MapRow) -> None:
    function = table()[row.name].function
    for dtype in DOMAINS[row.domain]:
        arrays = operands(row, dtype)
        xs = leaves_for(arrays)
        y = function(*xs)
        (value,) = interpret([y], dict(zip(xs, arrays, strict=True)))
        with np.errstate(all="ignore"):
            expected = np.asarray(row.reference(*arrays))
        assert value.dtype == y.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("row", [*MAPS, *INTEGER_ROWS], ids=lambda row: row.name)
def test_a_loop_body_computes_the_same(row: MapRow) -> None:
    """The body, compiled as it stands, against the NumPy function of the row."""
    dtypes = ("int64", "int32") if row in INTEGER_ROWS else DOMAINS[row.domain]
    for dtype in dtypes:
        arrays = operands(row, dtype)
        result = row.result(*(str(a.dtype) for a in arrays))
        value = compiled_body(row, arrays, result)
        with np.errstate(all="ignore"):
            expected = np.asarray(row.reference(*arrays)).astype(result)
        tolerance = {"float32": 2e-6, "float64": 2e-14}.get(result, 0.0)
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=0.0)


def compiled_body(row: MapRow, arrays: list[Array], result: str) -> Array:
    """The values of a row's body in a plain Numba loop."""
    numba = pytest.importorskip("numba")
    from staticflow.native.kernel_names import kernel_namespace
    from staticflow.native.toolchain.intrinsics import STANDARD_NAMES

    holes = {letter: f"{letter}_" for letter in row.inputs}
    holes |= {"t": SUFFIX[str(arrays[0].dtype)], "r": SUFFIX[result]}
    loads = "; ".join(f"{letter}_ = {letter}[k]" for letter in row.inputs)
    lines = (
        f"def loop({', '.join(row.inputs)}, out):",
        "    for k in range(out.size):",
        f"        {loads}",
        f"        out[k] = {row.body.format(**holes)}",
    )
    names: dict[str, Any] = {**STANDARD_NAMES, **kernel_namespace()}
    exec("\n".join(lines), names)
    out = np.empty(arrays[0].shape, result)
    numba.njit(error_model="numpy")(names["loop"])(*arrays, out)
    return out


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_computes_the_expected_value(case: Case) -> None:
    xs = leaves_for(case.inputs)
    y = case.call(*xs)
    (value,) = interpret([y], dict(zip(xs, case.inputs, strict=True)))
    expected = np.asarray(case.expected(*case.inputs))
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", [m for m in MAPS if m.vjp is not None], ids=lambda row: row.name)
def test_the_derivatives_of_a_row(row: MapRow) -> None:
    arrays = [a[:6] for a in operands(row, "float64", special=False)]
    if row.name == "mod":
        arrays[0] += 10.0
    check_derivatives(table()[row.name].function, arrays)


SMOOTH = [c for c in CASES if c.smooth and any(a.dtype.kind == "f" for a in c.inputs)]


def is_differentiable(case: Case) -> bool:
    y = case.call(*leaves_for(case.inputs))
    return bool(y.type.is_float)


@pytest.mark.parametrize("case", [c for c in SMOOTH if is_differentiable(c)], ids=str)
def test_the_derivatives_of_a_case(case: Case) -> None:
    check_derivatives(case.call, case.inputs)


@pytest.mark.parametrize("row", MAPS, ids=lambda row: row.name)
@pytest.mark.parametrize("shape", [(0,), (1,), (2, 1), ()], ids=str)
def test_a_row_takes_any_shape(row: MapRow, shape: tuple[int, ...]) -> None:
    dtype = DOMAINS[row.domain][0]
    arrays = [np.resize(a, shape) for a in operands(row, dtype)]
    xs = leaves_for(arrays)
    (value,) = interpret([table()[row.name].function(*xs)], dict(zip(xs, arrays, strict=True)))
    assert value.shape == shape


@pytest.mark.parametrize("name", ["sum", "prod", "any", "all"])
def test_a_reduction_of_nothing(name: str) -> None:
    x = sf.input("x", (3, 0), "float64")
    (value,) = interpret([getattr(ops, name)(x, axis=1)], {x: np.zeros((3, 0))})
    np.testing.assert_array_equal(value, getattr(np, name)(np.zeros((3, 0)), axis=1))


@pytest.mark.parametrize("name", ["max", "min"])
def test_an_extreme_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(sf.ShapeError, match="no element"):
        getattr(ops, name)(sf.input("x", (3, 0)), axis=1)


def test_extremes_pass_nan_on() -> None:
    x = sf.input("x", (3,), "float64")
    for name in ("max", "min"):
        (value,) = interpret([getattr(ops, name)(x)], {x: np.array([1.0, np.nan, 3.0])})
        assert np.isnan(value)


def test_ties_share_the_cotangent() -> None:
    x = sf.input("x", (4,), "float64")
    (g,) = interpret([sf.grad(x.max(), x)], {x: np.array([3.0, 1.0, 3.0, 3.0])})
    np.testing.assert_allclose(g, [1 / 3, 0, 1 / 3, 1 / 3])


def test_products_with_zeros_have_exact_derivatives() -> None:
    for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 2.0]):
        check_derivatives(ops.prod, [np.array(values)], order=3)


BROADCASTS = [((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 1, 4), (3, 1)), ((3,), ()), ((1, 1), (5,))]


@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
def test_operands_broadcast(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(1, 2, shape) for shape in shapes]
    xs = leaves_for(arrays)
    (value,) = interpret([xs[0] * xs[1]], dict(zip(xs, arrays, strict=True)))
    np.testing.assert_array_equal(value, arrays[0] * arrays[1])
    check_derivatives(lambda x, y: x * y, arrays)


PROMOTIONS = [
    ("int32", "float32", "float32"), ("int64", "float32", "float32"), ("bool", "int32", "int32"),
    ("float32", "float64", "float64"), ("int32", "int64", "int64"), ("bool", "float32", "float32"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right", "result"), PROMOTIONS)
def test_dtypes_promote(left: str, right: str, result: str) -> None:
    x, y = sf.input("x", (2,), left), sf.input("y", (2,), right)
    assert (x + y).dtype == (y + x).dtype == result


SCALARS = [
    ("float32", 2, "float32"), ("float32", 2.5, "float32"), ("int32", 2, "int32"),
    ("int64", 2.5, "float32"), ("float64", 1, "float64"), ("bool", 1, "int64"),
    ("float32", True, "float32"), ("float32", np.float64(2), "float32"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "scalar", "result"), SCALARS)
def test_a_scalar_never_promotes(dtype: str, scalar: Any, result: str) -> None:
    x = sf.input("x", (2,), dtype)
    assert (x + scalar).dtype == (scalar + x).dtype == result


def test_an_array_stands_on_either_side() -> None:
    x = sf.input("x", (2, 3), "float64")
    array = np.arange(6.0).reshape(2, 3)
    for y, expected in ((array - x, array - 1), (x - array, 1 - array), (array.T @ x, None)):
        assert isinstance(y, sf.Node)
        if expected is not None:
            np.testing.assert_array_equal(interpret([y], {x: np.ones((2, 3))})[0], expected)


OPERATORS: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda x, y: x + y, "float64"), (lambda x, y: x - y, "float64"),
    (lambda x, y: x * y, "float64"), (lambda x, y: x / y, "float64"),
    (lambda x, y: x // y, "int64"), (lambda x, y: x % y, "int64"),
    (lambda x, y: x**y, "float64"), (lambda x, y: x < y, "float64"), (lambda x, y: x <= y, "int64"),
    (lambda x, y: x > y, "float64"), (lambda x, y: x >= y, "int64"), (lambda x, y: x & y, "int64"),
    (lambda x, y: x | y, "bool"), (lambda x, y: x ^ y, "int64"), (lambda x, y: ~x, "bool"),
    (lambda x, y: -x + abs(y), "float64"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "dtype"), OPERATORS)
def test_operators(operator: Callable[[Any, Any], Any], dtype: str) -> None:
    arrays = [np.array([1, 2, 5]).astype(dtype), np.array([3, 2, 1]).astype(dtype)]
    xs = leaves_for(arrays)
    (value,) = interpret([operator(*xs)], dict(zip(xs, arrays, strict=True)))
    np.testing.assert_array_equal(value, operator(*arrays))
    (mixed,) = interpret([operator(xs[0], arrays[1])], {xs[0]: arrays[0]})
    np.testing.assert_array_equal(mixed, operator(*arrays))


def test_integers_add_up_in_int64() -> None:
    x = sf.input("x", (3,), "int32")
    assert ops.sum(x).dtype == "int64"
    assert ops.sum(sf.input("b", (3,), "bool")).dtype == "int64"


def test_the_powers_with_bodies_of_their_own() -> None:
    x = sf.input("x", (3,), "float64")
    for exponent, name in ((2, "square"), (0.5, "sqrt"), (-1, "reciprocal"), (3, "power")):
        assert (x**exponent).op.name == name


def test_integers_and_booleans_where_floats_are_usual() -> None:
    whole, truth = np.arange(12).reshape(3, 4), np.arange(12).reshape(3, 4) % 3 == 0
    x, flags = sf.input("x", (3, 4), "int64"), sf.input("flags", (3, 4), "bool")
    f = sf.function(
        [x, flags],
        [ops.einsum("ij,kj->ik", x, x), x @ x.T, flags @ flags.T, ops.nanmax(flags, 0),
         ops.nansum(flags), ops.nanprod(x, 1)],
    )  # fmt: skip
    expected = [
        np.einsum("ij,kj->ik", whole, whole), whole @ whole.T, truth @ truth.T,
        np.nanmax(truth, 0), np.nansum(truth), np.nanprod(whole, 1),
    ]  # fmt: skip
    for found, wanted in zip(f(whole, truth), expected, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("axis", [(0, 1), 1.0, "x"])
def test_an_axis_is_an_integer(axis: Any) -> None:
    x = sf.input("x", (3, 4))
    with pytest.raises(sf.ShapeError, match="argmax: an axis is an integer here"):
        ops.argmax(x, axis)


def test_a_mean_bakes_no_size_in() -> None:
    x, y = sf.input("x", (3, 4)), sf.input("y", (30, 40))
    keys = [[node.op.key() for node in toposort([z.mean(1)])] for z in (x, y)]
    assert keys[0] == keys[1]


def test_the_gradient_stops() -> None:
    x = sf.input("x", (3,), "float64")
    y = ops.stop_gradient(x)
    g, t = sf.grad(ops.sum(y * x), x), sf.jvp(y, x, np.ones(3))
    values = interpret([g, t], {x: np.array([1.0, 2.0, 3.0])})
    np.testing.assert_array_equal(values, [[1, 2, 3], [0, 0, 0]])


def test_a_value_by_mode() -> None:
    x = sf.input("x", (2,), "float64")
    y = ops.by_mode(2.0 * x, 3.0 * x)
    outputs = [y, sf.grad(ops.sum(y), x), sf.jvp(y, x, np.ones(2))]
    for training, factor in ((True, 2), (False, 3)):
        values = interpret(outputs, {x: np.ones(2)}, training=training)
        np.testing.assert_array_equal(values, factor * np.ones((3, 2)))


@pytest.mark.parametrize(
    "index", [[0, 3], np.array([-4]), ([0, 1], [4, 0]), (slice(None), [9])], ids=str
)
def test_an_index_array_beyond_its_axis_is_refused(index: Any) -> None:
    x = sf.input("x", (3, 4))
    with pytest.raises(sf.ShapeError, match="out of range for axis"):
        x[index]


def test_pairs_of_run_time_indices_stay_in_their_own_axes() -> None:
    x, rows, columns = sf.input("x", (3, 4)), *(sf.input(k, (2,), "int64") for k in "ij")
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    pick = sf.function([x, rows, columns], x[rows, columns])
    np.testing.assert_array_equal(pick(value, [0, 1], [9, -1]), [3, 7])


def test_indices_of_nothing() -> None:
    x = sf.input("x", (3, 4))
    assert x[[]].shape == (0, 4)
    assert ops.take(sf.input("none", (0, 4)), np.zeros(0, int), 0).shape == (0, 4)
    with pytest.raises(sf.ShapeError, match="takes integers, slices"):
        x[True]


def test_named_sizes_flow_through() -> None:
    x = sf.input("x", ("batch", "time", 8))
    assert str(x[:, 1:].type) == "float32[batch, time - 1, 8]"
    assert str(x.reshape(-1, 8).type) == "float32[batch*time, 8]"
    assert str(ops.concatenate([x, x], 1).type) == "float32[batch, 2*time, 8]"
    assert str((x @ sf.input("w", (8, 3))).type) == "float32[batch, time, 3]"
    assert str(ops.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0))).type) == str(x.type)
    data = np.arange(48.0).reshape(2, 3, 8)
    (shifted,) = interpret([x[:, ::-1] - x.mean(0)], {x: data})
    np.testing.assert_array_equal(shifted, data[:, ::-1].astype("f4") - data.mean(0).astype("f4"))
