"""More threads than pieces of work, more shards than rows, more sizes than were kept: all right."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.training.shard import Common


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7, 8, 12, 16, 64])
def test_a_smaller_batch_has_no_larger_shard(shards: int) -> None:
    """Each row has one shard, in order, and rows less mean no rows more for any shard."""
    common = object.__new__(Common)
    object.__setattr__(common, "shards", shards)
    last = [0] * shards
    for rows in range(200):
        cuts = [common.split(rows, i) for i in range(shards)]
        assert cuts[0][0] == 0 and cuts[-1][1] == rows
        assert all(a[1] == b[0] for a, b in pairwise(cuts))
        counts = [end - first for first, end in cuts]
        assert max(counts) - min(counts) <= 1
        assert all(now >= before for now, before in zip(counts, last, strict=True))
        last = counts


@pytest.mark.parametrize("threads, rows", [(8, 10), (4, 18), (16, 20), (40, 100)])
def test_few_rows_and_many_threads(threads: int, rows: int) -> None:
    """Helpers whose number is beyond the pieces find no record of tables, and need none."""
    x = sf.input("x", ("batch", 256))
    y = models.FNN([256, 512, 512, 10])(x)
    net = sf.Session(outputs={"y": y}, threads=threads)
    fed = np.random.default_rng(0).standard_normal((rows, 256)).astype(np.float32)
    right = net.run("y", {"x": fed})
    for _ in range(200):
        np.testing.assert_array_equal(net.run("y", {"x": fed}), right)
    one = sf.Session(outputs={"y": y}, threads=1, params=net.params).run("y", {"x": fed})
    np.testing.assert_allclose(right, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads, batch, rows", [(8, 100, 199), (5, 80, 87), (7, 64, 67)])
def test_a_ragged_last_batch_on_many_shards(threads: int, batch: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    x, t = sf.input("x", ("batch", 600)), sf.input("t", ("batch", 64))
    loss = ops.mse(models.FNN([600, 256, 64], "tanh")(x), t)
    data = {
        "x": rng.standard_normal((rows, 600)).astype(np.float32),
        "t": rng.standard_normal((rows, 64)).astype(np.float32),
    }
    trained = []
    for count in (1, threads):
        net = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), threads=count, seed=1)
        net.fit(data, epochs=4, batch_size=batch, progress=False)
        trained.append(net.params)
        if count > 1 and batch >= 2 * count:
            assert any(len(trainer.shards) == count for trainer in net._state.trainers.values())
    for name, value in trained[0].items():
        np.testing.assert_allclose(trained[1][name], value, rtol=1e-4, atol=1e-5)


def test_threads_that_run_many_sizes_at_once() -> None:
    """Sessions and functions: right rows, and the same bits as from one thread."""
    x = sf.input("x", ("batch", 32))
    y = models.FNN([32, 64, 5])(x)
    net = sf.Session(outputs={"y": y}, threads=2)
    f = sf.function([x], ops.exp(-x) @ np.ones((32, 3), np.float32))
    fed = [np.random.default_rng(n).standard_normal((n, 32)).astype("f4") for n in range(1, 41)]
    right = [(net.run("y", {"x": v}), f(v)) for v in fed]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, len(fed), 1500):
            if not np.array_equal(net.run("y", {"x": fed[i]}), right[i][0]):
                wrong.append(int(i))
            if not np.array_equal(f(fed[i]), right[i][1]):
                wrong.append(-int(i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_calls_at_the_same_time_have_the_same_bits() -> None:
    """Long ones too, which are cut in pieces and run without the GIL."""
    x = sf.input("x", ("batch", 64))
    net = sf.Session(outputs={"y": models.FNN([64, 128, 128, 3])(x)}, threads=3)
    fed = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
    right = net.run("y", {"x": fed})
    same: list[bool] = []

    def work() -> None:
        same.extend(np.array_equal(net.run("y", {"x": fed}), right) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(same) == 120 and all(same)


def test_tables_of_many_sizes_are_kept() -> None:
    """Of a training step and of a run: no size is made anew while there are not too many."""
    x = sf.input("x", ("batch", "time", 4))
    y = ops.mean(ops.square(models.RNN(6, "gru")(x)))
    net = sf.Session(loss=y, outputs={"y": y}, optimizer=sf.optim.Adam(1e-3), threads=1)
    fed = [np.ones((4, time, 4), np.float32) for time in range(1, 61)]
    for v in fed:
        net.step({"x": v})
        net.run("y", {"x": v})
    trainers = list(net._state.trainers.values())
    for v in fed:
        net.step({"x": v})
    assert list(net._state.trainers.values()) == trainers and len(trainers) == 60


def test_a_thread_that_cannot_be_started_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = sf.input("x", ("batch", 300)), sf.input("t", ("batch", 1))
    loss = ops.mse(models.FNN([300, 200, 1])(x), t)
    rng = np.random.default_rng(0)
    data = {"x": rng.random((400, 300), np.float32), "t": rng.random((400, 1), np.float32)}
    start = threading.Thread.start
    left = [0]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    for left[0] in (0, 1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            net = sf.Session(loss=loss, outputs={"l": loss}, threads=4, optimizer=sf.optim.SGD(0.1))
            history = net.fit(data, epochs=3, batch_size=100, progress=False)
            net.run("l", data)
            net.step(data)
        assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
