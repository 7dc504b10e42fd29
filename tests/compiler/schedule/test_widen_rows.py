"""Narrow rows side by side: the same numbers as row by row, for every width and height."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import compile_graph
from staticflow.native.routines.widen_rows import ROOM_BYTES, narrow_routine
from staticflow.native.toolchain.objects import TypedName
from staticflow.native.toolchain.toolchain import toolchain

COLUMNS = (1, 2, 3, 4, 7, 10, 16, 31, 45, 64, 100, 127, 128, 129)
ROWS = (0, 1, 5, 33, 700)


def _results(rows: int, columns: int, dtype: str) -> tuple[list[Any], list[Any]]:
    """Values by kernels that repeat, sum by column and sum in all, and what they should be."""
    x, b = sf.input("x", ("rows", columns), dtype), sf.input("b", (columns,), dtype)
    h = ops.tanh(x + b)
    outputs = [h, h.sum(axis=0), (h * b).sum(), (x * b - h).sum(axis=0)]
    rng = np.random.default_rng(rows + columns)
    xs, bs = rng.normal(size=(rows, columns)).astype(dtype), rng.normal(size=columns).astype(dtype)
    hs = np.tanh(xs.astype("float64") + bs)
    want = [hs, hs.sum(axis=0), (hs * bs).sum(), (xs.astype("float64") * bs - hs).sum(axis=0)]
    return sf.function([x, b], outputs)(xs, bs), want


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", COLUMNS)
def test_every_width_gives_the_same_numbers(columns: int, dtype: str) -> None:
    scale = 2e-6 if dtype == "float32" else 1e-14
    for rows in ROWS:
        got, want = _results(rows, columns, dtype)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=scale, atol=scale * max(1, rows))


def _kernels(*outputs: sf.Node) -> str:
    driver = compile_graph(list(outputs)).driver
    return "\n".join(kernel_source(kernel, name) for name, kernel in driver.kernels.items())


def test_a_bias_is_repeated_and_a_sum_over_rows_folded() -> None:
    x, b = sf.input("x", ("rows", 3)), sf.input("b", (3,))
    source = _kernels((x + b).sum(axis=0))
    assert "repeat_f4(" in source
    assert "fold_f4(" in source


@pytest.mark.parametrize(
    "build",
    [
        lambda x, b: ops.softmax(x + b),  # rows by themselves
        lambda x, b: (x + b).max(axis=0),  # not a sum
        lambda x, b: x.T + ops.sum(x),  # not contiguous along rows
    ],
)
def test_other_loops_stay_as_they_are(build: Any) -> None:
    x, b = sf.input("x", ("rows", 3)), sf.input("b", (3,))
    assert "rows_abreast" not in _kernels(build(x, b))


def _rows_abreast(columns: int, rows: int, cost: int, suffix: str) -> int:
    tools = toolchain()
    external = narrow_routine(tools, TypedName("rows_abreast", suffix))
    functions = {f.symbol: f for f in tools._functions.values()}
    return int(functions[external.symbol].bind()(columns, rows, cost))


@pytest.mark.parametrize(("suffix", "item"), [("f4", 4), ("f8", 8)])
def test_rows_abreast_fit_the_room_and_are_there(suffix: str, item: int) -> None:
    for columns in range(1, 128):
        for rows in (8, 100, 5000):
            abreast = _rows_abreast(columns, rows, 4, suffix)
            assert abreast & (abreast - 1) == 0
            assert abreast == 1 or abreast <= rows
            assert abreast == 1 or abreast * columns * item <= ROOM_BYTES
    assert _rows_abreast(10, 5000, 4, suffix) > 1
