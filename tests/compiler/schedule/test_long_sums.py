"""float32 sums and products over very long axes: what one sum in float32 would lose is not lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.schedule import long_sums
from staticflow.runtime.interpreter import interpret
from tests.support.source_interpreter import run_loops

LONG = 2**24 + 2**22  # one sum of as many ones would stay at 2^24

SUMS: dict[str, tuple[int, Callable[[Any], Any], float]] = {
    "sum": (1, lambda x: x.sum(), LONG),
    "mean": (1, lambda x: x.mean(), 1),
    "columns": (1, lambda x: x.sum(0), LONG),
    "squares": (1, lambda x: (x * x).sum(), LONG),
    "inner product": (1, lambda x: x[:, 0] @ x[:, 0], LONG),
    "product of two columns": (2, lambda x: x.T @ x, LONG),
    "gradient of a weight": (1, lambda x: sf.grad((x @ sf.const(np.ones((1, 1), "f4"))).sum(), x)
                             .sum(), LONG),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_ones_over_a_very_long_axis(name: str) -> None:
    columns, function, right = SUMS[name]
    x = sf.input("x", ("n", columns))
    found = sf.function([x], function(x))(np.ones((LONG, columns), np.float32))
    np.testing.assert_array_equal(found, np.full(np.shape(found), right, np.float32))


FUSED: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "squares": ((1,), lambda x: (x * x).sum()),
    "exponentials": ((1,), lambda x: ops.exp(-x).sum()),
    "rows of three": ((3,), lambda x: (x * x).sum(0)),
    "rows of forty": ((40,), lambda x: (x * x).sum(0)),
    "rows of a hundred": ((100,), lambda x: (x * x).sum(0)),
    "rows of two axes": ((3, 5), lambda x: (x * x).sum(0)),
    "an axis and the last": ((3, 5), lambda x: (x * x).sum((0, 2))),
    "one transposed": ((3,), lambda x: (x * x).T.sum(1)),
    "rows as such": ((3,), lambda x: x.T.sum(1)),
    "everything": ((3,), lambda x: (x * x).sum()),
    "variance": ((2,), lambda x: ops.var(x, 0)),
    "norm": ((1,), lambda x: ops.norm(x[:, 0])),
    "loss": ((2,), lambda x: ops.mse(x, 0.3 * x)),
    "huber": ((2,), lambda x: ops.huber(x, ops.zeros_like(x))),
    "average": ((1,), lambda x: ops.average(x[:, 0], weights=x[:, 0])),
    "logsumexp": ((1,), lambda x: ops.logsumexp(x[:, 0])),
    "softmax": ((1,), lambda x: ops.softmax(x[:, 0], 0)[0]),
    "product": ((17,), lambda x: x.T @ x),
    "dot": ((1,), lambda x: x[:, 0] @ ops.tanh(x[:, 0])),
    "rows of a layer": ((3,), lambda x: ops.relu(x @ _weights(x) + 0.1).sum(0)),
    "gradient of a bias": ((3,), lambda x: sf.grad(
        ops.mean(ops.square(ops.relu(x @ _weights(x) + (b := ops.zeros((2,), x.dtype))))), b)),
}  # fmt: skip


def _weights(x: Any) -> Any:
    return sf.const(np.array([[0.3, -0.1], [0.2, 0.1], [0.1, 0.4]], x.dtype))


@pytest.mark.parametrize("name", FUSED)
def test_an_error_grows_with_the_logarithm_of_the_length(name: str) -> None:
    """All terms are positive, so that sums lose nothing but what they round."""
    shape, function = FUSED[name]
    rows = 2**24 // math.prod(shape) + 5
    values = np.random.default_rng(1).uniform(0, 1, (rows, *shape)).astype(np.float32)
    found, right = (
        sf.function([x := sf.input("x", ("n", *shape), dtype)], function(x))(values.astype(dtype))
        for dtype in ("float32", "float64")
    )
    ulps = np.abs(found - right) / np.spacing(np.abs(right).astype(np.float32))
    assert ulps.max() <= math.log2(rows)


@pytest.mark.parametrize("name", FUSED)
def test_blocks_of_a_few_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, with bounds: what a block of thousands would show at such a length only."""
    monkeypatch.setattr(long_sums, "TERMS", 3)
    monkeypatch.setattr(long_sums, "ROWS", 2)
    shape, function = FUSED[name]
    x = sf.input("x", ("n", *shape))
    compiled = compile_graph([function(x)])
    for rows in (1, 2, 3, 7, 40):
        values = np.random.default_rng(rows).uniform(0.1, 1, (rows, *shape)).astype(np.float32)
        (found,) = run_loops(compiled, {x: values}, {"n": rows})
        (right,) = interpret([function(x)], {x: values})
        np.testing.assert_allclose(found, right, rtol=3e-6, atol=1e-9)


def test_gradients_of_many_rows_lose_nothing_in_blocks_and_shards() -> None:
    """A batch of so many rows goes through a session in blocks that suit the cache."""
    x = sf.input("x", ("batch", 3))
    h = ops.tanh(x @ sf.param("w", (3, 64), "glorot_normal") + sf.param("b", (64,)))
    loss = ops.mean(ops.square(h @ sf.param("v", (64, 1), "glorot_normal") + 1.0))
    values = np.random.default_rng(1).uniform(0, 1, (2**20 + 3, 3)).astype(np.float32)
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), threads=2, seed=0)
    found = session.gradients({"x": values})
    w, b, v = (session.params[name].astype(float) for name in ("w", "b", "v"))
    hidden = np.tanh(values.astype(float) @ w + b)
    output = 2 * (hidden @ v + 1) / len(values)
    slope = output @ v.T * (1 - hidden**2)
    for name, right in {"v": hidden.T @ output, "b": slope.sum(0),
                        "w": values.T.astype(float) @ slope}.items():  # fmt: skip
        error = np.abs(found[name] - right).max() / np.abs(right).max()
        assert error < 3e-6, (name, error)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 8), (17, 5), (8, 40), (40, 33)])
def test_the_error_of_a_product_does_not_grow_with_its_length(shape: tuple[int, int]) -> None:
    """All signs are equal, so that nothing cancels; sums of k terms one by one would lose more."""
    rng = np.random.default_rng(0)
    a, b = sf.input("a", ("k", shape[0])), sf.input("b", ("k", shape[1]))
    f = sf.function([a, b], [a.T @ b, b.T @ a])
    for k in (1000, 2**14, 2**14 + 1, 200_000, 2**20):
        x, y = (rng.uniform(0, 1, (k, n)).astype(np.float32) for n in shape)
        right = x.T.astype(float) @ y.astype(float)
        for found, wanted in zip(f(x, y), (right, right.T), strict=True):
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert error < 4e-6, (k, error)
