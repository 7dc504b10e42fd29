"""A graph, and what goes with it, as plain data for JSON; `decode` makes a graph of it again.

    {"op": "Dot", "in": [0, 1], "at": ["model.py", 12]}
    {"op": "Map", "fields": {"row": {"row": "tanh"}, "params": []}, "in": [2], "at": [...]}

Nodes are listed inputs first, in one list, and refer to each other by position; the nodes of a
loop's body are in it too. An op is its class's name and its fields, a row of the table of
elementwise ops is its name, a size is text, and a constant array is a tensor beside the data.
Classes and rows are looked up among staticflow's own, by name: data can make nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.declare import input
from staticflow.graph.dims import Dim
from staticflow.graph.leaves import Const, Leaf, State, as_node
from staticflow.graph.node import Node, Op
from staticflow.graph.traversal import toposort
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array
from staticflow.optim.algorithms import Optimizer
from staticflow.optim.schedules import Custom, Schedule
from staticflow.runtime.saved_names import (
    DerivativeRule,
    Row,
    classes,
    derivatives,
    name_in_files,
    rows,
)

LEFT_OUT = ("init", "updates", "value")  # of leaves: kept as values, apart, or as tensors


class Encoder:
    """Collects nodes as data, and the arrays that they hold."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """`taken` are the names of other tensors."""
        self._taken = taken
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, Array] = {}
        self._numbers: dict[Node, int] = {}
        self._tokens: dict[int, int] = {}
        self._states: list[Node] = []
        self._current: Node | None = None  # what is being encoded

    def node(self, root: Node) -> int:
        """The position of a node, which is added with all that it needs."""
        if root in self._numbers:
            return self._numbers[root]
        for node in toposort([root]):
            if node not in self._numbers:
                entry = self._entry(node)
                self._numbers[node] = len(self.nodes)
                self.nodes.append(entry)
        return self._numbers[root]

    def numbered(self) -> Iterable[Node]:
        """The nodes that are described."""
        return self._numbers

    def updates(self) -> list[list[int]]:
        """The states with their updates, by position; may add nodes."""
        found = []
        for state in self._states:  # grows while it is walked
            assert isinstance(state.op, State)
            found.append([self.node(state), *map(self.node, state.op.updates)])
        return found

    def structure(self, value: Any) -> Any:
        """Nodes in lists, tuples and dicts."""
        if isinstance(value, Node):
            return {"node": self.node(value)}
        if isinstance(value, dict):
            return {"dict": [[self.value(k), self.structure(v)] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.structure(v) for v in value]}
        return None

    def _entry(self, node: Node) -> dict[str, Any]:
        op = node.op
        self._current = node
        entry: dict[str, Any] = {"op": self._class(op)}
        members = self._fields(op)
        if members:
            entry["fields"] = members
        if node.inputs:
            entry["in"] = [self._numbers[x] for x in node.inputs]
        if node.label is not None:
            entry["label"] = node.label
        if isinstance(op, Const):
            entry["value"] = self._array(op.value)
        if isinstance(op, State):
            self._states.append(node)
        entry["at"] = [_file_name(node.where.file), node.where.line]
        return entry

    def _class(self, value: Any) -> str:
        cls, name = type(value), name_in_files(type(value))
        if classes().get(name) is not cls:
            self._refuse(f"{cls.__module__}.{cls.__name__}, which is not staticflow's own")
        return name

    def _refuse(self, what: str) -> NoReturn:
        node = self._current
        fail(
            GraphError,
            f"{'the optimizer' if node is None else node.name} cannot be saved",
            got=what,
            do="build the graph in code, and save and load its weights alone",
            where=None if node is None else node.where,
        )

    def _fields(self, value: Any) -> dict[str, Any]:
        kind: Any = type(value)
        given = {name: getattr(value, name) for name in _field_names(kind)}
        if isinstance(value, Optimizer) and callable(value.lr):
            given["lr"] = value.schedule
        return {name: self.value(v) for name, v in given.items()}

    def value(self, value: Any) -> Any:
        """A field of an op or of an optimizer."""
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.generic):
            return self.value(value.item())
        if isinstance(value, tuple | list):
            return [self.value(v) for v in value]
        if type(value) is object:
            return {"token": self._tokens.setdefault(id(value), len(self._tokens))}
        for kind, encode in self._kinds():
            if isinstance(value, kind):
                return encode(value)
        self._refuse(repr(value))

    def _kinds(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        return [
            (Dim, lambda v: {"dim": repr(v)}),
            (TensorType, lambda v: {"type": v.dtype, "shape": self.value(v.shape)}),
            (Node, lambda v: {"node": self.node(v)}),
            (Row, self._row),
            (DerivativeRule, self._rule),
            (np.ndarray, self._array),
            (Custom, self._custom),
            (Op | Optimizer | Schedule, self._made),
        ]

    def _made(self, value: Any) -> dict[str, Any]:
        return {"class": self._class(value), "fields": self._fields(value)}

    def _row(self, row: Row) -> dict[str, Any]:
        if rows().get(row.name) is not row:
            self._refuse(f"{row.name}, a row that is not staticflow's own")
        return {"row": row.name}

    def _rule(self, rule: DerivativeRule) -> dict[str, Any]:
        for name, entry in derivatives().items():
            if entry is rule:
                return {"rule": name}
        self._refuse("a derivative that is not staticflow's own")

    def _custom(self, schedule: Custom) -> dict[str, Any]:
        """A function of the step count, as the graph that it makes."""
        done = input("done", (), "float64")
        rate = as_node(schedule.function(done), "float64")
        return {"done": self.node(done), "rate": self.node(rate), "base": schedule.base}

    def _array(self, array: Array) -> dict[str, Any]:
        if array.ndim == 0:
            return {"scalar": array.dtype.name, "bytes": array.tobytes().hex()}
        key = f"staticflow.const.{len(self.tensors)}"
        while key in self._taken:
            key += "'"
        self.tensors[key] = array
        return {"tensor": key}


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    """The fields that make a value of a class."""
    left_out = LEFT_OUT if issubclass(kind, Leaf) else ()
    return tuple(f.name for f in fields(kind) if f.init and f.name not in left_out)


@functools.lru_cache(maxsize=256)
def _file_name(path: str) -> str:
    return PurePath(path).name
