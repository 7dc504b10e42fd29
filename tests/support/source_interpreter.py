"""Run a program's generated source as plain Python: the same text, no compiler.

Addresses are made up: each buffer has four gigabytes of its own, so that an element outside its
buffer is an error here where native code would read its neighbour. Temporaries share memory as the
memory plan says, and all memory starts as garbage.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import FIRST_ROW_ENTRY, HEADER, SIZE_HEADER, WORK
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import Compiled
from staticflow.compiler.ir.size_classes import size_name
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.compiler.passes.sharding import SHARE
from staticflow.compiler.passes.sharding_rules import PARTIAL, WHOLE, Mixed
from staticflow.graph.kinds import MapRow
from staticflow.graph.leaves import Const, Hyper
from staticflow.graph.node import Node
from staticflow.graph.op_table import table
from staticflow.native.gemm.epilogue_text import Tile
from staticflow.ops.arithmetic import INTEGER_POWER
from tests.support.made_up_memory import TYPES, Memory, garbage
from tests.support.narrow_rows import narrow_routines
from tests.support.routine_interpreter import routines

Array = NDArray[Any]


def _finished(tile: Tile, gemm: Any, kernel: Any) -> Any:
    """A product, then the kernel that it would do with its result."""

    def run(m: int, n: int, *arguments: int) -> None:
        operands, beside = arguments[:9], iter(arguments[11:])
        gemm(m, n, *operands, 0, *arguments[9:11])
        c = operands[7]
        kernel(*(c if p == tile.own else next(beside) for p, _ in tile.pointers), n, m)

    return run


def wrap_index(index: Any, extent: int) -> int:
    """A negative index counts from the end, and none leaves the axis."""
    position = int(index) + extent if index < 0 else int(index)
    return max(min(position, extent - 1), 0)


def scalar_functions() -> dict[str, Any]:
    """The functions that loop bodies call, from the references of the op table."""
    names: dict[str, Any] = {}
    for suffix in ("f4", "f8"):
        for entry in table().values():
            if isinstance(entry.row, MapRow):
                names[f"{entry.row.name}_{suffix}"] = _typed(entry.row.reference, TYPES[suffix])
        for name in ("sin", "cos", "tan"):
            names[f"{name}_far_{suffix}"] = names[f"{name}_{suffix}"]
        names[f"pow_{suffix}"] = _typed(np.power, TYPES[suffix])
        names[f"remainder_{suffix}"] = _typed(np.mod, TYPES[suffix])
        names[f"lowest_{suffix}"] = TYPES[suffix](-np.inf)
        names[f"highest_{suffix}"] = TYPES[suffix](np.inf)
    for suffix in ("i4", "i8"):
        names[f"lowest_{suffix}"] = np.iinfo(TYPES[suffix]).min
        names[f"highest_{suffix}"] = np.iinfo(TYPES[suffix]).max
    names["integer_power"] = _typed(INTEGER_POWER.reference, np.int64)
    names |= narrow_routines()
    return {**names, **TYPES, "math": math, "wrap_index": wrap_index, "inf": np.inf, "nan": np.nan}


def _typed(function: Any, dtype: Any) -> Any:
    return lambda *xs: dtype(function(*(np.asarray(x, dtype) for x in xs)))


@dataclass(frozen=True)
class Shard:
    """A shard's rows within the whole, and the shards it runs with, itself among them."""

    first: int
    whole: Mapping[str, int]
    peers: list[LoopInterpreter]
    barrier: threading.Barrier


