"""Large results come from memory that earlier ones have left, and from no other array's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy._core import multiarray

import staticflow as sf
from staticflow.native.calls.result_memory import (
    LEAST_BYTES,
    MOST_BLOCKS,
    MOST_BYTES,
    Pool,
    result_memory,
)
from tests.support.processes import run_python

COLUMNS = 128
LEAST_ROWS = LEAST_BYTES // (8 * COLUMNS)


@pytest.fixture(scope="module")
def double() -> Callable[[Any], Any]:
    x = sf.input("x", ("n", COLUMNS), "float64")
    return sf.function([x], x + x)


def given(rows: int, value: float) -> Any:
    return np.full((rows, COLUMNS), value)


def handler(array: Any) -> str:
    return str(multiarray.get_handler_name(array))


def test_only_large_results_are_of_the_pool(double: Any) -> None:
    for rows in (0, 1, LEAST_ROWS - 1, LEAST_ROWS, LEAST_ROWS + 1):
        double(given(rows, 0.0))
        y = double(given(rows, 1.0))
        assert handler(y) == ("staticflow" if rows >= LEAST_ROWS else "default_allocator")
        assert y.flags.owndata and y.flags.writeable and y.base is None
        np.testing.assert_array_equal(y, 2.0)


def test_memory_is_used_again_when_nobody_has_it(double: Any) -> None:
    x = given(1001, 1.0)
    double(x)
    y = double(x)
    first = y.ctypes.data
    view = y[5:7]
    del y
    others = [double(x) for _ in range(3)]
    assert first not in {y.ctypes.data for y in others}  # the view still has it
    np.testing.assert_array_equal(view, 2.0)
    del view, others
    assert first in {y.ctypes.data for y in [double(x) for _ in range(4)]}


def test_no_memory_is_of_two_arrays(double: Any) -> None:
    """Eight threads keep some of their results, and find in each what they have asked for."""
    wrong = []

    def use(thread: int) -> None:
        rng = np.random.default_rng(thread)
        kept: list[tuple[float, Any]] = []
        for call in range(150):
            value = float(1000 * thread + call)
            kept.append((value, double(given(int(rng.choice([90, 91, 300])), value))))
            if len(kept) > 5:
                value, y = kept.pop(int(rng.integers(5)))
                if not (y == 2 * value).all():
                    wrong.append(value)
        wrong.extend(value for value, y in kept if not (y == 2 * value).all())

    threads = [threading.Thread(target=use, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_pool_is_bounded(double: Any) -> None:
    table = result_memory().table
    for rows, count in ((LEAST_ROWS, 3 * MOST_BLOCKS), (20_000, 9)):
        results = [double(given(rows, 1.0)) for _ in range(count)]
        assert len({y.ctypes.data for y in results}) == count
        del results
        kept = int(table[Pool.COUNT])
        sizes = table[Pool.BLOCKS : Pool.BLOCKS + 2 * kept].reshape(-1, 2)[:, 1]
        assert 0 < kept <= MOST_BLOCKS
        assert int(table[Pool.BYTES]) == sizes.sum() <= MOST_BYTES


def test_an_array_larger_than_the_pool_is_given_back(double: Any) -> None:
    rows = MOST_BYTES // (8 * COLUMNS) + 1
    double(given(rows, 1.0))
    y = double(given(rows, 1.0))
    size = y.nbytes
    del y
    kept = int(result_memory().table[Pool.COUNT])
    blocks = result_memory().table[Pool.BLOCKS : Pool.BLOCKS + 2 * kept]
    assert size not in blocks[1::2]


def test_arrays_may_be_resized_and_reshaped(double: Any) -> None:
    double(given(100, 3.0))
    y = double(given(100, 3.0))
    y.resize((1000, COLUMNS), refcheck=False)
    np.testing.assert_array_equal(y[:100], 6.0)
    np.testing.assert_array_equal(y[100:], 0.0)
    y.resize((1, 2), refcheck=False)
    np.testing.assert_array_equal(y, 6.0)
    del y
    np.testing.assert_array_equal(double(given(100, 3.0)), 6.0)


KEPT = """
import atexit, os, sys
import numpy as np
import staticflow as sf
atexit.register(lambda: f(x))
x = sf.input("x", ("n", 128), "float64")
f = sf.function([x], x + x)
x = np.ones((500, 128))
results = [f(x) for _ in range(5)]
sys.kept = results[:2]
np.kept = results[1:3]
del results[:1]
if FORK:
    child = os.fork()
    results.append(f(x))
    assert (results[-1] == 2).all()
    if child:
        assert os.waitpid(child, 0)[1] == 0
print("ended")
"""


@pytest.mark.parametrize("fork", [False, True])
def test_arrays_may_outlive_everything(fork: bool) -> None:
    """The pool's code is gone before the last arrays are, when the interpreter ends."""
    if fork and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    ended = run_python("-c", f"FORK = {fork}\n{KEPT}", seconds=60.0)
    assert ended.status == 0, ended
    assert ended.out.split()[-1] == "ended"
