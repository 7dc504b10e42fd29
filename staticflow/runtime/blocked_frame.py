"""Cut a shard's rows into blocks whose intermediate values stay in the cache.

    rows of the shard    0 .............. 255 | 256 ............ 511 | 512 ... 700
    arena                 the same memory, three times

Pays where a row needs much memory and the parameters are few, since every block adds its gradients
to the shard's. A program with collectives or states has to see all its rows at once. The blocks of
several programs, for terms of a loss that read different data, follow each other in one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import FIRST_ROW_ENTRY, HEADER, STOP
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.memory import CORE_CACHE_BYTES, Array, records, words, words_of
from staticflow.native.training.row_blocks import BlockRecord, Blocks
from staticflow.runtime.program import Frame, Program, Scratch

BLOCK_BYTES = 1 << 18
MOST_IN_SINGLE = 64  # blocks whose float32 gradients are added up in float32
MAX_GRADIENT_SHARE = 0.25  # of a block's bytes


def gradients_fit(gradient_bytes: int) -> bool:
    """Whether the gradients are small enough to be added up after each block."""
    return gradient_bytes <= MAX_GRADIENT_SHARE * BLOCK_BYTES


def block_rows(rows: int, gradient_bytes: int, arena: Callable[[int], int]) -> int:
    """How many rows a block gets; all of them where blocks do not pay.

    `arena` gives the bytes of the intermediate values of so many rows.
    """
    if rows < 2 or not gradients_fit(gradient_bytes):
        return rows
    total = arena(rows)
    if total <= CORE_CACHE_BYTES:
        return rows
    per_row = (total - arena(1)) / (rows - 1)
    return max(16, min(rows, int(BLOCK_BYTES / max(per_row, 1.0)) // 16 * 16))


@dataclass(frozen=True)
class Rows:
    """The rows of a program that a shard has, and how many of them a block gets."""

    program: Program
    name: str  # the dimension that is cut; "" for a program that runs once
    env: Mapping[str, int]
    whole_env: Mapping[str, int]
    first: int
    block: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.env[self.name] if self.name else 1

    def leads(self, node: Node) -> bool:
        """Whether these are the rows of an input."""
        return self.name != "" and node.ndim > 0 and str(node.shape[0]) == self.name


class Block(NamedTuple):
    """Some rows: the tables that they are run with, and the first of them within the shard's."""

    frame: Frame
    sizes: NDArray[np.int64]  # the table S
    first: int


class PartBlocks(NamedTuple):
    """The blocks of a program, which is at the address `step`."""

    step: int
    blocks: Sequence[Block]
    outside: NDArray[np.int64]  # for each buffer from outside, where row 0 is


