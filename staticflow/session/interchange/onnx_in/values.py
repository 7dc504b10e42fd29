"""The values of a model that is taken in, and what a writer of an operator is given.

A value is an array that is known (a constant, or the sizes of a shape, of which some may be named),
a parameter, or a node of ours. Sizes stay sizes as long as the model only computes with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.leaves import const
from staticflow.graph.node import Node, apply
from staticflow.native.memory import Array
from staticflow.ops.assemble import stack
from staticflow.ops.counting import SizeOf
from staticflow.ops.shape import reshape

DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # ONNX's numbers of ours


class Value:
    """One value; `known` are its elements where they are known, objects if some are sizes."""

    def __init__(
        self,
        node: Node | None = None,
        known: Array | None = None,
        make: Callable[[bool], Node] | None = None,
    ) -> None:
        self.known = known
        self.trainable = True
        self._node = node
        self._make = make

    @property
    def is_parameter(self) -> bool:
        """Whether it is one of the model's weights, whose elements training may change."""
        return self._make is not None

    @property
    def node(self) -> Node:
        """The value as a node; a parameter is declared when it is first asked for."""
        if self._node is None:
            self._node = self._make(self.trainable) if self._make is not None else self._constant()
        return self._node

    def _constant(self) -> Node:
        assert self.known is not None
        if self.known.dtype != object:
            return const(self.known)
        numbers = [apply(SizeOf(n, "int64")) for n in self.known.ravel()]
        return reshape(stack(numbers), self.known.shape) if self.known.ndim else numbers[0]

    @property
    def shape(self) -> tuple[AnyDim, ...]:
        return self.node.shape if self.known is None else self.known.shape

    @property
    def dtype(self) -> str:
        if self.known is None:
            return self.node.dtype
        return "int64" if self.known.dtype == object else self.known.dtype.name

    @property
    def array(self) -> Array | None:
        """The elements, if all are numbers."""
        return None if self.known is None or self.known.dtype == object else self.known


def sizes(entries: Any) -> Array:
    """An array of sizes: int64 where all are numbers, else of objects."""
    array = np.asarray(entries, object)
    named = any(isinstance(n, Dim) for n in array.ravel().tolist())
    return array if named else array.astype(np.int64)


@dataclass(frozen=True)
class Call:
    """A node of a model: its operator, attributes, and its inputs as values (None if left out).

    `outputs` is how many it has, `version` the opset, `place` how messages name it, and `graph`
    evaluates a graph that is an attribute, for given inputs.
    """

    kind: str
    attributes: Mapping[str, Any]
    values: Sequence[Value | None]
    outputs: int
    version: int
    place: str
    graph: Callable[[Any, Sequence[Value]], list[Value]]

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def __getitem__(self, place: int) -> Any:
        """An input as a node; None if it is left out."""
        value = self.values[place] if place < len(self.values) else None
        return None if value is None else value.node

    @property
    def nodes(self) -> list[Node]:
        return [value.node for value in self.values if value is not None]

    def has(self, place: int) -> bool:
        return place < len(self.values) and self.values[place] is not None

    def array(self, place: int) -> Array:
        """An input whose elements must be known."""
        value = self.values[place]
        if value is None or value.array is None:
            self.refuse(
                f"its input {place} decides about the graph, and is not known",
                do="make it a constant of the model, or name it in constants={...}",
            )
        return value.array

    def number(self, place: int) -> Any:
        return self.array(place).reshape(()).item()

    def dims(self, place: int, name: str = "") -> tuple[AnyDim, ...] | None:
        """An input that is a list of sizes, or an attribute that older versions have for it."""
        if self.has(place):
            value = self.values[place]
            assert value is not None
            if value.known is None:
                self.refuse(
                    f"its input {place}, sizes, is computed from data",
                    do="make it a constant of the model, or name it in constants={...}",
                )
            return tuple(n if isinstance(n, Dim) else int(n) for n in value.known.ravel())
        given = self.attributes.get(name)
        return None if given is None else tuple(given)

    def integers(self, place: int, name: str = "") -> tuple[int, ...] | None:
        """The same, of numbers."""
        found = self.dims(place, name)
        if found is not None and any(isinstance(n, Dim) for n in found):
            self.refuse(f"its input {place} has a named size where a number is asked for",
                        do="give the dimension a number in dims={...}")  # fmt: skip
        return found  # type: ignore[return-value]

    def refuse(self, why: str, got: str = "", do: str = "") -> NoReturn:
        fail(GraphError, f"from_onnx: {self.place}: {why}", got=got, do=do)
