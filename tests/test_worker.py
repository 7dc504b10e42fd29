"""The training worker and its threads, on a small linear regression written by hand."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from staticflow.native.objects import KernelSource, NativeFunction, Signature
from staticflow.native.threads import ShardPool
from staticflow.native.toolchain import Toolchain
from staticflow.native.worker import Worker, worker
from staticflow.native.worker_layout import Shard, Variant
from staticflow.native.worker_tables import ShardTable, SyncBlock

FEATURES, ROWS, RATE = 9, 70, 0.1
PROGRAM = Signature("i8", ("i8*", "i8*"))

# T: x, y, w, gradient, metrics, log of steps, step cell, context.  S: rows, features, rows of batch
STEP = """
def step(T, S):
    x = f8ptr(T[0]); y = f8ptr(T[1]); w = f8ptr(T[2]); g = f8ptr(T[3]); metrics = f8ptr(T[4])
    for j in range(S[1]):
        g[j] = 0.0
    metrics[0] = 0.0
    metrics[1] = S[0]
    for i in range(S[0]):
        e = -y[i]
        for j in range(S[1]):
            e += x[i * S[1] + j] * w[j]
        metrics[0] += e * e
        for j in range(S[1]):
            g[j] += 2.0 * e * x[i * S[1] + j] / S[2]
    i8ptr(T[5])[0] += i8ptr(T[6])[0]
    return 0
"""
UPDATE = """
def update(T, S):
    w = f8ptr(T[0]); g = f8ptr(T[1])
    for j in range(S[0], S[1]):
        w[j] -= RATE * g[j]
    return 0
"""
FAIL = STEP.replace("    return 0", "    return 77 if i8ptr(T[6])[0] == 5 else 0")
SLOW = STEP.replace(
    "    return 0",
    "    z = 1.0\n    for k in range(40000):\n        z = math.sqrt(z + k)\n"
    "    metrics[1] += z * 0\n    return 0",
)


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return Toolchain(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def native(toolchain: Toolchain) -> Worker:
    return worker(toolchain)


def program(toolchain: Toolchain, text: str, **externals: NativeFunction) -> NativeFunction:
    name = text.split("(")[0].split()[-1]
    known = {name: function.external for name, function in externals.items()}
    source = KernelSource(
        name, text, PROGRAM, known, namespace=lambda: {"RATE": RATE}, namespace_key=(str(RATE),),
        noalias=False, fastmath=(),
    )  # fmt: skip
    return toolchain.kernel(source)


@dataclass
class Problem:
    """Shards' tables over one weight vector."""

    tables: list[ShardTable]
    w: NDArray[np.float64]
    sums: list[NDArray[np.float64]]
    logs: list[NDArray[np.int64]]


def data() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, FEATURES)), rng.standard_normal(ROWS)


