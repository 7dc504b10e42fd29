"""Products that helper threads take part in: the bits are those of working alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from staticflow.native.memory import words
from staticflow.native.threads import product_pool
from staticflow.native.threads.pool import CALM, OPENED, Pool
from staticflow.native.threads.product_pool import Products, pool, worth_sharing
from staticflow.native.toolchain.objects import External, KernelSource
from staticflow.native.toolchain.toolchain import toolchain

RNG = np.random.default_rng(0)
SHAPES = [
    (1000, 300, 1),
    (1, 400, 900),
    (700, 1, 700),
    (257, 129, 65),
    (9, 5000, 130),
    (130, 999, 9),
]


def product(dtype: str, turned: str = "") -> sf.Function:
    a = sf.input("a", ("k", "m") if "a" in turned else ("m", "k"), dtype)
    b = sf.input("b", ("n", "k") if "b" in turned else ("k", "n"), dtype)
    return sf.function([a, b], (a.T if "a" in turned else a) @ (b.T if "b" in turned else b))


def operands(m: int, k: int, n: int, dtype: str, turned: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = (RNG.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
    return (
        np.ascontiguousarray(a.T) if "a" in turned else a,
        np.ascontiguousarray(b.T) if "b" in turned else b,
    )


def value(a: np.ndarray, b: np.ndarray, turned: str) -> np.ndarray:
    left, right = (x.astype("f8") for x in (a, b))
    return (left.T if "a" in turned else left) @ (right.T if "b" in turned else right)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", ["", "a", "b"])
def test_products_in_pieces(dtype: str, turned: str) -> None:
    f = product(dtype, turned)
    for m, k, n in SHAPES:
        assert worth_sharing(m, n, k)
        a, b = operands(m, k, n, dtype, turned)
        tolerance = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(f(a, b), value(a, b, turned), tolerance, tolerance * k**0.5)


def test_the_same_bits_with_and_without_help() -> None:
    f = product("float64")
    for m, k, n in SHAPES:
        a, b = operands(m, k, n, "float64", "")
        helped = [f(a, b) for _ in range(20)]
        table = pool().table
        table[Pool.OWNER] = 1  # as if another caller had the pool
        try:
            alone = f(a, b)
        finally:
            table[Pool.OWNER] = 0
        for found in helped:
            np.testing.assert_array_equal(found, alone)


def test_small_products_wake_nobody() -> None:
    f = product("float64")
    a, b = operands(20, 30, 40, "float64", "")
    f(a, b)
    assert f.runner.fast_call is not None
    assert [sizes for sizes, _ in f.runner.fast_call.pieces()] == [((20, 30), (30, 40))]
    assert not worth_sharing(20, 40, 30)


def test_nothing_is_shared_while_the_crew_rests() -> None:
    f = product("float64")
    a, b = operands(300, 200, 150, "float64", "")
    f(a, b)
    table = pool().table
    table[Pool.ALONE_UNTIL] = np.iinfo(np.int64).max
    taken = int(table[Pool.TURN])
    try:
        found = f(a, b)
        assert table[Pool.TURN] == taken
    finally:
        table[Pool.ALONE_UNTIL] = 0
    np.testing.assert_array_equal(found, f(a, b))
    assert table[Pool.TURN] != taken


def test_rests_are_longer_when_helpers_are_late_again() -> None:
    """A caller waits for a helper; here, for a thread that leaves 10 ms after it sleeps."""
    tools = toolchain()
    product_pool.parts_functions(tools)
    close = tools.kernel(_calling(product_pool.close(tools))).bind()
    table = words(Pool.WORDS)
    table[Pool.TASK] = pool().table[Products.TAKERS + 2]  # there are no pieces: it takes none

    def leave() -> None:
        while not table[Pool.CALLER_SLEEPS]:
            time.sleep(1e-4)
        time.sleep(0.01)
        table[Pool.STATE] -= 1

    def rest(late: bool) -> int:
        """The cycles of the rest after it; 0 if there is none."""
        table[[Pool.STATE, Pool.ALONE_UNTIL, Pool.NEXT]] = OPENED + late, 0, 0
        helper = threading.Thread(target=leave if late else lambda: None)
        helper.start()
        close(int(table.ctypes.data), 0)
        helper.join()
        assert table[Pool.STATE] == 0
        until = int(table[Pool.ALONE_UNTIL])
        return (int(table[Pool.CALM_AT]) - until) // CALM if until else 0

    forever = np.iinfo(np.int64).max
    for calm_at, factor in (
        (0, 1),
        *((forever, 2**i) for i in range(1, 8)),
        (forever, 128),
        (0, 1),
    ):
        table[Pool.CALM_AT] = calm_at
        assert rest(late=True) > factor * 5_000_000  # of 10 ms
        assert table[Pool.REST] == factor
    assert any(rest(late=False) == 0 for _ in range(10))


def _calling(close: External) -> KernelSource:
    text = "def call_close(table, work):\n    close(table, work)\n"
    return KernelSource("call_close", text, close.signature, externals={"close": close})


def test_callers_in_several_threads() -> None:
    functions = [product("float64", turned) for turned in ("", "a", "b")]
    failures: list[AssertionError] = []

    def call(f: sf.Function, turned: str) -> None:
        a, b = operands(300, 200, 150, "float64", turned)
        for _ in range(50):
            try:
                np.testing.assert_allclose(f(a, b), value(a, b, turned), 1e-10, 1e-10)
            except AssertionError as error:
                failures.append(error)

    threads = [
        threading.Thread(target=call, args=pair)
        for pair in zip(functions, ("", "a", "b"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


FORKED = """
import os, sys
import numpy as np
import staticflow as sf

x = sf.input("x", ("n", "m"), "float64")
f = sf.function([x], x @ x.T)
a = np.random.default_rng(0).standard_normal((400, 300))
expected = a @ a.T
for _ in range(30):
    f(a)
child = os.fork()
good = all(np.allclose(f(a), expected) for _ in range(30))
if child == 0:
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
sys.exit(0 if good and status == 0 else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_parent_and_child_after_a_fork() -> None:
    root = str(Path(sf.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    run = subprocess.run(
        [sys.executable, "-c", FORKED],
        env=environment,
        timeout=120,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
