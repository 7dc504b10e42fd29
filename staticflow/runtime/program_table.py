"""One table for the process: from the structure of a graph to the programs compiled from it.

Two graphs have the same structure if the same lines declared them, with the same ops, names,
dtypes and constants, and shapes of which the same sizes are equal: the folds of a validation, the
points of a grid, a net of other widths, a model that is loaded twice. Initial values, seeds,
constant learning rates and sizes are no part of it; what sizes cannot be told apart from the
structure, `free_sizes` says. A program is there as long as somebody has it, and goes with its last
user; a custom op, which has no description, makes a program that is nobody else's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

from staticflow.errors import DTypeError, GraphError, ShapeError
from staticflow.graph.leaves import Input, Param, State
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.optim.algorithms import Optimizer
from staticflow.optim.schedules import Constant
from staticflow.runtime.free_sizes import Sizes, free_sizes
from staticflow.runtime.graph_json import Encoder

Leaves = Mapping[tuple[type, str], Node]
MOST_KNOWN = 1024  # structures with their sizes, of some 0.4 kB


class Shareable(Protocol):
    """Programs that serve every graph of a structure."""

    def for_graph(self, own: Leaves, sizes: Sizes) -> Self:
        """The same for a graph whose leaves and sizes these are."""


class Structured(Protocol):
    """A graph, or several, that programs are made of."""

    def describe(self, encoder: Encoder) -> Any:
        """Its structure, as data: all that programs depend on."""

    def freed(self) -> tuple[Self, Sizes]:
        """The graph with names for its declared sizes, and these."""

    def named_leaves(self) -> Leaves:
        """Its inputs, parameters and states, by kind and name."""


G = TypeVar("G", bound=Structured)
P = TypeVar("P", bound=Shareable)
# From the structure of a graph with its sizes: that without them, and the sizes. To free a graph
# takes longer than to describe it, and gives the same each time.
_known: dict[str, tuple[str, Sizes]] = {}


def shared(toolchain: Toolchain, graph: G, make: Callable[[G], P]) -> P:
    """The programs that the table has for a graph's structure, or what `make` gives of it."""
    own = structure_key(graph.describe)
    if own is None:
        return make(graph)
    key, sizes = _known.get(own, ("", {}))
    found: P | None = toolchain.programs.get(key)
    if found is None:
        freed, sizes = graph.freed()
        key = structure_key(freed.describe) or own
        found = toolchain.programs.get(key)
        if found is None:
            try:
                found = make(freed)
            except (GraphError, ShapeError, DTypeError):
                return make(graph)  # whose errors tell sizes
            toolchain.programs[key] = found
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[own] = key, sizes
    return found.for_graph(graph.named_leaves(), sizes)


@dataclass(frozen=True)
class OutputGraph:
    """Outputs that a program computes; `kind` is that of the program."""

    kind: str
    nodes: Sequence[Node]

    def describe(self, encoder: Encoder) -> Any:
        """Its structure, as data."""
        return [self.kind, encoder.structure(list(self.nodes))]

    def freed(self) -> tuple[OutputGraph, Sizes]:
        """The graph with names for its declared sizes, and these."""
        found = free_sizes(self.nodes)
        return replace(self, nodes=list(map(found.of, self.nodes))), found.sizes

    def named_leaves(self) -> Leaves:
        """Its inputs, parameters and states, by kind and name."""
        return named_leaves(self.nodes)


def structure_key(describe: Callable[[Encoder], Any]) -> str | None:
    """A digest of what `describe` makes of graphs; None for those that have no description."""
    encoder = Encoder()
    try:
        described = describe(encoder)
        updates = encoder.updates()
    except GraphError:
        return None
    for entry in encoder.nodes:
        entry.get("fields", {}).pop("serial", None)  # the order of declaration, in the process
    state = hashlib.sha256(json.dumps([described, updates, encoder.nodes]).encode())
    for file in sorted({node.where.file for node in encoder.numbered()}):
        state.update(f"\0{file}".encode())
    for array in encoder.tensors.values():
        state.update(f"\0{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def without_rate(optimizer: Optimizer | None) -> Optimizer | None:
    """The optimizer as far as it shapes code: a rate that is a number is told at each run, and so
    is a decay of which each member has its own.
    """
    if optimizer is None:
        return None
    if "weight_decay" in optimizer.lengths:
        optimizer = replace(optimizer, weight_decay=(1.0,))
    constant = isinstance(optimizer.schedule, Constant)
    return replace(optimizer, lr=0.0) if constant else optimizer


def named_leaves(roots: Iterable[Node]) -> dict[tuple[type, str], Node]:
    """The inputs, parameters and states that nodes reach, by kind and name."""
    found = [x for x in toposort(roots) if isinstance(x.op, Input | Param | State)]
    return {(type(x.op), x.name): x for x in found}
