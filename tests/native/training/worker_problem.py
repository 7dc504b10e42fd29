"""A small linear regression, written by hand for the native worker, and what NumPy makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from staticflow.native.toolchain.objects import KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.layout import Shard, Variant
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.native.training.team import Team

FEATURES, ROWS, RATE = 9, 70, 0.1
ORDER = np.stack([np.random.default_rng(k).permutation(ROWS) for k in range(2)])
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
    roles: Team | None = None,
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
                (x.ctypes.data, 8 * FEATURES, buffers[0].ctypes.data, *slots, 1, 0),
                (y.ctypes.data, 8, buffers[1].ctypes.data, *(s and s + 8 for s in slots), 1, 0),
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
        if roles is not None:
            table[Shard.ROLE] = roles[min(index, 1)].address
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
