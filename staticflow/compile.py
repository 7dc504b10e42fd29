"""The compiler: the list of passes, and what each leaves behind for the next.

Every pass is a pure function. `compile_graph` takes output nodes and returns a `Compiled` program:
source, kernels, tables and memory plan, none of it loaded yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from staticflow.assembled import share_assemblies
from staticflow.buffers import Layout, stored_nodes
from staticflow.constant_carries import settle
from staticflow.defer import defer
from staticflow.donate import donate
from staticflow.driver_text import DriverText
from staticflow.drop_unused import drop_unused
from staticflow.early import mark_early
from staticflow.emit import driver_source
from staticflow.far import guard_large_arguments
from staticflow.finish import finish_products
from staticflow.fuse import fuse
from staticflow.generalise import Generalised
from staticflow.hoist import rearrange
from staticflow.layout import lay_out, place_assemblies
from staticflow.long_sums import split_long_sums
from staticflow.loop_passes import map_bodies, separate_bodies
from staticflow.memory import MemoryPlan, plan_memory
from staticflow.merge_scans import merge_scans
from staticflow.narrow import narrow
from staticflow.node import Node, Op
from staticflow.order import results_early
from staticflow.placement import Placement, place
from staticflow.prepack import prepack
from staticflow.prepare import prepare, prepare_body
from staticflow.recompute import recompute
from staticflow.row_blocks import in_row_blocks
from staticflow.row_halves import in_halves
from staticflow.schedule import ProductStep, Step
from staticflow.scheduler import schedule
from staticflow.simplify import resolve_mode, simplify
from staticflow.takeover import take_over
from staticflow.widen import widen_steps

PIPELINE = (
    (resolve_mode, "choose between what training and what inference computes"),
    (merge_scans, "make one loop of a scan and the same scan with residuals"),
    (simplify, "fold constants, apply rewrite rules, share equal nodes, drop unused ones"),
    (settle, "make constants of carries that no step changes"),
    (drop_unused, "remove what of a loop nobody reads"),
    (rearrange, "move work that needs no loop out of loops: before them, or behind them"),
    (share_assemblies, "take what loops return out of what they assemble of it"),
    (narrow, "compute of elementwise values only the parts that are read, where they are read"),
    (place, "decide what each shard holds: rows, everything, or a partial sum"),
    (separate_bodies, "give each loop nodes of its own, to be placed in memory by themselves"),
    (prepare, "copy where strides, assemblies or outputs demand it; sizes become classes"),
    (fuse, "group nodes that share loops into kernels"),
    (recompute, "compute cheap values where they are read, and group again"),
    (results_early, "compute a result that nothing reads when its operands are there"),
    (lay_out, "give buffers to what leaves a kernel"),
    (take_over, "let a value lie where an operand lay that nothing reads any more"),
    (schedule, "lower kernels to loop nests, in execution order"),
    (in_row_blocks, "read a matrix once for all its products with vectors, block by block"),
    (in_halves, "let two threads make half of the rows each, through chains of products"),
    (prepack, "copy the weights of products in loops into panels, before the loops"),
    (finish_products, "do with a product's result what follows, while it is in registers"),
    (widen_steps, "put narrow rows side by side, as many as fill vectors"),
    (split_long_sums, "add up float32 over long axes in blocks"),
    (guard_large_arguments, "look for huge arguments of float64's sin, cos and tan"),
    (defer, "mark the gradients that shards can make in parts instead of adding up"),
    (mark_early, "mark the first product, which shards can make in parts of its sum"),
    (plan_memory, "give temporaries a slot in one arena"),
    (driver_source, "print kernels and driver as Numba source"),
)


@dataclass(frozen=True)
class Compiled:
    """A program: everything but the machine code and the memory."""

    outputs: tuple[Node, ...]
    g: Generalised
    layout: Layout
    steps: tuple[Step, ...]
    memory: MemoryPlan
    late_memory: MemoryPlan  # for runs that leave the marked products to the end
    driver: DriverText
    placement: Placement
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
) -> Compiled:
    """Compile the given outputs.

    `shard` names the dimension whose rows may be split over shards; the outputs at the positions
    `whole` are not left as partial sums. `donations` maps an output's position to the leaf whose
    buffer it takes over. A `standalone` program is no shard of another: helpers
    may take part in its large products, and matrices are read in blocks of rows.
    """
    roots = merge_scans(resolve_mode(outputs, training))
    roots = drop_unused(settle(simplify_all(roots, training)))
    roots = simplify_all(share_assemblies(rearrange(roots)), training)
    roots = narrow(drop_unused(roots))
    placement = place(roots, shard, whole)
    roots = map_bodies(
        separate_bodies(placement.outputs),
        lambda op, body: prepare_body(op.carries, body, op.placed(body)),
    )
    g, roots = prepare(roots)
    g, roots = prepare(recompute(fuse(g), roots))
    groups = results_early(fuse(g))
    stored = stored_nodes(groups, roots)
    layout = lay_out(g, groups, roots)
    place_assemblies(layout)
    take_over(layout, groups, outputs=not donations)
    late = donate(layout, groups, roots, donations or {})
    steps = schedule(groups, layout, stored, placement.split_draws(g)) + late
    steps = in_halves(in_row_blocks(steps, layout.buffers)) if standalone else steps
    steps = prepack(steps, layout.buffers)
    steps = steps if standalone else finish_products(steps)
    steps = split_long_sums(widen_steps(steps), layout.buffers)
    steps = defer(guard_large_arguments(steps), layout, roots, placement)
    steps = mark_early(steps, layout.buffers, shard)
    memory = plan_memory(layout.buffers, steps, known=g.sizes)
    waits = any(isinstance(step, ProductStep) and step.late for step in steps)
    late_memory = (
        plan_memory(layout.buffers, steps, deferred=True, known=g.sizes) if waits else memory
    )
    driver = driver_source(name, steps, layout.buffers, crew=standalone, polls=not training)
    buffers = tuple(layout.of(root).buffer for root in roots)
    return Compiled(
        tuple(roots), g, layout, tuple(steps), memory, late_memory, driver, placement, buffers,
        standalone,
    )  # fmt: skip


def simplify_all(roots: Sequence[Node], training: bool) -> list[Node]:
    """Simplify the graph and the bodies of its loops."""

    def simplify_body(op: Op, body: Sequence[Node]) -> list[Node]:
        return simplify(resolve_mode(body, training))

    return simplify(map_bodies(simplify(roots), simplify_body))
