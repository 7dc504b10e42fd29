"""Looking into the compiler: what stands after each of its passes.

    print(sf.compiler.trace(loss, training=True))

shows the graph, then the steps, then the memory and the driver, as they become; a pass that changes
nothing has a line of its own and no more. Each state is verified (`staticflow.compiler.verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.compiler.codegen.driver import describe
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.codegen.writer import wrapped
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import KernelStep, Step, children, where_of
from staticflow.compiler.pipeline import PIPELINE, Pass, State, without
from staticflow.compiler.verify import verify
from staticflow.graph.node import Node
from staticflow.graph.printer import format_graph

__all__ = ["PIPELINE", "Pass", "State", "Trace", "TracedPass", "trace", "without"]


@dataclass(frozen=True)
class TracedPass:
    """What one pass has left."""

    name: str
    reason: str
    text: str
    changed: bool


@dataclass(frozen=True)
class Trace:
    """The passes that have run, in order. Printed, it shows what each has changed."""

    passes: tuple[TracedPass, ...]

    def __str__(self) -> str:
        parts = []
        for number, each in enumerate(self.passes, 1):
            head = f"{number}. {each.name}: {each.reason}"
            parts.append(f"{head}\n\n{each.text}\n" if each.changed else f"{head}  (no change)\n")
        return "\n".join(parts)


def trace(
    outputs: Node | Sequence[Node],
    *,
    training: bool = False,
    standalone: bool = False,
    shard: str | None = None,
    pipeline: Sequence[Pass] = PIPELINE,
) -> Trace:
    """Compile the outputs, and keep what stands after each pass.

    With `training`, modes are those of training; `standalone` is what `sf.function` compiles;
    `shard` names the dimension whose rows are split over threads. Raises what compiling raises, and
    `VerificationError` after a pass that has left something wrong.
    """
    roots = [outputs] if isinstance(outputs, Node) else list(outputs)
    found: list[TracedPass] = []
    last = ""

    def observe(each: Pass, before: State, after: State) -> None:
        nonlocal last
        verify(each, before, after)
        text = state_text(after)
        found.append(TracedPass(each.name, each.reason, text, text != last))
        last = text

    compile_graph(
        roots, training=training, standalone=standalone, shard=shard, pipeline=pipeline,
        observers=[observe],
    )  # fmt: skip
    return Trace(tuple(found))


def state_text(state: State) -> str:
    """The latest form of a program: its graph, its steps, its memory, or its driver."""
    if state.driver is not None:
        return wrapped(state.driver.source).rstrip()
    if state.memory is not None:
        return "\n".join(_memory_lines(state))
    if state.steps is not None:
        return "\n".join(_step_lines(state.steps, 0))
    if state.groups:
        return "\n".join(_group_lines(state))
    return format_graph(state.roots)


def _group_lines(state: State) -> list[str]:
    assignment = state.assignment
    lines = []
    for group in state.groups:
        lines.append(f"{group.kind.name.lower()} over {_shape(group.space)}")
        for node in group.nodes:
            access = None if assignment is None else assignment.access.get(node)
            place = "" if access is None else f"  in buffer {access.buffer}"
            lines.append(f"    {node.op.name}: {node.name}{place}  # {node.where}")
    return lines


def _shape(space: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, space))}]"


def _step_lines(steps: Sequence[Step], depth: int) -> list[str]:
    lines = []
    for step in steps:
        kind = type(step).__name__.removesuffix("Step").lower()
        reads, writes = (", ".join(f"b{b}" for b in sorted(x)) for x in (step.reads, step.writes))
        head = f"{kind} {writes} <- {reads or 'nothing'}: {describe(step)}  # {where_of(step)}"
        lines.append("    " * depth + head)
        if isinstance(step, KernelStep):
            source = kernel_source(step.kernel, step.kernel.label or "kernel")
            lines += ["    " * (depth + 1) + line for line in source.splitlines()]
        for body in children(step):
            lines += _step_lines(body, depth + 1)
    return lines


def _memory_lines(state: State) -> list[str]:
    plan = state.memory
    assert plan is not None
    lines = [
        f"chunk {i}: {' or '.join(map(str, sizes))} bytes" for i, sizes in enumerate(plan.chunks)
    ]
    for buffer, chunk in sorted(plan.chunk_of.items()):
        first, last = plan.live[buffer]
        lines.append(f"b{buffer} in chunk {chunk}, live in steps {first} .. {last}")
    return lines or ["no temporaries"]
