"""Calls of a program on NumPy arrays that take the short way, in pieces and with helpers.

    fast = FastCall(program, ...)
    fast.function({"x": x})       a native call; None for sizes not seen yet, or what is not plain
    fast.function((x,))           the same, with all inputs in order
    fast([x])                     as well, and prepares tables for new sizes

A program whose outputs are rows of one dimension is cut into pieces of rows: so that a piece's
intermediate values stay in the cache, and so that several threads can take pieces. Where the pieces
are cut depends on sizes and thread count alone, so results are the same from run to run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from staticflow.compiler.codegen.driver_abi import HEADER, POOL, STOP
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.cost_model import estimate, unbounded
from staticflow.compiler.sharing import has_chains
from staticflow.graph.dims import Dim, evaluate, names_of
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.native.calls import arrays as array_call
from staticflow.native.calls import cpython as python_call
from staticflow.native.calls.array_tables import (
    MAX_INPUTS,
    ArrayRecord,
    Bound,
    Output,
    Owner,
    Worker,
    bounds_table,
)
from staticflow.native.calls.result_memory import LEAST_BYTES, result_memory
from staticflow.native.memory import CORE_CACHE_BYTES, Array, Words, words, words_of
from staticflow.native.threads.call_pool import SPIN_NS, SPINS, CallPool
from staticflow.native.threads.product_pool import pool
from staticflow.native.toolchain.forks import ForkAware
from staticflow.native.toolchain.watch import watcher
from staticflow.runtime.failures import check_call
from staticflow.runtime.feeds import bind_sizes
from staticflow.runtime.program import Frame, Program, Scratch

_Shapes: TypeAlias = tuple[tuple[int, ...], ...]
MAX_SHAPES = 512  # with more of them, tables are made again
MAX_CONTEXTS = 64  # more calls at a time wait for each other
CONTEXT_SECONDS = 50e-6  # until the next look whether one is free
MAX_NANOSECONDS = 1 << 62
KEEP_GIL_NS = 5e3  # giving it back and taking it again takes some 0.1 us, and waits for others
SHARED_NS = 8e3  # a run this long is worth a helper's attention: 7.9 us become 5.2, 16 become 9
PIECE_NS = 40e3
PIECES_PER_THREAD = 4
PIECE_BYTES = 1 << 18
LEAST_ROWS = 8  # fewer rows read the weights in about the time that one takes
EVEN = 2  # rows one by one take as long as pairs


def compile_rows(nodes: Sequence[Node], batch: str) -> Compiled:
    """The compiled outputs, to be cut along `batch` if possible: that which shards would split."""
    if batch and not leaves(nodes, Hyper):
        compiled = compile_graph(nodes, shard=batch, name="run")
        at_rows = all(at == 0 for at in compiled.sharding.of_outputs)
        apart = not compiled.driver.collectives and not compiled.sized.whole
        if at_rows and compiled.sharding.shard and apart:
            return compiled
    return compile_graph(nodes, name="run")


def leading(nodes: Sequence[Node], inputs: Sequence[Node]) -> str:
    """The dimension that leads all outputs, if it appears nowhere else in them or inputs, or ""."""
    leads = {n.shape[0] for n in nodes if n.shape}
    lead = leads.pop() if leads else 0
    if leads or not all(n.shape for n in nodes) or not isinstance(lead, Dim) or not lead.name:
        return ""
    rest = names_of(d for n in [*nodes, *inputs] for d in n.shape[1:])
    firsts = [n.shape[0] for n in inputs if n.shape]
    fits = all(d == lead or lead.name not in names_of([d]) for d in firsts)
    return str(lead.name) if fits and lead.name not in rest and lead in firsts else ""


@dataclass(frozen=True)
class Pieces:
    """How a run is cut: rows of a piece, and how many threads take them."""

    rows: int
    piece: int
    threads: int
    nanoseconds: float


def choose_pieces(program: Program, batch: str, env: Mapping[str, int], threads: int) -> Pieces:
    """A pure function of sizes and thread count."""
    compiled = program.compiled
    cost = estimate(compiled.steps, compiled.sized.sizes_by_name(env))
    if not batch:
        return Pieces(1, 1, 1, cost)
    rows = piece = max(1, env[batch])
    arena = program.arena_bytes(env)
    if arena > CORE_CACHE_BYTES:
        piece = max(LEAST_ROWS, int(PIECE_BYTES / (arena / rows)))
    if threads > 1 and cost > SHARED_NS and rows >= LEAST_ROWS:
        each = min(PIECES_PER_THREAD, max(1, int(cost / threads / PIECE_NS)))
        piece = min(piece, -(-rows // (threads * each)))
    if piece < rows:
        piece = min(rows, -(-piece // EVEN) * EVEN)
    return Pieces(rows, piece, min(threads, -(-rows // piece)), cost)


class _Context:
    """The memory of one call at a time: what frames of all sizes use in turn, by thread."""

    def __init__(self) -> None:
        self.busy = words(1)
        self._scratch: list[Scratch] = []

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way in it."""
        return bool(self.busy[0])

    def scratch(self, worker: int) -> Scratch:
        """The working memory of one of the threads of a call."""
        while len(self._scratch) <= worker:
            self._scratch.append(Scratch())
        return self._scratch[worker]


