"""Calls of a program on NumPy arrays that take the short way, in pieces and with helpers.

    direct = Direct(program, ...)
    direct.function({"x": x})       a native call; None for sizes not seen yet, or what is not plain
    direct.function((x,))           the same, with all inputs in order
    direct([x])                     as well, and prepares tables for new sizes

A program whose outputs are rows of one dimension is cut into pieces of rows: so that a piece's
intermediate values stay in the cache, and so that several threads can take pieces. Where the pieces
are cut depends on sizes and thread count alone, so results are the same from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.compile import Compiled, compile_graph
from staticflow.cost import estimate
from staticflow.dims import Dim, evaluate, names_of
from staticflow.driver_tables import CREW, HEADER
from staticflow.feeds import bind_sizes
from staticflow.graph import Hyper, Node, leaves
from staticflow.native import array_call, python_call
from staticflow.native.array_layout import MAX_INPUTS, Bound, Input, Output, Owner, Worker
from staticflow.native.crew import SPIN_NS, SPINS, Helpers
from staticflow.native.product_crew import crew
from staticflow.native.worker_tables import Words, words, words_of
from staticflow.program import Frame, Program
from staticflow.sharing import has_chains

Array = NDArray[Any]
MAX_BOUNDS = 16
KEEP_GIL_NS = 5e3  # giving it back and taking it again takes some 0.1 us, and waits for others
SHARED_NS = 8e3  # a run this long is worth a helper's attention: 7.9 us become 5.2, 16 become 9
PIECE_NS = 40e3
PIECES_PER_THREAD = 4
CACHE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
LEAST_ROWS = 8  # fewer rows read the weights in about the time that one takes
EVEN = 2  # rows one by one take as long as pairs


def compile_rows(nodes: Sequence[Node], inputs: Sequence[Node]) -> tuple[Compiled, str]:
    """The compiled outputs, and the dimension along which they can be cut, or ""."""
    batch = _leading(nodes, inputs)
    if batch and not leaves(nodes, Hyper):
        compiled = compile_graph(nodes, shard=batch, name="run")
        collects = any(call.startswith("all_") for call in compiled.driver.calls)
        at_rows = all(place == 0 for place in compiled.placement.at)
        if at_rows and compiled.placement.shard and not collects and not compiled.g.whole:
            return compiled, batch
    return compile_graph(nodes, name="run"), ""


def _leading(nodes: Sequence[Node], inputs: Sequence[Node]) -> str:
    """The one dimension that leads all outputs, if it appears nowhere else in them or inputs."""
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
    cost = estimate(compiled.steps, compiled.g.sizes_by_name(env))
    if not batch:
        return Pieces(1, 1, 1, cost)
    rows = piece = max(1, env[batch])
    arena = program.arena_bytes(env)
    if arena > CACHE_BYTES:
        piece = max(LEAST_ROWS, int(PIECE_BYTES / (arena / rows)))
    if threads > 1 and cost > SHARED_NS and rows >= LEAST_ROWS:
        each = min(PIECES_PER_THREAD, max(1, int(cost / threads / PIECE_NS)))
        piece = min(piece, -(-rows // (threads * each)))
    if piece < rows:
        piece = min(rows, -(-piece // EVEN) * EVEN)
    return Pieces(rows, piece, min(threads, -(-rows // piece)), cost)


class _Tables:
    """The memory behind one `Bound`."""

    def __init__(self, table: Words, kept: list[Any], pieces: Pieces) -> None:
        self.table, self.kept, self.pieces = table, kept, pieces
        self.address = int(table.ctypes.data)


class Direct:
    """A program, its inputs in order, the addresses of its other leaves, and who may help."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Node],
        fixed: Mapping[Node, int],
        batch: str = "",
        helpers: Helpers | None = None,
        suits: Callable[[Mapping[str, int]], bool] = lambda env: True,
    ) -> None:
        self.program = program
        self._suits = suits  # whether values of the named dimensions should go the short way
        self.inputs = tuple(inputs)
        self.fixed = {n: a for n, a in fixed.items() if n in program.leaves}
        self.batch, self.helpers = batch, helpers
        self.outputs = program.compiled.outputs
        self._known: dict[Any, _Tables] = {}
        self._declined: set[Any] = set()
        self._retired: list[_Tables] = []
        self._owner = words(Owner.WORDS)
        self._dtypes = {n: np.dtype(n.dtype) for n in [*self.inputs, *self.outputs]}
        self._names = [node.name for node in self.inputs]
        self._work = array_call.work(program.toolchain)
        self._records = self._fill_owner()
        address = array_call.call(program.toolchain).address
        self._call = python_call.PythonCall(address, self._owner)
        self.function: Callable[[Any], Any] = self._call.function

    @staticmethod
    def fits(inputs: Sequence[Node]) -> bool:
        """Whether calls with these inputs can go the short way at all."""
        return len(inputs) <= MAX_INPUTS and python_call.supported()

    def _fill_owner(self) -> Words:
        owner = self._owner
        owner[Owner.NONE], owner[Owner.ARRAY] = id(None), id(np.ndarray)
        owner[Owner.DICT], owner[Owner.TUPLE] = id(dict), id(tuple)
        owner[Owner.EMPTY] = python_call.empty_address()
        owner[Owner.WORK] = self._work.address
        owner[Owner.INPUT_COUNT], owner[Owner.OUTPUT_COUNT] = len(self.inputs), len(self.outputs)
        records = words(max(1, Input.WORDS * len(self.inputs)))
        for k, (node, name) in enumerate(zip(self.inputs, self._names, strict=True)):
            record = [id(name), id(node), id(self._dtypes[node]), node.ndim]
            records[Input.WORDS * k : Input.WORDS * (k + 1)] = record
        owner[Owner.INPUTS] = records.ctypes.data
        self._list_bounds()
        return records

    def _list_bounds(self) -> None:
        """Tell the native side of the tables there are, in one write, the latest first."""
        addresses = [tables.address for tables in reversed(self._known.values())]
        listed = words_of([len(addresses), *addresses])
        self._owner[Owner.BOUNDS] = listed.ctypes.data
        self._listed = listed

    def __call__(self, arrays: Sequence[Array]) -> list[Array] | None:
        """The outputs for checked arrays in order; None if they must go the long way."""
        plain = [np.asarray(a) for a in arrays]
        feeds = tuple(plain)
        found = self.function(feeds)
        if found is None and self._is_new(self._key(plain)):
            self._learn(plain)
            found = self.function(feeds)
        if found is None:
            return None
        return [found] if len(self.outputs) == 1 else list(found)

    def _is_new(self, key: Any) -> bool:
        return key not in self._known and key not in self._declined

    def pieces(self) -> list[tuple[Any, Pieces]]:
        """What was chosen for the shapes seen so far."""
        return [(key, tables.pieces) for key, tables in self._known.items()]

    @staticmethod
    def _key(arrays: Sequence[Array]) -> tuple[tuple[int, ...], ...]:
        return tuple([a.shape for a in arrays])

    def _learn(self, arrays: Sequence[Array]) -> None:
        """Make tables for the shapes of these arrays, if they suit."""
        named = dict(zip(self._names, arrays, strict=True))
        env = bind_sizes(dict(zip(self._names, self.inputs, strict=True)), named)
        if not self.program.dimensions <= env.keys() or not self._suits(env):
            self._declined.add(self._key(arrays))
            return
        tables = self._tables(arrays, env)
        dropped = None
        if len(self._known) >= MAX_BOUNDS:
            dropped = self._known.pop(next(iter(self._known)))
        self._known[self._key(arrays)] = tables
        self._list_bounds()
        self._retired = [t for t in [*self._retired, dropped] if t and t.table[Bound.BUSY]]

    def _tables(self, arrays: Sequence[Array], env: Mapping[str, int]) -> _Tables:
        threads = 1 + (self.helpers.count if self.helpers else 0)
        pieces = choose_pieces(self.program, self.batch, env, threads)
        table = words(Bound.HELD + len(arrays) + len(self.outputs))
        dims = words_of(n for a in arrays for n in a.shape)
        shapes, shape_memory = self._shapes(env)
        slots = self._slots(env)
        workers, frames = self._workers(pieces, env)
        for entry, array in (
            (Bound.DIMS, dims), (Bound.SHAPES, shapes), (Bound.SLOTS, slots),
            (Bound.WORKERS, workers),
        ):  # fmt: skip
            table[entry] = array.ctypes.data
        table[Bound.STEP] = self.program.function.address
        table[Bound.ROWS], table[Bound.PIECE] = pieces.rows, pieces.piece
        table[Bound.NANOSECONDS] = int(pieces.nanoseconds)
        table[Bound.KEEP_GIL] = int(pieces.nanoseconds < KEEP_GIL_NS)
        table[Bound.INPUT_COUNT] = len(arrays)
        table[Bound.ARRAY_COUNT] = len(arrays) + len(self.outputs)
        if pieces.threads > 1 and self.helpers is not None:
            table[Bound.CREW] = self.helpers.address
            piece_ns = pieces.nanoseconds * pieces.piece / pieces.rows
            table[Bound.PATIENCE] = SPINS + int(2 * piece_ns / SPIN_NS)
        return _Tables(table, [dims, shapes, shape_memory, slots, workers, frames], pieces)

    def _shapes(self, env: Mapping[str, int]) -> tuple[Words, list[Array]]:
        shapes = words(Output.WORDS * len(self.outputs))
        kept = []
        for k, node in enumerate(self.outputs):
            dims = words_of(evaluate(n, env) for n in node.shape)
            kept.append(dims)
            record = [id(self._dtypes[node]), node.ndim, dims.ctypes.data]
            shapes[Output.WORDS * k : Output.WORDS * (k + 1)] = record
        return shapes, kept

    def _slots(self, env: Mapping[str, int]) -> Words:
        buffers = [self.program.leaves.get(node) for node in self.inputs]
        buffers += self.program.compiled.output_buffers
        slots = words(2 * len(buffers))
        for k, (node, buffer) in enumerate(
            zip([*self.inputs, *self.outputs], buffers, strict=True)
        ):
            slots[2 * k] = -1 if buffer is None else HEADER + buffer
            if node.shape and self.batch and node.shape[0] == self.batch:
                count = int(np.prod([evaluate(n, env) for n in node.shape[1:]], dtype=np.int64))
                slots[2 * k + 1] = count * self._dtypes[node].itemsize
        return slots

    def _workers(self, pieces: Pieces, env: Mapping[str, int]) -> tuple[Words, list[Frame]]:
        """Each thread has tables, an arena and working memory of its own."""
        records = words(Worker.WORDS * pieces.threads)
        frames: list[Frame] = []
        left = pieces.rows % pieces.piece if self.batch else 0
        for k in range(pieces.threads):
            first = self._frame(pieces.piece, env)
            last = self._frame(left, env, first.work) if left else first
            frames += [first, last]
            records[Worker.WORDS * k : Worker.WORDS * (k + 1)] = [*first.addresses, *last.addresses]
        return records, frames

    def _frame(self, rows: int, env: Mapping[str, int], work: Any = None) -> Frame:
        own = {**env, self.batch: min(rows, env[self.batch])} if self.batch else env
        frame = self.program.frame(own, env, work=work)
        for node, address in self.fixed.items():
            frame.bind(self.program.leaves[node], address)
        compiled = self.program.compiled
        if compiled.standalone and has_chains(compiled.steps, frame.sizes_by_name()):
            crew().start()
            frame.T[CREW] = crew().address
        return frame
