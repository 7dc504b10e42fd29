"""Chains of products over the same rows, halves of which two threads make."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.codegen.driver_abi import PROFILE
from staticflow.compiler.ir.steps import BlockStep, HalvesStep, ProductStep
from staticflow.compiler.sharing import has_chains
from staticflow.native.threads.pool import Pool
from staticflow.native.threads.product_pool import CHAIN_ROWS, pool

RNG = np.random.default_rng(0)
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}


def net(h: Any, weights: list[Any], tanh: Callable[[Any], Any]) -> Any:
    for w in weights:
        h = tanh(h @ w)
    return h


def chain(dtype: str) -> sf.Function:
    """Rows that go through layers, of which one scales with what is computed beside them."""
    x = sf.input("x", ("rows", "a"), dtype)
    u, v = sf.input("u", ("a", "b"), dtype), sf.input("v", ("b", "c"), dtype)
    scale = sf.input("scale", ("b",), dtype)
    return sf.function([x, u, v, scale], (ops.tanh(x @ u + scale) * ops.exp(scale @ v @ v.T)) @ v)


def values(x: Any, u: Any, v: Any, scale: Any) -> Any:
    return (np.tanh(x @ u + scale) * np.exp(scale @ v @ v.T)) @ v


def arrays(rows: int, a: int, b: int, c: int, dtype: str) -> list[np.ndarray]:
    shapes = ((rows, a), (a, b), (b, c), (b,))
    return [(RNG.standard_normal(shape) / max(b, 1)).astype(dtype) for shape in shapes]


def is_shared(f: sf.Function, fed: list[np.ndarray]) -> bool:
    runner = f.runner
    sizes = runner.program.compiled.sized.sizes_by_name(runner.sizes(fed))
    return has_chains(runner.program.compiled.steps, sizes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_numbers_in_all_sizes(dtype: str) -> None:
    f, shared = chain(dtype), []
    for sizes in ((0, 3, 4, 5), (1, 900, 900, 900), (3, 5, 7, 2), (CHAIN_ROWS - 1, 200, 200, 200),
                  (CHAIN_ROWS, 200, 200, 200), (17, 150, 251, 60), (51, 99, 101, 77),
                  (50, 50, 200, 50), (20, 0, 8, 9), (257, 33, 129, 31)):  # fmt: skip
        fed = arrays(*sizes, dtype)
        wanted = values(*(array.astype("f8") for array in fed))
        scale = max(np.abs(wanted).max(initial=0), 1e-300)
        np.testing.assert_allclose(f(*fed), wanted, TOLERANCE[dtype], TOLERANCE[dtype] * scale)
        shared.append(is_shared(f, fed))
    assert any(shared) and not all(shared)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_with_and_without_help(dtype: str) -> None:
    f, table = chain(dtype), pool().table
    for sizes in ((50, 100, 100, 50), (51, 99, 101, 77), (17, 150, 251, 60)):
        fed = arrays(*sizes, dtype)
        assert is_shared(f, fed)
        helped = [f(*fed) for _ in range(300)]
        table[Pool.OWNER] = 1  # as if another caller had the pool
        try:
            alone = f(*fed)
        finally:
            table[Pool.OWNER] = 0
        for found in helped:
            np.testing.assert_array_equal(found, alone)


def test_a_driver_with_clocks_shares_tables_with_the_one_without() -> None:
    """It has no halves, but a block, whose entry of the table is behind that of the halves."""
    x, u = sf.input("x", ("rows", "a"), "float64"), sf.input("u", ("a", "a"), "float64")
    m, t = sf.input("m", ("n", "b"), "float64"), sf.input("t", ("b",), "float64")
    f = sf.function([x, u, m, t], [x @ u @ u, m.T @ ops.tanh(m @ t)])
    program = f.runner.program
    assert [type(step) for step in program.compiled.steps] == [HalvesStep, BlockStep]
    fed = [RNG.standard_normal(s) for s in ((51, 100), (100, 100), (40, 30), 30)]
    frame, _ = f.runner.filled_frame(fed)
    clocks = np.zeros(8, np.int64)
    frame.T[PROFILE] = clocks.ctypes.data
    for driver in (program.timed, program.function):
        assert driver.bind()(*frame.addresses) == 0
    assert np.count_nonzero(clocks) == 4  # the halves, their two products, the block
    for rows in (51, 52):
        fed = [RNG.standard_normal(s) for s in ((rows, 100), (100, 100), (rows, 30), 30)]
        assert is_shared(f, fed)
        wanted = fed[0] @ fed[1] @ fed[1], fed[2].T @ np.tanh(fed[2] @ fed[3])
        for found, expected in zip(f(*fed), wanted, strict=True):
            np.testing.assert_allclose(found, expected, 1e-10, 1e-10)


def test_halves_and_blocks_read_what_loops_leave() -> None:
    """The last value of a carry lies where the number of steps says, which the loop knows."""
    x, h = sf.input("x", ("time", "rows", 90), "float64"), sf.input("h", ("rows", 90), "float64")
    u, v = sf.input("u", (90, 90), "float64"), sf.input("v", (90,), "float64")
    enough = sf.input("enough", (), "float64")
    last, _ = sf.scan(lambda c, row: (ops.sin(c @ u + row), []), h, x)
    grown = sf.while_loop(lambda c: (c * c).sum() < enough, lambda c: c * 1.5, h)
    outputs = [last @ u @ u, grown @ u @ u, last.T @ ops.tanh(last @ v)]
    f = sf.function([x, h, u, v, enough], outputs)
    kinds = [type(step) for step in f.runner.program.compiled.steps]
    assert kinds.count(HalvesStep) == 2 and kinds.count(BlockStep) == 1
    for time_steps, rows, limit in ((0, 40, 0.0), (1, 40, 1e4), (2, 41, 2e4), (3, 57, 1e6)):
        fed = [RNG.standard_normal(s) for s in ((time_steps, rows, 90), (rows, 90), (90, 90), 90)]
        fed[2] /= 9
        assert is_shared(f, [*fed, np.array(limit)])
        s, g = fed[1], fed[1]
        for t in range(time_steps):
            s = np.sin(s @ fed[2] + fed[0][t])
        while (g * g).sum() < limit:
            g = g * 1.5
        wanted = (s @ fed[2] @ fed[2], g @ fed[2] @ fed[2], s.T @ np.tanh(s @ fed[3]))
        for found, expected in zip(f(*fed, limit), wanted, strict=True):
            np.testing.assert_allclose(found, expected, 1e-10, 1e-10)


def test_what_needs_the_steps_before_waits_for_them() -> None:
    """Long steps before the chain: helpers reach its scale long before it is there."""
    x = sf.input("x", ("rows", "a"), "float64")
    u, v = sf.input("u", ("a", "b"), "float64"), sf.input("v", ("b", "b"), "float64")
    scale = sf.input("scale", ("b",), "float64")
    s = scale
    for _ in range(6):
        s = ops.sin(s @ v)
    f = sf.function([x, u, v, scale], (ops.tanh(x @ u + scale) * s) @ v)
    (step,) = [s for s in f.runner.program.compiled.steps if isinstance(s, HalvesStep)]
    assert step.before and step.needs[0] == 0 < max(step.needs) == len(step.before)
    fed = [RNG.standard_normal(shape) for shape in ((16, 8), (8, 180), (180, 180), (180,))]
    assert is_shared(f, fed)
    wanted = fed[3]
    for _ in range(6):
        wanted = np.sin(wanted @ fed[2])
    wanted = (np.tanh(fed[0] @ fed[1] + fed[3]) * wanted) @ fed[2]
    for _ in range(500):
        np.testing.assert_allclose(f(*fed), wanted, 1e-8, 1e-8)


def test_jacobians_are_halved() -> None:
    x = sf.input("x", (50,), "float64")
    weights = [sf.input(f"w{i}", (50, 50), "float64") for i in range(4)]
    f = sf.function([x, *weights], sf.jacobian(net(x, weights, ops.tanh), x))
    fed = [RNG.standard_normal(shape) / 7 for shape in ((50,), *[(50, 50)] * 4)]
    h, expected = fed[0], np.eye(50)
    for w in fed[1:]:
        h = np.tanh(h @ w)
        expected = (1 - h * h)[:, None] * (w.T @ expected)
    assert is_shared(f, fed)
    for _ in range(50):
        np.testing.assert_allclose(f(*fed), expected, 1e-12, 1e-14)


def test_products_in_chains_finish_their_result() -> None:
    """With the derivatives of a layer's function, for one."""
    x, u = sf.input("x", ("n", "a"), "float64"), sf.input("u", ("a", "a"), "float64")
    line, column = sf.input("line", ("a",), "float64"), sf.input("column", ("n", 1), "float64")
    for factor, finished in ((line, True), (ops.exp(line), True), (column, False)):
        (step,) = steps_of(((x @ u) * factor) @ u, x, u, line, column)
        products = [s for s in step.body if isinstance(s, ProductStep)]
        assert [product.epilogue is not None for product in products] == [finished, False]
        assert len(step.body) == (2 if finished else 3)
    f = sf.function([x, u, line], ((x @ u) * ops.exp(line)) @ u)
    for rows, width in ((40, 90), (17, 150), (33, 131)):
        fed = [RNG.standard_normal(s) for s in ((rows, width), (width, width), (width,))]
        assert is_shared(f, fed)
        wanted = ((fed[0] @ fed[1]) * np.exp(fed[2])) @ fed[1]
        np.testing.assert_allclose(f(*fed), wanted, 1e-10, 1e-10)