class LoopInterpreter:
    """A compiled program as Python functions."""

    def __init__(self, compiled: Compiled, shard: Shard | None = None) -> None:
        self.compiled, self.shard = compiled, shard
        self.memory = Memory()
        self.table: list[int] = []
        names = scalar_functions()
        names["load_acquire"] = self._flag
        for name, kernel in compiled.driver.kernels.items():
            names[name] = self._kernel(name, kernel, dict(names))
        for suffix in ("f4", "f8", "i4", "i8"):
            names[f"gemm_{suffix}"] = self._product(suffix)
            names[f"pack_{suffix}"] = self._pack(suffix)
            names[f"packed_gemm_{suffix}"] = self._packed_product(suffix)
            names[f"all_sum_{suffix}"] = self._collective(suffix)
        for name, (tile, kernel) in compiled.driver.epilogues.items():
            names[name] = _finished(tile, names[f"gemm_{tile.suffix}"], names[kernel])
        names |= routines(self.memory.pointer, names)
        exec(compiled.driver.source, names)
        self.driver = names[compiled.driver.name]

    def _flag(self, address: int) -> int:
        """A condition, or at address 0 the request to stop, which never comes."""
        return int(self.memory.pointer(address, "i8")[0]) if address else 0

    def _kernel(self, name: str, kernel: Any, names: dict[str, Any]) -> Any:
        exec(_always_wide(kernel_source(kernel, name)), names)
        function = names[name]
        suffixes = [code.rstrip("*") for _, code in kernel.pointers]

        def call(*arguments: int) -> None:
            pairs = zip(arguments, suffixes, strict=False)
            pointers = [self.memory.pointer(address, suffix) for address, suffix in pairs]
            function(*pointers, *arguments[len(suffixes) :])

        return call

    def _product(self, suffix: str) -> Any:
        def gemm(
            m: int, n: int, k: int, a: int, a_row: int, a_column: int, b: int, b_row: int,
            b_column: int, c: int, c_row: int, add: int, work: int, stop: int = 0,
        ) -> None:  # fmt: skip
            left, right = self.memory.pointer(a, suffix), self.memory.pointer(b, suffix)
            out = self.memory.pointer(c, suffix)
            for i in range(m):
                for j in range(n):
                    total = TYPES[suffix](0)
                    for p in range(k):
                        x = left[i * a_row + p * a_column]
                        total += x * right[p * b_row + j * b_column]
                    out[i * c_row + j] = total + out[i * c_row + j] if add else total

        return gemm

    def _pack(self, suffix: str) -> Any:
        """One panel with all columns, as often as there is a product at all."""

        def pack(
            m: int, n: int, k: int, b: int, b_row: int, b_column: int, to: int, count: int,
            most: int,
        ) -> int:  # fmt: skip
            source, target = self.memory.pointer(b, suffix), self.memory.pointer(to, suffix)
            for p in range(k):
                for j in range(n):
                    target[p * n + j] = source[p * b_row + j * b_column]
            return int(m * n * k * count > 0)

        return pack

    def _packed_product(self, suffix: str) -> Any:
        gemm = self._product(suffix)

        def packed(
            m: int, n: int, k: int, a: int, a_row: int, a_column: int, panels: int, c: int,
            c_row: int, add: int,
        ) -> None:  # fmt: skip
            gemm(m, n, k, a, a_row, a_column, panels, n, 1, c, c_row, add, 0)

        return packed

    def _collective(self, suffix: str) -> Any:
        def all_sum(table: list[int], source: int, target: int, count: int) -> int:
            peers = [self] if self.shard is None else self.shard.peers
            self._wait()
            parts = [p.memory.pointer(p.table[source], suffix) for p in peers]
            total = [sum(part[i] for part in parts) for i in range(count)]
            self._wait()
            out = self.memory.pointer(table[target], suffix)
            for i in range(count):
                out[i] = total[i]
            return 0

        return all_sum

    def _wait(self) -> None:
        if self.shard is not None:
            self.shard.barrier.wait(timeout=30)

    def __call__(self, values: Mapping[Node, Array], sizes: Mapping[str, int]) -> list[Array]:
        """The outputs, given arrays for the leaves and sizes for the named dimensions."""
        compiled, memory = self.compiled, self.memory
        memory.blocks.clear()
        evaluated = compiled.sized.evaluate(sizes, self.shard.whole if self.shard else sizes)
        table_s = [0] * SIZE_HEADER + evaluated
        table_s[FIRST_ROW_ENTRY] = self.shard.first if self.shard else 0
        table_t = self.table = [0] * (HEADER + len(compiled.assignment.buffers))
        table_t[WORK] = memory.add(np.zeros(8, np.uint8))
        by_class = {size_name(i): n for i, n in enumerate(evaluated)}
        outputs = []
        chunks = [
            memory.add(garbage(max(_size(n, by_class) for n in chunk)))
            for chunk in compiled.memory.chunks
        ]
        for buffer, chunk in compiled.memory.chunk_of.items():
            table_t[HEADER + buffer] = chunks[chunk]
        for b in compiled.assignment.buffers:
            if b.role == "leaf":
                value = self._leaf(b.node, values)
                table_t[HEADER + b.index] = memory.add(np.array(value, b.dtype, order="C"))
        for node, buffer in zip(compiled.outputs, compiled.output_buffers, strict=True):
            shape = tuple(_size(n, sizes) for n in node.shape)
            dtype = TYPES[SUFFIX[node.dtype]]
            out = garbage(int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
            table_t[HEADER + buffer] = memory.add(out)
            outputs.append(out)
        with np.errstate(all="ignore"):
            assert self.driver(table_t, table_s) == 0
        return outputs

    def _leaf(self, node: Node, values: Mapping[Node, Array]) -> Any:
        """The value of a leaf: a constant, the part that a shard has of what all have, or given."""
        if isinstance(node.op, Const):
            return node.op.value
        if isinstance(node.op, Hyper) and node.op.label == SHARE:
            return 1.0 / len(self.shard.peers) if self.shard else 1.0
        return values[node]


def _always_wide(source: str) -> str:
    """A kernel's source, with narrow rows put side by side however few they are."""
    return re.sub(r"(rows_abreast\w+\(.*\)) if .* else 1", r"\1", source)


def _size(dim: Any, sizes: Mapping[str, int]) -> int:
    return int(dim) if isinstance(dim, int) else int(dim.evaluate(sizes))


def run_loops(
    compiled: Compiled, values: Mapping[Node, Array], sizes: Mapping[str, int]
) -> Sequence[Array]:
    """Run a compiled program's source in Python."""
    return LoopInterpreter(compiled)(values, sizes)


def run_sharded(
    compiled: Compiled, values: Mapping[Node, Array], sizes: Mapping[str, int], shards: int
) -> list[Array]:
    """Run a program on shards of the rows, in threads; put the outputs together again."""
    sharding = compiled.sharding
    rows = sharding.shard
    assert rows is not None, sharding.reason
    cuts = [sizes[rows] * i // shards for i in range(shards + 1)]
    peers: list[LoopInterpreter] = []
    barrier = threading.Barrier(shards)
    results: list[Any] = [None] * shards
    for first in cuts[:-1]:
        peers.append(LoopInterpreter(compiled, Shard(first, sizes, peers, barrier)))

    def run(k: int) -> None:
        own = {
            node: v[cuts[k] : cuts[k + 1]] if node.shape[:1] == (rows,) else v
            for node, v in values.items()
        }
        try:
            results[k] = peers[k](own, {**sizes, rows: cuts[k + 1] - cuts[k]})
        except BaseException as error:
            results[k] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(shards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    pairs = zip(sharding.of_outputs, zip(*results, strict=True), strict=True)
    return [_together(at, list(parts), sizes) for at, parts in pairs]


def _together(at: Any, parts: list[Array], sizes: Mapping[str, int]) -> Array:
    if at == PARTIAL:
        return np.asarray(sum(parts[1:], parts[0]))
    if at == WHOLE:
        for part in parts:
            np.testing.assert_array_equal(part, parts[0])
        return parts[0]
    if not isinstance(at, Mixed):
        return np.concatenate(parts, at)
    before, after = (tuple(_size(n, sizes) for n in dims) for dims in (at.before, at.after))
    apart = []
    for part in parts:
        head, tail = part.shape[: at.axis], part.shape[at.axis + 1 :]
        rows = part.shape[at.axis] // max(1, math.prod((*before, *after)))
        apart.append(part.reshape(*head, *before, rows, *after, *tail))
    whole = np.concatenate(apart, at.axis + len(before))
    count = math.prod(whole.shape[at.axis : whole.ndim - len(tail)])
    return whole.reshape(*head, count, *tail)
