"""Stateless functions: structures, sizes, arrays of any layout, and what is handed out."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

x = sf.input("x", ("n", "m"))
w = sf.input("w", ("m", 2))
PRODUCT = sf.function([x, w], {"y": x @ w, "parts": (x.sum(), [x * 2.0])})
RNG = np.random.default_rng(0)


def test_outputs_have_the_declared_structure() -> None:
    a, b = RNG.random((3, 4)).astype("f4"), RNG.random((4, 2)).astype("f4")
    found = PRODUCT(a, b)
    assert set(found) == {"y", "parts"} and isinstance(found["parts"], tuple)
    np.testing.assert_allclose(found["y"], a @ b, 1e-6)
    np.testing.assert_allclose(found["parts"][0], a.sum(), 1e-6)
    np.testing.assert_array_equal(found["parts"][1][0], 2 * a)
    assert found["y"].dtype == np.float32 and found["parts"][0].shape == ()


def test_inputs_by_name_and_by_position() -> None:
    a, b = np.ones((3, 4)), np.ones((4, 2))
    for found in (PRODUCT(a, w=b), PRODUCT(w=b, x=a), PRODUCT(a, b)):
        np.testing.assert_array_equal(found["y"], 4.0)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 64, 5000])
def test_any_size_without_compiling(rows: int) -> None:
    a, b = RNG.random((rows, 9)), RNG.random((9, 2))
    np.testing.assert_allclose(PRODUCT(a, b)["y"], a @ b, 1e-4)


def test_results_are_new_and_inputs_untouched() -> None:
    for rows in (2, 9000):  # small ones go through memory of the function's own
        a, b = RNG.random((rows, 4)).astype("f4"), RNG.random((4, 2)).astype("f4")
        before = a.copy()
        first, second = PRODUCT(a, b), PRODUCT(a, b)
        first["y"][:] = 0
        first["parts"][1][0][:] = 0
        np.testing.assert_array_equal(a, before)
        np.testing.assert_allclose(second["y"], a @ b, 1e-5)
        np.testing.assert_allclose(PRODUCT(a, b)["y"], a @ b, 1e-5)


def layouts() -> list[Any]:
    a = RNG.random((6, 4)).astype("f4")
    frozen = a.copy()
    frozen.flags.writeable = False
    wide = np.zeros((12, 8), "f4")
    wide[::2, ::2] = a
    return [
        a, np.asfortranarray(a), frozen, wide[::2, ::2], a[::-1].copy()[::-1], a.tolist(),
        a.astype("f8"), a.astype(">f4"), a.astype(object), np.ma.array(a), memoryview(a),
        np.lib.stride_tricks.as_strided(a, a.shape, a.strides),
    ]  # fmt: skip


@pytest.mark.parametrize("case", range(12))
def test_any_layout(case: int) -> None:
    a = layouts()[case]
    found = PRODUCT(a, np.ones((4, 2)))
    np.testing.assert_allclose(found["y"], np.asarray(a, "f4") @ np.ones((4, 2), "f4"), 1e-6)


def test_broadcast_arrays() -> None:
    row = np.broadcast_to(np.arange(4, dtype="f4"), (6, 4))
    np.testing.assert_array_equal(PRODUCT(row, np.ones((4, 2)))["y"], 6.0)


def test_dtypes_convert_as_documented() -> None:
    count, flag = sf.input("i", ("n",), "int32"), sf.input("b", ("n",), "bool")
    f = sf.function([count, flag], [count + 1, flag])
    found = f(np.array([1, 2], np.uint8), [True, False])
    assert [a.dtype.name for a in found] == ["int32", "bool"]
    np.testing.assert_array_equal(f(np.array([True, False]), [True, False])[0], [2, 1])
    assert [a.shape for a in f([], [])] == [(0,), (0,)]
    np.testing.assert_array_equal(f(np.array([1, 2], object), [True, False])[0], [2, 3])
    with pytest.raises(sf.DTypeError, match="'i' takes int32"):
        f(np.array([1.0, 2.0]), [True, False])
    with pytest.raises(sf.DTypeError, match="does not fit int32"):
        f(np.array([1, 2**40]), [True, False])
    with pytest.raises(sf.DTypeError, match="'b' takes bool"):
        f([1, 2], [1, 0])


def test_one_value_in_many_places() -> None:
    """An input as an output, an output twice, views of one value, a constant."""
    y = x * 2.0
    f = sf.function([x], [x, y, y, y[::-1], y.T, x.T, sf.const(3.0), sf.const(np.arange(3.0))])
    a = RNG.random((3, 5)).astype("f4")
    expected = [a, 2 * a, 2 * a, 2 * a[::-1], 2 * a.T, a.T, 3.0, np.arange(3.0)]
    found = f(a)
    for array, value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, value)
    found[1][:] = -1.0
    np.testing.assert_array_equal(found[2], 2 * a)


def test_parameters_can_be_inputs() -> None:
    p = sf.param("p", (3,))
    loss = ops.sum(ops.square(p))
    f = sf.function([p], sf.grad(loss, p))
    np.testing.assert_array_equal(f([1, 2, 3]), [2, 4, 6])


def test_an_input_that_nothing_reads_still_binds_its_size() -> None:
    unused = sf.input("unused", ("n",))
    f = sf.function([x, unused], x.sum())
    assert f(np.ones((2, 3)), [0, 0]) == 6.0
    with pytest.raises(sf.ShapeError, match="dimension n has two sizes"):
        f(np.ones((2, 3)), [0, 0, 0])


def test_indices_are_refused_or_clamped_and_never_read_outside() -> None:
    table, index = sf.input("table", ("k", 2)), sf.input("index", ("j",), "int64")
    direct = sf.function([table, index], ops.take(table, index, 0))
    computed = sf.function([table, index], ops.take(table, index + 1, 0))
    rows = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(direct(rows, [-1, 0]), rows[[-1, 0]])
    for bad in ([3], [-4]):
        with pytest.raises(sf.GraphError, match="'index': an index is out of range"):
            direct(rows, bad)
    np.testing.assert_array_equal(computed(rows, [10**12]), rows[[2]])
    narrow = sf.input("narrow", ("j",), "int32")
    converted = sf.function([table, narrow], ops.take(table, narrow.astype("int64"), 0))
    np.testing.assert_array_equal(converted(rows, [-1, 0]), rows[[-1, 0]])
    with pytest.raises(sf.GraphError, match="'narrow': an index is out of range"):
        converted(rows, [3])
    real = sf.input("real", ("j",))
    rounded = sf.function([table, real], ops.take(table, real.astype("int64"), 0))
    np.testing.assert_array_equal(rounded(rows, [-0.5, 9.0]), rows[[0, 2]])
    assert computed(rows[:0], np.zeros(0, "i8")).shape == (0, 2)
    for f in (direct, computed):
        with pytest.raises(sf.GraphError, match=r"element to take|out of range"):
            f(rows[:0], [0])


@pytest.mark.parametrize(
    ("take", "needed"),
    [
        (lambda v: v[:2], 2), (lambda v: v[2:], 2), (lambda v: v[-3:], 3), (lambda v: v[5], 6),
        (lambda v: v[-2], 2), (lambda v: v[3::-1], 4),
        (lambda v: ops.pad(v[1:-1], (0, 2)), 2),
    ],
)  # fmt: skip
def test_slices_of_a_named_axis_never_reach_outside(take: Any, needed: int) -> None:
    v = sf.input("v", ("k",))
    f = sf.function([v], take(v) * 1.0)
    with pytest.raises(sf.ShapeError, match="too few elements") as caught:
        f(np.ones(needed - 1))
    assert f"k = {needed - 1}; k - {needed} must not be negative" in str(caught.value)
    assert "at test_function.py" in str(caught.value)
    assert np.isfinite(f(np.ones(needed))).all()


def test_a_rolled_empty_axis_is_empty() -> None:
    assert sf.function([], ops.roll(sf.const(np.zeros((2, 0))), 1, 1))().shape == (2, 0)


def test_one_function_in_many_threads() -> None:
    inputs = [RNG.random((5 + k, 4)).astype("f4") for k in range(8)]
    b = RNG.random((4, 2)).astype("f4")
    wrong: list[int] = []

    def work(k: int) -> None:
        expected = inputs[k] @ b
        same = all(np.allclose(PRODUCT(inputs[k], b)["y"], expected, 1e-5) for _ in range(200))
        wrong.extend([] if same else [k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_matrices_turned(dtype: str) -> None:
    """Floats by a routine, if their rows follow each other; all else by loops."""
    x = sf.input("x", ("n", "m"), dtype)
    f = sf.function([x], [x.T, x[1:].T, (x + x).T])
    turned = f.source.count("    turn_f4(") + f.source.count("    turn_f8(")
    assert turned == (0 if dtype == "int32" else 2)
    for shape in ((1, 1), (3, 20), (20, 3), (50, 50), (131, 67)):
        value = (100 * RNG.standard_normal(shape)).astype(dtype)
        for found, wanted in zip(f(value), (value.T, value[1:].T, 2 * value.T), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_source_is_the_generated_text() -> None:
    assert "def function(T, S):" in PRODUCT.source and "gemm_f4(" in PRODUCT.source


def test_a_function_computes_what_inference_does() -> None:
    x = sf.input("x", (5,))
    value = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(sf.function([x], ops.dropout(x, 0.5) * 2)(value), 2 * value)
