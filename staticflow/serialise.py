"""A graph, and what goes with it, as plain data for JSON, and back; nothing is unpickled.

    {"op": "Dot", "in": [0, 1], "at": ["model.py", 12]}
    {"op": "Map", "fields": {"row": {"row": "tanh"}, "params": []}, "in": [2], "at": [...]}

Nodes are listed inputs first, in one list, and refer to each other by position; the nodes of a
loop's body are in it too. An op is its class's name and its fields, a row of the table of
elementwise ops is its name, a size is text, and a constant array is a tensor beside the data.
Classes and rows are looked up among staticflow's own, by name: data can make nothing else.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from staticflow.declare import input
from staticflow.dims import AnyDim, Dim, floor_divide, square_root
from staticflow.errors import GraphError, Where, attributed, fail
from staticflow.generalise import generalise
from staticflow.graph import Const, Leaf, Node, State, apply, as_node, rebuild, toposort
from staticflow.learning_rates import Custom, Schedule
from staticflow.op import Op
from staticflow.op_table import OPS
from staticflow.optim import Optimizer
from staticflow.states import add_update
from staticflow.types import DTYPES, TensorType
from staticflow.vocabulary import OTHER_VERSION, Row, Rule, classes, derivatives, known, rows

Array = NDArray[Any]
LEFT_OUT = ("init", "updates", "value")  # of leaves: kept as values, apart, or as tensors


class Encoder:
    """Collects nodes as data, and the arrays that they hold."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, Array] = {}
        self._numbers: dict[Node, int] = {}
        self._tokens: dict[int, int] = {}
        self._states: list[Node] = []
        self._current: Node | None = None  # what is being encoded

    def node(self, root: Node) -> int:
        """The position of a node, which is added with all that it needs."""
        for node in toposort([root]):
            if node not in self._numbers:
                entry = self._entry(node)
                self._numbers[node] = len(self.nodes)
                self.nodes.append(entry)
        return self._numbers[root]

    def updates(self) -> list[list[int]]:
        """The states with their updates, by position; may add nodes."""
        found = []
        for state in self._states:  # grows while it is walked
            op: Any = state.op
            found.append([self.node(state), *map(self.node, op.updates)])
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
        op: Any = node.op
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
        entry["at"] = [PurePath(node.where.file).name, node.where.line]
        return entry

    def _class(self, value: Any) -> str:
        name = type(value).__name__
        if classes().get(name) is not type(value):
            self._refuse(f"{type(value).__module__}.{name}, which is not staticflow's own")
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
        left_out = LEFT_OUT if isinstance(value, Leaf) else ()
        names = [f.name for f in fields(value) if f.init and f.name not in left_out]
        given = {name: getattr(value, name) for name in names}
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
            (Rule, self._rule),
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

    def _rule(self, rule: Rule) -> dict[str, Any]:
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
        self.tensors[key] = array
        return {"tensor": key}


