"""A graph, and what goes with it, from the plain data that `serialise.Encoder` makes.

The data may say anything. Classes and rows are looked up among staticflow's own, by name; every
field must be of the type its class annotates; every op checks itself (`Op.check`) on what it is
applied to, and every size must be one. What passes is a graph that could have been declared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from staticflow.compiler.ir.size_classes import unify_sizes
from staticflow.errors import GraphError, Where, attributed, fail
from staticflow.graph.dim_text import parse_dim
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.field_types import annotations_of, fits
from staticflow.graph.leaves import Const, Input, Leaf
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import SERIALS, Node, Op, apply
from staticflow.graph.require import require
from staticflow.graph.state_updates import add_update
from staticflow.graph.traversal import rebuild, toposort
from staticflow.graph.types import DTYPES, TensorType
from staticflow.native.memory import Array
from staticflow.optim.schedules import Custom
from staticflow.runtime.saved_names import OTHER_VERSION, classes, derivatives, known, rows

MOST_AXES = 32  # of an array, as NumPy long had it
MOST_ELEMENTS = 1 << 36  # of an array whose sizes are known: 256 GB of float32
MOST_STEPS = 1 << 20  # nodes that the bodies of loops have together, each as often as it is used
DEEPEST_LOOP = 12  # loops within each other


class _Inside(NamedTuple):
    """What is in a loop: how many nodes, how many loops deep, over which body inputs."""

    nodes: int
    depth: int
    body_inputs: frozenset[Node]


class Decoder:
    """Makes nodes from data; raises GraphError for what they cannot be."""

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        updates: Sequence[Sequence[int]],
        tensors: Mapping[str, Array],
    ) -> None:
        self.tensors = tensors
        self._tokens: dict[int, object] = {}
        self._serials = _fresh_serials(nodes)
        self._loops: dict[Node, _Inside] = {}
        self._steps = 0  # nodes in the bodies of all loops
        self.nodes: list[Node] = []
        for entry in nodes:
            self.nodes.append(self._node(entry))
        for state, *values in updates:
            for i in values:
                self._update(self.node(state), self.node(i))

    def node(self, position: Any) -> Node:
        """The node at a position, which must have been made."""
        inside = type(position) is int and 0 <= position < len(self.nodes)
        require(inside, f"node {position!r} is referred to, and does not come before it")
        made: Node = self.nodes[position]
        return made

    def structure(self, data: Any) -> Any:
        """What `Encoder.structure` was given, of nodes that are arrays."""
        if data is None:
            return None
        ((kind, content),) = data.items()
        if kind == "node":
            node = self.node(content)
            require(isinstance(node.type, TensorType), f"{node.name} is no array")
            return node
        if kind == "dict":
            return {key: self.structure(v) for key, v in content}
        require(kind in ("list", "tuple"), f"there is no structure {kind!r}")
        members = [self.structure(v) for v in content]
        return members if kind == "list" else tuple(members)

    def _update(self, state: Node, value: Node) -> None:
        require(state.type == value.type, f"{state.name} is updated by {value.type}")
        add_update(state, value)

    def _node(self, entry: Mapping[str, Any]) -> Node:
        file, line = entry["at"]
        require(type(file) is str and fits(line, int), "no line of a file")
        where = Where(PurePath(file).name, line, here=False)
        inputs = tuple(map(self.node, entry.get("in", ())))
        with attributed(where):
            op = self.made(entry["op"], entry.get("fields", {}), entry.get("value"))
            if not isinstance(op, Op):
                fail(GraphError, f"{entry['op']} is not an op")
            types = [x.type for x in inputs]
            op.check(*types)
            node = apply(op, *inputs, where=where)
            self._check_sizes(node, types)
            if isinstance(op, Loop):
                self._count(node, op)
        label = entry.get("label")
        require(label is None or (type(label) is str and label), f"no name: {label!r}")
        return node if label is None else node.named(label)

    def _check_sizes(self, node: Node, types: Sequence[Any]) -> None:
        """Every size is one, or depends on a name and is looked at when that has a value."""
        results = node.type if isinstance(node.type, tuple) else (node.type,)
        for type_ in results:
            require(type_.ndim <= MOST_AXES, f"{node.name} has {type_.ndim} axes")
            whole = math.prod(n for n in type_.shape if isinstance(n, int))
            require(whole <= MOST_ELEMENTS, f"{node.name} has {whole} elements")
            require(all(map(_is_bounded, type_.shape)), f"{node.name} is {type_}")
        if all(isinstance(t, TensorType) for t in types):
            guards = node.op.size_guards(*types)
            require(all(map(_is_bounded, guards)), f"{node.name} reads outside its operands")
        require(all(map(_is_bounded, node.op.sizes())), f"{node.name}: no sizes")

    def _count(self, node: Node, op: Loop) -> None:
        """Bound what a loop takes to compile: the nodes of its bodies, and of loops in them."""
        body = toposort(op.body)
        inner = [self._loops[x] for x in body if x in self._loops]
        count = len(body) + sum(loop.nodes for loop in inner)
        depth = 1 + max((loop.depth for loop in inner), default=0)
        body_inputs = frozenset[Node]().union(*(loop.body_inputs for loop in inner))
        require(
            body_inputs.isdisjoint(op.body_inputs),
            f"{node.name}: a loop in it has a body input of its own",
        )
        self._loops[node] = _Inside(count, depth, body_inputs.union(op.body_inputs))
        self._steps += count
        require(depth <= DEEPEST_LOOP, f"{depth} loops within each other")
        require(self._steps <= MOST_STEPS, f"the loops have {self._steps} nodes together")

    def made(self, name: Any, members: Mapping[str, Any], value: Any = None) -> Any:
        """A value of a class of staticflow's own, with these fields."""
        cls = known(classes(), name, "op")
        given = {key: self.value(v) for key, v in members.items()}
        if given.get("params", ...) == ():  # version 1 wrote it for ops that have none
            del given["params"]
        hints = annotations_of(cls)
        for key, entry in given.items():
            if key not in hints or not fits(entry, hints[key]):
                require(False, f"{name}: {key} is {entry!r}"[:200])
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
        fail(GraphError, f"unknown data {sorted(map(str, data))}"[:200], do=OTHER_VERSION)

    def _kinds(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "float": lambda d: float(d["float"]),
            "dim": lambda d: parse_dim(d["dim"]),
            "type": self._type,
            "node": lambda d: self.node(d["node"]),
            "row": lambda d: known(rows(), d["row"], "op"),
            "rule": lambda d: known(derivatives(), d["rule"], "derivative"),
            "token": lambda d: self._tokens.setdefault(d["token"], object()),
            "class": lambda d: self.made(d["class"], d["fields"]),
            "done": self._custom,
            "scalar": self._constant,
            "tensor": self._constant,
        }

    def _type(self, data: Mapping[str, Any]) -> TensorType:
        shape = self.value(data["shape"])
        require(fits(shape, tuple[Dim | int, ...]), f"no shape: {shape!r}"[:200])
        return TensorType(shape, _dtype(data["type"]))

    def _custom(self, data: Mapping[str, Any]) -> Custom:
        done, rate = self.node(data["done"]), self.node(data["rate"])
        require(isinstance(done.op, Input), "a rate is no function of the step count")
        require(done.type == rate.type == TensorType((), "float64"), "a rate is no number")
        for node in toposort([rate]):
            fixed = node is done or isinstance(node.op, Const) or not isinstance(node.op, Leaf)
            require(fixed, f"a rate depends on {node.name}")
        require(fits(data["base"], float), "a rate has no base")

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


