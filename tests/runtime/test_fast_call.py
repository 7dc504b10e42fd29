"""Runs of a session take the short way from Python to native code, in pieces and with helpers."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.native.calls import cpython as python_call
from staticflow.native.threads.call_pool import Calls
from staticflow.native.threads.pool import Pool
from staticflow.runtime.fast_call import SHARED_NS, FastCall, choose_pieces

pytestmark = pytest.mark.skipif(not python_call.supported(), reason="another Python or NumPy")
WIDTH = 64


def session(threads: int = 1, width: int = WIDTH) -> sf.Session:
    x = sf.input("x", ("batch", width))
    y = models.FNN([width, 32, 5])(x)
    return sf.Session(outputs={"y": y, "s": ops.sum(y, axis=1)}, threads=threads)


def rows(count: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)


def reference(net: sf.Session, x: np.ndarray) -> np.ndarray:
    p = net.params
    hidden = np.maximum(x @ p["fnn.0.weight"] + p["fnn.0.bias"], 0)
    return hidden @ p["fnn.1.weight"] + p["fnn.1.bias"]


def fast_call_of(net: sf.Session, fetch: str = "y") -> FastCall:
    fast = net._fetches.known[fetch].runner.fast_call
    assert fast is not None
    return fast


@pytest.mark.parametrize("count", [0, 1, 7, 100, 20_000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values(count: int, threads: int) -> None:
    net, x = session(threads), rows(count)
    first = net.run("y", {"x": x})
    again = net.run("y", {"x": x})
    np.testing.assert_allclose(first, reference(net, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(first, again)
    assert again is not first and again.flags.owndata and again.flags.writeable
    assert net._fetches.known["y"].runner._idle == [], "went the long way"


def test_what_is_not_plain_goes_the_long_way_once() -> None:
    net, x = session(), rows(6)
    wanted = net.run("y", {"x": x})
    x_node = net.inputs["x"]
    strided = np.empty((12, WIDTH), np.float32)
    strided[::2] = x
    for fed in (x.tolist(), x.astype(np.float64), np.asfortranarray(x), strided[::2],
                x.view(np.memmap), x.astype(x.dtype.newbyteorder())):  # fmt: skip
        np.testing.assert_array_equal(net.run("y", {"x": fed}), wanted)
    np.testing.assert_array_equal(net.run("y", {x_node: x}), wanted)
    np.testing.assert_array_equal(net.run(net.outputs["y"], {"x": x}), wanted)
    for feeds in ({}, {"x": x, "z": x}, {"z": x}, None):
        with pytest.raises(sf.GraphError):
            net.run("y", feeds)
    with pytest.raises(sf.ShapeError):
        net.run("y", {"x": rows(6, WIDTH + 1)})
    with pytest.raises(sf.DTypeError):
        net.run("y", {"x": x.astype(complex)})


def test_structures_and_no_inputs() -> None:
    net, x = session(), rows(3)
    for _ in range(2):
        both = net.run({"a": "y", "b": ["s"]}, {"x": x})
        np.testing.assert_allclose(both["a"].sum(axis=1), both["b"][0], rtol=1e-6)
        np.testing.assert_array_equal(net.run("s", {"x": x}), both["b"][0])
        assert net.run([], {}) == []
    constant = sf.Session(outputs=ops.exp(sf.param("p", (2, 2))))
    wanted = np.exp(constant.params["p"])
    np.testing.assert_allclose(constant.run(constant.outputs), wanted, rtol=1e-6)


@pytest.mark.parametrize("count", [47, 64, 300])
def test_any_number_of_outputs(count: int) -> None:
    x = sf.input("x", ("batch", 3))
    f = sf.function([x], [x * float(k) for k in range(count)])
    for rows in (2, 5, 2, 5):
        for k, y in enumerate(f(np.ones((rows, 3), "f4"))):
            np.testing.assert_array_equal(y, np.full((rows, 3), k))


def test_parameters_are_those_of_the_moment() -> None:
    net, x = session(), rows(3)
    net.run("y", {"x": x})
    net.params["fnn.1.bias"][...] += 1
    np.testing.assert_allclose(net.run("y", {"x": x}), reference(net, x), rtol=1e-4, atol=1e-5)


def test_nothing_leaks() -> None:
    net, x = session(2), rows(4096)
    dtype, feeds = x.dtype, {"x": x}
    for _ in range(5):
        net.run("y", feeds), net.run(["y", "s"], feeds)
    before = [sys.getrefcount(o) for o in (x, dtype, None, np.ndarray)]
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        net.run("y", feeds), net.run(["y", "s"], feeds)
    grown = tracemalloc.get_traced_memory()[0] - base
    tracemalloc.stop()
    after = [sys.getrefcount(o) for o in (x, dtype, None, np.ndarray)]
    assert grown < 20_000, "results are not freed"
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


def test_more_shapes_than_are_kept() -> None:
    net = session(2)
    for _ in range(2):
        for count in range(1, 40):
            x = rows(count)
            np.testing.assert_allclose(
                net.run("y", {"x": x}), reference(net, x), rtol=1e-4, atol=1e-5
            )
    assert len(fast_call_of(net).pieces()) == 39, "shapes of before are remembered"


@pytest.mark.parametrize("count", [8, 5000])
def test_many_threads_at_a_time(count: int) -> None:
    net = session(2)
    data = [rows(count) * (k + 1) for k in range(4)]
    wanted = [net.run("y", {"x": x}) for x in data]
    right: list[bool] = []

    def repeat(k: int) -> None:
        right.extend(np.array_equal(net.run("y", {"x": data[k]}), wanted[k]) for _ in range(60))

    threads = [threading.Thread(target=repeat, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 240 and all(right)


def test_helpers_do_some_of_the_work_and_sleep_when_there_is_none() -> None:
    net, x = session(2, width=512), rows(20_000, 512)
    assert net._fetches.pool is not None
    shared = net._fetches.pool.table
    for _ in range(200):
        net.run("y", {"x": x})
        if shared[Pool.HELPED]:
            break
    assert shared[Pool.HELPED] > 0
    done = threading.Event()
    for _ in range(200):
        if shared[Pool.SLEEPERS] == 1:
            break
        done.wait(0.01)
    assert (shared[Pool.SLEEPERS], shared[Pool.STATE], shared[Pool.OWNER]) == (1, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork() -> None:
    net, x = session(2, width=512), rows(20_000, 512)
    wanted = net.run("y", {"x": x})
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(net.run("y", {"x": x}), wanted) for _ in range(5))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_only_rows_are_cut() -> None:
    x = sf.input("x", ("batch", WIDTH))
    mean = ops.tanh(x) - ops.tanh(x).mean(axis=0)
    net = sf.Session(outputs={"m": mean, "n": x.sum()}, threads=2)
    data = rows(20_000)
    wanted = np.tanh(data) - np.tanh(data).mean(axis=0)
    np.testing.assert_allclose(net.run("m", {"x": data}), wanted, rtol=1e-3, atol=1e-4)
    ((_, pieces),) = fast_call_of(net, "m").pieces()
    assert pieces.piece == pieces.rows == 1
    np.testing.assert_allclose(net.run("n", {"x": data}), data.sum(dtype=float), rtol=1e-3)


def test_pieces_are_a_function_of_sizes_and_threads() -> None:
    net = session(2, width=512)
    net.run("y", {"x": rows(1, 512)})
    program = fast_call_of(net).program
    small = choose_pieces(program, "batch", {"batch": 4}, 2)
    assert (small.piece, small.threads) == (4, 1)
    large = choose_pieces(program, "batch", {"batch": 50_000}, 2)
    assert large.threads == 2 and large.piece < 5000
    assert large == choose_pieces(program, "batch", {"batch": 50_000}, 2)
    alone = choose_pieces(program, "batch", {"batch": 50_000}, 1)
    assert alone.threads == 1 and alone.piece < 50_000, "too large for the cache at once"


def test_few_rows_are_not_cut() -> None:
    """However long they take: a row alone would be summed up in another order."""
    program = session(2, width=20_000)._fetches.fetch("y").runner.program
    for count, threads in ((2, 1), (3, 1), (7, 1), (8, 2)):
        pieces = choose_pieces(program, "batch", {"batch": count}, 2)
        assert pieces.nanoseconds > SHARED_NS and pieces.threads == threads
        assert pieces.piece == count // threads


def test_the_long_way_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(300)
    short = session(2).run("y", {"x": x})
    monkeypatch.setattr(python_call, "supported", lambda: False)
    long = session(2)
    np.testing.assert_allclose(long.run("y", {"x": x}), short, rtol=1e-5, atol=1e-6)
    assert long._fetches.known["y"].runner.fast_call is None


def test_an_interrupt_while_helpers_are_woken_arrives() -> None:
    net, x = session(2, width=512), rows(5000, 512)
    net.run("y", {"x": x})
    assert net._fetches.pool is not None
    table, begin = net._fetches.pool.table, net._fetches.pool.begin

    def interrupted() -> None:
        raise KeyboardInterrupt

    started, table[Pool.STARTED] = table[Pool.STARTED], 0
    table[Calls.START] = id(interrupted)
    table[Pool.SLEEPERS] += 1
    with pytest.raises(KeyboardInterrupt):
        for _ in range(1000):
            net.run("y", {"x": x})
    table[Pool.SLEEPERS] -= 1
    table[Calls.START], table[Pool.STARTED] = id(begin), started
    np.testing.assert_allclose(net.run("y", {"x": x}), reference(net, x), rtol=1e-3, atol=1e-4)


def test_the_choice_is_told() -> None:
    net = session(2, width=512)
    net.run("y", {"x": rows(20_000, 512)})
    line = next(line for line in net.explain().splitlines() if line.startswith("RUN"))
    assert "20000 rows" in line and "2 thread(s)" in line