def split(count: int, shards: int) -> list[tuple[int, int]]:
    bounds = [count * k // shards for k in range(shards + 1)]
    return list(pairwise(bounds))


def build(
    step: NativeFunction,
    update: NativeFunction | None,
    shards: int,
    batch: int = 16,
    epochs: int = 2,
    permutation: NDArray[np.int64] | None = None,
    in_place: bool = False,
) -> Problem:
    x, y = data()
    w, sync = np.zeros(FEATURES), SyncBlock()
    gradients = [np.zeros(FEATURES) for _ in range(shards)]
    parts = np.array([gradient.ctypes.data for gradient in gradients])
    batches = -(-ROWS // batch)
    problem = Problem([], w, [], [])
    for index in range(shards):
        table = ShardTable(index, shards, sync)
        problem.tables.append(table)
        problem.sums.append(np.zeros((epochs, 2)))
        problem.logs.append(np.zeros(1, np.int64))
        metrics, cell = np.zeros(2), np.zeros(1, np.int64)
        buffers = [np.zeros((batch, FEATURES)), np.zeros(batch)]
        slots = []
        for variant, rows in ((Shard.WHOLE, batch), (Shard.LAST_BATCH, ROWS % batch)):
            begin, end = split(rows, shards)[index]
            arrays = [*buffers, w, gradients[index], metrics, problem.logs[index], cell]
            T = np.array([*(a.ctypes.data for a in arrays), table.address])
            S = np.array([end - begin, FEATURES, rows])
            table.point(variant + Variant.T, T)
            table.point(variant + Variant.S, S)
            table[variant + Variant.BEGIN], table[variant + Variant.ROWS] = begin, end - begin
            slots.append(T.ctypes.data if in_place else 0)
        table.point_records(
            Shard.INPUTS, Shard.INPUT_COUNT,
            [
                (x.ctypes.data, 8 * FEATURES, buffers[0].ctypes.data, *slots),
                (y.ctypes.data, 8, buffers[1].ctypes.data, *(s and s + 8 for s in slots)),
            ],
        )  # fmt: skip
        lo, hi = split(FEATURES, shards)[index]
        table.point_records(Shard.GRADIENTS, Shard.GRADIENT_COUNT, [(8, lo, hi, parts.ctypes.data)])
        table.point(Shard.UPDATE_T, np.array([w.ctypes.data, gradients[0].ctypes.data]))
        table.point(Shard.UPDATE_S, np.array([lo, hi]))
        table.point(Shard.METRICS, metrics)
        table.point(Shard.METRIC_SUMS, problem.sums[index])
        table.point(Shard.PERMUTATION, permutation)
        table.point(Shard.STEP_CELL, cell)
        table[Shard.METRIC_COUNT], table[Shard.STEP_BASE] = 2, 1
        table[Shard.FIRST], table[Shard.LAST], table[Shard.BATCHES] = 0, epochs * batches, batches
        table[Shard.BATCH_ROWS], table[Shard.DATA_ROWS] = batch, ROWS
        table[Shard.RAGGED] = int(ROWS % batch != 0)
        table[Shard.STEP] = step.address
        table[Shard.UPDATE] = 0 if update is None else update.address
        table.keep(x, y, gradients, parts, buffers)
    return problem


def reference(
    steps: int, batch: int, order: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[float]]:
    x, y = data()
    w = np.zeros(FEATURES)
    batches = -(-ROWS // batch)
    losses: list[float] = []
    for k in range(steps):
        epoch, position = divmod(k, batches)
        rows = order[epoch % len(order)][position * batch : (position + 1) * batch]
        error = x[rows] @ w - y[rows]
        losses.append(float(error @ error))
        w = w - RATE * 2 * x[rows].T @ error / len(rows)
    return w, losses


ORDER = np.stack([np.random.default_rng(k).permutation(ROWS) for k in range(2)])


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("batch", [16, 14, 70])
@pytest.mark.parametrize("shuffled", [True, False])
def test_training_is_what_numpy_computes(
    toolchain: Toolchain, native: Worker, shards: int, batch: int, shuffled: bool
) -> None:
    step, update = program(toolchain, STEP), program(toolchain, UPDATE)
    problem = build(step, update, shards, batch, permutation=ORDER if shuffled else None)
    steps = 2 * -(-ROWS // batch)
    order = ORDER if shuffled else np.arange(ROWS)[None]
    want, losses = reference(steps, batch, order)
    assert ShardPool().run(native.train.bind(), problem.tables) == [steps] * shards
    np.testing.assert_allclose(problem.w, want, rtol=1e-12)
    sums = np.sum(problem.sums, axis=0)
    np.testing.assert_allclose(sums[:, 0], np.reshape(losses, (2, -1)).sum(axis=1), rtol=1e-12)
    assert sums[:, 1].tolist() == [ROWS, ROWS]
    assert [int(log[0]) for log in problem.logs] == [steps * (steps + 1) // 2] * shards
    sync = problem.tables[0].sync
    assert (sync.done, sync.reason) == (steps, 0)


@pytest.mark.parametrize("shards", [1, 2])
def test_rows_in_order_need_not_be_copied(
    toolchain: Toolchain, native: Worker, shards: int
) -> None:
    step, update = program(toolchain, STEP), program(toolchain, UPDATE)
    problem = build(step, update, shards, in_place=True)
    ShardPool().run(native.train.bind(), problem.tables)
    np.testing.assert_allclose(problem.w, reference(10, 16, np.arange(ROWS)[None])[0], rtol=1e-12)


def test_runs_repeat_bit_for_bit(toolchain: Toolchain, native: Worker) -> None:
    step, update = program(toolchain, STEP), program(toolchain, UPDATE)
    results = set()
    for _ in range(5):
        problem = build(step, update, 4, batch=15, permutation=ORDER)
        ShardPool().run(native.train.bind(), problem.tables)
        results.add(problem.w.tobytes())
    assert len(results) == 1


def test_a_run_in_pieces_is_the_same_run(toolchain: Toolchain, native: Worker) -> None:
    step, update = program(toolchain, STEP), program(toolchain, UPDATE)
    problem, pool = build(step, update, 2, permutation=ORDER), ShardPool()
    for first, last in ((0, 3), (3, 4), (4, 10)):
        for table in problem.tables:
            table[Shard.FIRST], table[Shard.LAST] = first, last
        assert pool.run(native.train.bind(), problem.tables) == [last - first] * 2
    np.testing.assert_allclose(problem.w, reference(10, 16, ORDER)[0], rtol=1e-12)


@pytest.mark.parametrize("size", [4, 8, 12, 24, 128, 136, 3136])
def test_rows_of_any_size_are_gathered(toolchain: Toolchain, native: Worker, size: int) -> None:
    nothing = program(toolchain, "def nothing(T, S):\n    return 0\n")
    source = np.random.default_rng(0).integers(0, 255, (30, size)).astype(np.uint8)
    target, order = np.zeros((30, size), np.uint8), np.random.default_rng(1).permutation(30)
    table = ShardTable(0, 1, SyncBlock())
    table.point(Shard.PERMUTATION, order)
    table[Shard.LAST] = table[Shard.BATCHES] = 1
    table[Shard.BATCH_ROWS] = table[Shard.DATA_ROWS] = table[Shard.WHOLE + Variant.ROWS] = 30
    table[Shard.STEP] = nothing.address
    rows = [(source.ctypes.data, size, target.ctypes.data, 0, 0)]
    table.point_records(Shard.INPUTS, Shard.INPUT_COUNT, rows)
    assert ShardPool().run(native.train.bind(), [table], inline=True) == [1]
    np.testing.assert_array_equal(target, source[order])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_gradients_are_added_in_order(
    toolchain: Toolchain, native: Worker, dtype: type
) -> None:
    nothing = program(toolchain, "def nothing(T, S):\n    return 0\n")
    length, shards, sync = 10_001, 3, SyncBlock()
    gradients = [np.random.default_rng(k).random(length).astype(dtype) for k in range(shards)]
    want = (gradients[0] + gradients[1]) + gradients[2]
    parts = np.array([gradient.ctypes.data for gradient in gradients])
    tables = [ShardTable(index, shards, sync) for index in range(shards)]
    for table, (begin, end) in zip(tables, split(length, shards), strict=True):
        table[Shard.LAST] = table[Shard.BATCHES] = 1
        table[Shard.STEP] = table[Shard.UPDATE] = nothing.address
        record = (np.dtype(dtype).itemsize, begin, end, parts.ctypes.data)
        table.point_records(Shard.GRADIENTS, Shard.GRADIENT_COUNT, [record])
    assert ShardPool().run(native.train.bind(), tables) == [1] * shards
    np.testing.assert_array_equal(gradients[0], want)


def test_evaluation_updates_nothing(toolchain: Toolchain, native: Worker) -> None:
    problem = build(program(toolchain, STEP), None, 2)
    assert ShardPool().run(native.train.bind(), problem.tables) == [10, 10]
    assert not problem.w.any()
    _, y = data()
    np.testing.assert_allclose(np.sum(problem.sums, axis=0)[:, 0], y @ y)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_step_that_gives_up_commits_nothing(
    toolchain: Toolchain, native: Worker, shards: int
) -> None:
    problem = build(program(toolchain, FAIL), program(toolchain, UPDATE), shards)
    assert ShardPool().run(native.train.bind(), problem.tables) == [4] * shards
    assert problem.tables[0].sync.reason == 77
    np.testing.assert_allclose(problem.w, reference(4, 16, np.arange(ROWS)[None])[0], rtol=1e-12)


@pytest.mark.parametrize("shards", [2, 4])
def test_one_shard_that_gives_up_frees_the_others(
    toolchain: Toolchain, native: Worker, shards: int
) -> None:
    step, fail = program(toolchain, STEP), program(toolchain, FAIL)
    problem = build(step, program(toolchain, UPDATE), shards)
    problem.tables[1][Shard.STEP] = fail.address
    assert ShardPool().run(native.train.bind(), problem.tables) == [4] * shards
    assert problem.tables[0].sync.reason == 77


def endless(toolchain: Toolchain, shards: int, text: str = SLOW) -> Problem:
    problem = build(program(toolchain, text), program(toolchain, UPDATE), shards, epochs=1000)
    for table in problem.tables:
        table[Shard.LAST] = 5000
    return problem


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("text", [STEP, SLOW], ids=["short steps", "long steps"])
def test_the_stop_flag_ends_all_shards_at_the_same_step(
    toolchain: Toolchain, native: Worker, shards: int, text: str
) -> None:
    problem = endless(toolchain, shards, text)
    sync = problem.tables[0].sync

    def stop_soon() -> None:
        while sync.done < 20:
            time.sleep(0.001)
        sync.stop()

    thread = threading.Thread(target=stop_soon)
    thread.start()
    results = ShardPool().run(native.train.bind(), problem.tables)
    thread.join()
    assert len(set(results)) == 1 and 20 <= results[0] <= 5000
    assert sync.done == results[0]
    assert sync.stopped or results[0] == 5000
    want, _ = reference(results[0], 16, np.arange(ROWS)[None])
    np.testing.assert_allclose(problem.w, want, rtol=1e-9)


@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
@pytest.mark.parametrize("shards", [1, 2])
def test_ctrl_c_comes_through_quickly(toolchain: Toolchain, native: Worker, shards: int) -> None:
    problem = endless(toolchain, shards)
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ShardPool().run(native.train.bind(), problem.tables)
    assert time.monotonic() - sent[0] < 0.2
    done = problem.tables[0].sync.done
    assert 0 < done < 5000
    want, _ = reference(done, 16, np.arange(ROWS)[None])
    np.testing.assert_allclose(problem.w, want, rtol=1e-9)


def test_poll_sees_progress_and_may_raise(toolchain: Toolchain, native: Worker) -> None:
    problem, seen = endless(toolchain, 2), []

    def poll() -> None:
        seen.append(problem.tables[0].sync.done)
        if len(seen) == 3:
            raise StopIteration("enough")

    pool = ShardPool()
    with pytest.raises(StopIteration, match="enough"):
        pool.run(native.train.bind(), problem.tables, poll)
    assert seen == sorted(seen) and seen[-1] > 0
    assert problem.tables[0].sync.stopped
    short = build(program(toolchain, STEP), program(toolchain, UPDATE), 2)
    assert pool.run(native.train.bind(), short.tables) == [10, 10]


MEET = '''
def meet(T, S):
    """Each shard reads what the other wrote before the barrier."""
    cells = i8ptr(T[0])
    for k in range(200):
        cells[16 * S[0]] = k + 1
        if barrier(T[1]) != 0:
            return 1
        for other in range(S[1]):
            if cells[16 * other] != k + 1:
                return 99
        if barrier(T[1]) != 0:
            return 1
    return 0
'''


@pytest.mark.parametrize("sleeps", [0, 1500])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_barriers_inside_a_step(
    toolchain: Toolchain, native: Worker, shards: int, sleeps: int
) -> None:
    step = program(toolchain, MEET, barrier=native.barrier)
    update = program(toolchain, "def nothing(T, S):\n    return 0\n")
    cells, sync = np.zeros(16 * shards, np.int64), SyncBlock()
    tables = [ShardTable(index, shards, sync) for index in range(shards)]
    for index, table in enumerate(tables):
        table.point(Shard.WHOLE + Variant.T, np.array([cells.ctypes.data, table.address]))
        table.point(Shard.WHOLE + Variant.S, np.array([index, shards]))
        table[Shard.LAST], table[Shard.BATCHES] = 5, 1
        table[Shard.STEP], table[Shard.UPDATE] = step.address, update.address
        table[Shard.SLEEPS] = sleeps
    assert ShardPool().run(native.train.bind(), tables) == [5] * shards
    assert sync.reason == 0
    if sleeps and shards > 1:
        assert any(0 <= table[Shard.SLEEPS] < sleeps for table in tables)


@pytest.mark.parametrize("sleeps", [0, 10])
def test_a_shard_that_leaves_frees_those_at_a_barrier_inside_a_step(
    toolchain: Toolchain, native: Worker, sleeps: int
) -> None:
    meet = program(toolchain, MEET, barrier=native.barrier)
    leave = program(toolchain, "def leave(T, S):\n    return 55\n")
    cells, sync = np.zeros(32, np.int64), SyncBlock()
    tables = [ShardTable(index, 2, sync) for index in range(2)]
    for index, table in enumerate(tables):
        table.point(Shard.WHOLE + Variant.T, np.array([cells.ctypes.data, table.address]))
        table.point(Shard.WHOLE + Variant.S, np.array([index, 2]))
        table[Shard.LAST] = table[Shard.BATCHES] = 1
        table[Shard.SLEEPS] = sleeps
        table[Shard.STEP] = table[Shard.UPDATE] = (meet, leave)[index].address
    assert ShardPool().run(native.train.bind(), tables) == [0, 0]
    assert sync.reason == 55


def test_denormals_are_flushed_inside_and_nowhere_else(
    toolchain: Toolchain, native: Worker
) -> None:
    text = "def halve(T, S):\n    x = f8ptr(T[0])\n    x[1] = x[0] * 0.5\n    return 0\n"
    x = np.array([np.finfo(float).tiny, 1.0])
    table = ShardTable(0, 1, SyncBlock())
    table.point(Shard.WHOLE + Variant.T, np.array([x.ctypes.data]))
    table[Shard.LAST] = table[Shard.BATCHES] = 1
    table[Shard.STEP] = program(toolchain, text).address
    ShardPool().run(native.train.bind(), [table], inline=True)
    assert x[1] == 0
    assert np.finfo(float).tiny * 0.5 > 0


def two_at_once(toolchain: Toolchain, native: Worker, problems: Sequence[Problem]) -> None:
    threads = [
        threading.Thread(target=ShardPool().run, args=(native.train.bind(), problem.tables))
        for problem in problems
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_two_sessions_train_at_the_same_time(toolchain: Toolchain, native: Worker) -> None:
    step, update = program(toolchain, SLOW), program(toolchain, UPDATE)
    problems = [build(step, update, 2, permutation=ORDER) for _ in range(2)]
    two_at_once(toolchain, native, problems)
    want, _ = reference(10, 16, ORDER)
    for problem in problems:
        np.testing.assert_allclose(problem.w, want, rtol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_training_goes_on_in_a_forked_child(toolchain: Toolchain, native: Worker) -> None:
    step, update = program(toolchain, STEP), program(toolchain, UPDATE)
    pool, problem = ShardPool(), build(step, update, 2)
    assert pool.run(native.train.bind(), problem.tables) == [10, 10]
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        inside = build(step, update, 2)
        good = pool.run(native.train.bind(), inside.tables) == [10, 10]
        os._exit(0 if good and inside.w.tobytes() == problem.w.tobytes() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.run(native.train.bind(), problem.tables) == [10, 10]


def test_an_unused_pool_ends_its_threads() -> None:
    import gc

    before = threading.active_count()
    table = ShardTable(0, 1, SyncBlock())
    assert ShardPool().run(lambda _address: 7, [table]) == [7]
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_exception_in_a_thread_comes_out(tmp_path: Path) -> None:
    def broken(_address: int) -> int:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        ShardPool().run(broken, [ShardTable(0, 1, SyncBlock())])