@dataclass
class PartFrame:
    """The tables of a program's blocks."""

    frames: list[Frame]
    records: NDArray[np.int64]  # of its blocks, see `BlockRecord`
    outside: NDArray[np.int64]
    sums: list[tuple[int, ...]] = field(default_factory=list)
    inputs: list[tuple[int, int, int]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def bind(self, buffer: int, address: int) -> None:
        """Bind a buffer that all blocks share."""
        self.outside[HEADER + buffer] = address
        for frame in self.frames:
            frame.bind(buffer, address)

    def bind_rows(self, buffer: int, row_bytes: int) -> None:
        """Say that a buffer holds rows, of which each block has its own."""
        record = (self.entry_address(buffer), HEADER + buffer, row_bytes)
        if record in self.inputs:
            return
        self.inputs.append(record)
        self._write(BlockRecord.INPUTS, BlockRecord.INPUT_COUNT, self.inputs)

    def entry_address(self, buffer: int) -> int:
        """The address of the word that says where a buffer lies."""
        return int(self.outside.ctypes.data) + 8 * (HEADER + buffer)

    def add_up(self, source: Array, target: Array, total: Array | None) -> None:
        """Sum an array over the blocks; float32 in `total`, where there are many."""
        self.kept += [source, target, total]
        self.sums.append((
            source.ctypes.data, target.ctypes.data, target.size, target.itemsize,
            0 if total is None else total.ctypes.data,
        ))  # fmt: skip
        self._write(BlockRecord.SUMS, BlockRecord.SUM_COUNT, self.sums)

    def _write(self, entry: int, count: int, rows: list[Any]) -> None:
        array = records(rows)
        self.kept.append(array)
        self.records[:, entry], self.records[:, count] = array.ctypes.data, len(rows)


@dataclass
class BlockedFrame:
    """The tables of a shard's blocks, in the place of a frame."""

    table: NDArray[np.int64]
    parts: list[PartFrame]
    rows: Sequence[Rows]  # of each part
    kept: list[Any]

    @property
    def addresses(self) -> tuple[int, int]:
        return int(self.table.ctypes.data), 0

    @property
    def blocks(self) -> int:
        """How many there are."""
        return int(self.table[Blocks.COUNT])

    @property
    def frames(self) -> list[Frame]:
        """Those of all parts."""
        return [frame for part in self.parts for frame in part.frames]

    @property
    def T(self) -> NDArray[np.int64]:
        """The table of buffers of the first block."""
        return self.parts[0].frames[0].T

    def add_up(self, sources: Sequence[Array], target: Array) -> None:
        """Sum over the blocks what each part leaves in an array of its own."""
        wide = target.dtype == np.float32 and self.blocks > MOST_IN_SINGLE
        total = memory.zeros((target.size,), np.float64) if wide else None
        for part, source in zip(self.parts, sources, strict=True):
            part.add_up(source, target, total)

    def look_between_steps(self) -> None:
        """Let programs with one block look at the stop flag between their steps."""
        for rows, part in zip(self.rows, self.parts, strict=True):
            if len(part.records) == 1:
                part.records[:, BlockRecord.STEP] = rows.program.attentive.address


def blocked_frame(parts: Sequence[Rows], scratch: Scratch) -> BlockedFrame:
    """Tables for the rows of each part, in blocks."""
    return frame_of_blocks([_blocks(rows, scratch) for rows in parts], parts)


def _blocks(rows: Rows, scratch: Scratch) -> PartBlocks:
    starts = list(range(0, rows.count, rows.block)) or [0]
    size, last = min(rows.block, rows.count), rows.count - starts[-1]

    def frame(count: int, first: int) -> Frame:
        env = {**rows.env, rows.name: count} if rows.name else rows.env
        return rows.program.frame(env, rows.whole_env, first, scratch)

    whole = frame(size, rows.first)
    rest = whole if last == size else frame(last, 0)
    blocks = []
    for start in starts:
        own = rest if start == starts[-1] else whole
        sizes = words_of(own.S.tolist())
        sizes[FIRST_ROW_ENTRY] = rows.first + start
        blocks.append(Block(own, sizes, start))
    return PartBlocks(rows.program.function.address, blocks, words(whole.T.size))


def frame_of_blocks(parts: Sequence[PartBlocks], rows: Sequence[Rows] = ()) -> BlockedFrame:
    """The tables of the blocks of some programs, which are run one after the other."""
    count, width = sum(len(part.blocks) for part in parts), BlockRecord.BLOCK_WORDS
    every = words(count * width).reshape(count, width)
    found = BlockedFrame(words(Blocks.WORDS), [], rows, [every])
    begin = 0
    for step, blocks, outside in parts:
        own = every[begin : begin + len(blocks)]
        begin += len(blocks)
        own[:, BlockRecord.STEP] = step
        own[:, BlockRecord.BLOCK_T] = [block.frame.addresses[0] for block in blocks]
        own[:, BlockRecord.BLOCK_S] = [block.sizes.ctypes.data for block in blocks]
        own[:, BlockRecord.FIRST_ROW] = [block.first for block in blocks]
        frames = list({id(block.frame): block.frame for block in blocks}.values())
        found.parts.append(PartFrame(frames, own, outside))
        found.kept += [block.sizes for block in blocks]
    found.table[Blocks.COUNT], found.table[Blocks.BLOCKS] = count, every.ctypes.data
    found.table[Blocks.STOP_ENTRY] = STOP
    return found
