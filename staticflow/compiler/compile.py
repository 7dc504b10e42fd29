"""The compiler: outputs in, a program out, by the passes of the pipeline.

`compile_graph` takes output nodes and returns a `Compiled` program: source, kernels, tables and
memory plan, none of it loaded yet. `staticflow.compiler.pipeline` lists the passes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from staticflow.compiler.codegen.driver import DriverText
from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.ir.steps import Step
from staticflow.compiler.lowering.buffers import BufferAssignment
from staticflow.compiler.passes.sharding import Sharding
from staticflow.compiler.pipeline import PIPELINE, Observer, Pass, State, Task, run_passes
from staticflow.compiler.schedule.memory_plan import MemoryPlan, memory_plans
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.node import Node


@dataclass(frozen=True)
class Compiled:
    """A program: everything but the machine code and the memory."""

    outputs: tuple[Node, ...]
    sized: SizedGraph
    assignment: BufferAssignment
    steps: tuple[Step, ...]
    memory: MemoryPlan
    memory_with_owners: MemoryPlan  # for runs that leave the marked products to the end
    driver: DriverText
    sharding: Sharding
    output_buffers: tuple[int, ...]
    standalone: bool


def compile_graph(
    outputs: Sequence[Node],
    *,
    training: bool = False,
    shard: str | None = None,
    whole: Collection[int] = (),
    donations: Mapping[int, Node] | None = None,
    standalone: bool = False,
    name: str = "step",
    pipeline: Sequence[Pass] = PIPELINE,
    observers: Sequence[Observer] = (),
) -> Compiled:
    """Compile the given outputs.

    `shard` names the dimension whose rows may be split over shards; the outputs at the positions
    `whole` are not left as partial sums. `donations` maps an output's position to the leaf whose
    buffer it takes over. A `standalone` program is no shard of another: helpers
    may take part in its large products, and matrices are read in blocks of rows. `observers` are
    called with each pass and the state before and after it.
    """
    task = Task(training, shard, whole, donations or {}, standalone, name)
    state = run_passes(State(task, tuple(outputs)), pipeline, observers)
    assignment = state.assigned
    assert state.memory is not None and state.memory_with_owners is not None
    assert state.driver is not None
    return Compiled(
        state.roots, state.sized, assignment, state.scheduled,
        state.memory, state.memory_with_owners,
        state.driver, state.sharded, tuple(assignment.of(root).buffer for root in state.roots),
        standalone,
    )  # fmt: skip


def with_sizes(compiled: Compiled, sizes: Mapping[str, int]) -> Compiled:
    """The same program where names of sizes stand for numbers."""
    if not sizes:
        return compiled

    def known(size: AnyDim) -> AnyDim:
        return size.substitute(sizes) if isinstance(size, Dim) else size

    def output(node: Node) -> Node:
        type_ = node.type.with_shape(tuple(map(known, node.shape)))
        return Node(node.op, node.inputs, type_, node.where, node.label)

    sized = replace(compiled.sized, sizes=tuple(map(known, compiled.sized.sizes)))
    memory, with_owners = memory_plans(compiled.assignment.buffers, compiled.steps, sized.sizes)
    outputs = tuple(map(output, compiled.outputs))
    return replace(
        compiled, outputs=outputs, sized=sized, memory=memory, memory_with_owners=with_owners
    )
