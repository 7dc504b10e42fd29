"""Free a graph of its declared sizes: names stand in their places, so that graphs that differ in
widths alone become the same graph, and share what is compiled for it.

    x: float32[batch, 784]    w: float32[784, 128]    x @ w: float32[batch, 128]
    x: float32[batch, <0>]    w: float32[<0>, <1>]    x @ w: float32[batch, <1>]

Equal sizes get one name, in the order in which leaves have them, and `sizes` says what the names
stand for. Every op is applied again, to operands of such sizes; what it gives must be of the sizes
that it had, told by the names. Where it is not, the numbers that stand there stay numbers: those
that a reshape splits, that slices are cut at, that constant arrays have. So do 0 and 1, which mean
more than a size, the sizes in loops, and those of products with no run-time size, whose derivatives
are written otherwise where they are small.

The graph is the same function of its leaves whatever the names stand for, so that nothing has to be
proved of the compiler: it is given the freed graph, and never sees a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from staticflow.graph.dims import AnyDim, Dim, names_of
from staticflow.graph.leaves import Const, Input, Leaf, Param, State
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Kind, Node, Op
from staticflow.graph.traversal import dims_of, toposort
from staticflow.graph.types import TensorType
from staticflow.ops.alias import BoundedLabel
from staticflow.ops.counting import Iota, SizeOf
from staticflow.ops.indexing import ScatterAdd, ScatterAlong
from staticflow.ops.random import Random
from staticflow.ops.views import Broadcast, Reshape

Sizes = Mapping[str, int]
_Names = Mapping[int, Dim]
_DECLARED = (Input, Param, State)
# Attributes that are sizes of the graph itself, and no bounds.
_ATTRIBUTES: tuple[tuple[type[Op], str], ...] = (
    (BoundedLabel, "limit"), (Broadcast, "shape"), (Iota, "dim"), (Random, "shape"),
    (Reshape, "shape"), (ScatterAdd, "size"), (ScatterAlong, "size"), (SizeOf, "dim"),
)  # fmt: skip


@dataclass(frozen=True)
class Freed:
    """What stands for each node, and the values of the new names."""

    nodes: Mapping[Node, Node]
    sizes: Sizes

    def of(self, node: Node) -> Node:
        """What stands for a node; itself, if the graph has no size that can be freed."""
        return self.nodes.get(node, node)


def free_sizes(roots: Iterable[Node]) -> Freed:
    """Free all that the roots reach, updates of states among it."""
    order = _everything(list(roots))
    numbers = {n for node in order for n in _numbers(node)}
    for node in order:
        if isinstance(node.op, Const | Loop) or _is_fixed_product(node):
            numbers -= set(_numbers_within(node))
    while numbers:
        names = _names(order, numbers)
        sizes = {str(name): n for n, name in names.items()}
        nodes, failing = _renamed(order, names)
        if failing is None:
            _link_updates(nodes)
            return Freed(nodes, sizes)
        kept = set(_numbers_at(failing, nodes, sizes))
        if not numbers & kept:
            break
        numbers -= kept
    return Freed({}, {})


def shown(text: str, sizes: Sizes) -> str:
    """Text about a freed graph, with the sizes of one of those that it stands for."""
    return re.sub(r"<\d+>", lambda found: str(sizes.get(found[0], found[0])), text)


def _everything(roots: Sequence[Node]) -> list[Node]:
    order = toposort(roots)
    while True:
        updates = [u for node in order if isinstance(node.op, State) for u in node.op.updates]
        longer = toposort([*roots, *updates])
        if len(longer) == len(order):
            return order
        order = longer


def _numbers(node: Node) -> Iterator[int]:
    """The sizes of a node that are numbers, but for 0 and 1."""
    return (n for n in dims_of(node) if isinstance(n, int) and n > 1)


def _is_fixed_product(node: Node) -> bool:
    sizes = [n for x in (node, *node.inputs) for n in dims_of(x)]
    return node.op.kind is Kind.CONTRACT and not names_of(sizes)


def _numbers_within(node: Node) -> Iterator[int]:
    """Those of a node, of its operands, and in its bodies."""
    inside = [*node.op.body_inputs, *toposort(node.op.body)] if isinstance(node.op, Loop) else []
    for each in (node, *node.inputs, *inside):
        yield from _numbers(each)


def _names(order: Sequence[Node], numbers: set[int]) -> dict[int, Dim]:
    """A name for each number that is the size of a leaf, in order."""
    names: dict[int, Dim] = {}
    for node in order:
        if isinstance(node.op, _DECLARED):
            for n in _numbers(node):
                if n in numbers and n not in names:
                    names[n] = Dim.named(f"<{len(names)}>")
    return names


def _renamed(order: Sequence[Node], names: _Names) -> tuple[dict[Node, Node], Node | None]:
    """The graph with names for numbers, as far as the first node that cannot have them."""
    values = {str(name): n for n, name in names.items()}
    nodes: dict[Node, Node] = {}
    for node in order:
        if isinstance(node.op, _DECLARED):
            nodes[node] = _leaf(node, names)
        elif isinstance(node.op, Leaf):
            nodes[node] = node
        else:
            own = _applied(node, tuple(nodes[x] for x in node.inputs), names)
            if own is None or [_value(n, values) for n in dims_of(own)] != list(dims_of(node)):
                return nodes, node
            nodes[node] = own
    return nodes, None


def _numbers_at(failing: Node, nodes: Mapping[Node, Node], sizes: Sizes) -> Iterator[int]:
    """What must stay a number for the sake of a node: every one that is there, or has a name."""
    for x in (failing, *failing.inputs):
        yield from _numbers(x)
    for name in names_of(n for x in failing.inputs for n in dims_of(nodes[x])):
        if name in sizes:
            yield sizes[name]


def _leaf(node: Node, names: _Names) -> Node:
    """A leaf of named sizes, which holds nobody's values."""
    op: Any = node.op
    type_ = TensorType(tuple(_named(n, names) for n in node.shape), node.dtype)
    own: dict[str, Any] = {} if isinstance(op, Input) else {"init": None}
    if isinstance(op, State):
        own["updates"] = list(op.updates)  # until those of the freed graph are there
    return Node(replace(op, type=type_, **own), (), type_, node.where, node.label)


