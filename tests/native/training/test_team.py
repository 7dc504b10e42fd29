"""Whoever runs the shards of a step: the same bits, and no waiting for who is not there."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import numpy as np
import pytest

from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.layout import SYNC_WORDS, Reason, Shard, Sync
from staticflow.native.training.places import CHOOSES
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.worker import Worker, team
from tests.native.training.worker_problem import (
    FAIL,
    ORDER,
    SLOW,
    STEP,
    UPDATE,
    Problem,
    build,
    program,
)

NEVER = 1 << 62


def prefer(problem: Problem, together: bool) -> None:
    """Let one way look much better, for good."""
    lead = problem.tables[0]
    lead[Shard.COST], lead[Shard.COST + 1] = (NEVER, 1) if together else (1, NEVER)
    lead[Shard.TRIAL_AT] = NEVER


def many(toolchain: Toolchain, shards: int, text: str = STEP, epochs: int = 200) -> Problem:
    step, update = program(toolchain, text), program(toolchain, UPDATE)
    return build(
        step, update, shards, batch=15, epochs=epochs, in_place=True, roles=team(toolchain)
    )


def run(native: Worker, problem: Problem, threads: int | None = None) -> list[int]:
    return ShardPool().run(native.train.bind(), problem.tables, threads=threads)


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_results_do_not_depend_on_who_runs_the_shards(
    toolchain: Toolchain, native: Worker, shards: int
) -> None:
    """On any number of threads, alone, together, and changing as measured."""
    found = set()
    for threads in range(1, shards + 1):
        for way in (None, False, True):
            problem = many(toolchain, shards)
            if way is not None:
                prefer(problem, way)
            assert run(native, problem, threads) == [1000] * threads
            found.add((problem.w.tobytes(), *(sums.tobytes() for sums in problem.sums)))
            lead = problem.tables[0]
            alone, together = lead[Shard.STEPS], lead[Shard.STEPS + 1]
            if threads > 1:
                assert alone + together == 1000
                assert way is not False or together == 0
    assert len(found) == 1


def test_a_way_that_takes_less_is_found(toolchain: Toolchain, native: Worker) -> None:
    """What was measured to be slow long ago is tried again."""
    problem = many(toolchain, 2, SLOW, epochs=400)
    lead = problem.tables[0]
    lead[Shard.COST], lead[Shard.COST + 1] = 10**9, 2 * 10**9  # and both are wrong
    assert run(native, problem) == [2000, 2000]
    assert 0 < lead[Shard.COST] < 10**9 and lead[Shard.COST + 1] < 2 * 10**9
    assert lead[Shard.STEPS] > 0 and lead[Shard.STEPS + 1] > 0


def test_who_is_called_stays_awake(toolchain: Toolchain) -> None:
    """The first thread looks between its steps only, which may take longer than others look."""
    problem = many(toolchain, 2)
    words = (ctypes.c_int64 * SYNC_WORDS).from_address(problem.tables[1][Shard.SYNC])
    sync = np.frombuffer(words, np.int64)
    problem.tables[1][Shard.PARTIES] = 2
    follow = team(toolchain).follow.bind()
    follower = threading.Thread(target=follow, args=(problem.tables[1].address,))
    sync[Sync.CALLING] = 1
    follower.start()
    try:
        time.sleep(0.1)
        assert (sync[Sync.LOOKING], sync[Sync.SLEEPING]) == (1, 0)
        sync[Sync.CALLING] = 0
        ends = time.monotonic() + 10
        while sync[Sync.SLEEPING] == 0 and time.monotonic() < ends:
            time.sleep(0.001)
        assert (sync[Sync.LOOKING], sync[Sync.SLEEPING]) == (0, 1)
    finally:
        sync[Sync.OVER] = 1
        follower.join()


@pytest.mark.skipif(not CHOOSES, reason="threads do not choose their processors here")
def test_processors_are_given_back(toolchain: Toolchain, native: Worker) -> None:
    """Who leaves the first thread's processor for a run may use it again afterwards."""
    pool, perform = ShardPool(), native.train.bind()
    seen: list[set[int]] = []

    def watched(address: int) -> int:
        before = os.sched_getaffinity(0)
        done = perform(address)
        seen.append(before ^ os.sched_getaffinity(0))
        return done

    for _ in range(3):
        pool.run(watched, many(toolchain, 3, SLOW).tables)
    assert seen == [set()] * 9


def test_nobody_waits_for_a_thread_that_does_not_come(
    toolchain: Toolchain, native: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second thread begins when the first has finished."""
    problem = many(toolchain, 2)
    perform = native.train.bind()
    finished: list[float] = []

    def late(address: int) -> int:
        if address != problem.tables[0].address:
            while not finished:
                time.sleep(0.001)
        done = perform(address)
        finished.append(time.monotonic())
        return done

    assert ShardPool().run(late, problem.tables) == [1000, 1000]
    lead = problem.tables[0]
    assert (lead[Shard.STEPS], lead[Shard.STEPS + 1]) == (1000, 0)
    other = many(toolchain, 2)
    assert run(native, other) == [1000, 1000]
    np.testing.assert_array_equal(problem.w, other.w)


@pytest.mark.parametrize("way", [None, False, True])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_step_that_fails_is_nobodys(
    toolchain: Toolchain, native: Worker, threads: int, way: bool | None
) -> None:
    """The fifth step gives up: four are finished, on whichever threads, and the run ends."""
    step, update = program(toolchain, FAIL), program(toolchain, UPDATE)
    problem = build(step, update, 4, permutation=ORDER, roles=team(toolchain))
    if way is not None:
        prefer(problem, way)
    assert run(native, problem, threads) == [4] * threads
    assert problem.tables[0].sync.reason == 77 != Reason.STOPPED


def test_who_runs_alone_looks_at_the_stop_flag(toolchain: Toolchain, native: Worker) -> None:
    problem = many(toolchain, 3, SLOW, epochs=4000)
    prefer(problem, together=False)

    def poll() -> None:
        if problem.tables[0].sync.done > 0:
            raise StopIteration

    with pytest.raises(StopIteration):
        ShardPool().run(native.train.bind(), problem.tables, poll)
    assert 0 < problem.tables[0].sync.done < 20_000 and problem.tables[0].sync.stopped