def steps_of(output: sf.Node, *inputs: sf.Node) -> list[HalvesStep]:
    steps = sf.function(list(inputs), output).runner.program.compiled.steps
    return [step for step in steps if isinstance(step, HalvesStep)]


def test_what_needs_other_rows_is_not_halved() -> None:
    x, u = sf.input("x", ("n", "a"), "float64"), sf.input("u", ("a", "a"), "float64")
    assert steps_of(x @ u @ u, x, u)
    assert not steps_of(x @ u, x, u)  # a single product
    assert not steps_of((x @ u).T @ (x @ u), x, u)  # the second sums over rows
    assert not steps_of(ops.flip(x @ u, 0) @ u, x, u)
    assert not steps_of(ops.cumsum(x @ u, 0) @ u, x, u)
    assert not steps_of(ops.softmax(x @ u, 0) @ u, x, u)
    assert steps_of(ops.softmax(x @ u, 1) @ u, x, u)


def test_helpers_come_by_themselves_after_a_rest() -> None:
    """Calls of the short way wake a helper that sleeps once enough work has gone without."""
    f, table = chain("float64"), pool().table
    fed = arrays(64, 100, 100, 100, "float64")
    f(*fed)
    for _ in range(3):
        end = time.perf_counter() + 20
        while table[Pool.SLEEPERS] == 0 and time.perf_counter() < end:
            time.sleep(0.01)
        assert table[Pool.SLEEPERS] > 0
        alarm = int(table[Pool.ALARM])
        while table[Pool.ALARM] == alarm and time.perf_counter() < end:
            f(*fed)
        assert table[Pool.ALARM] > alarm


def test_seldom_calls_wake_nobody() -> None:
    f, table = chain("float64"), pool().table
    fed = arrays(64, 60, 60, 60, "float64")
    f(*fed)
    table[Pool.UNHELPED], table[Pool.WAKE_AFTER] = 0, np.iinfo(np.int64).max
    try:
        time.sleep(0.05)
        alarm = int(table[Pool.ALARM])
        for _ in range(200):
            f(*fed)
        assert table[Pool.ALARM] == alarm
    finally:
        table[Pool.WAKE_AFTER] = 0


LEAVING = """
import numpy as np
import staticflow as sf

x, u = sf.input("x", (64, 100), "float64"), sf.input("u", (100, 100), "float64")
f = sf.function([x, u], x @ u @ u)
for _ in range(2000):
    f(np.ones((64, 100)), np.ones((100, 100)))
print("done")
"""


def test_a_process_ends_while_helpers_are_awake() -> None:
    root = str(Path(sf.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    run = subprocess.run(
        [sys.executable, "-c", LEAVING], env=environment, timeout=120, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, b"done\n"), run.stderr.decode()[-2000:]