def _link_updates(nodes: Mapping[Node, Node]) -> None:
    for node, own in nodes.items():
        if isinstance(node.op, State) and isinstance(own.op, State):
            own.op.updates[:] = [nodes[u] for u in node.op.updates]


def _applied(node: Node, inputs: tuple[Node, ...], names: _Names) -> Node | None:
    """The node's op on other operands; None if it does not take them."""
    op: Any = node.op
    sizes = {name: vars(op)[name] for kind, name in _ATTRIBUTES if isinstance(op, kind)}
    if sizes:
        op = replace(op, **{name: _attribute(value, names) for name, value in sizes.items()})
    types = [x.type for x in inputs]
    try:
        op.check(*types)
        type_ = op.infer(*types)
    except (ValueError, TypeError):  # ours, or those of comparisons with a name
        return None
    if [t.dtype for t in _types(type_)] != [t.dtype for t in _types(node.type)]:
        return None
    return Node(op, inputs, type_, node.where, node.label)


def _types(type_: Any) -> tuple[TensorType, ...]:
    return type_ if isinstance(type_, tuple) else (type_,)


def _attribute(value: Any, names: _Names) -> Any:
    if isinstance(value, tuple):
        return tuple(_named(n, names) for n in value)
    return _named(value, names)


def _named(size: AnyDim, names: _Names) -> AnyDim:
    """A size with names for its numbers: 10 and 10 * batch, but 2 * batch + 3 as it is."""
    if isinstance(size, int):
        return names.get(size, size)
    if len(size.terms) != 1:
        return size
    ((monomial, factor),) = size.terms
    named = _factors(factor, names)
    if named is None:
        return size
    result: AnyDim = named
    for name in monomial:
        result = result * Dim(((((name),), 1),))
    return result


def _factors(number: int, names: _Names) -> AnyDim | None:
    """A number as one size, or as the product of two."""
    if number in names:
        return names[number]
    for n, name in names.items():
        if number % n == 0 and number // n in names:
            return name * names[number // n]  # type: ignore[no-any-return]
    return None


def _value(size: AnyDim, values: Sizes) -> AnyDim:
    return size.substitute(values) if isinstance(size, Dim) else size
