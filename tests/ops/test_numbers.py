"""Python's numbers take the dtype of what they meet; arrays are made in the dtype asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.ir.loops import index_name
from staticflow.native.kernel_names import kernel_namespace

LARGE = 2**24 + 1  # which float32 does not have


def value(node: Node) -> Any:
    return sf.function([], node)()


@pytest.mark.parametrize("dtype", ["float64", "int64", "float32", "int32", "bool"])
def test_full_computes_in_the_dtype_asked_for(dtype: str) -> None:
    for number in (0.1, LARGE, True, -3):
        right = np.full((2,), number, dtype)
        like = ops.full_like(sf.const(np.zeros(2, dtype)), number)
        for node in (ops.full((2,), number, dtype=dtype), like):
            found = value(node)
            assert found.dtype == right.dtype
            np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("name", ["linspace", "logspace", "geomspace"])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_spaces_compute_in_float64(name: str, dtype: str) -> None:
    for start, stop in ((0.1, 0.7), (1, 300), (0.25, 300)):
        if name == "logspace" and stop == 300:
            stop = 7
        found = value(getattr(ops, name)(start, stop, 4, dtype=dtype))
        right = getattr(np, name)(start, stop, 4, dtype=dtype)
        assert found.dtype == right.dtype
        np.testing.assert_allclose(found, right, rtol=1e-14)


def test_the_ends_of_a_space_are_wide() -> None:
    np.testing.assert_array_equal(value(ops.linspace(0.0, 1e300, 3, "float64")),
                                  np.linspace(0.0, 1e300, 3))  # fmt: skip
    k = sf.const(np.array([LARGE, 3]))
    np.testing.assert_array_equal(value(ops.linspace(k, 0.1, 3, "float64")),
                                  np.linspace(np.array([LARGE, 3]), 0.1, 3))  # fmt: skip


def weak(x: Node) -> dict[str, Callable[[], Node]]:
    """What is made of numbers alone, beside what it meets."""
    chosen = ops.where(x > 0, 0.1, 0.2)
    return {
        "choice": lambda: chosen * x,
        "arithmetic of a choice": lambda: -(2 * chosen + 0.1) * x,
        "choice of choices": lambda: x + ops.where(x > 5, 0.1, ops.where(x > 6, 0.2, 0.3)),
        "function of a number": lambda: ops.sqrt(2.0) * x,
        "beyond float32": lambda: ops.exp(100.0) * x,
        "functions of a choice": lambda: ops.clip(ops.exp(chosen), 0.3, 1.7) * x,
        "views": lambda: ops.reshape(chosen, (-1, 1)) * x,
        "sum": lambda: ops.sum(chosen) + x,
        "stack": lambda: ops.stack([chosen, x]),
        "choice of both": lambda: ops.where(x > 1, chosen, x),
    }


@pytest.mark.parametrize("name", weak(sf.input("x", (3,), "float64")))
def test_what_is_made_of_numbers_takes_the_dtype_it_meets(name: str) -> None:
    given = np.array([1.0, -1.0, 2.0])
    x = sf.input("x", (3,), "float64")
    node = weak(x)[name]()
    chosen = np.where(given > 0, 0.1, 0.2)
    right = {
        "choice": chosen * given, "arithmetic of a choice": -(2 * chosen + 0.1) * given,
        "choice of choices": given + 0.3, "function of a number": np.sqrt(2.0) * given,
        "beyond float32": np.exp(100.0) * given,
        "functions of a choice": np.clip(np.exp(chosen), 0.3, 1.7) * given,
        "views": chosen.reshape(-1, 1) * given, "sum": chosen.sum() + given,
        "stack": np.stack([chosen, given]), "choice of both": np.where(given > 1, chosen, given),
    }[name]  # fmt: skip
    assert node.dtype == "float64"
    np.testing.assert_allclose(sf.function([x], node)(given), right, rtol=1e-15)
    narrow = sf.input("x", (3,))
    assert weak(narrow)[name]().dtype == "float32"


def test_a_conversion_is_final() -> None:
    x = sf.input("x", (1,), "float64")
    rounded = ops.where(x > 0, 0.1, 0.2).astype("float32") * x
    assert sf.function([x], rounded)(np.ones(1))[0] == np.float32(0.1)
    assert ops.where(x > 0, 0.1, 0.2).dtype == ops.sqrt(2.0).dtype == "float32"


def test_a_loop_starts_in_the_dtype_that_its_step_makes() -> None:
    x, given = sf.input("x", ("n",), "float64"), np.array([1.0, 2.0])
    last, ys = sf.scan(lambda c, e: (c, e * c), 0.1, x)
    assert last.dtype == ys.dtype == "float64"
    np.testing.assert_array_equal(sf.function([x], ys)(given), 0.1 * given)
    (count, total), _ = sf.scan(lambda c, e: ((c[0] + 1, c[1] + e), None), (0, 0.1), x)
    assert (count.dtype, total.dtype) == ("float32", "float64")
    assert sf.function([x], total)(given) == 0.1 + 1.0 + 2.0
    narrow = sf.scan(lambda c, e: (c + e, c), 0.1, sf.input("x", ("n",)))
    assert [node.dtype for node in narrow] == ["float32", "float32"]
    reset = sf.scan(lambda c, e: (0.0, c + e), 0.1, x)[1]
    np.testing.assert_array_equal(sf.function([x], reset)(given), [1.1, 2.0])


def test_branches_and_while_loops_take_numbers() -> None:
    y = sf.input("y", (), "float64")
    node = sf.while_loop(lambda c: c < 1.0, lambda c: c + y, 0.1)
    assert node.dtype == "float64" and sf.function([y], node)(1.0) == 1.1
    doubled = sf.while_loop(lambda c: c * y < 1.0, lambda c: 2 * c, 0.1)
    assert sf.function([y], doubled)(1.0) == 1.6
    chosen = sf.cond(y > 0, lambda: y, 0.1)
    assert chosen.dtype == "float64" and sf.function([y], chosen)(-1.0) == 0.1


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float32"])
@pytest.mark.parametrize("rank", [5, 6, 9, 10])
def test_many_axes_compile(dtype: str, rank: int) -> None:
    shape = (2, 3, *(1, 2) * rank)[:rank]
    x = sf.input("x", shape, dtype)
    given = (np.arange(np.prod(shape)).reshape(shape) % 3).astype(dtype)
    turned = ops.transpose(x).astype("int32") + ops.transpose(x).astype("int64")
    found = sf.function([x], [turned, ops.max(x, axis=(0, rank - 1))])(given)
    np.testing.assert_array_equal(found[0], 2 * given.T.astype("int64"))
    np.testing.assert_array_equal(found[1], given.max(axis=(0, rank - 1)))


def test_generated_names_are_no_names_that_kernels_use() -> None:
    used = set(kernel_namespace()) | {"i4", "i8", "f4", "f8", "b1", "u4", "u8"}
    assert not used & {index_name(level) for level in range(64)}
    assert not [name for name in used if re.fullmatch(r"[vnp]\d+", name)]


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_a_whole_number_takes_the_dtype_of_the_integers_that_a_loop_meets(dtype: str) -> None:
    """2^24 + 1 is no float32."""
    x = sf.input("x", ("n",), dtype)
    total, before = sf.scan(lambda c, v: (c + v, c), 0, x)
    (first, second), _ = sf.scan(lambda c, v: ((c[0] + c[1], c[1] + v), None), (0, 0), x)
    _, looped = sf.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + x[0]), (0, 0))
    best, _ = sf.scan(lambda c, v: (ops.maximum(c, v), None), 0, x)
    counted, _ = sf.scan(lambda c, v: (c + 1, None), 0, x)
    values = np.array([2**24 if dtype != "float32" else 5, 1, 1]).astype(dtype)
    outputs = [total, before, first, second, looped, best]
    expected = [values.sum(), [0, values[0], values[:2].sum()], 2 * values[0] + 1, values.sum(),
                3 * values[0], values.max()]  # fmt: skip
    for found, right in zip(sf.function([x], outputs)(values), expected, strict=True):
        assert np.asarray(found).dtype == dtype
        np.testing.assert_array_equal(found, right)
    assert counted.dtype == "float32", "it met nothing"


def test_a_whole_number_meets_what_a_step_computes() -> None:
    x = sf.input("x", ("n", 3))
    places, _ = sf.scan(lambda c, row: (c + ops.argmax(row), None), 0, x)
    assert places.dtype == "int64"
    mean, _ = sf.scan(lambda c, row: (0.5 * c + row.sum(), None), 0, x)
    assert mean.dtype == "float32"


def whole(x: Node, i: Node) -> dict[str, tuple[Node, Any]]:
    """What is made of whole numbers alone beside integers, and its value at (2, 0, 2)."""
    c, chosen = x > 1, ops.where(x > 1, LARGE, 0)
    return {
        "choice": (chosen + i, [LARGE + 1, 2, LARGE + 3]),
        "of booleans and numbers": (ops.where(c, True, 0) + i, [2, 2, 4]),
        "choice of choices": (ops.where(x > 5, 1, chosen) + i, [LARGE + 1, 2, LARGE + 3]),
        "clip": (ops.clip(chosen, 5, 2 * LARGE) + i, [LARGE + 1, 7, LARGE + 3]),
        "numbers alone": (ops.maximum(LARGE, 2) + i, [LARGE + 1, LARGE + 2, LARGE + 3]),
        "arithmetic": (-(2 * chosen - 1) * i, [1 - 2 * LARGE, 2, 3 * (1 - 2 * LARGE)]),
        "quotient": (ops.where(c, LARGE, -3) // 2 + i, [LARGE // 2 + 1, 0, LARGE // 2 + 3]),
        "remainder": (ops.where(c, LARGE, -3) % 10 + i, [8, 9, 10]),
        "power": (ops.where(c, 5, 2) ** 5 + i, [3126, 34, 3128]),
        "sum": (ops.sum(chosen) + i, [2 * LARGE + 1, 2 * LARGE + 2, 2 * LARGE + 3]),
        "view": (chosen.reshape(1, 3) + i, [[LARGE + 1, 2, LARGE + 3]]),
        "stack": (ops.stack([chosen, i])[0], [LARGE, 0, LARGE]),
        "bits": (ops.where(c, 6, 1) & i, [0, 0, 2]),
        "branch": (sf.cond(x[0] > 0, chosen, i), [LARGE, 0, LARGE]),
        "conversion": (chosen.astype(i.dtype), [LARGE, 0, LARGE]),
        "fill": (ops.full((3,), ops.where(x[0] > 1, LARGE, 0), i.dtype), [LARGE] * 3),
        "index": (ops.take(i, ops.where(c, 1, 0)), [2, 1, 2]),
        "start of a loop": (sf.scan(lambda s, k: (s + k, None), ops.sum(chosen), i)[0],
                            2 * LARGE + 6),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_whole_numbers_beside_integers_are_integers(dtype: str) -> None:
    x, i = sf.input("x", (3,), "float64"), sf.input("i", (3,), dtype)
    cases = whole(x, i)
    found = sf.function([x, i], {name: node for name, (node, _) in cases.items()})(
        np.array([2.0, 0.0, 2.0]), np.array([1, 2, 3], dtype)
    )
    for name, (_, right) in cases.items():
        assert found[name].dtype == dtype, name
        np.testing.assert_array_equal(found[name], right, err_msg=name)


def test_numbers_that_are_not_whole_beside_integers_are_floats() -> None:
    x, i = sf.input("x", (3,), "float64"), sf.input("i", (3,), "int64")
    chosen = ops.where(x > 1, 4, 2)
    given = np.array([2.0, 0.0, 2.0]), np.array([1, 2, 3])
    for node, right in (
        (ops.where(x > 1, 0.5, 1) + i, [1.5, 3.0, 3.5]),
        (chosen / 8 + i, [1.5, 2.25, 3.5]),
        (chosen**-2 + i, [1.0625, 2.25, 3.0625]),
        (ops.power(2, -2) + i, [1.25, 2.25, 3.25]),
        (ops.sqrt(ops.where(x > 1, 4, 9)) + i, [3.0, 5.0, 5.0]),
        (ops.floor_divide(3, 0) + i, [np.inf] * 3),
    ):
        assert node.dtype == "float32"
        np.testing.assert_array_equal(sf.function([x, i], node)(*given), right)
    assert ops.where(x > 1, 1, 0).dtype == "float32", "it met nothing"


def test_whole_numbers_beside_a_boolean_are_int64() -> None:
    x = sf.input("x", (3,), "float64")
    counted = ops.where(x > 1, LARGE, 1) * (x > 0)
    assert counted.dtype == (2 * (x > 0)).dtype == "int64"
    np.testing.assert_array_equal(counted.eval(x=np.array([2.0, 0.0, 1.0])), [LARGE, 0, 1])


def test_true_and_false_alone_are_booleans() -> None:
    x = sf.input("x", (3,), "float64")
    chosen = ops.where(x > 1, True, False)
    assert chosen.dtype == ops.full((2,), True).dtype == "bool"
    assert (ops.where(x > 1, True, x > 0)).dtype == "bool"
    assert (x + True).dtype == "float64"
    np.testing.assert_array_equal(sf.function([x], ~chosen)(np.array([2.0, 0, 2])), [0, 1, 0])


def test_loops_and_branches_take_booleans() -> None:
    x = sf.input("x", ("n",), "float64")
    every, before = sf.scan(lambda c, e: (c & (e > 0), c), True, x)
    counted, ones = sf.scan(lambda c, e: (c + e, True), True, x)
    again, _ = sf.while_loop(lambda c: c[0], lambda c: (c[1] < 3, c[1] + 1), (True, 0))
    some = sf.cond(x[0] > 0, True, lambda: x[1] > 0)
    number = sf.cond(x[0] > 0, 2, True)
    f = sf.function([x], [every, before, counted, ones, again, some, number])
    found = f(np.array([1.0, -2.0, 3.0]))
    dtypes = ["bool", "bool", "float64", "bool", "bool", "bool", "float32"]
    assert [str(np.asarray(value).dtype) for value in found] == dtypes
    right = [False, [True, True, False], 3.0, [True] * 3, False, True, 2.0]
    for ours, value in zip(found, right, strict=True):
        np.testing.assert_array_equal(ours, value)


def test_a_constant_that_its_dtype_does_not_hold_is_refused() -> None:
    i = sf.input("i", (3,), "int32")
    for make in (
        lambda: i + 2**40,
        lambda: ops.where(i > 1, -(2**40), 0) + i,
        lambda: ops.full((2,), 2**31, "int32"),
        lambda: ops.full((2,), np.nan, "int64"),
        lambda: sf.const([1.0, 1e20], "int64"),
    ):
        with pytest.raises(sf.DTypeError, match=r"a constant is beyond what int(32|64) holds"):
            make()
    assert value(ops.full((1,), 2**31 - 1, "int32"))[0] == 2**31 - 1
    assert value(ops.full((1,), -(2**63), "int64"))[0] == -(2**63)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_remainder_by_the_lowest_integer(dtype: str) -> None:
    """Which has no magnitude."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    edges = np.array([low, low + 1, -7, -1, 1, 7, high], dtype)
    x, y = sf.input("x", (7, 1), dtype), sf.input("y", (7,), dtype)
    found = sf.function([x, y], ops.fmod(x, y))(edges[:, None], edges)
    np.testing.assert_array_equal(found, np.fmod(edges[:, None], edges))
