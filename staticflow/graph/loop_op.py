"""The bodies of loops: graphs over BODY INPUTS, which stand for what a loop hands to each step.

A body is cut out of the graph around it: what depends on these is computed within, in each step;
whatever else of the outer graph it uses is a constant to it, computed outside, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import View
from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Axes, Classes, Kind, Node, Op, OutType, apply
from staticflow.graph.require import is_size, require
from staticflow.graph.traversal import is_implicit, through_views, toposort, with_inputs
from staticflow.graph.types import TensorType


@dataclass(frozen=True, eq=False)
class BodyInput(Leaf):
    """A value that a loop hands to its body."""

    def _is_size(self, n: AnyDim) -> bool:
        return is_size(n)


class Loop(Op):
    """An op whose value is computed by bodies: `regions` of nodes over the op's `body_inputs`.

    Inputs are the initial values of the carries, the xs, which are taken apart step by step, and
    the constants; an op without steps has constants only.
    """

    kind = Kind.LOOP
    steps = False  # whether there is a known number of steps, each of which may have outputs
    carries: tuple[Node, ...]
    xs: tuple[Node, ...]
    consts: tuple[Node, ...]
    next: tuple[Node, ...]  # the carries after a step, of an op that has carries

    @property
    def body_inputs(self) -> tuple[Node, ...]:
        """The leaves of the bodies, in the order of the op's inputs."""
        return (*self.carries, *self.xs, *self.consts)

    def check(self, *xs: TensorType) -> None:
        given, types = self.body_inputs, [node.type for node in self.body_inputs]
        require(
            all(isinstance(s.op, BodyInput) for s in given), f"{self.name}: not over its inputs"
        )
        require(len(set(given)) == len(given), f"{self.name}: an input of its body stands twice")
        same = list(self.handed(*xs)) == types
        require(same, f"{self.name}: its body takes other inputs than it is given")
        known = {*given}
        for node in toposort(self.body):
            own = node in known or (isinstance(node.op, Const) and node.op.is_scalar)
            require(own or not isinstance(node.op, Leaf), f"{self.name}: {node.name} is outside")
        arrays = all(isinstance(node.type, TensorType) for node in self.body)
        require(arrays, f"{self.name}: a body gives no array")

    def handed(self, *xs: TensorType) -> Sequence[TensorType]:
        """The types of the body inputs, given those of the inputs."""
        return xs

    @property
    def regions(self) -> tuple[tuple[Node, ...], ...]:
        """What each of the bodies computes."""
        raise NotImplementedError

    @property
    def body(self) -> tuple[Node, ...]:
        """What the bodies compute together."""
        return tuple(node for region in self.regions for node in region)

    def renewed(self, body_inputs: Sequence[Node], regions: Sequence[Sequence[Node]]) -> Loop:
        """The same op with other bodies, over as many body inputs."""
        raise NotImplementedError

    def placed(self, region: Sequence[Node]) -> int:
        """How many of a region's leading outputs need memory of their own."""
        return len(region)

    def split(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """What belongs to inputs, or to body inputs, as that of carries, xs and constants."""
        first, second = len(self.carries), len(self.carries) + len(self.xs)
        return list(inputs[:first]), list(inputs[first:second]), list(inputs[second:])

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        """The values by plain Python; `evaluate(outputs, values of body_inputs)` runs a body."""
        raise NotImplementedError

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return RULES[type(self)].vjp(self, g, y, xs)

    def jvp(self, tangents: Sequence[Any], y: Node, *xs: Node) -> Any:
        return RULES[type(self)].jvp(self, tangents, xs)

    def relate(self, classes: Classes, out: OutType, *xs: Any) -> Any:
        raise AssertionError("unify_sizes walks into the bodies of loops")

    def enter(self, *inputs: Axes) -> list[Axes]:
        """The axes of the body inputs."""
        return list(inputs)

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        """The axes of the outputs, given those of what the bodies compute."""
        raise NotImplementedError


@dataclass(frozen=True)
class LoopRules:
    """The derivatives of an op with bodies: functions of the op and of what `Op.vjp` and `Op.jvp`
    are given.

    They stand apart from the op, as they differentiate its bodies: what differentiates a graph
    knows loops, and no loop knows what differentiates it.
    """

    vjp: Callable[[Any, Any, Node, Sequence[Node]], Sequence[Node | None]]
    jvp: Callable[[Any, Sequence[Any], Sequence[Node]], tuple[Node, ...]]


RULES: dict[type[Loop], LoopRules] = {}  # entered by what differentiates graphs


def body_input(label: str, type_: TensorType) -> Node:
    """A new input of a body."""
    return apply(BodyInput(label, type_))


def _stays_inside(node: Node) -> bool:
    """Whether a body computes a node itself: it is implicit, or repeats an outer one's elements."""
    repeats = isinstance(node.op, View) and node.op.repeats
    return repeats or is_implicit(through_views(node)[0])


def capture(
    outputs: Sequence[Node], body_inputs: Sequence[Node]
) -> tuple[list[Node], list[Node], list[Node]]:
    """Cut a body out of the graph around it.

    Returns the outputs over body inputs only, the new ones for constants, and the outer nodes that
    these stand for. What does not depend on the body inputs is computed outside, once.
    """
    inside = set(body_inputs)
    for node in toposort(outputs):
        if any(x in inside for x in node.inputs):
            inside.add(node)
    return cut_out(outputs, body_inputs, inside)


def cut_out(
    outputs: Sequence[Node], body_inputs: Sequence[Node], inside: set[Node]
) -> tuple[list[Node], list[Node], list[Node]]:
    """The same for a body that consists of the nodes `inside`."""
    consts: dict[Node, Node] = {}

    def stand_in(node: Node) -> Node:
        if node not in consts:
            consts[node] = body_input(f"const {node.name}", node.type)
        return consts[node]

    new: dict[Node, Node] = {s: s for s in body_inputs}
    for node in _needed(outputs, inside):
        if node in new:
            continue
        if node not in inside and not _stays_inside(node):
            new[node] = stand_in(node)
        else:
            new[node] = with_inputs(node, tuple(new[x] for x in node.inputs))
    return [new[node] for node in outputs], list(consts.values()), list(consts)


def _needed(outputs: Sequence[Node], inside: set[Node]) -> Iterator[Node]:
    """The nodes that a body computes, and the outer ones that it uses, inputs before users."""
    order: list[Node] = []
    done: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        opened = node in inside or _stays_inside(node)
        if ready or not opened:
            done.add(node)
            order.append(node)
        else:
            stack.append((node, True))
            stack += [(x, False) for x in node.inputs if x not in done]
    return iter(order)


def draw_each_step(
    outputs: Sequence[Node], start: int, length: AnyDim
) -> tuple[list[Node], dict[Node, Node]]:
    """Give each step of a loop draws of its own, for the random nodes made after number `start`.

    All steps are drawn at once, outside, so that a derivative reads what its step has read. Returns
    the outputs over body inputs for the draws of one step, and what these body inputs stand for.
    """
    places: dict[Node, Node] = {}
    draws: dict[Node, Node] = {}
    for node in toposort(outputs):
        if node.op.is_random and node.serial > start:
            places[node] = body_input(f"draw {node.name}", node.type)
            draw = node.op.repeated(length)
            draws[places[node]] = apply(draw, *node.inputs, where=node.where)
    return substitute(outputs, places), draws


def substitute(roots: Sequence[Node], places: dict[Node, Node]) -> list[Node]:
    """The graph with some nodes replaced; what only these needed falls away."""
    new: dict[Node, Node] = dict(places)
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if node in new:
            continue
        if ready:
            new[node] = with_inputs(node, tuple(new[x] for x in node.inputs))
        else:
            stack.append((node, True))
            stack += [(x, False) for x in node.inputs if x not in new]
    return [new[root] for root in roots]
