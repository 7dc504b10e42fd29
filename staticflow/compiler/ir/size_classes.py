"""Replace the sizes of a graph by size classes, so that code depends on structure only.

Before: shapes hold the user's sizes, `float32[batch, 784] @ float32[784, 128]`.
After: every axis belongs to a class, `[n0, n1] @ [n1, n2]`, and a table gives each class its value:
n0 = batch, n1 = 784, n2 = 128. Two axes share a class when an op demands that they are equal, never
because their numbers happen to agree. Another width is then another table, not another program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, Dim, evaluate
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Axes, Classes, Node
from staticflow.graph.traversal import toposort

FIRST_ROW = Dim.named("row0")  # where a shard's rows begin within the whole batch


def size_name(number: int) -> str:
    """What a size class is called."""
    return f"n{number}"


@dataclass(frozen=True)
class SizedGraph:
    """The nodes of a program in order, with the classes of their axes and the size table."""

    order: tuple[Node, ...]
    axes: Mapping[Node, Any]  # Axes, or a tuple of them for an op with several outputs
    symbols: Mapping[Node, tuple[AnyDim, ...]]  # of the op's size attributes
    sizes: tuple[AnyDim, ...]  # the value of class n<i>, in the user's names
    numbers: Mapping[AnyDim, int]  # of the classes: i of n<i>
    whole: frozenset[int]  # the classes that hold a size of the unsharded value
    streams: Mapping[Node, int]  # the random nodes, numbered
    bodies: Mapping[Node, tuple[Node, ...]]  # of the loops, inner ones too, in order

    def evaluate(self, env: Mapping[str, int], whole_env: Mapping[str, int]) -> list[int]:
        """The size table of a shard, whose own sizes are `env`; the whole's are `whole_env`.

        Raises GraphError for a name that has no value.
        """
        try:
            return [
                evaluate(value, whole_env if i in self.whole else env)
                for i, value in enumerate(self.sizes)
            ]
        except KeyError as error:
            fail(
                GraphError,
                f"the size of dimension {error.args[0]!r} is not known",
                got=f"sizes of {', '.join(env) or 'no dimension'}",
                do="declare an input of that dimension, and use it",
            )

    def sizes_by_name(self, env: Mapping[str, int]) -> dict[str, int]:
        """What n0, n1, ... stand for in a program that runs whole."""
        return {size_name(i): n for i, n in enumerate(self.evaluate(env, env))}


class _Unifier(Classes):
    """Union-find over size classes; the int 1 is a class of its own that absorbs others."""

    def __init__(self) -> None:
        self.parent: dict[AnyDim, AnyDim] = {}
        self.value: dict[AnyDim, AnyDim] = {}

    def fresh(self, value: AnyDim) -> AnyDim:
        symbol = Dim.named(f"u{len(self.value)}")
        self.parent[symbol] = symbol
        self.value[symbol] = value
        return symbol

    def find(self, symbol: AnyDim) -> AnyDim:
        above = self.parent.get(symbol, symbol)
        while above is not symbol and above != symbol:
            higher = self.parent.get(above, above)
            self.parent[symbol] = higher  # the next search finds it in half the steps
            symbol, above = above, higher
        return symbol

    def same(self, a: AnyDim, b: AnyDim) -> AnyDim:
        a, b = self.find(a), self.find(b)
        if a == b:
            return a
        if a == 1:
            a, b = b, a
        self.parent[a] = b
        return b


def unify_sizes(order: Sequence[Node]) -> SizedGraph:
    """Find the size classes of all axes in `order` (inputs before users)."""
    unifier = _Unifier()
    axes: dict[Node, Any] = {}
    symbols: dict[Node, tuple[AnyDim, ...]] = {}
    bodies: dict[Node, tuple[Node, ...]] = {}
    for node in order:
        _relate(node, unifier, axes, symbols, bodies)
    return _number(order, axes, symbols, bodies, unifier)


def _relate(
    node: Node,
    unifier: _Unifier,
    axes: dict[Node, Any],
    symbols: dict[Node, tuple[AnyDim, ...]],
    bodies: dict[Node, tuple[Node, ...]],
) -> None:
    if node in axes:
        return  # the body input of a loop, which has the axes of what it stands for
    if isinstance(node.op, Loop):
        axes[node] = _relate_loop(node, node.op, unifier, axes, symbols, bodies)
    else:
        axes[node] = node.op.relate(unifier, node.type, *(axes[x] for x in node.inputs))
    symbols[node] = tuple(n if n == 0 else unifier.fresh(n) for n in node.op.sizes())


def _relate_loop(
    node: Node,
    op: Loop,
    unifier: _Unifier,
    axes: dict[Node, Any],
    symbols: dict[Node, tuple[AnyDim, ...]],
    bodies: dict[Node, tuple[Node, ...]],
) -> Any:
    inputs = [axes[x] for x in node.inputs]
    axes.update(zip(op.body_inputs, op.enter(*inputs), strict=True))
    symbols.update(dict.fromkeys(op.body_inputs, ()))
    bodies[node] = tuple(toposort(op.body))
    for inner in bodies[node]:
        _relate(inner, unifier, axes, symbols, bodies)
    return op.leave(unifier, inputs, [[axes[n] for n in region] for region in op.regions])


def _number(
    order: Sequence[Node],
    axes: dict[Node, Any],
    symbols: dict[Node, tuple[AnyDim, ...]],
    bodies: dict[Node, tuple[Node, ...]],
    unifier: _Unifier,
) -> SizedGraph:
    """Number the classes by first appearance, so that equal structures get equal names."""
    names: dict[AnyDim, AnyDim] = {1: 1, 0: 0}
    positions: dict[AnyDim, int] = {}
    sizes: list[AnyDim] = []

    def rename(symbol: AnyDim) -> AnyDim:
        root = unifier.find(symbol)
        if root not in names:
            names[root] = Dim.named(size_name(len(sizes)))
            positions[names[root]] = len(sizes)
            sizes.append(unifier.value[root])
        return names[root]

    def rename_all(entry: Any) -> Any:
        if isinstance(entry, tuple):
            return tuple(rename_all(e) for e in entry)
        return rename(entry)

    new_axes: dict[Node, Any] = {}
    new_symbols: dict[Node, Axes] = {}
    everything = list(_walk(order, bodies))
    for node in everything:
        new_axes[node] = rename_all(axes[node])
        new_symbols[node] = rename_all(symbols[node])
    whole = {
        positions[symbol]
        for node in everything
        if node.op.whole_size
        for symbol in new_symbols[node]
        if symbol != 0
    }
    streams: dict[int, int] = {}  # equal draws, by the token that they share
    numbers = {
        node: streams.setdefault(id(node.op.drawn()), len(streams))
        for node in everything
        if node.op.is_random
    }
    return SizedGraph(
        tuple(order),
        new_axes,
        new_symbols,
        tuple(sizes),
        positions,
        frozenset(whole),
        numbers,
        bodies,
    )


def _walk(order: Sequence[Node], bodies: Mapping[Node, tuple[Node, ...]]) -> Iterator[Node]:
    for node in order:
        if isinstance(node.op, Loop):
            yield from node.op.body_inputs
            yield from _walk(bodies[node], bodies)
        yield node
