"""The programs of a training step: what a session compiles before it trains.

    forward and backward   (parameters, states, a shard's rows) -> loss, metrics, gradients, states'
    update                 (parameters, gradients, slots, step, rate) -> parameters', slots', states

The first runs on rows of the batch, the second on slices of the flat parameter array; both are
compiled graphs. Terms of the loss that read other data than the batch have a forward and backward
program of their own (`loss_terms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from staticflow.autodiff.derivatives import reaching
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.passes.sharding_rules import PARTIAL
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.errors import GraphError, fail
from staticflow.graph.declare import input
from staticflow.graph.dims import Dim
from staticflow.graph.leaves import Hyper, State
from staticflow.graph.node import Node, apply
from staticflow.graph.state_updates import updates_of
from staticflow.graph.types import TensorType
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.ops import sqrt, zeros
from staticflow.ops.counting import count
from staticflow.optim.algorithms import Optimizer
from staticflow.runtime.free_sizes import Sizes, free_sizes
from staticflow.runtime.graph_json import Encoder
from staticflow.runtime.program import Program
from staticflow.runtime.program_table import named_leaves, shared, without_rate
from staticflow.training.loss_terms import Term, split_terms

ELEMENTS = "elements"  # the dimension of the flat parameter array


@dataclass(frozen=True)
class OldState:
    """Names the leaf of the update that is a state."""

    name: str


@dataclass(frozen=True)
class NextState:
    """Names the leaf of the update that holds what a state is next."""

    name: str


# What the update reads: p, g, a slot, decay_mask, lr_scale, lr, step, weight_decay and member by
# name, and states.
UpdateLeaf: TypeAlias = str | OldState | NextState


@dataclass(frozen=True)
class Part:
    """A program that computes the terms of the loss that read the same data, and their gradients.

    Its outputs are those of loss and metrics at the positions `scalars`, and the gradients by the
    parameters at the positions `params`.
    """

    program: Program
    rows: str  # the dimension whose rows may be cut; "" where there is none
    scalars: tuple[int, ...]
    params: tuple[int, ...]


@dataclass
class StepPrograms:
    """The compiled halves of a training step."""

    parts: tuple[Part, ...]  # forward and backward; that of the batch is the first
    update: Program | None
    inputs: Mapping[str, Node]
    batch: str
    metrics: tuple[str, ...]
    params: tuple[Node, ...]  # trained, in order of declaration
    unreached: tuple[Node, ...]  # those of them that the loss does not depend on
    states: tuple[Node, ...]
    update_leaves: Mapping[UpdateLeaf, Node]
    slots: tuple[str, ...]
    origin: StepPrograms | None = None  # from which these differ in leaves and sizes alone
    known: dict[Any, Any] = field(default_factory=dict)  # what trainers know of sizes, of all these

    @property
    def forward(self) -> Program:
        """The program of the batch's terms, which are all terms of most losses."""
        return self.parts[0].program

    @property
    def all(self) -> list[Program]:
        """Every program, in the order in which a step runs them."""
        forward = [part.program for part in self.parts]
        return forward if self.update is None else [*forward, self.update]

    def adds_up_rows(self, part: Part) -> bool:
        """Whether all that a part leaves are sums over rows, which may come in blocks."""
        compiled = part.program.compiled
        sums = all(each == PARTIAL for each in compiled.sharding.of_outputs)
        return bool(part.rows) and sums and not self.states and not compiled.driver.collectives

    def for_graph(self, own: Mapping[tuple[type, str], Node], sizes: Sizes) -> StepPrograms:
        """The same programs for a graph of the structure, whose leaves and sizes these are."""

        def mine(nodes: Iterable[Node]) -> tuple[Node, ...]:
            return tuple(own.get((type(node.op), node.name), node) for node in nodes)

        names = self.update_leaves
        read = (node for program in self.all for node in program.leaves)
        leaves = (*self.params, *self.states, *self.inputs.values(), *read)
        if all(node is other for node, other in zip(leaves, mine(leaves), strict=True)):
            return self
        return replace(
            self,
            parts=tuple(
                replace(part, program=part.program.for_graph(own, sizes)) for part in self.parts
            ),
            update=None if self.update is None else self.update.for_graph(own, sizes),
            inputs=dict(zip(self.inputs, mine(self.inputs.values()), strict=True)),
            params=mine(self.params),
            unreached=mine(self.unreached),
            states=mine(self.states),
            update_leaves=dict(zip(names, mine(names.values()), strict=True)),
            origin=self.origin or self,
        )


