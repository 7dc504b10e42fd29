"""Cut a shard's rows into blocks whose intermediate values stay in the cache.

    rows of the shard    0 .............. 255 | 256 ............ 511 | 512 ... 700
    arena                 the same memory, three times

Pays where a row needs much memory and the parameters are few, since every block adds its gradients
to the shard's. A program with collectives or states has to see all its rows at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


def block_rows(
    program: Program, env: Mapping[str, int], batch: str, rows: int, gradient_bytes: int
) -> int:
    """How many rows a block gets; all of them where blocks do not pay."""
    if not batch or rows < 2 or gradient_bytes > MAX_GRADIENT_SHARE * BLOCK_BYTES:
        return rows
    if program.compiled.driver.collectives:
        return rows
    total = program.arena_bytes({**env, batch: rows})
    if total <= CORE_CACHE_BYTES:
        return rows
    per_row = (total - program.arena_bytes({**env, batch: 1})) / (rows - 1)
    return max(16, min(rows, int(BLOCK_BYTES / max(per_row, 1.0)) // 16 * 16))


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
    table = words(Blocks.WORDS)
    outside = words(whole.T.size)
    frame = BlockedFrame(table, outside, [whole] if rest is whole else [whole, rest])
    entries = []
    for start in starts:
        own = rest if start == starts[-1] else whole
        sizes = words_of(own.S.tolist())
        sizes[FIRST_ROW_ENTRY] = first_row + start
        frame.kept.append(sizes)
        entries.append((own.addresses[0], sizes.ctypes.data, start))
    block_table = records(entries)
    frame.kept.append(block_table)
    table[Blocks.STEP] = program.function.address
    table[Blocks.COUNT], table[Blocks.BLOCKS] = len(starts), block_table.ctypes.data
    table[Blocks.STOP_ENTRY] = STOP
    return frame
