"""NumPy's keywords: what is refused, what is not unique, and that compiled code agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.ops.cases.case import Case, f
from tests.ops.cases.numpy_keywords import NAMES, OPTIONS, REDUCTIONS, RUNNING
from tests.support.finite_differences import check_derivatives

X, K = sf.input("x", (3, 4)), sf.input("k", (2,), "int64")
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "dtype in keepdims' place": (lambda: ops.sum(X, 0, "float64"), "must be True or False"),
    "max of a part": (lambda: ops.max(X, where=X > 0), "give initial="),
    "a mask that is too large": (lambda: ops.sum(X[0], where=X > 0), "too small"),
    "integers of a mean": (lambda: ops.mean(X, dtype="int64"), "computed in floats"),
    "two corrections": (lambda: ops.var(X, ddof=1, correction=1), "one and the same"),
    "a mode": (lambda: ops.take(X, K, 0, mode="round"), "'raise', 'clip' or 'wrap'"),
    "raising later": (lambda: ops.take(X, K, 0, mode="raise"), "cannot raise"),
    "an order in memory": (lambda: ops.reshape(X, (4, 3), order="A"), "'C' or 'F'"),
    "an order of a vector": (lambda: X.ravel("K"), "'C' or 'F'"),
    "a kind of sorting": (lambda: ops.sort(X, kind="bubble"), "all are stable"),
    "descending without its name": (lambda: ops.argsort(X, 0, True), "all are stable"),
    "a triangle": (lambda: ops.eigh(X[:, :3], "X"), "'L' or 'U'"),
    "ratios through 0": (lambda: ops.geomspace(-1, 1), "one sign"),
    "half an element": (lambda: ops.linspace(0, 1, 2.5), "is an integer"),
    "a grid of matrices": (lambda: ops.meshgrid(X), "takes vectors"),
    "nan in copy's place": (lambda: ops.nan_to_num(X, 0.0), "write nan="),
    "numbers that are no axes": (lambda: ops.einsum(X, [0, 99]), "integers from 0"),
    "completed vectors": (lambda: sf.grad(ops.svd(X, True)[2].sum(), X), "have no derivative"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises((sf.ShapeError, sf.DTypeError, sf.GraphError), match=message):
        call()


def test_an_index_of_a_mode_is_exact_in_a_large_axis() -> None:
    x, k = sf.input("x", ("n",), "float64"), sf.input("k", (3,), "int64")
    pick = sf.function([x, k], [ops.take(x, k, mode="clip"), ops.take(x, k, mode="wrap")])
    values, places = np.arange(70_000.0), np.array([-1, 2**40 + 3, 69_999])
    for found, mode in zip(pick(values, places), ("clip", "wrap"), strict=True):
        np.testing.assert_array_equal(found, np.take(values, places, mode=mode))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 5, 2)])
@pytest.mark.parametrize("rank", [2, 1])
def test_completed_singular_vectors(shape: tuple[int, ...], rank: int) -> None:
    rng = np.random.default_rng(3)
    value = rng.normal(size=(*shape[:-1], rank)) @ rng.normal(size=(*shape[:-2], rank, shape[-1]))
    a = sf.input("a", shape, "float64")
    u, s, v = sf.function([a], list(ops.svd(a, full_matrices=True)))(value)
    expected = np.linalg.svd(value)
    assert [x.shape for x in (u, s, v)] == [x.shape for x in expected]
    np.testing.assert_allclose(s, expected[1], atol=1e-12)
    for q in (u, v):
        np.testing.assert_allclose(q @ np.swapaxes(q, -1, -2) - np.eye(q.shape[-1]), 0, atol=1e-12)
    few = s.shape[-1]
    np.testing.assert_allclose(u[..., :few] * s[..., None, :] @ v[..., :few, :], value, atol=1e-12)
    (only,) = sf.function([a], [ops.svd(a, compute_uv=False)])(value)
    np.testing.assert_array_equal(only, s)


@pytest.mark.parametrize("side", "LU")
def test_one_triangle_of_a_symmetric_matrix(side: str) -> None:
    value = f(2, 4, 4)
    a = sf.input("a", value.shape, "float64")
    w, v = ops.eigh(a, side)
    found = sf.function([a], [w, abs(v), ops.eigvalsh(a, side)])(value)
    values, vectors = np.linalg.eigh(value, side)
    for array, wanted in zip(found, (values, abs(vectors), values), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-9, atol=1e-11)
    check_derivatives(lambda a: ops.eigvalsh(a, side), [value])


def test_the_upper_factor_of_cholesky() -> None:
    value = f(4, 4) @ f(4, 4).T + np.eye(4)
    a = sf.input("a", value.shape, "float64")
    upper = sf.function([a], ops.cholesky(a, upper=True))(value)
    np.testing.assert_allclose(upper, np.linalg.cholesky(value, upper=True), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cases", [REDUCTIONS[::3], NAMES[::3], RUNNING[::3], OPTIONS[::2]])
def test_compiled_code_agrees(cases: tuple[Case, ...]) -> None:
    leaves = [
        [sf.input(f"x{k}_{j}", x.shape, x.dtype) for j, x in enumerate(case.inputs)]
        for k, case in enumerate(cases)
    ]
    outputs = [case.call(*xs) for case, xs in zip(cases, leaves, strict=True)]
    with np.errstate(all="ignore"):
        expected = [np.asarray(case.expected(*case.inputs)) for case in cases]
    compiled = sf.function([x for xs in leaves for x in xs], outputs)
    found = compiled(*(value for case in cases for value in case.inputs))
    for case, value, wanted in zip(cases, found, expected, strict=True):
        assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), case
        near = 1e-5 if wanted.dtype == np.float32 else 1e-10
        np.testing.assert_allclose(value, wanted, rtol=near, atol=near, err_msg=str(case))
