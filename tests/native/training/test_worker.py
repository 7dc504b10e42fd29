"""What the training worker computes, on a small linear regression written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.layout import Shard, Variant
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.native.training.worker import Worker
from tests.native.training.worker_problem import (
    ORDER,
    ROWS,
    STEP,
    UPDATE,
    build,
    data,
    program,
    reference,
    split,
)


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
    rows = [(source.ctypes.data, size, target.ctypes.data, 0, 0, 1, 0)]
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
