"""The programs of a training step: what a session compiles before it trains.

    forward and backward   (parameters, states, a shard's rows) -> loss, metrics, gradients, states'
    update                 (parameters, gradients, slots, step, rate) -> parameters', slots', states

The first runs on rows of the batch, the second on slices of the flat parameter array; both are
compiled graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow import ops
from staticflow.compile import compile_graph
from staticflow.declare import input
from staticflow.differentiate import grad
from staticflow.dims import Dim
from staticflow.graph import Hyper, Node, State, apply
from staticflow.native.toolchain import Toolchain
from staticflow.ops.counting import count
from staticflow.optim import Optimizer
from staticflow.program import Program
from staticflow.types import TensorType

ELEMENTS = "elements"  # the dimension of the flat parameter array


@dataclass
class StepPrograms:
    """The compiled halves of a training step."""

    forward: Program
    update: Program | None
    inputs: Mapping[str, Node]
    batch: str
    metrics: tuple[str, ...]
    params: tuple[Node, ...]  # trainable, in order of declaration
    states: tuple[Node, ...]
    update_leaves: Mapping[str, Node]
    slots: tuple[str, ...]


def hyper(label: str, dtype: str) -> Node:
    """A scalar that the session sets."""
    return apply(Hyper(label, TensorType((), dtype)))


def forward_outputs(
    loss: Node, metrics: Mapping[str, Node], params: Sequence[Node], batch: str
) -> list[Node]:
    """Loss and metrics as float64, weighted by the rows of the batch, then the gradients."""
    scalars = [node.astype("float64") for node in (loss, *metrics.values())]
    rows = count((Dim.named(batch),), (0,), "float64") if batch else 1.0
    weighted = [node * rows for node in scalars]
    return [*weighted, *grad(loss, list(params))]


def build_programs(
    loss: Node,
    metrics: Mapping[str, Node],
    params: Sequence[Node],
    states: Sequence[Node],
    inputs: Mapping[str, Node],
    batch: str,
    optimizer: Optimizer | None,
    toolchain: Toolchain,
) -> StepPrograms:
    """Differentiate and compile the training step."""
    updated = [s for s in states if isinstance(s.op, State) and s.op.updates]
    next_states = [s.op.updates[-1] for s in updated if isinstance(s.op, State)]
    outputs = [*forward_outputs(loss, metrics, params, batch), *next_states]
    compiled = compile_graph(
        outputs,
        training=True,
        shard=batch or None,
        whole=range(len(outputs) - len(next_states), len(outputs)),
        name="forward_backward",
    )
    forward = Program(compiled, toolchain)
    update: Program | None = None
    leaves: Mapping[str, Node] = {}
    slots: tuple[str, ...] = ()
    if optimizer is not None and params:
        graph = _update_graph(optimizer, params, updated)
        leaves, slots = graph.leaves, optimizer.slots
        update = Program(
            compile_graph(
                graph.outputs,
                training=True,
                shard=ELEMENTS,
                donations=graph.donations,
                name="update",
            ),
            toolchain,
        )
    return StepPrograms(
        forward, update, inputs, batch, tuple(metrics), tuple(params), tuple(updated), leaves, slots
    )


@dataclass
class _UpdateGraph:
    outputs: list[Node]
    donations: dict[int, Node]
    leaves: dict[str, Node]


def _update_graph(
    optimizer: Optimizer, params: Sequence[Node], states: Sequence[Node]
) -> _UpdateGraph:
    """The optimizer's update over the flat arrays, and the states' new values put in place."""
    (dtype,) = {p.dtype for p in params}

    def flat(name: str) -> Node:
        return input(name, (ELEMENTS,), dtype)

    leaves = {"step": hyper("step", "int64"), "lr": hyper("lr", "float64")}
    leaves |= {name: flat(name) for name in ("p", "g", *optimizer.slots)}
    p, g, number = leaves["p"], leaves["g"], leaves["step"]
    norm = None
    if optimizer.needs_norm:
        wide = g.astype("float64")
        norm = ops.sqrt(ops.sum(wide * wide))
    groups: dict[str, Node] = {}
    if any(not _leaf(n).decay for n in params):
        groups["decay_mask"] = leaves["decay_mask"] = flat("decay_mask")
    if any(_leaf(n).lr_scale != 1.0 for n in params):
        groups["lr_scale"] = leaves["lr_scale"] = flat("lr_scale")
    new_p, new_slots = optimizer.update(
        p,
        g,
        {name: leaves[name] for name in optimizer.slots},
        step=number,
        lr=optimizer.learning_rate(number, leaves["lr"]),
        norm=norm,
        **groups,
    )
    outputs, donations = [new_p], {0: p}
    for name, node in new_slots.items():
        donations[len(outputs)] = leaves[name]
        outputs.append(node)
    for state in states:
        new = leaves[f"next:{state.name}"] = input(f"next {state.name}", state.shape, state.dtype)
        leaves[f"state:{state.name}"] = state
        donations[len(outputs)] = state
        outputs.append(new)
    return _UpdateGraph(outputs, donations, leaves)


def _leaf(node: Node) -> Any:
    return node.op