@dataclass(frozen=True)
class _Tables:
    """The memory behind one `Bound`."""

    table: Words
    kept: tuple[Any, ...]
    pieces: Pieces
    context: _Context


class FastCall(ForkAware):
    """A program, its inputs in order, the addresses of its other leaves, and who may help.

    Calls may come from any number of threads: each takes the tables of a context that is free. More
    contexts are made when calls find none, up to MAX_CONTEXTS.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Node],
        fixed: Mapping[Node, int],
        batch: str = "",
        helpers: CallPool | None = None,
        suits: Callable[[Mapping[str, int]], bool] = lambda env: True,
        gate: int = 0,
    ) -> None:
        super().__init__()
        self.program = program
        self._suits = suits  # whether values of the named dimensions should go the short way
        self.inputs = tuple(inputs)
        self.fixed = {n: a for n, a in fixed.items() if n in program.leaves}
        self.batch, self.helpers = batch, helpers
        self.outputs = program.compiled.outputs
        self._patient = not unbounded(program.compiled.steps)
        self._lock = threading.Lock()  # around all that follows
        self._known: dict[_Shapes, list[_Tables]] = {}
        self._declined: set[_Shapes] = set()
        self._contexts: list[_Context] = []
        self._retired: list[_Tables] = []
        self._owner = words(Owner.WORDS)
        self._dtypes = {n: np.dtype(n.dtype) for n in [*self.inputs, *self.outputs]}
        self._names = [node.name for node in self.inputs]
        self._work = array_call.work(program.toolchain)
        self._records = self._fill_owner(gate)
        address = array_call.call(program.toolchain).address
        self._call = python_call.PythonCall(address, self._owner)
        self.function: Callable[[Any], Any] = self._call.function

    @staticmethod
    def fits(inputs: Sequence[Node]) -> bool:
        """Whether calls with these inputs can go the short way at all."""
        return len(inputs) <= MAX_INPUTS and python_call.supported()

    def _fill_owner(self, gate: int) -> Words:
        owner = self._owner
        owner[Owner.NONE], owner[Owner.ARRAY] = id(None), id(np.ndarray)
        owner[Owner.DICT], owner[Owner.TUPLE] = id(dict), id(tuple)
        owner[Owner.EMPTY] = python_call.empty_address()
        self._memory = result_memory()
        owner[Owner.LARGE], owner[Owner.MEMORY] = self._memory.large, self._memory.table.ctypes.data
        owner[Owner.WORK] = self._work.address
        owner[Owner.FAILED] = id(check_call)
        owner[Owner.WATCH], owner[Owner.GATE] = watcher().address, gate
        owner[Owner.INPUT_COUNT], owner[Owner.OUTPUT_COUNT] = len(self.inputs), len(self.outputs)
        records = words(max(1, ArrayRecord.WORDS * len(self.inputs)))
        for k, (node, name) in enumerate(zip(self.inputs, self._names, strict=True)):
            record = [id(name), id(node), id(self._dtypes[node]), node.ndim]
            records[ArrayRecord.WORDS * k : ArrayRecord.WORDS * (k + 1)] = record
        owner[Owner.INPUTS] = records.ctypes.data
        self._list_bounds()
        return records

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def _list_bounds(self) -> None:
        """Tell the native side of the tables there are, in one write."""
        entries = [
            ([n for shape in shapes for n in shape], int(tables.table.ctypes.data))
            for shapes, own in self._known.items()
            for tables in own
        ]
        listed = words_of(bounds_table(entries))
        self._owner[Owner.BOUNDS] = listed.ctypes.data
        self._listed = listed  # the former one goes: whoever looks things up in it has the GIL

    def __call__(self, arrays: Sequence[Array]) -> list[Array] | None:
        """The outputs for checked arrays in order; None if they must go the long way."""
        feeds = tuple([self._plain(n, a) for n, a in zip(self.inputs, arrays, strict=True)])
        shapes = tuple([a.shape for a in feeds])
        while (found := self.function(feeds)) is None:
            if not self._prepare(shapes, feeds):
                return None
        return [found] if len(self.outputs) == 1 else list(found)

    def _plain(self, node: Node, array: Array) -> Array:
        """As the native side takes it: an aligned array of no other class, of NumPy's own dtype."""
        plain = np.require(np.asarray(array), None, ("C", "A"))
        dtype = self._dtypes[node]
        return plain if plain.dtype is dtype else plain.view(dtype)

    def pieces(self) -> list[tuple[Any, Pieces]]:
        """What was chosen for the shapes seen so far."""
        return [(shapes, own[0].pieces) for shapes, own in list(self._known.items())]

    def _prepare(self, shapes: _Shapes, arrays: Sequence[Array]) -> bool:
        """See that there are tables for the shapes in a context that is free, unless one becomes
        free in between; whether to look again.
        """
        with self._lock:
            if shapes in self._declined:
                return False
            own = self._known.get(shapes, [])
            if any(not tables.context.is_busy for tables in own):
                return True
            mine = {id(tables.context) for tables in own}
            others = [c for c in self._contexts if id(c) not in mine]
            free = [c for c in others if not c.is_busy]
            if free or len(self._contexts) < MAX_CONTEXTS:
                return self._learn(shapes, arrays, free[0] if free else _Context())
        time.sleep(CONTEXT_SECONDS)
        return True

    def _learn(self, shapes: _Shapes, arrays: Sequence[Array], context: _Context) -> bool:
        """Make tables for these shapes in a context, if they suit."""
        places = [str(i) for i in range(len(arrays))]  # names may stand twice: that of a seed, say
        named = dict(zip(places, arrays, strict=True))
        env = bind_sizes(dict(zip(places, self.inputs, strict=True)), named)
        if not self.program.dimensions <= env.keys() or not self._suits(env):
            if len(self._declined) >= MAX_SHAPES:
                self._declined.clear()
            self._declined.add(shapes)
            return False
        tables = self._tables(arrays, env, context)
        if context not in self._contexts:
            self._contexts.append(context)
        if shapes not in self._known and len(self._known) >= MAX_SHAPES:
            self._retired += self._known.pop(next(iter(self._known)))
        self._known.setdefault(shapes, []).append(tables)
        self._list_bounds()
        # What is not listed any more stays for the call that may be under way in it.
        self._retired = [tables for tables in self._retired if tables.context.is_busy]
        return True

    def _tables(
        self, arrays: Sequence[Array], env: Mapping[str, int], context: _Context
    ) -> _Tables:
        threads = 1 + (self.helpers.count if self.helpers else 0)
        pieces = choose_pieces(self.program, self.batch, env, threads)
        table = words(Bound.HELD + len(arrays) + len(self.outputs))
        dims = words_of(n for a in arrays for n in a.shape)
        shapes, shape_memory = self._shapes(env)
        entries = self._entries(env)
        workers, frames = self._workers(pieces, env, context)
        for entry, array in (
            (Bound.CONTEXT, context.busy), (Bound.DIMS, dims), (Bound.SHAPES, shapes),
            (Bound.ENTRIES, entries), (Bound.WORKERS, workers),
        ):  # fmt: skip
            table[entry] = array.ctypes.data
        table[Bound.STEP] = self.program.function.address
        table[Bound.ROWS], table[Bound.PIECE] = pieces.rows, pieces.piece
        table[Bound.NANOSECONDS] = int(min(pieces.nanoseconds, MAX_NANOSECONDS))
        table[Bound.KEEP_GIL] = int(self._patient and pieces.nanoseconds < KEEP_GIL_NS)
        table[Bound.INPUT_COUNT] = len(arrays)
        table[Bound.ARRAY_COUNT] = len(arrays) + len(self.outputs)
        table[Bound.WORKER_COUNT], table[Bound.STOP_ENTRY] = pieces.threads, STOP
        if pieces.threads > 1 and self.helpers is not None:
            table[Bound.POOL] = self.helpers.address
            piece_ns = pieces.nanoseconds * pieces.piece / pieces.rows
            table[Bound.PATIENCE] = SPINS + int(2 * piece_ns / SPIN_NS)
        kept = (dims, shapes, shape_memory, entries, workers, frames)
        return _Tables(table, kept, pieces, context)

    def _shapes(self, env: Mapping[str, int]) -> tuple[Words, list[Array]]:
        shapes = words(Output.WORDS * len(self.outputs))
        kept = []
        for k, node in enumerate(self.outputs):
            dims = words_of(evaluate(n, env) for n in node.shape)
            kept.append(dims)
            size = int(np.prod(dims)) * self._dtypes[node].itemsize
            large = int(self._memory.large != 0 and size >= LEAST_BYTES)
            record = [id(self._dtypes[node]), node.ndim, dims.ctypes.data, large]
            shapes[Output.WORDS * k : Output.WORDS * (k + 1)] = record
        return shapes, kept

    def _entries(self, env: Mapping[str, int]) -> Words:
        buffers = [self.program.leaves.get(node) for node in self.inputs]
        buffers += self.program.compiled.output_buffers
        entries = words(2 * len(buffers))
        for k, (node, buffer) in enumerate(
            zip([*self.inputs, *self.outputs], buffers, strict=True)
        ):
            entries[2 * k] = -1 if buffer is None else HEADER + buffer
            if node.shape and self.batch and node.shape[0] == self.batch:
                count = int(np.prod([evaluate(n, env) for n in node.shape[1:]], dtype=np.int64))
                entries[2 * k + 1] = count * self._dtypes[node].itemsize
        return entries

    def _workers(
        self, pieces: Pieces, env: Mapping[str, int], context: _Context
    ) -> tuple[Words, list[Frame]]:
        """Each thread has tables, an arena and working memory of its own."""
        records = words(Worker.WORDS * pieces.threads)
        frames: list[Frame] = []
        left = pieces.rows % pieces.piece if self.batch else 0
        for k in range(pieces.threads):
            scratch = context.scratch(k)
            first = self._frame(pieces.piece, env, scratch)
            last = self._frame(left, env, scratch) if left else first
            frames += [first, last]
            records[Worker.WORDS * k : Worker.WORDS * (k + 1)] = [*first.addresses, *last.addresses]
        return records, frames

    def _frame(self, rows: int, env: Mapping[str, int], scratch: Scratch) -> Frame:
        own = {**env, self.batch: min(rows, env[self.batch])} if self.batch else env
        frame = self.program.frame(own, env, scratch=scratch)
        for node, address in self.fixed.items():
            frame.bind(self.program.leaves[node], address)
        compiled = self.program.compiled
        if compiled.standalone and has_chains(compiled.steps, frame.sizes_by_name()):
            pool().start()
            frame.T[POOL] = pool().address
        return frame
