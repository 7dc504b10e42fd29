"""What one shard of a training step has in memory, and the programs bound to it.

    whole     forward and backward over the shard's rows of a batch
    ragged    the same for a last batch of fewer rows
    update    the optimizer's program over the shard's slice of the parameters

Programs read parameters and states where the session has them; gradients, metrics and the states'
next values are the shard's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import PEERS, SHARDS, STOP, SYNC
from staticflow.compiler.passes.sharding import SHARE
from staticflow.compiler.passes.sharding_rules import WHOLE, Sharded
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.memory import Array, Words, records, words
from staticflow.native.threads.read_gate import ReadGate
from staticflow.native.training.accumulation import Accumulation
from staticflow.native.training.layout import (
    TOTAL_WORDS,
    InputRecord,
    Shard,
    Sync,
    Total,
    Variant,
)
from staticflow.native.training.tables import ShardTable, SyncBlock
from staticflow.native.training.worker import accumulation
from staticflow.runtime.blocked_frame import BlockedFrame, PartFrame, Rows, blocked_frame
from staticflow.runtime.parameters import FlatArray
from staticflow.runtime.program import Frame, Program, Scratch
from staticflow.training.epochs import Epochs
from staticflow.training.step_programs import Part, StepPrograms
from staticflow.training.update_frame import StepValues, following, update_frame


@dataclass(frozen=True)
class Common:
    """What all shards of a training step have in common."""

    programs: StepPrograms
    values: StepValues
    flat: FlatArray | None  # the trainable parameters
    env: Mapping[str, int]
    shards: int
    blocks: tuple[int, ...]  # the rows of a block of each part, or () where it runs all at once
    run_blocks: int  # the address of what runs blocks
    owner_bits: int  # the bits of the products that shards make in parts
    sync: SyncBlock

    @property
    def rows(self) -> int:
        """The rows of a whole batch."""
        return self.env[self.programs.batch] if self.programs.batch else 1

    def parts(self, rows: int, shard: int) -> list[tuple[Part, Rows]]:
        """The parts of a batch that a shard runs, and its rows of them; what cannot be cut is the
        first shard's.
        """
        whole = self.sizes(rows)
        found = []
        for part, block in zip(self.programs.parts, self.blocks, strict=True):
            name, env, first = part.rows, whole, 0
            if name:
                first, end = self.split(whole[name], shard)
                env = {**whole, name: end - first}
            if name or shard == 0 or part is self.programs.parts[0]:
                found.append((part, Rows(part.program, name, env, whole, first, block)))
        return found

    def split(self, rows: int, shard: int) -> tuple[int, int]:
        """The rows of a batch that a shard has: first and end; the last shards get those left over.

        No shard has more rows of a smaller batch than of a larger one: memory made for whole
        batches is enough for the smaller last one.
        """
        each, over = divmod(rows, self.shards)
        first, end = (each * i + max(0, i + over - self.shards) for i in (shard, shard + 1))
        return first, end

    def sizes(self, rows: int) -> Mapping[str, int]:
        """The sizes of the named dimensions in a batch of `rows`."""
        return {**self.env, self.programs.batch: rows} if self.programs.batch else self.env


class ShardBuffers:
    """The memory of one shard that steps of all sizes use in turn.

    The update has working memory of its own: while it runs, other shards may still read what this
    one's forward and backward run has left.
    """

    def __init__(self, programs: StepPrograms, flat: FlatArray | None) -> None:
        self.gradient: Array = flat.like() if flat is not None else memory.zeros((0,), np.float32)
        self.step_cell = words(1)
        self.metrics = words(1 + len(programs.metrics)).view(np.float64)
        self.forward = Scratch()
        self.update = Scratch(self.forward.work)
        self.total: Array | None = None  # of gradients, where batches have updates in common
        self.next_states: dict[str, Array] = {
            s.name: memory.zeros(tuple(evaluate(n, {}) for n in s.shape), s.dtype)
            for s in programs.states
        }


class TrainingMemory:
    """The memory of a session's training steps: a run of steps uses it, one run at a time."""

    def __init__(self, programs: StepPrograms, flat: FlatArray | None, gate: ReadGate) -> None:
        self.programs, self.flat, self.gate = programs, flat, gate
        self._buffers: list[ShardBuffers] = []

    def buffers(self, shard: int) -> ShardBuffers:
        """Those of one shard, made when it is first there."""
        while len(self._buffers) <= shard:
            self._buffers.append(ShardBuffers(self.programs, self.flat))
        return self._buffers[shard]


