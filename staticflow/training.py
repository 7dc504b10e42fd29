"""A training step in memory: the tables of every shard, for the native worker.

The worker (`native/worker.py`) runs a session's two programs (`step_programs.py`) in a loop, for
any number of steps: each shard has its rows, its gradient, and its slice of the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.blocking import BlockedFrame, block_rows, blocked_frame
from staticflow.buffers import SUFFIX
from staticflow.cost import Choice, Work, barriers, choose_shards, estimate
from staticflow.driver_tables import PEERS, SHARDS, STOP, SYNC
from staticflow.graph import Hyper, Node
from staticflow.native.blocks import run_blocks
from staticflow.native.gemm_scratch import GEMM_WORK_BYTES
from staticflow.native.products import own_products
from staticflow.native.threads import ShardPool
from staticflow.native.toolchain import Toolchain
from staticflow.native.worker import worker
from staticflow.native.worker_layout import Input as InputEntry
from staticflow.native.worker_layout import Shard, Sync, Variant
from staticflow.native.worker_tables import ShardTable, SyncBlock, words
from staticflow.owned import OwnedProduct, owned_products, records, slices, summed
from staticflow.parameters import FlatArray, Store
from staticflow.placement import SHARE
from staticflow.program import Frame, aligned
from staticflow.runner import check_call
from staticflow.shard_rules import PARTIAL, WHOLE
from staticflow.step_programs import ELEMENTS, StepPrograms

Array = NDArray[Any]
INLINE_NS = 20e6  # a native call this short is made by the calling thread itself


@dataclass
class _ShardMemory:
    """What one shard owns."""

    table: ShardTable
    gradient: Array
    step_cell: NDArray[np.int64]
    metrics: NDArray[np.float64]
    work: NDArray[np.uint8]
    frames: dict[str, Frame | BlockedFrame]
    next_states: dict[str, Array]
    shares: dict[tuple[str, int], Array]
    unused: list[Array]  # where results go that another shard has as well


class Trainer:
    """A training step bound to the session's memory, for one set of sizes and shards."""

    def __init__(
        self,
        programs: StepPrograms,
        store: Store,
        states: Store,
        slots: Mapping[str, Array],
        extras: Mapping[str, Array],
        env: Mapping[str, int],
        threads: int,
        toolchain: Toolchain,
        lr: NDArray[np.float64],
        seed: NDArray[np.int64],
    ) -> None:
        self.programs = programs
        self.store, self.states = store, states
        self.slots, self.extras = slots, extras
        self.lr, self.seed = lr, seed
        self.env = dict(env)
        self.rows = self.env[programs.batch] if programs.batch else 1
        self.flat = self._flat()
        self.choice = self._choose(threads)
        self.sync = SyncBlock()
        self.worker = worker(toolchain)
        self.call = self.worker.train.bind()
        self.run_blocks = run_blocks(toolchain)  # whatever the sizes: others shall compile nothing
        self.block = self._block_rows()
        self.owned = self._owned()
        self.shards = [self._shard(i) for i in range(self.choice.shards)]
        self.user: object = None  # the fit whose data the tables point at
        self.ragged = 0  # the rows of the smaller batch that there are tables for
        self._connect()

    def _flat(self) -> FlatArray | None:
        if not self.programs.params:
            return None
        return self.store.flats[(self.programs.params[0].dtype, True)]

    def _choose(self, threads: int) -> Choice:
        compiled = self.programs.forward.compiled
        sizes = compiled.g.sizes_by_name(self.env)
        update_ns = 0.0
        if self.programs.update is not None and self.flat is not None:
            update = self.programs.update.compiled
            update_ns = estimate(update.steps, update.g.sizes_by_name({ELEMENTS: self.flat.size}))
        work = Work(
            estimate(compiled.steps, sizes),
            update_ns,
            0 if self.flat is None else self.flat.data.nbytes,
            2 + barriers(compiled.steps, sizes),
        )
        return choose_shards(work, threads, self.rows, compiled.placement.reason)

    def _block_rows(self) -> int:
        """The rows of a block, or 0 where a shard runs all its rows at once."""
        programs, flat = self.programs, self.flat
        at = programs.forward.compiled.placement.at
        gradient_bytes = flat.data.nbytes if flat is not None else 0
        rows = -(-self.rows // self.choice.shards)
        if programs.states or any(place != PARTIAL for place in at):
            return 0
        size = block_rows(programs.forward, self.env, programs.batch, rows, gradient_bytes)
        return 0 if size >= rows else size

    def _owned(self) -> list[OwnedProduct]:
        """The gradients that shards make in parts instead of adding them up."""
        if self.choice.shards == 1 or self.block or self.programs.update is None:
            return []
        assert self.flat is not None
        return owned_products(self.programs, self.flat, self.env)

    def split(self, rows: int, shard: int) -> tuple[int, int]:
        """The rows of a batch that a shard has: first and end."""
        count = self.choice.shards
        return rows * shard // count, rows * (shard + 1) // count

    def _shard(self, index: int) -> _ShardMemory:
        count = self.choice.shards
        table = ShardTable(index, count, self.sync)
        programs = self.programs
        flat = self.flat
        memory = _ShardMemory(
            table=table,
            gradient=flat.like() if flat is not None else np.zeros(0, np.float32),
            step_cell=words(1),
            metrics=words(1 + len(programs.metrics)).view(np.float64),
            work=aligned(GEMM_WORK_BYTES),
            frames={},
            next_states={
                s.name: np.zeros([int(str(n)) for n in s.shape], s.dtype) for s in programs.states
            },
            shares={},
            unused=[],
        )
        table.point(Shard.STEP_CELL, memory.step_cell)
        table.point(Shard.METRICS, memory.metrics)
        table[Shard.METRIC_COUNT] = memory.metrics.size
        table[Shard.STEP] = programs.forward.function.address
        if self.block:
            table[Shard.STEP] = self.run_blocks.address
        memory.frames["whole"] = self._forward_frame(memory, index, self.rows)
        self._point_variant(table, Shard.WHOLE, memory.frames["whole"], index, self.rows)
        return memory

    def _point_variant(
        self, table: ShardTable, entry: int, frame: Frame | BlockedFrame, index: int, rows: int
    ) -> None:
        first, end = self.split(rows, index)
        table[entry + Variant.T], table[entry + Variant.S] = frame.addresses
        table[entry + Variant.BEGIN] = first
        table[entry + Variant.ROWS] = end - first

    def _forward_frame(self, memory: _ShardMemory, index: int, rows: int) -> Frame | BlockedFrame:
        """Tables of the forward and backward program for this shard's rows of a batch."""
        programs = self.programs
        program = programs.forward
        first, end = self.split(rows, index)
        env = {**self.env, programs.batch: end - first} if programs.batch else self.env
        whole_env = {**self.env, programs.batch: rows} if programs.batch else self.env
        frame: Frame | BlockedFrame
        if self.block:
            size = max(1, min(self.block, end - first))
            frame = blocked_frame(program, env, whole_env, programs.batch, first, size, memory.work)
        else:
            late = sum(x.step.late for x in self.owned)
            frame = program.frame(env, whole_env, first, memory.work, late)
        leaves = program.leaves
        for node in [*self.store.nodes.values(), *self.states.nodes.values()]:
            if node in leaves:
                owner = self.store if node.name in self.store.nodes else self.states
                frame.bind(leaves[node], owner.address(node))
        parts = self.choice.shards * (frame.blocks if isinstance(frame, BlockedFrame) else 1)
        for node, buffer in leaves.items():
            if isinstance(node.op, Hyper):
                frame.bind(buffer, self._hyper(memory, node, parts).ctypes.data)
        self._bind_outputs(frame, memory, index)
        return frame

    def _hyper(self, memory: _ShardMemory, node: Node, parts: int) -> Array:
        """Where a number is that the session sets; `parts` of the batch add up to the whole."""
        assert isinstance(node.op, Hyper)
        if node.op.label == SHARE:
            return memory.shares.setdefault((node.dtype, parts), np.array([1 / parts], node.dtype))
        return memory.step_cell if node.op.label == "step" else self.seed

    def _bind_outputs(self, frame: Frame | BlockedFrame, memory: _ShardMemory, index: int) -> None:
        programs = self.programs
        if isinstance(frame, BlockedFrame):
            self._bind_block_outputs(frame, memory)
            return
        buffers = iter(programs.forward.compiled.output_buffers)
        places = iter(programs.forward.compiled.placement.at)
        targets = [memory.metrics[m : m + 1] for m in range(memory.metrics.size)]
        if self.flat is not None:
            targets += [self.flat.view(slot, memory.gradient) for slot in self.flat.slots]
        for target in targets:
            if next(places) == WHOLE and index > 0:  # every shard has all of it; it counts once
                target = np.zeros_like(target)
                memory.unused.append(target)
            frame.bind(next(buffers), target.ctypes.data)
        for state in programs.states:
            frame.bind(next(buffers), memory.next_states[state.name].ctypes.data)

    def _bind_block_outputs(self, frame: BlockedFrame, memory: _ShardMemory) -> None:
        """Each block leaves its gradients and metrics beside the shard's, which add them up."""
        buffers = iter(self.programs.forward.compiled.output_buffers)
        metrics = np.zeros_like(memory.metrics)
        for m in range(metrics.size):
            frame.bind(next(buffers), metrics[m : m + 1].ctypes.data)
        frame.add_up(metrics, memory.metrics)
        if self.flat is not None:
            gradient = self.flat.like()
            for slot in self.flat.slots:
                frame.bind(next(buffers), self.flat.view(slot, gradient).ctypes.data)
            frame.add_up(gradient, memory.gradient)

    def _connect(self) -> None:
        """Tell the shards of each other, and give them their slices of the update."""
        peers = [np.array([m.frames["whole"].addresses[0] for m in self.shards], np.int64)]
        self.peers = peers
        for memory in self.shards:
            frame = memory.frames["whole"]
            self._introduce(frame, memory, peers[0])
        if self.programs.update is None or self.flat is None:
            return
        self.cuts = slices(self.flat.size, len(self.shards), self.owned)
        parts = np.array([m.gradient.ctypes.data for m in self.shards], np.int64)
        self.parts = parts
        itemsize = self.flat.data.itemsize
        for memory, (first, end) in zip(self.shards, self.cuts, strict=True):
            frame = self._update_frame(memory, first, end)
            memory.frames["update"] = frame
            table = memory.table
            table[Shard.UPDATE] = self.programs.update.function.address
            table[Shard.UPDATE_T], table[Shard.UPDATE_S] = frame.addresses
            ranges = summed(first, end, self.owned)
            rows = [[itemsize, *part, parts.ctypes.data] for part in ranges]
            table.point_records(Shard.GRADIENTS, Shard.GRADIENT_COUNT, rows)
        self._hand_out_owned("whole", Shard.WHOLE)
        update_peers = np.array([m.frames["update"].addresses[0] for m in self.shards], np.int64)
        peers.append(update_peers)
        for memory in self.shards:
            self._introduce(memory.frames["update"], memory, update_peers, stops=False)

    def _hand_out_owned(self, variant: str, entry: int) -> None:
        """Tell each shard which parts of gradients it makes by itself."""
        if not self.owned:
            return
        toolchain = self.programs.forward.toolchain
        function = own_products(toolchain, SUFFIX[self.owned[0].step.dtype])
        frames = [f for m in self.shards if isinstance(f := m.frames[variant], Frame)]
        gradient = self.shards[0].gradient.ctypes.data
        for memory, (first, end) in zip(self.shards, self.cuts, strict=True):
            work = memory.work.ctypes.data
            rows = records(self.owned, first, end, frames, gradient, work)
            memory.table[Shard.OWN] = function.address
            memory.table.point_records(entry + Variant.OWNED, entry + Variant.OWNED_COUNT, rows)

    def _introduce(
        self,
        frame: Frame | BlockedFrame,
        memory: _ShardMemory,
        peers: NDArray[np.int64],
        stops: bool = True,
    ) -> None:
        """Tell a program of the shards; one that `stops` may be left when the stop flag is set."""
        for table in [f.T for f in frame.frames] if isinstance(frame, BlockedFrame) else [frame.T]:
            table[SYNC] = memory.table.address
            table[PEERS] = peers.ctypes.data
            table[SHARDS] = len(self.shards)
            if stops:
                table[STOP] = self.sync.address + 8 * Sync.STOP

    def _update_frame(self, memory: _ShardMemory, first: int, end: int) -> Frame:
        programs, flat = self.programs, self.flat
        assert programs.update is not None and flat is not None
        frame = programs.update.frame(
            {ELEMENTS: end - first}, {ELEMENTS: flat.size}, first, memory.work
        )
        leaves = programs.update.leaves
        for node, buffer in leaves.items():
            if isinstance(node.op, Hyper) and node.op.label == SHARE:
                frame.bind(buffer, self._hyper(memory, node, self.choice.shards).ctypes.data)
        arrays = {"p": flat.data, "g": self.shards[0].gradient, **self.slots, **self.extras}
        for name, node in programs.update_leaves.items():
            if node not in leaves:
                continue
            if name in arrays:
                address = arrays[name].ctypes.data + first * flat.data.itemsize
            elif name == "lr":
                address = self.lr.ctypes.data
            elif name == "step":
                address = memory.step_cell.ctypes.data
            elif name.startswith("next:"):
                address = self.shards[0].next_states[name[5:]].ctypes.data
            else:
                address = self.states.address(node)
            frame.bind(leaves[node], address)
        return frame

    def prepare_ragged(self, rows: int) -> None:
        """Make the tables for a smaller last batch, unless they are there."""
        if self.ragged == rows:
            return
        self.ragged = rows
        peers = []
        for index, memory in enumerate(self.shards):
            frame = self._forward_frame(memory, index, rows)
            memory.frames["ragged"] = frame
            self._point_variant(memory.table, Shard.LAST_BATCH, frame, index, rows)
            peers.append(frame.addresses[0])
        block = np.array(peers, np.int64)
        self.peers.append(block)
        for memory in self.shards:
            self._introduce(memory.frames["ragged"], memory, block)
        self._hand_out_owned("ragged", Shard.LAST_BATCH)

    def bind_data(self, data: Mapping[str, Array], whole: Mapping[str, Array]) -> None:
        """Say where the rows of the inputs lie, and those without rows.

        Gathered rows get memory of their own.
        """
        leaves = self.programs.forward.leaves
        self.rows_memory: list[Array] = []
        self.kept = [*data.values(), *whole.values()]
        for name, array in whole.items():
            node = self.programs.inputs[name]
            for each in self._frames() if node in leaves else ():
                each.bind(leaves[node], array.ctypes.data)
        for index, memory in enumerate(self.shards):
            rows = max(self.split(self.rows, index)[1] - self.split(self.rows, index)[0], 1)
            entries = []
            for name, array in data.items():
                node = self.programs.inputs[name]
                if node not in leaves:
                    continue
                row_bytes = array.nbytes // max(1, array.shape[0])
                own = aligned(rows * row_bytes)
                self.rows_memory.append(own)
                entry = [0] * len(InputEntry)
                entry[InputEntry.SOURCE] = array.ctypes.data
                entry[InputEntry.ROW_BYTES] = row_bytes
                entry[InputEntry.TARGET] = own.ctypes.data
                for variant, slot in (
                    ("whole", InputEntry.WHOLE_SLOT),
                    ("ragged", InputEntry.LAST_BATCH_SLOT),
                ):
                    frame = memory.frames.get(variant)
                    if frame is not None:
                        frame.bind(leaves[node], own.ctypes.data)
                        if isinstance(frame, BlockedFrame):
                            frame.bind_rows(leaves[node], row_bytes)
                        entry[slot] = frame.slot_address(leaves[node])
                entries.append(entry)
            memory.table.point_records(Shard.INPUTS, Shard.INPUT_COUNT, entries)

    def _frames(self) -> Iterator[Frame | BlockedFrame]:
        for memory in self.shards:
            yield from (frame for name, frame in memory.frames.items() if name != "update")

    def release(self) -> None:
        """Forget the data of the last run, which only its user keeps alive from now on."""
        self.user = None
        self.kept = []
        self.rows_memory = []
        for memory in self.shards:
            memory.table.point(Shard.PERMUTATION, None)
            memory.table.point(Shard.METRIC_SUMS, None)

    def run(
        self,
        pool: ShardPool,
        first: int,
        last: int,
        batches: int,
        data_rows: int,
        ragged: bool,
        permutation: NDArray[np.int64] | None,
        step_base: int,
        sums: Sequence[NDArray[np.float64]],
        poll: Callable[[], None] | None,
        inline: bool,
    ) -> int:
        """Train on batches first .. last - 1; returns the steps finished by all shards."""
        for memory, own_sums in zip(self.shards, sums, strict=True):
            table = memory.table
            table[Shard.FIRST], table[Shard.LAST] = first, last
            table[Shard.BATCHES], table[Shard.BATCH_ROWS] = batches, self.rows
            table[Shard.DATA_ROWS], table[Shard.RAGGED] = data_rows, int(ragged)
            table[Shard.STEP_BASE] = step_base
            table.point(Shard.PERMUTATION, permutation)
            table.point(Shard.METRIC_SUMS, own_sums)
        tables = [memory.table for memory in self.shards]
        done = pool.run(self.call, tables, poll, inline)
        check_call(self.sync.reason)
        return min(done)

    def single(
        self, pool: ShardPool, arrays: Mapping[str, Array], step_count: int, train: bool
    ) -> list[float]:
        """One step on one batch; returns loss and metrics. Without `train`, nothing is updated."""
        self.user = None
        batch = self.programs.batch
        leads = {
            n
            for n, a in arrays.items()
            if batch and a.ndim and str(self.programs.inputs[n].shape[0]) == batch
        }
        self.bind_data(
            {n: a for n, a in arrays.items() if n in leads},
            {n: a for n, a in arrays.items() if n not in leads},
        )
        sums = np.zeros((1, 1, 1 + len(self.programs.metrics)))
        table = self.shards[0].table
        update = table[Shard.UPDATE]
        if not train:
            table[Shard.UPDATE] = 0
        try:
            rows, short = self.rows, self.choice.serial_ns < INLINE_NS
            self.run(pool, 0, 1, 1, rows, False, None, step_count + 1, list(sums), None, short)
        finally:
            table[Shard.UPDATE] = update
        return [float(value) / self.rows for value in sums[0, 0]]

    def gradients(self) -> dict[str, Array]:
        """The gradients that the last forward and backward run left, summed over shards."""
        assert self.flat is not None
        total = sum((m.gradient for m in self.shards[1:]), self.shards[0].gradient.copy())
        return {slot.node.name: self.flat.view(slot, total).copy() for slot in self.flat.slots}
