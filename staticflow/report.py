"""What a session compiled to, as text: graph, kernels, memory plan, choices, time per kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.blocking import BlockedFrame
from staticflow.driver_tables import PROFILE
from staticflow.driver_text import describe
from staticflow.graph_text import format_graph
from staticflow.native.worker_tables import words
from staticflow.program import Frame, Program
from staticflow.schedule import BranchStep, HalvesStep, LoopStep, Step, where_of

if TYPE_CHECKING:
    from staticflow.session import Session
    from staticflow.training import Trainer

_INDENT = "    "  # of what is within a loop or a branch


def session_source(session: Session) -> str:
    """The source of the training step if there is a loss and an optimizer, else of the outputs."""
    return "\n\n".join(program.source for program in _programs(session))


def _programs(session: Session) -> list[Program]:
    if session.loss is None:
        return [session._fetches.fetch(session.outputs).runner.program]
    programs = session._step_programs(session.batch_name())
    return [p for p in (programs.forward, programs.update) if p is not None]


def explain_session(session: Session) -> str:
    """The graph, the kernels, the memory plan and the cost model's choices."""
    parts = ["GRAPH", format_graph(session._roots()), *_left_alone(session)]
    for program in _programs(session):
        compiled = program.compiled
        parts += ["", f"PROGRAM {program.function.symbol}", "", "SIZES"]
        parts += [f"  n{i} = {size}" for i, size in enumerate(compiled.g.sizes)]
        parts += ["", "KERNELS"]
        parts += [f"  {describe(step)}  # {where_of(step)}" for step in compiled.steps]
        parts += ["", "MEMORY", *_memory(program)]
        placement = compiled.placement
        sharded = f"rows of {placement.shard!r}" if placement.shard else placement.reason
        parts += ["", f"SHARDS  {sharded}"]
    for trainer in session._trainers.values():
        parts += _chosen(trainer)
    return "\n".join([*parts, *_runs(session)])


def _left_alone(session: Session) -> Iterator[str]:
    """The parameters that training does not move, and why."""
    if session.loss is None:
        return
    unreached = [n.name for n in session._step_programs(session.batch_name()).unreached]
    frozen = [name for name, n in session.params.nodes.items() if n not in session._trained]
    if frozen:
        yield f"\nNOT TRAINED  {', '.join(frozen)}"
    if unreached:
        yield f"\nLEFT ALONE  {', '.join(unreached)}: the loss does not depend on them"


def _chosen(trainer: Trainer) -> Iterator[str]:
    """How steps of these sizes are trained, and why."""
    choice = trainer.choice
    yield (
        f"CHOICE  sizes {trainer.env}: {choice.shards} shard(s); estimated "
        f"{choice.serial_ns / 1e3:.1f} us on one, {choice.sharded_ns / 1e3:.1f} us as chosen "
        f"or on all; {choice.reason or 'sharding pays'}"
    )
    if trainer.block:
        yield f"  in blocks of {trainer.block} rows, which the caches hold"
    if trainer.partial is not None:
        yield (
            f"  {trainer.partial.slot.node.name}: each shard multiplies by the rows that it "
            "updates, for all; fetching the others costs more than the parts of the sum"
        )
    if trainer.owned:
        names = ", ".join(x.slot.node.name for x in trainer.owned)
        yield f"  {names}: gradients larger than their factors, made by the shard that updates them"


def _runs(session: Session) -> Iterator[str]:
    """How runs were cut, for the sizes seen so far."""
    for fetch in session._fetches.known.values():
        runner, names = fetch.runner, [x.name for x in fetch.runner.inputs]
        for shapes, pieces in runner.direct.pieces() if runner.direct else []:
            fed = ", ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True))
            yield (
                f"RUN  {fed}: {pieces.rows} rows in pieces of {pieces.piece}, on "
                f"{pieces.threads} thread(s); estimated {pieces.nanoseconds / 1e3:.1f} us on one"
            )


