"""`Session.jit`: compiled networks called from jitted code."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import staticflow as sf
from staticflow import ops

Array = np.ndarray[Any, Any]


def network(width: int = 16) -> sf.Session:
    x = sf.input("x", ("batch", 4))
    h = ops.relu(x @ sf.param("w0", (4, width)) + sf.param("b0", (width,), init="normal"))
    y = h @ sf.param("w1", (width, 1)) + sf.param("b1", (1,), init="ones")
    return sf.Session(outputs={"y": y, "h": h, "slope": sf.grad(y.sum(), x)}, threads=1)


def rows(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def session() -> sf.Session:
    return network()


@pytest.mark.parametrize("count", [1, 5, 0, 300, 2])
@pytest.mark.parametrize("fetch", ["y", "h", "slope"])
def test_agrees_with_run_for_any_size(session: sf.Session, fetch: str, count: int) -> None:
    x = rows(count)
    np.testing.assert_array_equal(session.jit(fetch)(x), session.run(fetch, {"x": x}))


def test_the_same_fetch_is_the_same_function(session: sf.Session) -> None:
    assert session.jit("y") is session.jit("y")


def test_is_called_from_jitted_code(session: sf.Session) -> None:
    f = session.jit("y")

    @numba.njit  # type: ignore[misc]
    def both(x: Array, out: Array) -> Array:
        f(x, out)
        return f(x)

    x, out = rows(3), np.empty((3, 1), np.float32)
    returned = both(x, out)
    np.testing.assert_array_equal(out, session.run("y", {"x": x}))
    np.testing.assert_array_equal(out, returned)


def test_parameters_are_live() -> None:
    session = network()
    f = session.jit("y")
    before = f(rows(1))
    session.params["b1"][:] += 2.0
    np.testing.assert_allclose(f(rows(1)), before + 2.0, rtol=1e-6)


def test_what_it_reads_outlives_the_session() -> None:
    def prepare() -> tuple[Any, Array]:
        session = network()
        f = session.jit("y")

        @numba.njit  # type: ignore[misc]
        def call(x: Array) -> Array:
            return f(x)

        call(rows(2))
        return call, session.run("y", {"x": rows(2)})

    call, expected = prepare()
    gc.collect()
    garbage = [np.full(64, np.nan, np.float32) for _ in range(2000)]
    np.testing.assert_array_equal(call(rows(2)), expected)
    del garbage


def test_runs_in_prange_and_in_several_threads() -> None:
    session = network(width=40)
    f = session.jit("h")
    x = rows(64)
    expected = session.run("h", {"x": x})

    @numba.njit(parallel=True)  # type: ignore[misc]
    def spread(x: Array, out: Array) -> None:
        for i in numba.prange(x.shape[0]):
            f(x[i : i + 1], out[i : i + 1])

    out = np.zeros_like(expected)
    spread(x, out)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)

    @numba.njit(nogil=True)  # type: ignore[misc]
    def repeat(x: Array, out: Array, times: int) -> None:
        for _ in range(times):
            for i in range(x.shape[0]):
                f(x[i : i + 1], out[i : i + 1])

    repeat(x[:1], np.empty((1, 40), np.float32), 1)
    results = [np.zeros_like(expected) for _ in range(8)]
    threads = [threading.Thread(target=repeat, args=(x, own, 50)) for own in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in results:
        np.testing.assert_array_equal(own, out)


def test_more_calls_at_a_time_than_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staticflow.runtime.reentrant.RECORDS", 1)
    session = network(width=3)
    f = session.jit("h")
    x = rows(7)
    expected = session.run("h", {"x": x})

    @numba.njit(nogil=True)  # type: ignore[misc]
    def repeat(x: Array, out: Array) -> None:
        for _ in range(3000):
            f(x, out)

    results = [np.zeros_like(expected) for _ in range(6)]
    threads = [threading.Thread(target=repeat, args=(x, own)) for own in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in results:
        np.testing.assert_array_equal(own, expected)


def test_with_out_nothing_is_allocated(session: sf.Session) -> None:
    f = session.jit("y")

    @numba.njit  # type: ignore[misc]
    def loop(x: Array, out: Array) -> None:
        for _ in range(1000):
            f(x, out)

    x, out = rows(2), np.empty((2, 1), np.float32)
    loop(x, out)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    loop(x, out)
    after = rtsys.get_allocation_stats()
    f(x)
    returned = rtsys.get_allocation_stats()
    _nrt_python.memsys_disable_stats()
    assert after.alloc - before.alloc < 10  # for the arrays that come from Python
    assert returned.alloc > after.alloc


def test_several_outputs_and_inputs_in_order_of_declaration() -> None:
    first = sf.input("b b", ("batch", 3), "float64")
    second = sf.input("out", (3,), "float64")
    third = sf.input("scale", (), "float64")
    total = (second * first).sum(axis=1)
    session = sf.Session(outputs={"p": total * third, "q": first + second})
    f = session.jit(("p", "q"))
    a, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 10.0, 100.0])

    @numba.njit  # type: ignore[misc]
    def call(a: Array, b: Array) -> Any:
        p, q = np.empty(2), np.empty((2, 3))
        f(a, b, 2.0, (p, q))
        return f(a, b, 2.0), p, q

    (p, q), own_p, own_q = call(a, b)
    np.testing.assert_array_equal(p, 2 * (a @ b))
    np.testing.assert_array_equal(q, a + b)
    np.testing.assert_array_equal(own_p, p)
    np.testing.assert_array_equal(own_q, q)


def test_sizes_that_follow_from_others() -> None:
    x = sf.input("x", ("time", 2))
    y = (x[1:] * x[:-1]).reshape(-1)
    f = sf.Session(outputs=y).jit(y)
    data = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(f(data), (data[1:] * data[:-1]).ravel())


def test_large_products_get_their_scratch() -> None:
    x = sf.input("x", ("batch", 700))
    w = sf.param("w", (700, 300))
    y = ops.tanh(x @ w)
    session = sf.Session(outputs={"y": y, "slope": sf.grad(y.sum(), x)})
    data = np.random.default_rng(0).standard_normal((200, 700)).astype(np.float32)
    for fetch in ("y", "slope"):
        for count in (200, 3, 200):
            found = session.jit(fetch)(data[:count])
            wanted = session.run(fetch, {"x": data[:count]})
            # a run may be cut into pieces of rows: then sums are taken in other orders
            error = 700 * np.finfo(np.float32).eps * np.abs(wanted).max()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=error)


def test_loops_over_a_time_that_the_call_brings() -> None:
    xs = sf.input("xs", ("time", "batch", 3))
    w, u = sf.param("w", (3, 5)), sf.param("u", (5, 5))
    start = xs[0] @ w * 0.0
    last, ys = sf.scan(lambda h, x: (ops.tanh(x @ w + h @ u),) * 2, start, xs)
    session = sf.Session(outputs={"last": last, "ys": ys})
    f = session.jit(("last", "ys"))
    data = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)
    for time in (7, 2, 4):
        found, expected = f(data[:time]), session.run(["last", "ys"], {"xs": data[:time]})
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_native_routines() -> None:
    a = sf.input("a", ("batch", 3, 3), "float64")
    session = sf.Session(outputs={"inv": ops.inv(a), "slope": sf.grad(ops.sum(ops.det(a)), a)})
    data = np.random.default_rng(0).standard_normal((4, 3, 3))
    for fetch in ("inv", "slope"):
        np.testing.assert_array_equal(session.jit(fetch)(data), session.run(fetch, {"a": data}))


def test_labels_booleans_and_constants() -> None:
    labels = sf.input("labels", ("batch",), "int64")
    keep = sf.input("keep", ("batch",), "bool")
    table = sf.const(np.arange(12, dtype=np.float32).reshape(4, 3))
    y = ops.where(keep[:, None], ops.take(table, labels, axis=0), -1.0)
    f = sf.Session(outputs=y).jit(y)
    found = f(np.array([3, 0, 1]), np.array([True, False, True]))
    np.testing.assert_array_equal(found, [[9, 10, 11], [-1, -1, -1], [3, 4, 5]])


def test_arrays_in_any_layout_are_read(session: sf.Session) -> None:
    f = session.jit("y")
    x = rows(6)
    expected = session.run("y", {"x": x})
    np.testing.assert_array_equal(f(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(f(np.repeat(x, 2, axis=0)[::2]), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(f(frozen), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5), np.float32),), r"input 'x' expects shape \(batch, 4\)"),
        ((rows(2), np.zeros((3, 1), np.float32)), r"out expects shape \(batch, 1\)"),
    ],
)
def test_wrong_shapes_are_refused(
    session: sf.Session, arguments: tuple[Array, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        session.jit("y")(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 4)),), r"input 'x' takes float32\[batch, 4\]"),
        ((np.zeros(4, np.float32),), "reshape it"),
        ((rows(2), np.zeros((2, 1))), r"out takes float32\[batch, 1\]"),
        ((rows(2), np.zeros((2, 2), np.float32)[:, :1]), "C-contiguous"),
        ((3.0,), "pass an array"),
    ],
)
def test_wrong_types_are_refused_when_compiled(
    session: sf.Session, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(numba.TypingError, match=message):
        session.jit("y")(*arguments)


def test_numbers_for_scalars_convert_where_nothing_is_lost() -> None:
    x, k, b = sf.input("x", (), "float64"), sf.input("k", (), "int64"), sf.input("b", (), "bool")
    y = ops.where(b, x + k, 0.0)
    f = sf.Session(outputs=y).jit(y)
    assert f(2, True, True) == 3.0 and f(np.float32(0.5), 1, np.array(True)) == 1.5
    for wrong in ((2j, 1, True), (2.0, 1.5, True), (2.0, 1, 1)):
        with pytest.raises(numba.TypingError, match="convert it if that loses nothing"):
            f(*wrong)


def test_disagreeing_sizes_are_refused() -> None:
    a, b = sf.input("a", ("n",)), sf.input("b", ("n",))
    f = sf.Session(outputs=a + b).jit(a + b)
    with pytest.raises(ValueError, match="input 'b' expects shape"):
        f(np.zeros(3, np.float32), np.zeros(4, np.float32))


def test_out_must_not_be_an_input() -> None:
    x = sf.input("x", ("n",))
    f = sf.Session(outputs=x * 2).jit(x * 2)
    data = np.ones(8, np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        f(data, data)
    with pytest.raises(ValueError, match="overlaps"):
        f(data[:4], data[3:7])
    f(data[:4], data[4:])
    np.testing.assert_array_equal(data, [1, 1, 1, 1, 2, 2, 2, 2])


def test_many_outputs_that_must_not_overlap() -> None:
    x = sf.input("x", ("n",))
    f = sf.Session(outputs=x).jit(tuple(x * float(k) for k in range(70)))
    for k, y in enumerate(f(np.ones(3, np.float32))):
        np.testing.assert_array_equal(y, np.full(3, k))
    memory = np.zeros((70, 3), np.float32)
    f(np.ones(3, np.float32), tuple(memory))
    np.testing.assert_array_equal(memory[:, 0], np.arange(70))
    with pytest.raises(ValueError, match="overlaps"):
        f(np.ones(3, np.float32), (*memory[:-1], memory[5]))


def test_fetches_that_cannot_be_jitted(session: sf.Session) -> None:
    with pytest.raises(sf.GraphError, match="a tuple"):
        session.jit({"y": "y"})
    with pytest.raises(sf.GraphError, match="there is no output 'z'"):
        session.jit("z")


def test_numba_does_not_keep_callers_on_disk(tmp_path: Any, monkeypatch: Any) -> None:
    """An address in a cached function would crash the next process."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    f = network(width=2).jit("y")

    @numba.njit(cache=True)  # type: ignore[misc]
    def call(x: Array) -> Array:
        return f(x)

    with pytest.warns(numba.NumbaWarning, match="dynamic globals"):
        assert call(rows(2)).shape == (2, 1)
    assert not list(tmp_path.rglob("*.nbi"))
