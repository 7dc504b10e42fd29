"""Cut a shard's rows into blocks whose intermediate values stay in the cache.

    rows of the shard    0 .............. 255 | 256 ............ 511 | 512 ... 700
    arena                 the same memory, three times

Pays where a row needs much memory and the parameters are few, since every block adds its gradients
to the shard's. A program with collectives or states has to see all its rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import FIRST_ROW_ENTRY, HEADER, STOP
from staticflow.native import memory
from staticflow.native.memory import CORE_CACHE_BYTES, Array, records, words, words_of
from staticflow.native.training.row_blocks import Blocks
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


class Block(NamedTuple):
    """Some rows: the tables that they are run with, and the first of them within the shard's."""

    frame: Frame
    sizes: NDArray[np.int64]  # the table S
    first: int


@dataclass
class BlockedFrame:
    """The tables of a shard's blocks, in the place of a frame."""

    table: NDArray[np.int64]
    outside: NDArray[np.int64]  # for each buffer from outside, where row 0 is
    frames: list[Frame]
    sums: list[tuple[int, ...]] = field(default_factory=list)
    inputs: list[tuple[int, int, int]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    @property
    def addresses(self) -> tuple[int, int]:
        return int(self.table.ctypes.data), 0

    @property
    def blocks(self) -> int:
        """How many there are."""
        return int(self.table[Blocks.COUNT])

    @property
    def T(self) -> NDArray[np.int64]:
        """The table of buffers of a whole block."""
        return self.frames[0].T

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
        self._write(Blocks.INPUTS, Blocks.INPUT_COUNT, self.inputs)

    def entry_address(self, buffer: int) -> int:
        """The address of the word that says where a buffer lies."""
        return int(self.outside.ctypes.data) + 8 * (HEADER + buffer)

    def add_up(self, source: Array, target: Array) -> None:
        """Sum an array over the blocks."""
        wide = target.dtype == np.float32 and self.blocks > MOST_IN_SINGLE
        total = memory.zeros((target.size,), np.float64) if wide else None
        self.kept += [source, target, total]
        self.sums.append((
            source.ctypes.data, target.ctypes.data, target.size, target.itemsize,
            0 if total is None else total.ctypes.data,
        ))  # fmt: skip
        self._write(Blocks.SUMS, Blocks.SUM_COUNT, self.sums)

    def _write(self, entry: int, count: int, rows: list[Any]) -> None:
        array = records(rows)
        self.kept.append(array)
        self.table[entry], self.table[count] = array.ctypes.data, len(rows)


def blocked_frame(
    program: Program,
    env: Mapping[str, int],
    whole_env: Mapping[str, int],
    batch: str,
    first_row: int,
    size: int,
    scratch: Scratch,
) -> BlockedFrame:
    """Tables for the rows of `env`, in blocks of `size`."""
    rows = env[batch]
    starts = list(range(0, rows, size)) or [0]
    last = rows - starts[-1]
    whole = program.frame({**env, batch: size}, whole_env, first_row, scratch)
    rest = whole if last == size else program.frame({**env, batch: last}, whole_env, 0, scratch)
    parts = []
    for start in starts:
        own = rest if start == starts[-1] else whole
        sizes = words_of(own.S.tolist())
        sizes[FIRST_ROW_ENTRY] = first_row + start
        parts.append(Block(own, sizes, start))
    return frame_of_blocks(program.function.address, parts, words(whole.T.size))


def frame_of_blocks(step: int, blocks: Sequence[Block], outside: NDArray[np.int64]) -> BlockedFrame:
    """The tables of blocks, on each of which the program at the address `step` is run."""
    frames = list({id(block.frame): block.frame for block in blocks}.values())
    found = BlockedFrame(words(Blocks.WORDS), outside, frames)
    entries = [(b.frame.addresses[0], b.sizes.ctypes.data, b.first) for b in blocks]
    block_table = records(entries)
    found.kept += [block_table, *(block.sizes for block in blocks)]
    table = found.table
    table[Blocks.STEP], table[Blocks.STOP_ENTRY] = step, STOP
    table[Blocks.COUNT], table[Blocks.BLOCKS] = len(blocks), block_table.ctypes.data
    return found
