"""A compiled program, loaded: its machine code, and frames of memory to run it in.

A `Program` is code and belongs to a structure; a `Frame` is memory and belongs to sizes. One
program serves any number of frames, at the same time from any number of threads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver import CollectiveCall, DriverText
from staticflow.compiler.codegen.driver_abi import (
    FIRST_ROW_ENTRY,
    HEADER,
    OWNER_BITS,
    SHARDS,
    SIZE_HEADER,
    STOP,
    TAIL_BLOCKS,
    WORK,
)
from staticflow.compiler.codegen.emit_driver import driver_source
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import Compiled, with_sizes
from staticflow.compiler.ir.loops import Kernel
from staticflow.compiler.ir.size_classes import size_name
from staticflow.graph.dims import evaluate, names_of
from staticflow.graph.leaves import Const
from staticflow.graph.node import Node
from staticflow.native import memory
from staticflow.native.gemm.products import product_with_epilogue
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.routines.table import routine as native_routine
from staticflow.native.routines.widen_rows import narrow_routine
from staticflow.native.threads.product_pool import parts_functions
from staticflow.native.toolchain.code_unit import CodeUnit
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.watch import run_supervised, stopped
from staticflow.runtime.free_sizes import Sizes, shown
from staticflow.runtime.program_units import (
    BLOCK_SIGNATURE,
    DRIVER_SIGNATURE,
    PRODUCTS,
    by_words,
    driver_unit,
    kernel_unit,
    sum_over_shards,
)
from staticflow.runtime.size_guards import SizeGuard, check_room, check_size_guards, size_guards_of


class Scratch:
    """Working memory of one thread, for frames that are used one at a time.

    It grows to what the largest of them takes, at least twofold; frames made before that keep what
    they have.
    """

    def __init__(self, work: NDArray[np.uint8] | None = None) -> None:
        self.work = memory.aligned(GEMM_WORK_BYTES) if work is None else work  # of matrix products
        self._arena = memory.aligned(0)

    def arena(self, count: int) -> NDArray[np.uint8]:
        """Uninitialised bytes that start at a cache line."""
        if count > self._arena.size:
            self._arena = memory.aligned(max(count, 2 * self._arena.size))
        return self._arena[:count]


@dataclass
class Frame:
    """The memory of one run: tables of buffers and sizes, and the arena behind them."""

    T: NDArray[np.int64]
    S: NDArray[np.int64]
    arena: NDArray[np.uint8]
    work: NDArray[np.uint8]
    addresses: tuple[int, int]  # of T and S

    def bind(self, buffer: int, address: int) -> None:
        """Say where a buffer from outside lies."""
        self.T[HEADER + buffer] = address

    def sizes_by_name(self) -> dict[str, int]:
        """What n0, n1, ... stand for."""
        return {size_name(i): int(n) for i, n in enumerate(self.S[SIZE_HEADER:])}

    def entry_address(self, buffer: int) -> int:
        """The address of the table entry that says where a buffer lies."""
        return self.addresses[0] + 8 * (HEADER + buffer)


class Program:
    """The machine code of a compiled graph, which is unloaded with it unless it is `lasting`."""

    def __init__(self, compiled: Compiled, toolchain: Toolchain, lasting: bool = False) -> None:
        self.compiled = compiled
        self.toolchain = toolchain
        self._unit = CodeUnit(toolchain, lasting)
        self._block_addresses: list[int] = []
        self.function = self._load(compiled.driver, compiled.driver.blocks)
        # The buffers to bind, by leaf of the graph.
        self.leaves = {b.node: b.index for b in compiled.assignment.buffers if b.role == "leaf"}
        self._origin: Program | None = None
        self._sizes: Sizes = {}  # of those that the compiled graph has names for
        self._sized: Program | None = None  # with the sizes that were asked for last
        self._running = memory.zeros((1,), np.int64)  # a stop flag that nobody sets

    def call(self, T: int, S: int) -> int:
        """Run the driver on the tables at these addresses, without the GIL; signals are heard."""
        return run_supervised(self.function.address, T, S, STOP)

    def for_graph(self, own: Mapping[tuple[type, str], Node], sizes: Sizes) -> Program:
        """The same program for a graph whose leaves and sizes these are."""
        found = {node: own.get((type(node.op), node.name), node) for node in self.leaves}
        if not sizes and all(node is other for node, other in found.items()):
            return self
        sized = self._sized  # which another thread may replace
        if sized is None or sized._sizes != sizes:
            self._sized = sized = self._with_sizes(sizes)
        view = copy.copy(sized)
        view.leaves = {found[node]: buffer for node, buffer in self.leaves.items()}
        view._origin = self  # which others may find as long as this one is there
        return view

    def _with_sizes(self, sizes: Sizes) -> Program:
        view = copy.copy(self)
        view.compiled, view._sizes = with_sizes(self.compiled, sizes), sizes
        view._sized = None
        _ = view.size_guards, view.dimensions  # which views of it have as well
        return view

    @property
    def given_sizes(self) -> Sizes:
        """Those of the declared sizes that the compiled graph has names for."""
        return self._sizes

    def shown(self, text: str) -> str:
        """Text about the compiled graph, with the sizes of this one."""
        return shown(text, self._sizes)

    @cached_property
    def constants(self) -> dict[Node, NDArray[Any]]:
        """The values of the leaves that have one."""
        held = [(node, node.op) for node in self.leaves]
        return {node: memory.lend(op.value) for node, op in held if isinstance(op, Const)}

    @cached_property
    def dimensions(self) -> frozenset[str]:
        """The names whose values a frame and the outputs take."""
        shapes = [n for node in self.compiled.outputs for n in node.shape]
        return names_of([*self.compiled.sized.sizes, *shapes])

    @cached_property
    def size_guards(self) -> tuple[SizeGuard, ...]:
        """What the named sizes must be large enough for."""
        sized = self.compiled.sized
        nodes = [*sized.order, *(node for body in sized.bodies.values() for node in body)]
        return size_guards_of(nodes, self._sizes)

    @cached_property
    def timed(self) -> NativeFunction:
        """The driver with a clock around each step, for profiles."""
        pool, polls = self.compiled.standalone, self.compiled.driver.polls
        return self._load(self._variant("timed", timed=True, pool=pool, polls=polls))

    @cached_property
    def attentive(self) -> NativeFunction:
        """The driver of a training step that gives up between any two steps, for long ones."""
        if self.compiled.driver.attentive:
            return self.function
        return self._load(self._variant("attentive", between=True))

    def _variant(self, what: str, **options: bool) -> DriverText:
        """The driver of the same steps, written in another way."""
        compiled = self.compiled
        name, buffers = f"{compiled.driver.name}_{what}", compiled.assignment.buffers
        return driver_source(name, compiled.steps, buffers, len(compiled.sized.sizes), **options)

    def _load(self, driver: DriverText, blocks: Sequence[DriverText] = ()) -> NativeFunction:
        """Load a driver; a variant finds the blocks of the first one in the same tables."""
        function = self._driver(driver, DRIVER_SIGNATURE)
        parts = [self._driver(block, BLOCK_SIGNATURE) for block in blocks]
        self._unit.link()
        if blocks:
            self._block_addresses = [self._unit.address(part) for part in parts]
        return NativeFunction(function.symbol, self._unit.address(function), DRIVER_SIGNATURE)

    def _driver(self, driver: DriverText, signature: Signature) -> External:
        externals: dict[str, External] = {}
        for name, kernel in driver.kernels.items():
            externals[name] = self._kernel(name, kernel)
        for product in driver.products:
            externals[str(product)] = PRODUCTS[product.function](self.toolchain, product.suffix)
        for name, epilogue in driver.epilogues.items():
            beside = externals[epilogue.kernel]
            tile = epilogue.tile
            externals[name] = product_with_epilogue(self.toolchain, self._unit, tile, beside)
        for call in driver.calls:
            externals[str(call)] = native_routine(self.toolchain, call)
        for name, collective in driver.collectives.items():
            externals[name] = self._collective(collective)
        if driver.polls:
            externals["stopped"] = stopped(self.toolchain)
        if driver.blocks:
            externals |= parts_functions(self.toolchain)
        called = {name: externals[name] for name in driver.called}
        return self._unit.kernel(driver_unit(driver.name, driver.code, signature, called))

    def _kernel(self, name: str, kernel: Kernel) -> External:
        arguments = (*(code for _, code in kernel.pointers), *("i8",) * len(kernel.sizes))
        externals = {str(name): narrow_routine(self.toolchain, name) for name in kernel.calls}
        unit = kernel_unit(name, kernel_source(kernel, name), arguments, externals)
        return by_words(self._unit.kernel(unit))

    def _collective(self, call: CollectiveCall) -> External:
        assert call.combine == "sum", f"nothing combines shards by {call.combine}"
        return sum_over_shards(self.toolchain, call.suffix)

    def arena_bytes(self, env: Mapping[str, int]) -> int:
        """The memory that a frame's temporaries take, without making it."""
        return self.compiled.memory.offsets(self.compiled.sized.sizes_by_name(env))[1]

    def frame(
        self,
        env: Mapping[str, int],
        whole_env: Mapping[str, int] | None = None,
        first_row: int = 0,
        scratch: Scratch | None = None,
        owner_bits: int = 0,
    ) -> Frame:
        """Memory for the given values of the named dimensions.

        `env` holds the sizes of this shard, `whole_env` those of the whole batch. The frame shares
        `scratch` with other frames, if it is given. It leaves the products with the bits
        `owner_bits` to the caller, and keeps what they read.
        """
        compiled = self.compiled
        check_size_guards(self.size_guards, whole_env or env)
        sizes = compiled.sized.evaluate(env, whole_env or env)
        plan = compiled.memory_with_owners if owner_bits else compiled.memory
        table = {size_name(i): n for i, n in enumerate(sizes)}
        check_room(sizes, plan.offsets(table)[1] + self._result_bytes(env), env)
        S = memory.zeros((SIZE_HEADER + len(sizes),), np.int64)
        S[FIRST_ROW_ENTRY] = first_row
        S[SIZE_HEADER:] = sizes
        count = HEADER + len(compiled.assignment.buffers) + self._tail_length
        T = memory.zeros((count,), np.int64)
        scratch = Scratch() if scratch is None else scratch
        arena, places = plan.allocate(table, scratch.arena)
        for buffer, address in places.items():
            T[HEADER + buffer] = address
        T[OWNER_BITS] = owner_bits
        T[WORK] = scratch.work.ctypes.data
        T[SHARDS] = 1
        T[STOP] = self._running.ctypes.data
        frame = Frame(T, S, arena, scratch.work, (T.ctypes.data, S.ctypes.data))
        if self._tail_length:
            T[-self._tail_length :] = [*frame.addresses, 1, *self._block_addresses]
        self._bind_constants(frame)
        return frame

    def _result_bytes(self, env: Mapping[str, int]) -> int:
        """The memory that the outputs take, where the sizes tell."""
        known = [x for x in self.compiled.outputs if names_of(x.shape) <= env.keys()]
        counts = [math.prod(evaluate(n, env) for n in node.shape) for node in known]
        return sum(n * np.dtype(x.dtype).itemsize for n, x in zip(counts, known, strict=True))

    @property
    def _tail_length(self) -> int:
        return TAIL_BLOCKS + len(self._block_addresses) if self._block_addresses else 0

    def _bind_constants(self, frame: Frame) -> None:
        for node, value in self.constants.items():
            frame.bind(self.leaves[node], value.ctypes.data)