def hyper(label: str, dtype: str) -> Node:
    """A scalar that the session sets."""
    return apply(Hyper(label, TensorType((), dtype)))


def _weighted(nodes: Sequence[Node], batch: str) -> list[Node]:
    """Loss and metrics as float64, weighted by the rows of the batch."""
    rows = count((Dim.named(batch),), (0,), "float64") if batch else 1.0
    return [node.astype("float64") * rows for node in nodes]


@dataclass(frozen=True)
class TrainingGraph:
    """What a training step is compiled from."""

    loss: Node
    metrics: Mapping[str, Node]
    params: Sequence[Node]  # those that are trained
    states: Sequence[Node]
    inputs: Mapping[str, Node]
    batch: str  # the dimension that data is sliced along
    optimizer: Optimizer | None

    def describe(self, encoder: Encoder) -> Any:
        """Its structure, as data."""
        leaves = [list(nodes) for nodes in (self.params, self.states, self.inputs.values())]
        graphs = encoder.structure([self.loss, dict(self.metrics), *leaves])
        return ["step", graphs, self.batch, encoder.value(without_rate(self.optimizer))]

    def named_leaves(self) -> dict[tuple[type, str], Node]:
        """Its inputs, parameters and states, by kind and name."""
        found = named_leaves([*self._roots(), *updates_of(self.states)])
        return found | {(type(state.op), state.name): state for state in self.states}

    def _roots(self) -> list[Node]:
        given = (*self.params, *self.inputs.values(), *self.states)
        return [self.loss, *self.metrics.values(), *given]

    def freed(self) -> tuple[TrainingGraph, Sizes]:
        """The graph with names for its declared sizes, and these."""
        found = free_sizes(self._roots())
        freed = replace(
            self,
            loss=found.of(self.loss),
            metrics={name: found.of(node) for name, node in self.metrics.items()},
            params=list(map(found.of, self.params)),
            states=list(map(found.of, self.states)),
            inputs={name: found.of(node) for name, node in self.inputs.items()},
        )
        return freed, found.sizes


def shared_programs(graph: TrainingGraph, toolchain: Toolchain) -> StepPrograms:
    """The programs that another session of the same structure has, or new ones."""
    return shared(toolchain, graph, lambda own: build_programs(own, toolchain))


def whole_programs(graph: TrainingGraph, toolchain: Toolchain) -> StepPrograms:
    """Programs of this graph alone, of which one computes the whole loss."""
    return build_programs(graph, toolchain, apart=False)


def build_programs(graph: TrainingGraph, toolchain: Toolchain, apart: bool = True) -> StepPrograms:
    """Differentiate and compile the training step; terms of other data `apart`, or with the rest.

    States have next values that any part may give, so that a loss with states stays whole.
    """
    states = [s for s in graph.states if isinstance(s.op, State) and s.op.updates]
    next_states = [s.op.updates[-1] for s in states if isinstance(s.op, State)]
    scalars = [graph.loss, *graph.metrics.values()]
    resolved = resolve_mode([*scalars, *next_states], training=True)
    scalars, next_states = resolved[: len(scalars)], resolved[len(scalars) :]
    whole = (Term(graph.batch, tuple(scalars)),)
    terms = split_terms(scalars, graph.batch) if apart and not next_states else whole
    found = [_gradients(term, graph.params) for term in terms]
    reached = {i for gradients in found for i in gradients}
    unreached = [p for i, p in enumerate(graph.params) if i not in reached]
    _check_reached(graph, unreached)
    if len(terms) == 1:
        found = [{i: found[0].get(i, zeros(p.shape, p.dtype)) for i, p in enumerate(graph.params)}]
    parts = [
        _part(k, term, gradients, graph.batch, next_states, toolchain)
        for k, (term, gradients) in enumerate(zip(terms, found, strict=True))
    ]
    parts.sort(key=lambda part: part.rows == "")  # which one shard has, and the others have not
    optimizer, params = graph.optimizer, graph.params
    update: Program | None = None
    leaves: Mapping[UpdateLeaf, Node] = {}
    slots: tuple[str, ...] = ()
    if optimizer is not None and params:
        own = _update_graph(optimizer, params, states, bool(unreached))
        leaves, slots = own.leaves, optimizer.slots
        update = Program(
            compile_graph(
                own.outputs,
                training=True,
                shard=ELEMENTS,
                donations=own.donations,
                name="update",
            ),
            toolchain,
        )
    return StepPrograms(
        tuple(parts), update, graph.inputs, graph.batch, tuple(graph.metrics), tuple(params),
        tuple(unreached), tuple(states), leaves, slots,
    )  # fmt: skip


