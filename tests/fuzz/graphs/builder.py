"""A random graph under construction, and the choice of operands among its nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

import staticflow as sf
from staticflow import Node, ops
from staticflow.errors import ShapeError
from staticflow.graph.dims import Dim

Choose = Callable[[int], int]  # a number below the given one
Array = NDArray[Any]
FLOATS = ("float32", "float64")
LIMIT = 8.0  # exact graphs stay within, so that no sum of products rounds
SIZES: tuple[Any, ...] = ("a", "b", "c", 1, 2, 3, 4, 6)


@dataclass
class Graph:
    """A graph under construction, and what its sizes must keep."""

    choose: Choose
    prefix: str
    exact: bool
    dtype: str
    lead: str = ""  # a dimension that leads most inputs, as rows do, and stands nowhere else
    nodes: list[Node] = field(default_factory=list)
    leaves: list[Node] = field(default_factory=list)
    bounds: dict[str, Any] = field(default_factory=dict)  # of index inputs
    positive: set[str] = field(default_factory=set)  # dimensions that must not be 0

    def one_of(self, entries: Any) -> Any:
        items = list(entries)
        return items[self.choose(len(items))]

    def leaf(self, shape: tuple[Any, ...], dtype: str) -> Node:
        if any(isinstance(n, Dim) and n.name in (None, self.lead or None) for n in shape[1:]) or (
            shape and isinstance(shape[0], Dim) and shape[0].name is None
        ):
            raise ShapeError("the shape of an input is names and ints, the leading one for rows")
        node = sf.input(f"{self.prefix}{len(self.leaves)}", shape, dtype)
        self.leaves.append(node)
        self.nodes.append(node)
        return node

    def axis(self, x: Node) -> int:
        return self.choose(x.ndim)

    def floats(self) -> list[Node]:
        return [x for x in self.nodes if x.dtype in FLOATS]

    def need(self, *dims: Any) -> None:
        """These sizes must be at least 1."""
        for dim in dims:
            if isinstance(dim, Dim):
                self.positive |= dim.names


def tame(graph: Graph, x: Node) -> Node:
    return ops.clip(x, -LIMIT, LIMIT) if graph.exact and x.dtype in FLOATS else x


def pick(graph: Graph, rank: int = 0) -> Node | None:
    fitting = [x for x in graph.floats() if x.ndim >= rank]
    return graph.one_of(fitting) if fitting else None


def partner(graph: Graph, x: Node) -> Node:
    """An operand for x: a node that may broadcast with it, or x again."""
    fitting = [y for y in graph.floats() if broadcasts(x, y)]
    return graph.one_of([*fitting, x])


def broadcasts(x: Node, y: Node) -> bool:
    pairs = zip(reversed(x.shape), reversed(y.shape), strict=False)
    return all(m == n or m == 1 or n == 1 for m, n in pairs)
