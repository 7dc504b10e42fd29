"""An update without a batch: of gradients that have been accumulated before."""

from __future__ import annotations

import numpy as np

from staticflow.graph.node import Node
from staticflow.native.memory import Array, filled, words, zeros
from staticflow.native.training.layout import TOTAL_WORDS, Shard, Total
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.native.training.worker import accumulation, worker
from staticflow.runtime.failures import check_call
from staticflow.training.epochs import Accumulated
from staticflow.training.shard import TrainingMemory
from staticflow.training.step_programs import UpdateLeaf
from staticflow.training.update_frame import StepValues, following, update_frame


class Update:
    """The optimizer's program over all trained parameters, on one thread.

    It is run by the training worker, as in a fit, so that its results are a fit's, bit for bit.
    """

    def __init__(self, memory: TrainingMemory, values: StepValues) -> None:
        programs, flat = memory.programs, memory.flat
        assert programs.update is not None and flat is not None
        self.programs, self.flat, self.values = programs, flat, values
        self._gate = memory.gate
        self._buffers = memory.buffers(0)
        self._call = worker(programs.update.toolchain).call
        self._accumulation = accumulation(programs.update.toolchain)
        self.sync = SyncBlock()
        given: dict[UpdateLeaf, Array] = {
            "g": self._buffers.gradient,
            "step": self._buffers.step_cell,
            **following(self._buffers.next_states),
        }
        shares: list[Array] = []

        def whole(node: Node) -> Array:
            shares.append(filled([1.0], node.dtype))
            return shares[-1]

        part = range(flat.size)
        self.frame = update_frame(programs, values, flat, part, given, self._buffers.update, whole)
        self._table = table = ShardTable(0, 1, self.sync)
        table.keep(self.frame, shares)
        table[Shard.UPDATE] = programs.update.function.address
        table[Shard.UPDATE_T], table[Shard.UPDATE_S] = self.frame.addresses
        table[Shard.GATE] = memory.gate.address
        table[Shard.BATCHES] = table[Shard.LAST] = 1
        table.point(Shard.STEP_CELL, self._buffers.step_cell)
        table.point(Shard.METRIC_SUMS, zeros((1,), np.float64))

    def run(self, pool: ShardPool, accumulated: Accumulated, step_count: int) -> int:
        """Update by the mean of gradients over their rows; returns how many updates were made."""
        record = words(TOTAL_WORDS)
        record[Total.GROUP], record[Total.ROWS] = 1, accumulated.rows
        record[Total.ARRAY] = accumulated.total.ctypes.data
        record[Total.GRADIENT] = self._buffers.gradient.ctypes.data
        record[Total.ITEMS] = accumulated.total.size
        record[Total.ITEM_BYTES] = accumulated.total.itemsize
        add, number = self._accumulation.add, self._accumulation.number
        record[Total.ADD], record[Total.NUMBER] = add.address, number.address
        self._table.point(Shard.TOTAL, record, accumulated)
        self._table[Shard.STEP_BASE] = step_count + 1
        for name, values in self._buffers.next_states.items():
            values[...] = self.values.states[name]  # they have been put in place with the batches
        with self._gate.fitting():
            (done,) = pool.run(self._call, [self._table], inline=True)
        check_call(self.sync.reason)
        return done
