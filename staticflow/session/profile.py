"""Time per kernel of a training step or a run, as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.compiler.codegen.driver import describe
from staticflow.compiler.codegen.driver_abi import PROFILE
from staticflow.compiler.ir.steps import BlockStep, Step, children, where_of
from staticflow.native.memory import words
from staticflow.runtime.blocked_frame import BlockedFrame
from staticflow.runtime.program import Frame, Program
from staticflow.session.run.fetch import Fetches
from staticflow.session.run.steps import run_batch
from staticflow.training.shard import ShardMemory

_INDENT = "    "  # of what is within a loop or a branch


@dataclass(frozen=True)
class Profile:
    """Time per kernel of one training step or run.

    A loop's row counts all of its steps; indented rows behind it tell its kernels apart.
    """

    rows: tuple[tuple[float, str], ...]  # microseconds, what and where
    step_us: float

    def __str__(self) -> str:
        total = max(self.step_us, 1e-9)
        lines = [f"{us:10.3f} us {us / total:6.1%}  {what}" for us, what in self.rows]
        return "\n".join([*lines, f"{total:10.3f} us in all kernels"])


def profile_program(program: Program, frame: Frame, repeat: int) -> list[tuple[float, str]]:
    """The microseconds of every step of a program, in the median one of `repeat` runs.

    Other processes and interrupts make some runs take a multiple of the others' time.
    """
    steps = list(_with_depth(program.compiled.steps))
    cycles = words(len(steps))
    frame.T[PROFILE] = cycles.ctypes.data
    call: Any = program.timed.bind()
    call(*frame.addresses)
    runs, seconds = [], []
    for _ in range(max(1, repeat)):
        cycles[:] = 0
        begin = time.perf_counter()
        call(*frame.addresses)
        seconds.append(time.perf_counter() - begin)
        runs.append(cycles.copy())
    outermost = [depth == 0 for depth, _ in steps]
    whole = [int(run[: len(steps)][outermost].sum()) for run in runs]
    per_cycle = sum(seconds) * 1e6 / max(1, sum(whole))
    median = runs[int(np.argsort(whole)[len(whole) // 2])]
    return [
        (
            float(n) * per_cycle,
            program.shown(f"{_INDENT * depth}{describe(step)}  # {where_of(step)}"),
        )
        for n, (depth, step) in zip(median, steps, strict=False)
    ]


def _with_depth(steps: Sequence[Step], depth: int = 0) -> Iterator[tuple[int, Step]]:
    """The steps in the order of their clocks, and how many loops they are in."""
    for step in steps:
        yield depth, step
        if not isinstance(step, BlockStep):  # which has one clock for all that is in it
            for body in children(step):
                yield from _with_depth(body, depth + 1)


def profile(
    fetches: Fetches, feeds: Mapping[Any, Any], repeat: int, batch_axis: str | None = None
) -> Profile:
    """Profile forward, backward and update on one batch; all values are put back afterwards.

    Of a session without a loss, the computation of its outputs.
    """
    state = fetches.state
    if state.graph.loss is None:
        return _profile_outputs(fetches, feeds, repeat)
    values = [*state.params.values(), *state.states.values(), *state.slots.values()]
    kept = [array.copy() for array in values]
    trainer, _ = run_batch(state, feeds, batch_axis, train=False)
    rows = []
    for program, frame in zip(trainer.programs.all, _frames(trainer.shards[0]), strict=True):
        rows += profile_program(program, frame, repeat)
    trainer.release()
    for array, old in zip(values, kept, strict=True):
        array[...] = old
    return _profile(rows)


def _frames(shard: ShardMemory) -> Iterator[Frame]:
    """A frame of each program of a training step; where rows run in blocks, that of the first."""
    for name in ("whole", "update"):
        frame = shard.frames.get(name)
        if isinstance(frame, BlockedFrame):
            yield from (part.frames[0] for part in frame.parts)
        elif frame is not None:
            yield frame


def _profile_outputs(fetches: Fetches, feeds: Mapping[Any, Any], repeat: int) -> Profile:
    state = fetches.state
    fetch = fetches.fetch(state.graph.outputs)
    arrays = [*fetches.feed(fetch, feeds), *fetches.numbers(fetch, state.seed)]
    frame, kept = fetch.runner.filled_frame(arrays)
    rows = profile_program(fetch.runner.program, frame, repeat)
    del kept
    return _profile(rows)


def _profile(rows: list[tuple[float, str]]) -> Profile:
    return Profile(tuple(rows), sum(us for us, what in rows if not what.startswith(_INDENT)))
