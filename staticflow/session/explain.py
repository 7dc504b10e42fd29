"""What a session compiled to, as text: source, graph, kernels, memory plan and choices."""

from __future__ import annotations

from collections.abc import Iterator

from staticflow.compiler.codegen.driver import describe
from staticflow.compiler.ir.steps import where_of
from staticflow.graph.printer import format_graph
from staticflow.runtime.printing.module_source import functions_text, module_text, outputs_source
from staticflow.runtime.program import Program
from staticflow.session.run.fetch import Fetches
from staticflow.session.run.steps import printed_programs, reported_programs
from staticflow.session.state.session_state import SessionState
from staticflow.training.printed_training import TrainingStart, training_main
from staticflow.training.trainer import Trainer


def source(fetches: Fetches) -> str:
    """A module that trains if there is a loss and an optimizer, else one that computes the outputs.

    It runs by itself: `python FILE`.
    """
    state = fetches.state
    if state.graph.loss is None:
        fetch = fetches.fetch(state.graph.outputs)
        return outputs_source(fetch.runner.program, fetch.runner.inputs, {"seed": state.seed})
    programs = printed_programs(state)
    flat = state.params.flats[(programs.params[0].dtype, True)] if programs.params else None
    start = TrainingStart(
        state.params, state.states, flat, state.optimizer, state.extras, state.seed
    )
    title = "A training step, as staticflow compiled it."
    return module_text(title, functions_text(programs.all), training_main(programs, start))


def _programs(fetches: Fetches, batch_axis: str | None) -> list[Program]:
    state = fetches.state
    if state.graph.loss is None:
        return [fetches.fetch(state.graph.outputs).runner.program]
    programs = reported_programs(state, batch_axis)
    return programs.all


def explain(fetches: Fetches, batch_axis: str | None = None) -> str:
    """The graph, the kernels, the memory plan and the cost model's choices."""
    state = fetches.state
    parts = ["GRAPH", format_graph(state.graph.roots), *_left_alone(state, batch_axis)]
    for program in _programs(fetches, batch_axis):
        compiled = program.compiled
        parts += ["", f"PROGRAM {program.function.symbol}", "", "SIZES"]
        parts += [f"  n{i} = {size}" for i, size in enumerate(compiled.sized.sizes)]
        parts += ["", "KERNELS"]
        steps = [f"  {describe(step)}  # {where_of(step)}" for step in compiled.steps]
        parts += map(program.shown, steps)
        parts += ["", "MEMORY", *_memory(program)]
        sharding = compiled.sharding
        sharded = f"rows of {sharding.shard!r}" if sharding.shard else sharding.reason
        parts += ["", f"SHARDS  {sharded}"]
    for trainer in state.trainers.values():
        parts += _chosen(trainer)
    return "\n".join([*parts, *_runs(fetches)])


def _left_alone(state: SessionState, batch_axis: str | None) -> Iterator[str]:
    """The parameters that training does not move, and why."""
    if state.graph.loss is None:
        return
    programs = reported_programs(state, batch_axis)
    unreached = [n.name for n in programs.unreached]
    frozen = [name for name, n in state.params.nodes.items() if n not in state.trained]
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
    alone, together = trainer.ways
    if alone.steps + together.steps:
        yield (
            f"  {together.steps} steps on several threads at once, {together.cycles} cycles each; "
            f"{alone.steps} on one, {alone.cycles} cycles each: measured while running"
        )
    for part, block in zip(trainer.programs.parts, trainer.blocks, strict=False):
        if part.rows and block < trainer.env[part.rows]:
            yield f"  rows of {part.rows} in blocks of {block}, which the caches hold"
    for part in trainer.programs.parts[1:]:
        data = f"rows of {part.rows}" if part.rows else "no rows that can be cut"
        yield (
            f"  a program of its own, once a step, for what of the loss reads {data}, "
            f"and none of {trainer.programs.batch}"
        )
    if trainer.partial is not None:
        yield (
            f"  {trainer.partial.span.node.name}: each shard multiplies by the rows that it "
            "updates, for all; fetching the others costs more than the parts of the sum"
        )
    if trainer.owned:
        names = ", ".join(x.span.node.name for x in trainer.owned)
        yield f"  {names}: gradients larger than their factors, made by the shard that updates them"


def _runs(fetches: Fetches) -> Iterator[str]:
    """How runs were cut, for the sizes seen so far."""
    for fetch in fetches.known.values():
        runner, names = fetch.runner, [x.name for x in fetch.runner.inputs]
        for shapes, pieces in runner.fast_call.pieces() if runner.fast_call else []:
            fed = ", ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True))
            yield (
                f"RUN  {fed}: {pieces.rows} rows in pieces of {pieces.piece}, on "
                f"{pieces.threads} thread(s); estimated {pieces.nanoseconds / 1e3:.1f} us on one"
            )


def _memory(program: Program) -> list[str]:
    plan = program.compiled.memory
    lines = [
        f"  chunk {i}: {' or '.join(map(str, sizes))} bytes" for i, sizes in enumerate(plan.chunks)
    ]
    for buffer, chunk in plan.chunk_of.items():
        first, last = plan.live[buffer]
        node = program.compiled.assignment.buffers[buffer].node
        lines.append(
            f"  {node.name} (buffer {buffer}) in chunk {chunk}, live in steps {first}..{last}"
        )
    return lines or ["  no temporaries"]
