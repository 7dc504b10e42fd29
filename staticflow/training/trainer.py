"""A training step bound to the session's memory, and its runs by the native worker.

The worker (`native.training.worker`) runs a session's two programs (`step_programs`) in a loop, for
any number of steps: each shard has its rows, its gradient, and its slice of the update
(`shard`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.cost_model import (
    Choice,
    Work,
    barriers,
    choose_shards,
    estimate,
    unbounded,
)
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.native.memory import Array, words_of, zeros
from staticflow.native.threads.granted import granted_threads
from staticflow.native.training.collectives import own_products
from staticflow.native.training.layout import Reason, Shard, Variant
from staticflow.native.training.row_blocks import run_blocks
from staticflow.native.training.shard_pool import ShardPool
from staticflow.native.training.tables import SyncBlock
from staticflow.native.training.worker import team, worker
from staticflow.runtime.blocked_frame import block_rows
from staticflow.runtime.failures import check_call
from staticflow.runtime.program import Frame
from staticflow.training.epochs import Accumulated, Epochs, one_batch
from staticflow.training.owner_computes import OwnedProduct, owned_products, records, slices, summed
from staticflow.training.shard import Common, ShardMemory, TrainingMemory
from staticflow.training.split_k import PartialProduct, partial_product, parts_of
from staticflow.training.step_programs import ELEMENTS, Part
from staticflow.training.step_time import StepTime
from staticflow.training.update_frame import StepValues

MOST_KNOWN = 512  # sets of sizes of which it is known what a step takes


class Way(NamedTuple):
    """How many steps went a way, and the cycles of the processor's clock that one took last."""

    steps: int
    cycles: int