def _gradients(term: Term, params: Sequence[Node]) -> dict[int, Node]:
    """The gradients of a term by the parameters that it depends on, by their positions."""
    loss = term.scalars[0]
    found = [] if loss is None else reaching(loss, params)
    return {i: g for i, g in enumerate(found) if g is not None}


def _check_reached(graph: TrainingGraph, unreached: Sequence[Node]) -> None:
    params = graph.params
    if params and len(unreached) == len(params):
        fail(
            GraphError,
            "the loss does not depend on any parameter that is trained",
            got=f"{', '.join(repr(p.name) for p in params)[:200]}",
            do="use one in the loss, outside of ops.stop_gradient, or name others in train=",
            where=graph.loss.where,
        )


def _part(
    number: int,
    term: Term,
    gradients: Mapping[int, Node],
    batch: str,
    next_states: Sequence[Node],
    toolchain: Toolchain,
) -> Part:
    """Compile the program of a term; rows that its results are no sums over are not cut."""
    scalars = {i: node for i, node in enumerate(term.scalars) if node is not None}
    outputs = [*_weighted(list(scalars.values()), batch), *gradients.values(), *next_states]
    whole = range(len(outputs) - len(next_states), len(outputs))
    name = "forward_backward" if number == 0 else f"forward_backward_{number}"

    def compiled(rows: str) -> Compiled:
        return compile_graph(outputs, training=True, shard=rows or None, whole=whole, name=name)

    rows, program = term.rows, compiled(term.rows)
    if number > 0 and rows and any(place != PARTIAL for place in program.sharding.of_outputs):
        rows, program = "", compiled("")
    return Part(Program(program, toolchain), rows, tuple(scalars), tuple(gradients))


@dataclass
class _UpdateGraph:
    outputs: list[Node]
    donations: dict[int, Node]
    leaves: dict[UpdateLeaf, Node]


def _update_graph(
    optimizer: Optimizer, params: Sequence[Node], states: Sequence[Node], masked: bool
) -> _UpdateGraph:
    """The optimizer's update over the flat arrays, and the states' new values put in place.

    If `masked`, some parameters do not decay even if all were declared to.
    """
    (dtype,) = {p.dtype for p in params}

    def flat(name: str) -> Node:
        return input(name, (ELEMENTS,), dtype)

    leaves: dict[UpdateLeaf, Node] = {
        "step": hyper("step", "int64"),
        "lr": hyper("lr", "float64"),
        **{name: flat(name) for name in ("p", "g", *optimizer.slots)},
    }
    if "weight_decay" in optimizer.lengths:
        leaves["weight_decay"] = hyper("weight_decay", "float64")
    if optimizer.needs_member:
        leaves["member"] = hyper("member", "int64")
    p, g, number = leaves["p"], leaves["g"], leaves["step"]
    norm = None
    if optimizer.needs_norm:
        wide = g.astype("float64")
        norm = sqrt((wide * wide).sum())
    groups: dict[str, Node] = {}
    if masked or any(not _leaf(n).decay for n in params):
        groups["decay_mask"] = leaves["decay_mask"] = flat("decay_mask")
    if any(_leaf(n).lr_scale != 1.0 for n in params):
        groups["lr_scale"] = leaves["lr_scale"] = flat("lr_scale")
    new_p, new_slots = optimizer.update(
        p,
        g,
        {name: leaves[name] for name in optimizer.slots},
        step=number,
        lr=optimizer.learning_rate(number, leaves["lr"], leaves.get("member")),
        norm=norm,
        weight_decay=leaves.get("weight_decay"),
        **groups,
    )
    outputs, donations = [new_p], {0: p}
    for name, node in new_slots.items():
        donations[len(outputs)] = leaves[name]
        outputs.append(node)
    for state in states:
        new = input(f"next {state.name}", state.shape, state.dtype)
        leaves |= {NextState(state.name): new, OldState(state.name): state}
        donations[len(outputs)] = state
        outputs.append(new)
    return _UpdateGraph(outputs, donations, leaves)


def _leaf(node: Node) -> Any:
    return node.op
