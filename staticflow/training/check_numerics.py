"""Find where NaN or Inf first appears, in sessions with `check_numerics`.

A step is run as always; then its loss, gradients, states and new parameters are looked at. If one
is not finite, everything is put back, and the program's graph is computed again with NumPy on what
the step was given, node by node, until the first node whose value is not finite although its
operands are. An infinite constant, such as the -inf of a mask, is no fault before it makes a NaN.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from staticflow.compiler.codegen.driver_abi import HEADER
from staticflow.errors import NumericsError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.kinds import Map
from staticflow.graph.leaves import Const
from staticflow.graph.node import Node
from staticflow.native.memory import Array
from staticflow.native.training.shard_pool import ShardPool
from staticflow.runtime.interpreter import compute
from staticflow.runtime.parameters import FlatArray
from staticflow.runtime.program import Frame, Program
from staticflow.runtime.runner import Runner
from staticflow.training.epochs import Accumulated, Epochs
from staticflow.training.step_programs import ELEMENTS
from staticflow.training.trainer import Trainer
from staticflow.training.update import Update
from staticflow.training.update_frame import StepValues


class CheckedTrainer(Trainer):
    """A trainer that looks at each step, and takes back one in which NaN or Inf appears."""

    def run(
        self,
        pool: ShardPool,
        epochs: Epochs,
        sums: Sequence[NDArray[np.float64]],
        poll: Callable[[], None] | None = None,
        watch: bool = False,
    ) -> int:
        """As `Trainer.run`, one step after the other; raises NumericsError, watched for or not."""
        done = 0
        try:
            for batch in epochs.batches:
                into = [] if epochs.into is None else [epochs.into.total]
                changed = [*self._changed(), *into]
                before = [array.copy() for array in changed]
                one = epochs._replace(batches=range(batch, batch + 1))
                done += super().run(pool, one, sums, poll)
                if not all(map(_finite, self._results())):
                    done -= 1
                    for array, old in zip(changed, before, strict=True):
                        array[...] = old
                    last = batch % epochs.per_epoch == epochs.per_epoch - 1
                    smaller = epochs.ragged and last
                    rows = epochs.rows - (epochs.per_epoch - 1) * self.rows
                    self._refuse(
                        "ragged" if smaller else "whole",
                        rows if smaller else self.rows,
                        epochs.number(batch),
                    )
        finally:
            self.sync.done = done
        return done

    def _changed(self) -> list[Array]:
        return _changed(self.flat, self.values)

    def _results(self) -> Iterator[Array]:
        memory = self.shards[0]
        yield memory.metrics
        yield memory.gradient
        yield from memory.next_states.values()
        yield from self._changed()

    def _block_rows(self) -> tuple[int, ...]:
        return ()  # a fault is looked for in all rows

    def _frame(self, name: str) -> Frame:
        frame = self.shards[0].frames[name]
        assert isinstance(frame, Frame)
        return frame

    def _refuse(self, variant: str, rows: int, number: int) -> None:
        programs = self.programs
        what = f"in training step {number}"
        env = {**self.env, programs.batch: rows} if programs.batch else self.env
        find_fault(programs.forward, self._frame(variant), env, what)
        if programs.update is not None and self.flat is not None:
            _refuse_update(programs.update, self._frame("update"), self.flat.size, number)
        _refuse_step(number)


def check_update(
    update: Update, pool: ShardPool, accumulated: Accumulated, step_count: int
) -> None:
    """Make an update of accumulated gradients; a bad one is taken back: NumericsError."""
    changed = _changed(update.flat, update.values)
    before = [array.copy() for array in changed]
    update.run(pool, accumulated, step_count)
    if all(map(_finite, changed)):
        return
    update.sync.done = 0
    for array, old in zip(changed, before, strict=True):
        array[...] = old
    assert update.programs.update is not None
    _refuse_update(update.programs.update, update.frame, update.flat.size, step_count + 1)
    _refuse_step(step_count + 1)


def _changed(flat: FlatArray | None, values: StepValues) -> list[Array]:
    """What a step changes."""
    found = [] if flat is None else [flat.data]
    states = [flat.data for flat in values.states.flats.values()]
    return [*found, *values.slots.values(), *states]


def _refuse_update(update: Program, frame: Frame, size: int, number: int) -> None:
    find_fault(
        update, frame, {ELEMENTS: size}, f"in the optimizer's part of training step {number}"
    )


def _refuse_step(number: int) -> NoReturn:
    fail(
        NumericsError,
        f"NaN or Inf appears in training step {number}",
        got="loss, gradients or parameters that are not finite, of nodes that are when NumPy "
        "computes them: their values are near the limits of their dtype",
        do="scale the values, or use float64",
    )


def checked_run(runner: Runner, arrays: Sequence[Array]) -> list[Array]:
    """Run; raise NumericsError if that made NaN or Inf of finite inputs."""

    def check(frame: Frame, values: Sequence[Array]) -> None:
        if not all(map(_finite, values)):
            find_fault(runner.program, frame, runner.sizes(arrays), "in a run")

    return runner.long_way(arrays, None, check)


def find_fault(program: Program, frame: Frame, env: Mapping[str, int], what: str) -> None:
    """Compute a program's graph on what its frame is bound to; raise NumericsError at a fault."""
    compiled = program.compiled
    leaves = {
        node: _bound(node, int(frame.T[HEADER + buffer]), env)
        for node, buffer in program.leaves.items()
        if not isinstance(node.op, Const)
    }
    for node, array in leaves.items():
        if not _finite(array):
            _report_leaf(node, array, what)

    def watch(node: Node, value: Any, operands: Sequence[Any]) -> None:
        if isinstance(value, tuple):
            return  # a loop, whose body has been watched
        bad, nan = not _finite(value), _has_nan(value)
        made_bad = bad and all(map(_finite, operands))
        made_nan = nan and not any(map(_has_nan, operands))
        if made_bad or made_nan:
            _report(node, value, operands, what)

    compute(compiled.outputs, leaves, env, compiled.sized.streams, {}, True, watch)