def _memory(program: Program) -> list[str]:
    plan = program.compiled.memory
    lines = [
        f"  slot {i}: {' or '.join(map(str, sizes))} bytes" for i, sizes in enumerate(plan.slots)
    ]
    for buffer, slot in plan.slot_of.items():
        first, last = plan.live[buffer]
        node = program.compiled.layout.buffers[buffer].node
        lines.append(
            f"  {node.name} (buffer {buffer}) in slot {slot}, live in steps {first}..{last}"
        )
    return lines or ["  no temporaries"]


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


def profile_program(
    program: Program, frame: Frame | BlockedFrame, repeat: int
) -> list[tuple[float, str]]:
    """The microseconds of every step of a program, in the median one of `repeat` runs.

    Other processes and interrupts make some runs take a multiple of the others' time.
    """
    steps = list(_with_depth(program.compiled.steps))
    cycles = words(len(steps))
    # of a shard that runs in blocks, the first block stands for all
    first = frame.frames[0] if isinstance(frame, BlockedFrame) else frame
    first.T[PROFILE] = cycles.ctypes.data
    call: Any = program.timed.bind()
    call(*first.addresses)
    runs, seconds = [], []
    for _ in range(max(1, repeat)):
        cycles[:] = 0
        begin = time.perf_counter()
        call(*first.addresses)
        seconds.append(time.perf_counter() - begin)
        runs.append(cycles.copy())
    outermost = [depth == 0 for depth, _ in steps]
    whole = [int(run[: len(steps)][outermost].sum()) for run in runs]
    per_cycle = sum(seconds) * 1e6 / max(1, sum(whole))
    median = runs[int(np.argsort(whole)[len(whole) // 2])]
    return [
        (float(n) * per_cycle, f"{_INDENT * depth}{describe(step)}  # {where_of(step)}")
        for n, (depth, step) in zip(median, steps, strict=False)
    ]


def _with_depth(steps: Sequence[Step], depth: int = 0) -> Iterator[tuple[int, Step]]:
    """The steps in the order of their clocks, and how many loops they are in."""
    for step in steps:
        yield depth, step
        if isinstance(step, LoopStep | BranchStep):
            yield from _with_depth(step.body, depth + 1)
        elif isinstance(step, HalvesStep):
            yield from _with_depth(step.steps, depth + 1)


def profile_session(session: Session, feeds: Mapping[Any, Any], repeat: int) -> Profile:
    """Profile forward, backward and update on one batch; parameters are put back afterwards.

    Of a session without a loss, the computation of its outputs.
    """
    if session.loss is None:
        return _profile_outputs(session, feeds, repeat)
    kept = {name: array.copy() for name, array in session.params.items()}
    slots = {name: array.copy() for name, array in session._slots.items()}
    trainer, _ = session._run_batch(feeds, None, train=False)
    frames = trainer.shards[0].frames
    rows = profile_program(trainer.programs.forward, frames["whole"], repeat)
    if trainer.programs.update is not None:
        rows += profile_program(trainer.programs.update, frames["update"], repeat)
    trainer.release()
    for name, array in kept.items():
        session.params[name][...] = array
    for name, array in slots.items():
        session._slots[name][:] = array
    return _profile(rows)


def _profile_outputs(session: Session, feeds: Mapping[Any, Any], repeat: int) -> Profile:
    fetch = session._fetches.fetch(session.outputs)
    fetches = session._fetches
    arrays = [*fetches.feed(fetch, feeds), *fetches.numbers(fetch, session.seed)]
    frame, kept = fetch.runner.filled_frame(arrays)
    rows = profile_program(fetch.runner.program, frame, repeat)
    del kept
    return _profile(rows)


def _profile(rows: list[tuple[float, str]]) -> Profile:
    return Profile(tuple(rows), sum(us for us, what in rows if not what.startswith(_INDENT)))
