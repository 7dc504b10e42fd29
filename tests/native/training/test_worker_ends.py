"""How runs of the training worker end, wait for each other, and stand side by side."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.layout import Shard, Variant
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.native.training.worker import Worker
from tests.native.training.worker_problem import (
    FAIL,
    ORDER,
    ROWS,
    SLOW,
    STEP,
    UPDATE,
    Problem,
    build,
    program,
    reference,
)


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
        table[Shard.SLEEPS], table[Shard.TIED] = sleeps, 1
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
        table[Shard.SLEEPS], table[Shard.TIED] = sleeps, 1
        table[Shard.STEP] = table[Shard.UPDATE] = (meet, leave)[index].address
    assert ShardPool().run(native.train.bind(), tables) == [0, 0]
    assert sync.reason == 55


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
