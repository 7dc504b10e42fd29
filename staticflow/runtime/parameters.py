"""The values that a session owns: parameters and states, as views into flat arrays.

All trained parameters of a dtype lie in one flat array, in order of declaration, each starting at
a cache line. The optimizer updates that array as a whole; `session.params[name]` is a live view.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Leaf, Param, State
from staticflow.graph.node import Node, Op
from staticflow.init import initialise
from staticflow.native import memory
from staticflow.native.memory import Array

LINE_ITEMS = 16  # spans begin at multiples of it: a cache line of float32, two of float64


@dataclass(frozen=True)
class Span:
    """Where a leaf's value lies in its flat array, in items."""

    node: Node
    start: int
    count: int


class FlatArray:
    """Values of several leaves of one dtype in one aligned array."""

    def __init__(self, nodes: Sequence[Node], dtype: str) -> None:
        self.dtype = dtype
        self.spans: list[Span] = []
        start = 0
        for node in nodes:
            count = int(np.prod([evaluate(n, {}) for n in node.shape], dtype=np.int64))
            self.spans.append(Span(node, start, count))
            start += -(-count // LINE_ITEMS) * LINE_ITEMS
        self.size = start
        self.data = self.like()

    def like(self) -> Array:
        """Another array of this layout, of zeros."""
        return memory.zeros((self.size,), self.dtype, memory.LINE)

    def view(self, span: Span, data: Array | None = None) -> Array:
        """The part of a leaf, in its shape behind the axes that `data` has before its last."""
        source = self.data if data is None else data
        shape = tuple(evaluate(n, {}) for n in span.node.shape)
        part = source[..., span.start : span.start + span.count]
        return part.reshape(source.shape[:-1] + shape)


class ParameterStore(Mapping[str, Array]):
    """A mapping from name to live array, for the leaves of one class, in order of declaration."""

    def __init__(self, nodes: Sequence[Node], what: str, trained: Container[Node] = ()) -> None:
        self.what = what
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            other = self.nodes.setdefault(node.name, node)
            if other is not node:
                fail(
                    GraphError,
                    f"two {what}s are called {node.name!r}",
                    got=f"declared at {other.where} and at {node.where}",
                    do="give each its own name; models take a name= argument",
                )
        self.flats: dict[tuple[str, bool], FlatArray] = {}
        groups: dict[tuple[str, bool], list[Node]] = {}
        for node in nodes:
            groups.setdefault((node.dtype, node in trained), []).append(node)
        self._views: dict[str, Array] = {}
        for key, members in groups.items():
            self.flats[key] = FlatArray(members, key[0])
            self._show(key, self.flats[key].data)

    def _show(self, key: tuple[str, bool], data: Array) -> None:
        """Let the values of a flat array be seen in `data`."""
        flat = self.flats[key]
        for span in flat.spans:
            self._views[span.node.name] = flat.view(span, data)

    def __getitem__(self, name: str) -> Array:
        if name not in self._views:
            known = ", ".join(map(repr, self._views)) or "none"
            raise KeyError(f"there is no {self.what} {name!r}; there are {known}")
        return self._views[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Write a value into the live array."""
        self[name][...] = self.check(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{k!r}: {v.dtype}{list(v.shape)}" for k, v in self.items()) + "}"

    def __reduce__(self) -> tuple[type[dict[str, Array]], tuple[dict[str, Array]]]:
        return dict, (dict(self),)  # a copy holds values, and is no part of a session

    def initialise(self, rng: np.random.Generator) -> None:
        """Give every leaf its declared initial value, in order of declaration."""
        for name, node in self.nodes.items():
            op = node.op
            assert isinstance(op, Param | State)
            shape = tuple(evaluate(n, {}) for n in node.shape)
            self._views[name][...] = initialise(op.init, rng, shape, node.dtype, name)

    def address(self, node: Node) -> int:
        """Where a leaf's value lies in memory."""
        return int(self._views[node.name].ctypes.data)

    def check(self, name: str, value: Any) -> Array:
        """A value to be assigned, checked against the declaration."""
        view = self[name]
        array = np.asarray(value)
        if array.shape != view.shape:
            fail(
                GraphError,
                f"{self.what} {name!r} has shape {view.shape}",
                got=f"a value of shape {array.shape}",
            )
        if array.dtype.kind not in "fiub":
            fail(GraphError, f"{self.what} {name!r} takes numbers", got=f"dtype {array.dtype}")
        return array


def assign(params: ParameterStore, states: ParameterStore, values: Mapping[str, Any]) -> None:
    """Set parameters and states by name: all or, where a name or value is refused, nothing."""
    known = {**states, **params}
    unknown = [name for name in values if name not in known]
    if unknown:
        fail(
            GraphError,
            f"there is no parameter {unknown[0]!r}",
            got=f"values for {len(values)} names",
            do=f"the parameters are {', '.join(map(repr, params))}",
        )
    checked = {
        name: (params if name in params else states).check(name, value)
        for name, value in values.items()
    }
    for name, array in checked.items():
        known[name][...] = array


def declared_order(nodes: Sequence[Node]) -> list[Node]:
    """Leaves in the order in which the user declared them."""
    return sorted(nodes, key=lambda node: _serial(node.op))


def _serial(op: Op) -> int:
    assert isinstance(op, Leaf)
    return op.serial