class Decoder:
    """Makes nodes from data; raises GraphError for what it does not know."""

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        updates: Sequence[Sequence[int]],
        tensors: Mapping[str, Array],
    ) -> None:
        self.tensors = tensors
        self._tokens: dict[int, object] = {}
        self._serials = _fresh_serials(nodes)
        self.nodes: list[Node] = []
        for entry in nodes:
            self.nodes.append(self._node(entry))
        for state, *values in updates:
            for i in values:
                add_update(self.nodes[state], self.nodes[i])

    def structure(self, data: Any) -> Any:
        """What `Encoder.structure` was given, of nodes."""
        if data is None:
            return None
        ((kind, content),) = data.items()
        if kind == "node":
            return self.nodes[content]
        if kind == "dict":
            return {key: self.structure(v) for key, v in content}
        members = [self.structure(v) for v in content]
        return members if kind == "list" else tuple(members)

    def _node(self, entry: Mapping[str, Any]) -> Node:
        file, line = entry["at"]
        where = Where(str(file), int(line))
        inputs = tuple(self.nodes[i] for i in _positions(entry.get("in", ()), len(self.nodes)))
        with attributed(where):
            op = self._make(entry["op"], entry.get("fields", {}), entry.get("value"))
            if not isinstance(op, Op):
                fail(GraphError, f"{entry['op']} is not an op")
            node = apply(op, *inputs, where=where)
        label = entry.get("label")
        return node if label is None else node.named(label)

    def _make(self, name: str, members: Mapping[str, Any], value: Any = None) -> Any:
        cls = known(classes(), name, "op")
        given = {key: self.value(v) for key, v in members.items()}
        if issubclass(cls, Leaf):
            given["serial"] = self._serials[given["serial"]]
            names = {f.name for f in fields(cls)}
            given |= {"init": "zeros"} if "init" in names else {}
            given |= {"updates": []} if "updates" in names else {}
            given |= {"value": self._constant(value)} if "value" in names else {}
        return cls(**given)

    def value(self, data: Any) -> Any:
        """What `Encoder.value` was given."""
        if isinstance(data, list):
            return tuple(self.value(v) for v in data)
        if not isinstance(data, dict):
            return data
        for kind, decode in self._kinds().items():
            if kind in data:
                return decode(data)
        fail(GraphError, f"unknown data {sorted(data)}", do=OTHER_VERSION)

    def _kinds(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "float": lambda d: float(d["float"]),
            "dim": lambda d: parse_dim(d["dim"]),
            "type": lambda d: TensorType(self.value(d["shape"]), _dtype(d["type"])),
            "node": lambda d: self.nodes[d["node"]],
            "row": lambda d: known(rows(), d["row"], "op"),
            "rule": lambda d: known(derivatives(), d["rule"], "derivative"),
            "token": lambda d: self._tokens.setdefault(d["token"], object()),
            "class": lambda d: self._make(d["class"], d["fields"]),
            "done": self._custom,
            "scalar": self._constant,
            "tensor": self._constant,
        }

    def _custom(self, data: Mapping[str, Any]) -> Custom:
        done, rate = self.nodes[data["done"]], self.nodes[data["rate"]]

        def schedule(step: Node) -> Node:
            return rebuild([rate], lambda n, xs: step if n is done else _on(n, xs))[0]

        return Custom(schedule, data["base"])

    def _constant(self, data: Mapping[str, Any]) -> Array:
        if "tensor" in data:
            array = self.tensors[data["tensor"]]
        else:
            array = np.frombuffer(bytes.fromhex(data["bytes"]), _dtype(data["scalar"])).reshape(())
        array.flags.writeable = False
        return array


def _on(node: Node, inputs: tuple[Node, ...]) -> Node:
    return Node(node.op, inputs, node.type, node.where, node.label)


def _dtype(name: str) -> str:
    if name not in DTYPES:
        fail(GraphError, f"there is no dtype {name!r}")
    return name


def _positions(data: Sequence[int], end: int) -> Iterator[int]:
    for i in data:
        if not 0 <= i < end:
            fail(GraphError, f"a node refers to node {i}, which does not come before it")
        yield i


def _fresh_serials(nodes: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """New serials for leaves, in the order of the old ones: the order of declaration."""
    old = {entry["fields"]["serial"] for entry in nodes if "serial" in entry.get("fields", {})}
    return {serial: next(OPS.serials) for serial in sorted(old)}


def check_sizes(roots: Sequence[Node]) -> None:
    """Refuse axes that an op takes as equal and that are not: code would read beyond their end."""
    g = generalise(toposort(roots))
    for node, axes in g.axes.items():
        if isinstance(node.type, tuple):
            continue
        for symbol, size in zip(axes, node.shape, strict=True):
            value = g.sizes[int(str(symbol)[1:])] if isinstance(symbol, Dim) else symbol
            if value != size:
                fail(GraphError, f"{node.name}: a size is {size} and {value}", where=node.where)


def parse_dim(text: str) -> AnyDim:
    """The size that a text stands for: `batch*time - 1`."""
    return _evaluate(ast.parse(text, mode="eval").body)


def _evaluate(expr: ast.expr) -> AnyDim:
    if isinstance(expr, ast.Name):
        return Dim.named(expr.id)
    if isinstance(expr, ast.Constant) and type(expr.value) is int:
        return expr.value
    if isinstance(expr, ast.UnaryOp) and isinstance(expr.op, ast.USub):
        return -_evaluate(expr.operand)
    if isinstance(expr, ast.BinOp):
        left, right = _evaluate(expr.left), _evaluate(expr.right)
        if isinstance(expr.op, ast.Add):
            return left + right
        if isinstance(expr.op, ast.Sub):
            return left - right
        if isinstance(expr.op, ast.Mult):
            return left * right
        if isinstance(expr.op, ast.FloorDiv):
            return floor_divide(left, right)
    if isinstance(expr, ast.Call) and ast.unparse(expr.func) == "isqrt":
        return square_root(_evaluate(expr.args[0]))
    fail(GraphError, f"not a size: {ast.unparse(expr)}")