class ShardMemory:
    """The memory of one shard, and the table that the worker gets of it."""

    def __init__(self, common: Common, index: int, buffers: ShardBuffers) -> None:
        self.common, self.index, self.buffers = common, index, buffers
        self.table = ShardTable(index, common.shards, common.sync)
        self.gradient, self.metrics = buffers.gradient, buffers.metrics
        self.step_cell, self.next_states = buffers.step_cell, buffers.next_states
        self.work = buffers.forward.work
        self.frames: dict[str, Frame | BlockedFrame] = {}
        self._shares: dict[tuple[str, int], Array] = {}
        self._unused: list[Array] = []  # where results go that another shard has as well
        self._rows: list[Array] = []
        self._total = words(TOTAL_WORDS)
        self._row_count = 0  # the most that this shard has of any batch
        self.table.point(Shard.STEP_CELL, self.step_cell)
        self.table.point(Shard.METRICS, self.metrics)
        self.table[Shard.METRIC_COUNT] = self.metrics.size
        self.table[Shard.STEP] = common.run_blocks
        if not common.blocks:
            self.table[Shard.STEP] = common.programs.forward.function.address
        self._attentive = False
        self.add_variant("whole", Shard.WHOLE, common.rows)

    def add_variant(self, name: str, entry: int, rows: int) -> None:
        """Bind the forward and backward program to the shard's rows of a batch of `rows`."""
        frame = self.frames[name] = self._forward_frame(rows)
        if self._attentive and isinstance(frame, BlockedFrame):
            frame.look_between_steps()
        first, end = self.common.split(rows, self.index)
        self.table[entry + Variant.T], self.table[entry + Variant.S] = frame.addresses
        self.table[entry + Variant.BEGIN] = first
        self.table[entry + Variant.ROWS] = end - first
        self._row_count = max(self._row_count, end - first)

    def look_between_steps(self) -> None:
        """Let programs that run all rows at once look at the stop flag between their steps."""
        self._attentive = True
        if not self.common.blocks:
            self.table[Shard.STEP] = self.common.programs.forward.attentive.address
        for frame in self.frames.values():
            if isinstance(frame, BlockedFrame):
                frame.look_between_steps()

    def _forward_frame(self, rows: int) -> Frame | BlockedFrame:
        common, scratch = self.common, self.buffers.forward
        if common.blocks:
            parts = common.parts(rows, self.index)
            blocked = blocked_frame([own for _, own in parts], scratch)
            for own, part in zip(blocked.rows, blocked.parts, strict=True):
                self._bind_values(own.program, part, common.shards * len(part.records))
            self._bind_block_outputs(blocked, [part for part, _ in parts])
            return blocked
        first, end = common.split(rows, self.index)
        env, whole_env = common.sizes(end - first), common.sizes(rows)
        program = common.programs.forward
        frame = program.frame(env, whole_env, first, scratch, common.owner_bits)
        self._bind_values(program, frame, common.shards)
        self._bind_outputs(frame)
        return frame

    def _bind_values(self, program: Program, frame: Frame | PartFrame, parts: int) -> None:
        """Say where parameters, states and numbers are; `parts` of the rows add up to the whole."""
        for owner in (self.common.values.params, self.common.values.states):
            for node in owner.nodes.values():
                if node in program.leaves:
                    frame.bind(program.leaves[node], owner.address(node))
        for node, buffer in program.leaves.items():
            if isinstance(node.op, Hyper):
                frame.bind(buffer, self._hyper(node, parts).ctypes.data)

    def _hyper(self, node: Node, parts: int) -> Array:
        """Where a number is that the session sets; `parts` of the batch add up to the whole."""
        assert isinstance(node.op, Hyper)
        if node.op.label == SHARE:
            share = memory.filled([1 / parts], node.dtype)
            return self._shares.setdefault((node.dtype, parts), share)
        return self.step_cell if node.op.label == "step" else self.common.values.seed

    def _bind_outputs(self, frame: Frame) -> None:
        programs, flat = self.common.programs, self.common.flat
        buffers = iter(programs.forward.compiled.output_buffers)
        places = iter(programs.forward.compiled.sharding.of_outputs)
        targets = [self.metrics[m : m + 1] for m in range(self.metrics.size)]
        if flat is not None:
            targets += [flat.view(span, self.gradient) for span in flat.spans]
        for target in targets:
            frame.bind(next(buffers), self._own(target, next(places)).ctypes.data)
        for state in programs.states:
            frame.bind(next(buffers), self.next_states[state.name].ctypes.data)

    def _own(self, target: Array, place: Sharded) -> Array:
        """Where a result goes: what every shard has counts once."""
        if place != WHOLE or self.index == 0:
            return target
        unused = memory.zeros(target.shape, target.dtype)
        self._unused.append(unused)
        return unused

    def _bind_block_outputs(self, frame: BlockedFrame, parts: Sequence[Part]) -> None:
        """Each block leaves its gradients and metrics beside the shard's, which add them up."""
        flat = self.common.flat
        metrics = [memory.zeros(self.metrics.shape, np.float64) for _ in parts]
        gradients = [flat.like() for _ in parts] if flat is not None else []
        for k, (part, own) in enumerate(zip(parts, frame.parts, strict=True)):
            targets = [metrics[k][m : m + 1] for m in part.scalars]
            if flat is not None:
                targets += [flat.view(flat.spans[i], gradients[k]) for i in part.params]
            compiled = part.program.compiled
            for buffer, place, target in zip(
                compiled.output_buffers, compiled.sharding.of_outputs, targets, strict=True
            ):
                own.bind(buffer, self._own(target, place).ctypes.data)
        frame.add_up(metrics, self.metrics)
        if flat is not None:
            frame.add_up(gradients, self.gradient)

    def add_update(self, first: int, end: int, lead: ShardMemory) -> None:
        """Bind the update to a slice; it reads gradients and new states that `lead` has."""
        common, update = self.common, self.common.programs.update
        assert update is not None and common.flat is not None
        given = {"g": lead.gradient, "step": self.step_cell, **following(lead.next_states)}
        frame = update_frame(
            common.programs, common.values, common.flat, range(first, end), given,
            self.buffers.update, lambda node: self._hyper(node, common.shards),
        )  # fmt: skip
        self.frames["update"] = frame
        self.table[Shard.UPDATE] = update.function.address
        self.table[Shard.UPDATE_T], self.table[Shard.UPDATE_S] = frame.addresses

    def accumulate(self, epochs: Epochs) -> None:
        """Let batches of a group have one update, or each its own; also of a group under way."""
        flat, record, into = self.common.flat, self._total, epochs.into
        if flat is None or epochs.group == 1:
            self.table.point(Shard.TOTAL, None)
            return
        if into is None and self.buffers.total is None:
            self.buffers.total = flat.like()
        total = self.buffers.total if into is None else into.total
        assert total is not None
        if into is not None:
            record[Total.ROWS] = into.rows
        elif epochs.begins_group:
            record[Total.ROWS] = 0
        record[Total.GROUP], record[Total.ITEMS] = epochs.group, flat.size
        record[Total.ITEM_BYTES] = total.itemsize
        record[Total.ARRAY], record[Total.GRADIENT] = total.ctypes.data, self.gradient.ctypes.data
        record[Total.STATES] = self._state_copies.ctypes.data
        record[Total.STATE_COUNT] = len(self.next_states)
        functions = self._accumulation
        record[Total.ADD], record[Total.NUMBER] = functions.add.address, functions.number.address
        self.table.point(Shard.TOTAL, record, total)

    @cached_property
    def _accumulation(self) -> Accumulation:
        """What adds up gradients, compiled when it is first asked for; kept, as it is looked up."""
        return accumulation(self.common.programs.forward.toolchain)

    @cached_property
    def _state_copies(self) -> Words:
        """Records that put the next values of states in their place (`StateCopy`)."""
        states = self.common.values.states
        return records(
            [states.address(states.nodes[name]), values.ctypes.data, values.nbytes]
            for name, values in self.next_states.items()
        )

    def tables(self, name: str) -> list[list[NDArray[np.int64]]]:
        """The tables of buffers of each program of a frame."""
        frame = self.frames[name]
        if isinstance(frame, BlockedFrame):
            return [[own.T for own in part.frames] for part in frame.parts]
        return [[frame.T]]

    def introduce(self, name: str, peers: Sequence[NDArray[np.int64]], stops: bool = True) -> None:
        """Tell the programs of a frame of those of other shards, `peers` of each; one that `stops`
        may be left when the stop flag is set.
        """
        for tables, others in zip(self.tables(name), peers, strict=False):
            for table in tables:
                table[SYNC] = self.table.address
                table[PEERS] = others.ctypes.data
                table[SHARDS] = self.common.shards
                if stops:
                    table[STOP] = self.common.sync.address + 8 * Sync.STOP

    def bind_whole(self, whole: Mapping[str, Array]) -> None:
        """Say where the inputs lie that have no rows of the batch."""
        inputs, lead = self.common.programs.inputs, self.common.programs.forward
        for name, array in whole.items():
            node = inputs[name]
            for _, frame in self._variants():
                if isinstance(frame, BlockedFrame):
                    for rows, part in zip(frame.rows, frame.parts, strict=True):
                        self._bind_part(part, rows, node, array)
                elif node in lead.leaves:
                    frame.bind(lead.leaves[node], array.ctypes.data)

    def _bind_part(self, part: PartFrame, rows: Rows, node: Node, array: Array) -> None:
        """Say where a program finds an input, whose rows it may have blocks of."""
        buffer, address = rows.program.leaves.get(node), array.ctypes.data
        if buffer is None:
            return
        if rows.leads(node):
            row_bytes = array.itemsize * math.prod(array.shape[1:])
            part.bind_rows(buffer, row_bytes)
            address += rows.first * row_bytes
        part.bind(buffer, address)

    def bind_rows(self, data: Mapping[str, Array], axes: Mapping[str, int]) -> None:
        """Say where the rows of the inputs lie, each along one axis (by default the leading one);
        those that are gathered get memory here.
        """
        leaves, inputs = self.common.programs.forward.leaves, self.common.programs.inputs
        self._rows = []
        records = []
        for name, array in data.items():
            if inputs[name] not in leaves:
                continue
            axis = axes.get(name, 0)
            outer = math.prod(array.shape[:axis])
            row_bytes = array.itemsize * math.prod(array.shape[axis + 1 :])
            own = memory.aligned(outer * max(self._row_count, 1) * row_bytes)
            self._rows.append(own)
            record = [0] * len(InputRecord)
            record[InputRecord.SOURCE] = array.ctypes.data
            record[InputRecord.ROW_BYTES] = row_bytes
            record[InputRecord.TARGET] = own.ctypes.data
            record[InputRecord.OUTER] = outer
            record[InputRecord.SOURCE_STRIDE] = array.shape[axis] * row_bytes
            for entry, frame in self._variants():
                buffer = leaves[inputs[name]]
                lead = frame.parts[0] if isinstance(frame, BlockedFrame) else frame
                lead.bind(buffer, own.ctypes.data)
                if isinstance(lead, PartFrame):
                    lead.bind_rows(buffer, row_bytes)
                several = record[entry] != 0  # smaller batches: rows are copied for all of them
                record[entry] = lead.entry_address(buffer) if axis == 0 and not several else 0
            records.append(record)
        self.table.point_records(Shard.INPUTS, Shard.INPUT_COUNT, records)

    def _variants(self) -> Iterator[tuple[int, Frame | BlockedFrame]]:
        """The frames that read rows, each with the entry for the place where it looks for them."""
        yield InputRecord.WHOLE_ENTRY, self.frames["whole"]
        for name, frame in self.frames.items():
            if name.startswith("ragged"):
                yield InputRecord.LAST_BATCH_ENTRY, frame

    def address_tables(self) -> list[Words]:
        """The tables of this shard that say where values of the session and rows of data lie."""
        found: list[Words] = [self.table.pointed(Shard.INPUTS)]
        for frame in self.frames.values():
            if isinstance(frame, BlockedFrame):
                for part in frame.parts:
                    found += [part.outside, *(own.T for own in part.frames)]
            else:
                found.append(frame.T)
        return [*found, self._state_copies] if self.next_states else found

    def release(self) -> None:
        """Forget what belongs to one run only."""
        self._rows = []
        self.table.point(Shard.PERMUTATION, None)
        self.table.point(Shard.METRIC_SUMS, None)