class Trainer:
    """A training step bound to the session's memory, for one set of sizes and shards."""

    def __init__(
        self,
        memory: TrainingMemory,
        values: StepValues,
        env: Mapping[str, int],
        threads: int,
        accumulates: bool = False,
    ) -> None:
        """`accumulates` says that batches may wait for an update that they have in common."""
        self.programs = programs = memory.programs
        self.gate = memory.gate
        self.values = values
        self.env = dict(env)
        self.rows = self.env[programs.batch] if programs.batch else 1
        self.accumulates = accumulates
        self.flat = memory.flat
        self.choice, self.time = self._known(threads)
        self.sync = SyncBlock()
        toolchain = programs.forward.toolchain
        self.call = worker(toolchain).call
        blocks = run_blocks(toolchain)  # whatever the sizes: others shall compile nothing
        self.blocks = self._block_rows()
        self.owned = self._owned()
        self.cuts = self._cuts()
        self.partial = self._partial()
        common = Common(
            programs=programs,
            values=values,
            flat=self.flat,
            env=self.env,
            shards=self.choice.shards,
            blocks=self.blocks,
            run_blocks=blocks.address,
            owner_bits=self._owner_bits(),
            sync=self.sync,
        )
        shards = range(self.choice.shards)
        self.shards = [ShardMemory(common, i, memory.buffers(i)) for i in shards]
        self.shards[0].table[Shard.GATE] = self.gate.address
        # Shards that wait for each other within a step need a thread each.
        collective = any(each.compiled.driver.collectives for each in programs.all)
        self.tied = collective or (accumulates and bool(programs.states))
        for shard in self.shards:
            shard.table[Shard.TIED] = int(self.tied)
        if self.choice.shards > 1 and not self.tied:
            self._give_roles()
        self.user: object = None  # the fit whose data the tables point at
        self._under_way: Epochs | None = None
        self.ragged = 0  # the rows of the smaller batch that there are tables for
        self._peers: list[Array] = []
        self._connect()
        self._look_often()

    def _known(self, threads: int) -> tuple[Choice, StepTime]:
        """How many shards there are, and the time of a step: what sessions of equal structure and
        sizes have measured, too.
        """
        size = 0 if self.flat is None else self.flat.size
        widths = tuple(sorted(self.programs.forward.given_sizes.items()))
        key = (tuple(sorted(self.env.items())), widths, size, threads)
        known = self.programs.known
        if key not in known:
            choice = self._choose(threads)
            varies = any(unbounded(part.program.compiled.steps) for part in self.programs.parts)
            while len(known) >= MOST_KNOWN:
                known.pop(next(iter(known)))
            known[key] = choice, StepTime(choice.sharded_ns, varies)
        found: tuple[Choice, StepTime] = known[key]
        return found

    def _choose(self, threads: int) -> Choice:
        programs = [part.program.compiled for part in self.programs.parts]
        update_ns = 0.0
        if self.programs.update is not None and self.flat is not None:
            update = self.programs.update.compiled
            update_ns = estimate(
                update.steps, update.sized.sizes_by_name({ELEMENTS: self.flat.size})
            )
        sizes = [compiled.sized.sizes_by_name(self.env) for compiled in programs]
        pairs = list(zip(programs, sizes, strict=True))
        work = Work(
            sum(estimate(compiled.steps, own) for compiled, own in pairs),
            update_ns,
            0 if self.flat is None else self.flat.data.nbytes,
            2 + sum(barriers(compiled.steps, own) for compiled, own in pairs),
        )
        return choose_shards(work, threads, self.rows, programs[0].sharding.reason)

    def _block_rows(self) -> tuple[int, ...]:
        """The rows of a block of each part, or none where a shard runs all its rows at once."""
        blocks = tuple(map(self._rows_of_block, self.programs.parts))
        single = len(blocks) == 1
        return () if single and blocks[0] >= self._shard_rows(self.programs.batch) else blocks

    def _rows_of_block(self, part: Part) -> int:
        rows = self._shard_rows(part.rows)
        if not self.programs.adds_up_rows(part):
            return max(rows, 1)

        def arena(count: int) -> int:
            return part.program.arena_bytes({**self.env, part.rows: count})

        gradient_bytes = self.flat.data.nbytes if self.flat is not None else 0
        return max(block_rows(rows, gradient_bytes, arena), 1)

    @property
    def blocked(self) -> bool:
        """Whether shards run their rows in several blocks."""
        pairs = zip(self.programs.parts, self.blocks, strict=False)
        return any(block < self._shard_rows(part.rows) for part, block in pairs)

    def _shard_rows(self, name: str) -> int:
        """The most rows that a shard has."""
        return -(-self.env[name] // self.choice.shards) if name else 1

    def _owned(self) -> list[OwnedProduct]:
        """The gradients that shards make in parts instead of adding them up: at the update, when
        those of earlier batches could no longer be made.
        """
        alone = self.choice.shards == 1 or self.blocks or self.programs.update is None
        if alone or self.accumulates:
            return []
        assert self.flat is not None
        return owned_products(self.programs, self.flat, self.env)

    def _cuts(self) -> list[tuple[int, int]]:
        """The slices of the parameters that shards update."""
        if self.flat is None:
            return []
        return slices(self.flat.size, self.choice.shards, self.owned)

    def _partial(self) -> PartialProduct | None:
        """The first product, if shards make it in parts of its sum."""
        if self.choice.shards == 1 or self.blocks or self.programs.update is None:
            return None
        assert self.flat is not None
        return partial_product(self.programs, self.flat, self.env, self.cuts)

    def _owner_bits(self) -> int:
        """The bits of the products that the program leaves to the worker."""
        steps = [x.step for x in (*self.owned, self.partial) if x is not None]
        return sum(step.owner_bit for step in steps)

    def _give_roles(self) -> None:
        """Let the first thread decide while running how many of them run the shards."""
        lead, follow = team(self.programs.forward.toolchain)
        for shard in self.shards:
            role = lead if shard is self.shards[0] else follow
            shard.table[Shard.ROLE] = role.address

    def _connect(self) -> None:
        """Tell the shards of each other, and give them their slices of the update."""
        self._introduce("whole")
        if self.programs.update is None or self.flat is None:
            return
        parts = words_of(m.gradient.ctypes.data for m in self.shards)
        itemsize = self.flat.data.itemsize
        for memory, (first, end) in zip(self.shards, self.cuts, strict=True):
            memory.add_update(first, end, self.shards[0])
            ranges = summed(first, end, self.owned)
            rows = [[itemsize, *part, parts.ctypes.data] for part in ranges]
            memory.table.point_records(Shard.GRADIENTS, Shard.GRADIENT_COUNT, rows)
            memory.table.keep(parts)
        self._hand_out("whole", Shard.WHOLE)
        self._introduce("update", stops=False)

    def _look_often(self) -> None:
        """Let long steps look at the stop flag between kernels; blocks of rows are short."""
        if not self.time.is_long:
            return
        for memory in self.shards:
            memory.look_between_steps()

    def _introduce(self, name: str, stops: bool = True) -> None:
        """Tell the programs of one name, one for each shard, of each other."""
        tables = [memory.tables(name) for memory in self.shards]
        peers = [
            words_of(own[k][0].ctypes.data for own in tables if k < len(own))
            for k in range(len(tables[0]))
        ]
        self._peers += peers
        for memory in self.shards:
            memory.introduce(name, peers, stops)

    def _hand_out(self, variant: str, entry: int) -> None:
        """Tell each shard which parts of products it makes by itself."""
        if self.flat is None or not (self.owned or self.partial):
            return
        toolchain = self.programs.forward.toolchain
        function = own_products(toolchain, SUFFIX[self.flat.dtype])
        frames = [f for m in self.shards if isinstance(f := m.frames[variant], Frame)]
        if self.partial is not None:
            works = [memory.work.ctypes.data for memory in self.shards]
            parts = parts_of(self.partial, self.cuts, frames, works)
            for memory, (record, kept) in zip(self.shards, parts, strict=True):
                memory.table.point(entry + Variant.PARTS, record, *kept)
        gradient = self.shards[0].gradient.ctypes.data
        for memory, (first, end) in zip(self.shards, self.cuts, strict=True):
            work = memory.work.ctypes.data
            rows = records(self.owned, first, end, frames, gradient, work)
            memory.table[Shard.OWN] = function.address
            memory.table.point_records(entry + Variant.OWNED, entry + Variant.OWNED_COUNT, rows)

    def prepare_ragged(self, rows: int) -> None:
        """Make the tables for a smaller last batch, unless they are there."""
        if self.ragged == rows:
            return
        self.ragged = rows
        for memory in self.shards:
            memory.add_variant("ragged", Shard.LAST_BATCH, rows)
        self._introduce("ragged")
        self._hand_out("ragged", Shard.LAST_BATCH)

    def bind_data(
        self,
        data: Mapping[str, Array],
        whole: Mapping[str, Array],
        axes: Mapping[str, int] | None = None,
    ) -> None:
        """Say where the rows of the inputs lie, along `axes` (by default the leading one), and
        those without rows.
        """
        self.kept = [*data.values(), *whole.values()]
        for memory in self.shards:
            memory.bind_whole(whole)
            memory.bind_rows(data, axes or {})

    def release(self) -> None:
        """Forget the data of the last run, which only its user keeps alive from now on."""
        self.user = None
        self.kept = []
        for memory in self.shards:
            memory.release()

    def run(
        self,
        pool: ShardPool,
        epochs: Epochs,
        sums: Sequence[NDArray[np.float64]],
        poll: Callable[[], None] | None = None,
        watch: bool = False,
    ) -> int:
        """Train on some batches; returns how many are finished by all shards.

        Each shard adds its loss and metrics to its row of `sums`, by epoch. The calling thread
        makes the steps itself if they are known to be short, else it waits, looks for signals and
        calls `poll`. With `watch`, a step whose loss is NaN is left before its update, and ends the
        run.
        """
        for memory, own_sums in zip(self.shards, sums, strict=True):
            table = memory.table
            table[Shard.FIRST], table[Shard.LAST] = epochs.batches.start, epochs.batches.stop
            table[Shard.BATCHES], table[Shard.BATCH_ROWS] = epochs.per_epoch, self.rows
            table[Shard.DATA_ROWS], table[Shard.RAGGED] = epochs.rows, int(epochs.ragged)
            table[Shard.STEP_BASE], table[Shard.WATCH] = epochs.first_step, int(watch)
            table.point(Shard.PERMUTATION, epochs.permutation)
            table.point(Shard.METRIC_SUMS, own_sums)
            memory.accumulate(epochs)
        tables = [memory.table for memory in self.shards]
        self.sync.reset()
        self._under_way = epochs
        began = time.perf_counter_ns()
        try:
            with self.gate.fitting():
                done = pool.run(
                    self.call, tables, poll, self.time.is_short(len(epochs.batches)),
                    min(len(tables), granted_threads()),
                )  # fmt: skip
        finally:
            self._under_way = None
        self.time.measure(time.perf_counter_ns() - began, min(done))
        self._look_often()
        check_call(self.sync.reason)
        return min(done)

    @property
    def ways(self) -> tuple[Way, Way]:
        """How often one thread has run all shards of a step, and several threads have."""
        table = self.shards[0].table
        alone, together = (Way(table[Shard.STEPS + k], table[Shard.COST + k]) for k in (0, 1))
        return alone, together

    @property
    def found_nan(self) -> bool:
        """Whether the last run ended at a loss that is NaN."""
        return self.sync.reason == Reason.NAN

    def single(
        self,
        pool: ShardPool,
        arrays: Mapping[str, Array],
        step_count: int,
        train: bool,
        watch: bool = False,
        into: Accumulated | None = None,
    ) -> list[float]:
        """One step on one batch; returns loss and metrics. Without `train`, nothing is updated, nor
        is what is added up `into` others.
        """
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
        sums = zeros((1, 1, 1 + len(self.programs.metrics)), np.float64)
        table = self.shards[0].table
        update = table[Shard.UPDATE]
        if not train:
            table[Shard.UPDATE] = 0
        try:
            self.run(pool, one_batch(self.rows, step_count, into), list(sums), watch=watch)
        finally:  # an interrupt may come after the batch is done
            table[Shard.UPDATE] = update
            if into is not None and self.sync.done:
                into.rows, into.batches = into.rows + self.rows, into.batches + 1
                into.loss += float(sums[0, 0, 0])
                into.along = self.programs.batch
        if self.found_nan:
            sums[:] = math.nan
        return [float(value) / self.rows for value in sums[0, 0]]

    @property
    def steps_under_way(self) -> int:
        """The updates that a run has made which is not over yet."""
        trains = self.shards[0].table[Shard.UPDATE] != 0
        return self._under_way.updates(self.sync.done) if self._under_way and trains else 0

    def gradients(self) -> dict[str, Array]:
        """The gradients that the last forward and backward run left, summed over shards; none where
        no parameter is trained.
        """
        if self.flat is None:
            return {}
        total = sum((m.gradient for m in self.shards[1:]), self.shards[0].gradient.copy())
        return {span.node.name: self.flat.view(span, total).copy() for span in self.flat.spans}
