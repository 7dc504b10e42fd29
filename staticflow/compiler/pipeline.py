"""The passes of the compiler in the order in which they run, and the loop that runs them.

A pass takes what the passes before it have left (`State`) and gives the next such record:

    graph -> graph     simplify, merge and hoist loops, narrow, shard
    graph -> steps     copies, fusion, buffers, loop nests
    steps -> steps     blocks of rows, panels, epilogues, widening
    steps -> program   memory, driver

Buffers are the one thing that passes change where it lies: a pass adds to their assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from staticflow.compiler.codegen.driver import DriverText
from staticflow.compiler.codegen.emit_driver import driver_source
from staticflow.compiler.ir.size_classes import SizedGraph
from staticflow.compiler.ir.steps import Step
from staticflow.compiler.lowering.buffer_assignment import assign_buffers, place_assemblies
from staticflow.compiler.lowering.buffers import BufferAssignment, stored_nodes
from staticflow.compiler.lowering.donation import donate
from staticflow.compiler.lowering.early_results import results_early
from staticflow.compiler.lowering.fusion import Group, fuse
from staticflow.compiler.lowering.inplace import reuse_operands
from staticflow.compiler.lowering.insert_copies import prepare, prepare_body
from staticflow.compiler.lowering.lower_steps import schedule
from staticflow.compiler.lowering.recompute import recompute
from staticflow.compiler.passes.constant_carries import constant_carries
from staticflow.compiler.passes.drop_unused import drop_unused
from staticflow.compiler.passes.hoist import rearrange
from staticflow.compiler.passes.loop_walk import map_bodies, separate_bodies
from staticflow.compiler.passes.merge_scans import merge_scans
from staticflow.compiler.passes.sharding import Sharding, shard_graph
from staticflow.compiler.passes.shared_outputs import share_assemblies
from staticflow.compiler.passes.simplify import resolve_mode, simplify
from staticflow.compiler.passes.slice_pushdown import narrow
from staticflow.compiler.schedule.epilogue import fuse_epilogues
from staticflow.compiler.schedule.large_arguments import guard_large_arguments
from staticflow.compiler.schedule.long_sums import split_long_sums
from staticflow.compiler.schedule.loop_kernels import loop_kernels
from staticflow.compiler.schedule.mark_owner_computes import mark_owner_computes
from staticflow.compiler.schedule.mark_split_k import mark_split_k
from staticflow.compiler.schedule.matvec_blocks import in_row_blocks
from staticflow.compiler.schedule.memory_plan import MemoryPlan, memory_plans, plan_memory
from staticflow.compiler.schedule.prepack import prepack
from staticflow.compiler.schedule.product_loops import stacked_products
from staticflow.compiler.schedule.row_split import in_halves
from staticflow.compiler.schedule.widen_rows import widen_steps
from staticflow.graph.node import Node


@dataclass(frozen=True)
class Task:
    """What a program is compiled for; see `compile_graph`."""

    training: bool = False
    shard: str | None = None
    whole: Collection[int] = ()
    donations: Mapping[int, Node] = field(default_factory=dict)
    standalone: bool = False
    name: str = "step"


class State(NamedTuple):
    """What the passes so far have left; None or () is what no pass has made yet."""

    task: Task
    roots: tuple[Node, ...]
    sharding: Sharding | None = None
    size_classes: SizedGraph | None = None
    groups: tuple[Group, ...] = ()
    assignment: BufferAssignment | None = None
    copies: tuple[Step, ...] = ()  # of results to where they were donated, after all steps
    steps: tuple[Step, ...] | None = None
    memory: MemoryPlan | None = None
    memory_with_owners: MemoryPlan | None = None
    driver: DriverText | None = None

    @property
    def sharded(self) -> Sharding:
        assert self.sharding is not None, "no pass has sharded the graph"
        return self.sharding

    @property
    def sized(self) -> SizedGraph:
        assert self.size_classes is not None, "no pass has found the size classes"
        return self.size_classes

    @property
    def assigned(self) -> BufferAssignment:
        assert self.assignment is not None, "no pass has given buffers"
        return self.assignment

    @property
    def scheduled(self) -> tuple[Step, ...]:
        assert self.steps is not None, "no pass has made steps"
        return self.steps


def always(task: Task) -> bool:
    """For passes of every program."""
    return True


def standalone(task: Task) -> bool:
    """For programs that run alone, whose products other threads may help with."""
    return task.standalone


def beside_others(task: Task) -> bool:
    """For programs that run beside others, or for a part of the rows."""
    return not task.standalone


@dataclass(frozen=True)
class Pass:
    """An entry of the pipeline: `apply` calls `function` with what of the state it needs."""

    function: Callable[..., Any]
    reason: str
    apply: Callable[[State], State]
    when: Callable[[Task], bool] = always
    optional: bool = False  # whether programs without it compute the same

    @property
    def name(self) -> str:
        return self.function.__name__


def _on_graph(function: Callable[[Sequence[Node]], Sequence[Node]], reason: str) -> Pass:
    """A pass over the outputs alone, without which results are the same."""

    def apply(state: State) -> State:
        return state._replace(roots=tuple(function(state.roots)))

    return Pass(function, reason, apply, optional=True)


def _on_steps(
    function: Callable[..., Sequence[Step]],
    reason: str,
    when: Callable[[Task], bool] = always,
    given: Callable[[State], tuple[Any, ...]] = lambda state: (),
) -> Pass:
    """A pass over the steps and what else is `given`, without which results are the same."""

    def apply(state: State) -> State:
        return state._replace(steps=tuple(function(state.scheduled, *given(state))))

    return Pass(function, reason, apply, when, optional=True)


def _resolve(state: State) -> State:
    return state._replace(roots=tuple(resolve_mode(state.roots, state.task.training)))


def _simplify_bodies(state: State) -> State:
    def simplified(op: Any, body: Sequence[Node]) -> list[Node]:
        return simplify(resolve_mode(body, state.task.training))

    return state._replace(roots=tuple(map_bodies(state.roots, simplified)))


def _shard_graph(state: State) -> State:
    sharding = shard_graph(state.roots, state.task.shard, state.task.whole)
    return state._replace(roots=tuple(sharding.outputs), sharding=sharding)


def _prepare_bodies(state: State) -> State:
    roots = map_bodies(
        state.roots, lambda op, body: prepare_body(op.carries, body, op.placed(body))
    )
    return state._replace(roots=tuple(roots))


def _prepare(state: State) -> State:
    sized, roots = prepare(state.roots)
    return state._replace(size_classes=sized, roots=tuple(roots))


def _fuse(state: State) -> State:
    return state._replace(groups=tuple(fuse(state.sized)))


def _recompute(state: State) -> State:
    return state._replace(roots=tuple(recompute(list(state.groups), list(state.roots))))


def _results_early(state: State) -> State:
    return state._replace(groups=tuple(results_early(list(state.groups))))


def _assign_buffers(state: State) -> State:
    return state._replace(
        assignment=assign_buffers(state.sized, list(state.groups), list(state.roots))
    )


def _place_assemblies(state: State) -> State:
    place_assemblies(state.assigned)
    return state


def _reuse_operands(state: State) -> State:
    reuse_operands(state.assigned, list(state.groups), outputs=not state.task.donations)
    return state


def _donate(state: State) -> State:
    groups, roots = list(state.groups), list(state.roots)
    return state._replace(copies=tuple(donate(state.assigned, groups, roots, state.task.donations)))


def _schedule(state: State) -> State:
    groups, roots = list(state.groups), list(state.roots)
    split = state.sharded.split_draws(state.sized)
    steps = schedule(groups, state.assigned, stored_nodes(groups, roots), split)
    return state._replace(steps=(*steps, *state.copies))


def _plan_memory(state: State) -> State:
    memory, with_owners = memory_plans(state.assigned.buffers, state.scheduled, state.sized.sizes)
    return state._replace(memory=memory, memory_with_owners=with_owners)


def _print(state: State) -> State:
    task = state.task
    driver = driver_source(
        task.name, state.scheduled, state.assigned.buffers, len(state.sized.sizes),
        pool=task.standalone, polls=not task.training,
    )  # fmt: skip
    return state._replace(driver=driver)


def _buffers(state: State) -> tuple[Any, ...]:
    return (state.assigned.buffers,)


_SIMPLER = (
    _on_graph(simplify, "fold constants, apply rewrite rules, share equal nodes, drop unused ones"),
    Pass(map_bodies, "do the same in the bodies of loops", _simplify_bodies, optional=True),
    _on_graph(simplify, "use around loops what has become simpler in them"),
)
PIPELINE: tuple[Pass, ...] = (
    Pass(resolve_mode, "choose between what training and what inference computes", _resolve),
    _on_graph(merge_scans, "make one loop of a scan and the same scan with residuals"),
    *_SIMPLER,
    _on_graph(constant_carries, "make constants of carries that no step changes"),
    _on_graph(drop_unused, "remove what of a loop nobody reads"),
    _on_graph(rearrange, "move work that needs no loop out of loops: before them, or behind them"),
    _on_graph(share_assemblies, "take what loops return out of what they assemble of it"),
    *_SIMPLER,
    _on_graph(drop_unused, "remove what nobody reads any more"),
    _on_graph(narrow, "compute of elementwise values only the parts that are read, where they are"),
    Pass(
        shard_graph, "decide what each shard holds: rows, everything, or a partial sum",
        _shard_graph,
    ),
    replace(
        _on_graph(separate_bodies, "give each loop nodes of its own, to be placed in memory"),
        optional=False,
    ),
    Pass(prepare_body, "copy in loops where the moving buffers demand it", _prepare_bodies),
    Pass(prepare, "copy where strides or outputs demand it, and find size classes", _prepare),
    Pass(fuse, "group nodes that share loops into kernels", _fuse),
    Pass(recompute, "compute cheap values where they are read", _recompute, optional=True),
    Pass(prepare, "copy and find size classes, of what is computed again as well", _prepare),
    Pass(fuse, "group again, with what is computed twice", _fuse),
    Pass(
        results_early, "compute a result that nothing reads when its operands are there",
        _results_early, optional=True,
    ),
    Pass(assign_buffers, "give buffers to what leaves a kernel", _assign_buffers),
    Pass(place_assemblies, "let parts lie where they are assembled", _place_assemblies),
    Pass(
        reuse_operands, "let a value lie where an operand lay that nothing reads any more",
        _reuse_operands, optional=True,
    ),
    Pass(donate, "let new parameters lie where the old ones did", _donate),
    Pass(schedule, "lower kernels to loop nests, in execution order", _schedule),
    _on_steps(
        loop_kernels, "make one kernel of a loop over few elements, which stay in registers",
        given=lambda state: (state.assigned.buffers, state.sized.sizes),
    ),
    _on_steps(
        stacked_products, "make a kernel of the products of a stack of small matrices",
        given=lambda state: (state.sized.sizes,),
    ),
    _on_steps(
        in_row_blocks, "read a matrix once for all its products with vectors, block by block",
        standalone, _buffers,
    ),
    _on_steps(
        in_halves, "let two threads make half of the rows each, through chains of products",
        standalone,
    ),
    _on_steps(
        prepack, "copy the weights of products in loops into panels, before the loops",
        given=_buffers,
    ),
    _on_steps(
        fuse_epilogues, "do with a product's result what follows, while it is in registers",
        beside_others,
    ),
    _on_steps(widen_steps, "put narrow rows side by side, as many as fill vectors"),
    replace(
        _on_steps(split_long_sums, "add up float32 over long axes in blocks", given=_buffers),
        optional=False,
    ),
    replace(
        _on_steps(guard_large_arguments, "look for huge arguments of float64's sin, cos and tan"),
        optional=False,
    ),
    _on_steps(
        mark_owner_computes,
        "mark the gradients that shards can make in parts instead of adding up",
        given=lambda state: (state.assigned, state.roots, state.sharded),
    ),
    _on_steps(
        mark_split_k, "mark the first product, which shards can make in parts of its sum",
        given=lambda state: (state.assigned.buffers, state.task.shard),
    ),
    Pass(plan_memory, "give temporaries a chunk of one arena", _plan_memory),
    Pass(driver_source, "print kernels and driver as Numba source", _print),
)  # fmt: skip

Observer = Callable[[Pass, State, State], None]  # the pass, the state before it and after it
OBSERVERS: list[Observer] = []  # of every program that is compiled: tests verify each state


def run_passes(state: State, pipeline: Sequence[Pass], observers: Sequence[Observer] = ()) -> State:
    """What the passes make of a state, those that apply to its task."""
    for each in pipeline:
        if each.when(state.task):
            before, state = state, each.apply(state)
            for observe in (*OBSERVERS, *observers):
                observe(each, before, state)
    return state


def without(*functions: Callable[..., Any]) -> tuple[Pass, ...]:
    """The pipeline without the passes that call these functions."""
    return tuple(each for each in PIPELINE if each.function not in functions)