def _dtype(name: Any) -> str:
    require(type(name) is str and name in DTYPES, f"there is no dtype {name!r}")
    return str(name)


def _is_bounded(n: AnyDim) -> bool:
    """Whether a size is none that cannot be, or that no array has."""
    if isinstance(n, int):
        return 0 <= n <= MOST_ELEMENTS
    return all(abs(coefficient) <= MOST_ELEMENTS for _, coefficient in n.terms)


def _fresh_serials(nodes: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """New serials for leaves, in the order of the old ones: the order of declaration."""
    old = {entry["fields"]["serial"] for entry in nodes if "serial" in entry.get("fields", {})}
    require(all(type(serial) is int for serial in old), "a place in the order is no integer")
    return {serial: next(SERIALS) for serial in sorted(old)}


def check_sizes(roots: Sequence[Node]) -> None:
    """Refuse axes that an op takes as equal and that are not: code would read beyond their end."""
    sized = unify_sizes(toposort(roots))
    for node, axes in sized.axes.items():
        for own, shape in _axes_of(node, axes):
            for symbol, size in zip(own, shape, strict=True):
                value = sized.sizes[sized.numbers[symbol]] if symbol in sized.numbers else symbol
                if value != size:
                    fail(GraphError, f"{node.name}: a size is {size} and {value}", where=node.where)


def _axes_of(node: Node, axes: Any) -> Iterator[tuple[Any, Any]]:
    """The classes of a value's axes and its sizes, for each of an op's outputs."""
    if isinstance(node.type, TensorType):
        yield axes, node.shape
    else:  # a scan has its length behind its outputs
        yield from ((own, type_.shape) for own, type_ in zip(axes, node.type, strict=False))
