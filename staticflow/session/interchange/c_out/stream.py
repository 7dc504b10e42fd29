"""One step of a graph's loops over a dimension, as a graph of its own.

Before:  ys = scan(step, h0, xs) over time            a sequence
After:   h', y = step(h, x)                           a sample; h is handed from call to call

Everything else must compute an element of that dimension from the same element of its inputs: what
sums over it, shifts it or asks for its size is refused. States that are carried along, such as a
network's hidden state, become the same: a value that comes in, and the one that `sf.update` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, Dim, evaluate, names_of
from staticflow.graph.kinds import Assemble, Gather, IndexMap, Part, Reduce, Scatter
from staticflow.graph.leaves import Input, Leaf, State
from staticflow.graph.loop_op import BodyInput, Loop, body_input, substitute
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import leaves, toposort
from staticflow.graph.types import TensorType
from staticflow.ops.shape import expand_dims
from staticflow.ops.slices import Slice
from staticflow.ops.slicing import getitem
from staticflow.runtime.interpreter import at_sizes


@dataclass(frozen=True)
class Carried:
    """A value that a step hands to the next."""

    name: str
    before: Node  # an input
    after: Node
    start: Node  # of which the first is computed, or a state


@dataclass(frozen=True)
class Step:
    """The outputs of a step, and what it hands on."""

    outputs: Sequence[Node]
    carried: Sequence[Carried]


def one_step(
    roots: Sequence[Node], stream: str | None, states: Sequence[Node], sizes: Mapping[str, int]
) -> Step:
    """The graph of one step over the dimension `stream`, with `states` carried along.

    `sizes` are those of all named dimensions, that of `stream` 1: they are numbers in the result.
    Raises GraphError for what a step cannot compute, at its line.
    """
    updates = [state.op.updates[-1] for state in states if isinstance(state.op, State)]
    if stream is not None:
        _check([*roots, *updates], stream)
    made = _Maker(stream, sizes, set(states))
    new = made.all([*roots, *updates])
    outputs, after = new[: len(roots)], new[len(roots) :]
    own = [
        Carried(state.name, made.new[state], value, state)
        for state, value in zip(states, after, strict=True)
    ]
    return Step(outputs, [*made.carried, *own])


def _check(roots: Sequence[Node], stream: str) -> None:
    """Refuse what does not compute one step from one step."""

    def has(dims: Iterable[AnyDim]) -> bool:
        return stream in names_of(dims)

    for node in toposort(roots):
        if isinstance(node.op, Leaf | Part):
            continue
        if isinstance(node.op, Scan) and _is_over(node, stream):
            if node.op.reverse:
                _refuse(node, stream, "it runs backwards")
            _, _, consts = node.op.split(node.inputs)
            if any(has(x.shape) for x in consts):
                _refuse(node, stream, "its step reads all of a sequence")
            continue
        if isinstance(node.op, IndexMap) and has(node.shape or node.op.sizes()):
            _refuse(node, stream, "it counts the steps")
        if any(has(_shape(x)) for x in node.inputs) and not _stepwise(node, stream):
            _refuse(node, stream, "it needs several of them")


def _shape(node: Node) -> tuple[AnyDim, ...]:
    return node.shape if isinstance(node.type, TensorType) else ()


def _is_over(node: Node, stream: str) -> bool:
    return isinstance(node.op, Scan) and node.op.length == Dim.named(stream)


def _stepwise(node: Node, stream: str) -> bool:
    """Whether each element along a dimension is computed from those at its place."""
    op, inputs = node.op, node.inputs

    def has(n: AnyDim) -> bool:
        return stream in names_of([n])

    if isinstance(op, Reduce):
        return not any(has(inputs[0].shape[axis]) for axis in op.axes)
    if isinstance(op, Slice):
        return all(full for full, n in zip(op.full, inputs[0].shape, strict=True) if has(n))
    if op.kind is Kind.CONTRACT:
        return not has(inputs[0].shape[-1])
    if isinstance(op, Assemble):
        whole = [n for n in node.shape if has(n)]
        return all([n for n in x.shape if has(n)] == whole for x in inputs)
    if isinstance(op, Gather | Scatter):
        return not has(inputs[0].shape[op.axis] if isinstance(op, Gather) else op.size)
    return op.kind in (Kind.MAP, Kind.VIEW, Kind.ALIAS)


def _refuse(node: Node, stream: str, why: str) -> NoReturn:
    fail(
        GraphError,
        f"export_c: {node.op.name} cannot be computed step by step over {stream!r}",
        got=why,
        do="export the whole, with sizes= for that dimension, or what comes before it",
        where=node.where,
    )


@dataclass
class _Maker:
    """Builds the graph of a step, with numbers for all sizes."""

    stream: str | None
    sizes: Mapping[str, int]
    states: set[Node]
    new: dict[Node, Any] = field(default_factory=dict)
    carried: list[Carried] = field(default_factory=list)

    def all(self, roots: Sequence[Node]) -> list[Node]:
        """The nodes that stand for some."""
        for node in toposort(roots):
            if node not in self.new:
                self.new[node] = self._made(node)
        return [self.new[root] for root in roots]

    def _type(self, type_: TensorType) -> TensorType:
        return type_.with_shape(tuple(evaluate(n, self.sizes) for n in type_.shape))

    def _made(self, node: Node) -> Any:
        op, inputs = node.op, [self.new[x] for x in node.inputs]
        if node in self.states:
            return apply(Input(node.name, self._type(node.type)), where=node.where)
        if isinstance(op, Input):
            return apply(Input(op.label, self._type(node.type), serial=op.serial), where=node.where)
        if isinstance(op, BodyInput):
            return body_input(op.label, self._type(node.type))
        if isinstance(op, Leaf):
            return node
        if isinstance(op, Part) and isinstance(inputs[0], tuple):
            return inputs[0][op.index]
        if isinstance(op, Scan) and self.stream is not None and _is_over(node, self.stream):
            return self._unrolled(op, inputs, node)
        sized = at_sizes(op, self.sizes)
        if isinstance(sized, Loop):
            bodies = [self.all(region) for region in op.regions] if isinstance(op, Loop) else []
            assert isinstance(op, Loop)
            sized = sized.renewed(self.all(op.body_inputs), bodies)
        return apply(sized, *inputs, where=node.where)

    def _unrolled(self, op: Scan, inputs: Sequence[Node], node: Node) -> tuple[Node, ...]:
        """What a scan of one element gives: the next carries, then the ys with a leading 1."""
        starts, xs, consts = op.split(inputs)
        body = self.all([*op.next, *op.ys])
        own = self.all(op.body_inputs)
        befores: list[Node] = []
        for start in starts:
            name = f"carry_{len(self.carried) + len(befores)}"
            befores.append(apply(Input(name, start.type), where=node.where))
        elements = [getitem(x, 0) for x in xs]
        places = dict(zip(own, [*befores, *elements, *consts], strict=True))
        results = substitute(body, places)
        after = results[: len(starts)]
        for before, value, start in zip(befores, after, starts, strict=True):
            self.carried.append(Carried(before.name, before, value, start))
        return (*after, *(expand_dims(y, 0) for y in results[len(starts) :]))


def starts_of(step: Step, values: Mapping[str, Any]) -> list[Any]:
    """The arrays that the first step is handed; raises GraphError for one that inputs decide."""
    from staticflow.runtime.interpreter import interpret

    found = []
    for carried in step.carried:
        given = leaves([carried.start], Input)
        if given:
            fail(
                GraphError,
                f"export_c: what the first step is handed depends on the input {given[0].name!r}",
                do="make it an sf.state, or a loop that starts from a constant",
                where=carried.start.where,
            )
        env = {x: values[x.name] for x in leaves([carried.start], Leaf) if x.name in values}
        found.append(interpret([carried.start], env, training=False)[0])
    return found
