"""The loop over batches and the `main` of a printed module that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.compiler.passes.sharding import SHARE
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Node
from staticflow.native.memory import CORE_CACHE_BYTES, Array
from staticflow.optim.algorithms import Optimizer
from staticflow.runtime.blocked_frame import gradients_fit
from staticflow.runtime.parameters import FlatArray, ParameterStore
from staticflow.runtime.printing.module_main import Main, shape_text, variable_of
from staticflow.training.step_programs import ELEMENTS, NextState, OldState, StepPrograms

ROWS, BATCHES, EPOCHS = 32, 4, 3  # of a batch; batches of random data; epochs


@dataclass(frozen=True)
class TrainingStart:
    """What a printed training starts with."""

    params: ParameterStore
    states: ParameterStore
    flat: FlatArray | None
    optimizer: Optimizer | None
    extras: Mapping[str, Array]
    seed: int


def training_main(programs: StepPrograms, start: TrainingStart) -> str:
    """The loop over batches, and `main`."""
    main = _Training(programs, start)
    return f"{main.loop()}\n\n{main.text()}"


class _Training(Main):
    def __init__(self, programs: StepPrograms, start: TrainingStart) -> None:
        super().__init__()
        self.programs, self.start = programs, start
        self.batch = programs.batch
        leaves = programs.forward.leaves
        self.blocked = _may_have_blocks(programs, start.flat)
        self.shares: dict[int, str] = {}  # the buffers of the share of a block, and their dtypes
        self.cut = [
            (name, leaves[node], [i for i, n in enumerate(node.shape) if n == self.batch])
            for name, node in programs.inputs.items()
            if node in leaves and any(n == self.batch for n in node.shape)
        ]

    def loop(self) -> str:
        """The function that goes over the batches of an epoch."""
        write, updates = SourceWriter(), self.programs.update is not None
        count = len(self.cut)
        tables = "i8*, i8, i8" if self.blocked else "i8*, i8*, i8*"
        write(f'@loop("i8({tables}, {"i8*, " * 4}f8*, f8*, i8)")')
        arguments = ", ".join((*self._tables, "update_T, update_S, rows, step, metrics, sums"))
        with write.block(f"def train({arguments}, batches):"):
            write("state = flush_denormals()")
            write("failed = 0")
            with write.block("for batch in range(batches):"):
                for k, (name, buffer, _) in enumerate(self.cut):
                    table = "outside" if self.blocked else "T"
                    entry = f"{table}[{HEADER + buffer}] = rows[{count} * batch + {k}]"
                    write.noted(entry, f"the batch's rows of {name}")
                write("step[0] += 1")
                write("if batch == batches - 1:")
                step = "run_blocks({}, 0)" if self.blocked else "forward_backward(T, {})"
                whole, last = self._tables[1:]
                write(f"    failed = {step.format(last)}")
                write("else:")
                write(f"    failed = {step.format(whole)}")
                if updates:
                    write("if failed == 0:")
                    write("    failed = update(update_T, update_S)")
                write("if failed != 0:")
                write("    break")
                with write.block(f"for m in range({1 + len(self.programs.metrics)}):"):
                    write("sums[m] += metrics[m]")
            write("restore_denormals(state)")
            write("return failed")
        return write.text

    def text(self) -> str:
        """`main`."""
        write, programs, start = self.write, self.programs, self.start
        rows = ROWS
        self.sizes(programs.inputs, {self.batch: BATCHES * rows} if self.batch else {})
        write(f"rows = size[{self.batch!r}]" if self.batch else "rows = 1")
        write("")
        for name, node in programs.inputs.items():
            array = f"given.array({name!r}, {shape_text(node.shape)}, {node.dtype!r})"
            write(f"{variable_of(name, list(programs.inputs))} = {array}")
        self._values()
        write("")
        if self.batch:
            write(f"batch = size[{self.batch!r}] = min({rows}, rows)")
        else:
            write("batch = 1")
        if self.blocked:
            self._blocks()
        else:
            self._whole()
        if programs.update is None:
            write("update_T, update_S = T, S  # nothing is trained")
        else:
            write("")
            assert start.flat is not None
            write(f"size[{ELEMENTS!r}] = {start.flat.size}")
            self.table_of_sizes("update_S", programs.update)
            self.table_of_buffers("update_T", "update_S", programs.update, self._update_place)
        self._epochs()
        return f"def main():\n{write.text}\n\nif __name__ == '__main__':\n    main()\n"

    def _whole(self) -> None:
        """The tables of a batch whose rows are run at once."""
        self.table_of_sizes("S", self.programs.forward)
        self.outputs = self._results("metrics", "g")
        self.table_of_buffers("T", "S", self.programs.forward, self._place)
        self.outputs = {}
        self._last_sizes()

    def _blocks(self) -> None:
        """The tables of a batch whose rows are run in blocks, and those of the last batch."""
        write, name, flat = self.write, self.batch, self.start.flat
        forward = self.programs.forward
        write("")
        self.sizes_of_blocks(forward, name)
        gradient_bytes = 0 if flat is None else flat.data.nbytes
        write("# The rows of a block: their intermediate values stay in the cache.")
        write(f"block = block_rows(batch, {gradient_bytes}, arena)")
        write("S = sizes(block, 0, batch)")
        self.names_of_sizes("S", forward)
        write("part_metrics = given.new('float64', len(metrics))  # of a block")
        sums = ["(part_metrics, metrics)"]
        if flat is not None:
            write(f"part_g = given.new({flat.dtype!r}, {flat.size})")
            sums.append("(part_g, g)")
        self.outputs = self._results("part_metrics", "part_g")
        self.table_of_buffers("T", "S", forward, self._place)
        self.outputs = {}
        write("last = rows % batch or batch  # rows of the last batch")
        write("last_T = given.keep(T.copy())")
        for buffer, dtype in self.shares.items():
            write(f"last_T[{HEADER + buffer}] = {_share('last', dtype)}")
        write("")
        write("outside = given.new('int64', len(T))  # where the rows of a batch are")
        write(f"totals = [{', '.join(sums)}]  # what is added up")
        row_bytes = ", ".join(f"{b}: {n}[:1].nbytes" for n, b in self._rows())
        write(f"row_bytes = {{{row_bytes}}}  # of inputs, by their buffers")
        with write.block("def blocks(T, rows):"):
            write('"""What `run_blocks` goes over, for so many rows."""')
            write("tables = {}")
            with write.block("for first in range(0, rows, block):"):
                write("tables[first] = sizes(min(block, rows - first), first, rows)")
            write("return given.blocks(forward_backward, outside, T, tables, row_bytes, totals)")
        write("")
        write("whole, last_blocks = blocks(T, batch), blocks(last_T, last)")

    def _rows(self) -> list[tuple[str, int]]:
        """What `main` calls the inputs with rows, and their buffers."""
        names = list(self.programs.inputs)
        return [(variable_of(name, names), buffer) for name, buffer, _ in self.cut]

    @property
    def _tables(self) -> tuple[str, str, str]:
        """The loop's first arguments: where rows are, what runs a batch, what runs the last one."""
        return ("outside", "whole", "last_blocks") if self.blocked else ("T", "S", "last_S")

    def _values(self) -> None:
        """Parameters, gradients, slots and states."""
        write, start, flat = self.write, self.start, self.start.flat
        write("")
        if flat is not None:
            write("# The trained parameters, one after the other, and arrays of their layout.")
            own = list(self.start.optimizer.slots) if self.start.optimizer is not None else []
            for name in ("p", "g", *map(_slot, own)):
                write(f"{name} = given.new({flat.dtype!r}, {flat.size})")
            if start.optimizer is not None:
                for name in own:
                    initial = start.optimizer.slot_init(name)
                    if initial:
                        write(f"{_slot(name)}[:] = {initial!r}")
            for span in flat.spans:
                value = self._initial(span.node)
                write(f"p[{span.start} : {span.start + span.count}] = {value}.ravel()")
        others = {
            n: node
            for store in (start.params, start.states)
            for n, node in store.nodes.items()
            if flat is None or node not in {span.node for span in flat.spans}
        }
        for k, node in enumerate(others.values()):
            write(f"value{k} = {self._initial(node)}")
        self.others = {node: f"value{k}" for k, node in enumerate(others.values())}
        write("step = given.new('int64', 1)")
        write(f"metrics = given.new('float64', {1 + len(self.programs.metrics)})")
        self.next_states = {}
        for k, state in enumerate(self.programs.states):
            write(f"next{k} = given.new({state.dtype!r}, *{shape_text(state.shape)})")
            self.next_states[state.name] = f"next{k}"

    def _initial(self, node: Node) -> str:
        shape = [n for n in node.shape if isinstance(n, int)]
        scale = f", {shape[0] ** -0.5:.4g}" if len(shape) > 1 and shape[0] else ", 0.0"
        return f"given.array({node.name!r}, {shape_text(shape)}, {node.dtype!r}{scale})"

    def _place(self, node: Node) -> str | None:
        flat, programs = self.start.flat, self.programs
        for name, own in programs.inputs.items():
            if own is node:
                return f"{variable_of(name, list(programs.inputs))}.ctypes.data"
        for span in () if flat is None else flat.spans:
            if span.node is node:
                return f"p[{span.start}:].ctypes.data"
        if node in self.others:
            return f"{self.others[node]}.ctypes.data"
        return self._number(node)

    def _number(self, node: Node) -> str | None:
        """A number that a session sets."""
        if not isinstance(node.op, Hyper):
            return None
        if node.op.label == SHARE:
            if not self.blocked or node not in self.programs.forward.leaves:
                return f"given.keep(np.array([1.0], {node.dtype!r})).ctypes.data"
            self.shares[self.programs.forward.leaves[node]] = node.dtype
            return _share("batch", node.dtype)
        if node.op.label == "step":
            return "step.ctypes.data"
        return f"given.keep(np.array([{self.start.seed}])).ctypes.data"

    def _results(self, metrics: str, g: str) -> dict[int, str]:
        """Where the first program leaves loss, metrics, gradients and the states' next values."""
        programs, flat = self.programs, self.start.flat
        places = [f"{metrics}[{m}:]" for m in range(1 + len(programs.metrics))]
        places += [f"{g}[{span.start}:]" for span in (() if flat is None else flat.spans)]
        places += list(self.next_states.values())
        buffers = programs.forward.compiled.output_buffers
        return {b: f"{x}.ctypes.data" for b, x in zip(buffers, places, strict=True)}

    def _last_sizes(self) -> None:
        write, name = self.write, self.batch
        if not name:
            write("last_S = S")
            return
        write("if rows % batch == 0:")
        write("    last_S = S")
        with write.block("else:  # the last batch has fewer rows"):
            write(f"size[{name!r}] = rows % batch")
            self.table_of_sizes("last_S", self.programs.forward)

    def _update_place(self, node: Node) -> str | None:
        start = self.start
        names = {own: name for name, own in self.programs.update_leaves.items()}
        name = names.get(node)
        if name is None:
            return self._number(node)
        if isinstance(name, NextState):
            return f"{self.next_states[name.name]}.ctypes.data"
        if isinstance(name, OldState):
            return f"{self.others[node]}.ctypes.data"
        if name in ("p", "g"):
            return f"{name}.ctypes.data"
        if start.optimizer is not None and name in start.optimizer.slots:
            return f"{_slot(name)}.ctypes.data"
        if name == "lr":
            rate = 0.0 if start.optimizer is None else float(np.ravel(start.optimizer.base_lr)[0])
            return f"given.keep(np.array([{rate!r}])).ctypes.data"
        if name == "step":
            return "step.ctypes.data"
        return f"given.keep({_runs(start.extras[name])}).ctypes.data"

    def _epochs(self) -> None:
        write = self.write
        write("")
        cut = []
        for name, _, axes in self.cut:
            variable = variable_of(name, list(self.programs.inputs))
            cut.append(f"given.batches({variable}, {tuple(axes)}, batch)")
        pairs = f"np.array([{', '.join(cut)}]).T.copy()" if cut else "np.zeros(1, 'int64')"
        write("# The addresses of each batch's rows.")
        write(f"places = {pairs}")
        write("batches = -(-rows // batch)")
        with write.block(f"for epoch in range({EPOCHS}):"):
            write("sums = np.zeros(len(metrics))")
            arguments = ", ".join(
                (*self._tables, "update_T, update_S, places, step, metrics, sums")
            )
            write(f"failed = train({arguments}, batches)")
            write("if failed != 0:")
            write("    raise SystemExit(f'the program gave up with code {failed}')")
            write("print(f'epoch {epoch + 1}: loss {float(sums[0] / rows)!r}')")
        write("given.write('loss', sums[0] / rows)")
        flat = self.start.flat
        for span in () if flat is None else flat.spans:
            value = f"p[{span.start} : {span.start + span.count}].reshape"
            write(f"given.write({span.node.name!r}, {value}{shape_text(span.node.shape)})")
        for node, value in self.others.items():
            write(f"given.write({node.name!r}, {value})")
        write("given.close()")


def _may_have_blocks(programs: StepPrograms, flat: FlatArray | None) -> bool:
    """Whether the rows of a printed batch may be run in blocks, at some sizes."""
    gradient_bytes = 0 if flat is None else flat.data.nbytes
    if not programs.adds_up_rows(programs.parts[0]) or not gradients_fit(gradient_bytes):
        return False
    forward = programs.forward
    if forward.dimensions - {programs.batch}:
        return True  # which the data tells
    return forward.arena_bytes({programs.batch: ROWS}) > CORE_CACHE_BYTES


def _share(rows: str, dtype: str) -> str:
    """Where the part is that a block has of what all of them add up to."""
    return f"given.keep(np.array([1 / -(-{rows} // block)], {dtype!r})).ctypes.data"


def _runs(values: Array) -> str:
    """Few different numbers in long runs, as source."""
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    counts = [b - a for a, b in pairwise(edges)]
    numbers = [float(values[a]) for a in edges[:-1]]
    return f"np.repeat(np.array({numbers}, {values.dtype.name!r}), {counts})"


def _slot(name: str) -> str:
    """What `main` calls an array of the optimizer's."""
    return f"slot_{name}"