def _bound(node: Node, address: int, env: Mapping[str, int]) -> Array:
    """The value of a leaf, where the program reads it."""
    shape = tuple(evaluate(n, env) for n in node.shape)
    dtype = np.dtype(node.dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    array: Array = np.frombuffer(ctypes.string_at(address, count), dtype).reshape(shape)
    return array


def _finite(value: Any) -> bool:
    return not _is_float(value) or bool(np.isfinite(value).all())


def _has_nan(value: Any) -> bool:
    return _is_float(value) and bool(np.isnan(value).any())


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _report_leaf(node: Node, array: Array, what: str) -> None:
    kind = type(node.op).__name__.lower()
    position, count, found = _first(array)
    fail(
        NumericsError,
        f"{kind} {node.name!r} holds {found} {what}",
        got=f"{array[position]} at {position}, {count} such of {array.size} elements",
        do="look at the data that is fed" if kind == "input" else "set it to finite values",
        where=node.where,
    )


def _report(node: Node, value: Array, operands: Sequence[Any], what: str) -> None:
    position, count, found = _first(value)
    made_of = ", ".join(
        f"{x.name} = {_shown(operand, node, value, position)}"
        for x, operand in zip(node.inputs, operands, strict=True)
    )
    fail(
        NumericsError,
        f"{node.name}: {found} first appears here {what}",
        got=f"{value[position]} at {position}, {count} such of {value.size} elements of "
        f"{node.type}, made of {made_of or 'nothing'}",
        do="keep its operands where the op has finite values; nothing has been changed",
        where=node.where,
    )


def _first(array: Array) -> tuple[tuple[int, ...], int, str]:
    """The position of the first NaN, or else Inf, how many there are, and which it is."""
    nan = np.isnan(array)
    wrong = nan if nan.any() else ~np.isfinite(array)
    position = tuple(int(i) for i in np.argwhere(wrong)[0])
    return position, int(wrong.sum()), "NaN" if nan.any() else "Inf"


def _shown(operand: Any, node: Node, value: Array, position: tuple[int, ...]) -> str:
    """An operand of a node: the element that counts, or the range of all."""
    if isinstance(operand, tuple):
        return "several values"
    if operand.ndim == 0:
        return str(operand[()])
    if isinstance(node.op, Map) and operand.shape == value.shape:
        return str(operand[position])
    if operand.size == 0:
        return "no element"
    with np.errstate(all="ignore"):
        return f"{_type_of(operand)} from {operand.min()} to {operand.max()}"


def _type_of(array: Array) -> str:
    """An array's dtype and shape, as for nodes."""
    return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"
