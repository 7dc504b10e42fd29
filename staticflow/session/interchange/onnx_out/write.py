"""A session's outputs as an ONNX file.

The graph is that of inference. Nodes are written in order, inputs first, by the table; what is not
used after all is left out. Names of inputs, outputs, parameters and dimensions are kept. Everything
that cannot be written is refused before there is a file, and the model is checked in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import PurePath
from typing import Any

from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import Dim, names_of
from staticflow.graph.kinds import Map, Part
from staticflow.graph.leaves import Const, Hyper, Input, Leaf, Param, State
from staticflow.graph.loop_op import BodyInput, Loop
from staticflow.graph.node import Node
from staticflow.graph.traversal import dims_of, leaves, toposort
from staticflow.native.memory import Array
from staticflow.ops.views import Broadcast
from staticflow.runtime.feeds import input_nodes, measured
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_out.arrays import Call, aligned
from staticflow.session.interchange.onnx_out.builder import Builder, Tensor
from staticflow.session.interchange.onnx_out.loops import LOOPS
from staticflow.session.interchange.onnx_out.matching import PATTERNS
from staticflow.session.interchange.onnx_out.recurrent import written_cell
from staticflow.session.interchange.onnx_out.table import EXPRESSIONS, name_of, why_not


class Writer:
    """Writes nodes into a builder; `values` are the arrays of parameters and states."""

    def __init__(self, builder: Builder, values: Mapping[str, Array], member: str = "") -> None:
        self.b = builder
        self.values = values
        self.member = member  # what stands before the names of a member's parameters
        self.labels: dict[str, str] = {}  # names of values, and the labels that users gave them
        self._known: dict[Node, Array | None] = {}

    def lines(self, nodes: Sequence[Node]) -> list[Tensor]:
        """The values of nodes, written with all that they need and is not there yet."""
        scope = self.b.scope
        for node in toposort(nodes):
            if scope.find(node) is None:
                scope.known[node] = self._written(node)
        return [self.value(node) for node in nodes]

    def value(self, node: Node) -> Tensor:
        found: Tensor = self.b.scope.find(node)
        return found

    def known(self, node: Node) -> Array | None:
        """The array of what follows from parameters, states and constants alone."""
        if node not in self._known:
            found = leaves([node], Leaf)
            fixed = all(isinstance(leaf.op, Param | State | Const) for leaf in found)
            env = (
                {x: self.values[x.name] for x in found if not isinstance(x.op, Const)}
                if fixed
                else {}
            )
            self._known[node] = interpret([node], env, training=False)[0] if fixed else None
        return self._known[node]

    def _written(self, node: Node) -> Any:
        b = self.b
        if isinstance(node.op, Const):
            return b.constant(node.op.value)
        if isinstance(node.op, Param | State):
            return b.constant(self.values[node.name], self.member + node.name)
        if isinstance(node.op, Part):
            return b.scope.find(node.inputs[0])[node.op.index]
        b.doc = f"{PurePath(node.where.file).name}:{node.where.line}"
        made = self._made(node)
        if node.label is not None and isinstance(made, Tensor) and b.scope is b.main:
            self.labels.setdefault(made.name, node.label)
        return made

    def _made(self, node: Node) -> Any:
        name = name_of(node)
        call = Call(self.b, node, [self.b.scope.find(x) for x in node.inputs], self.value)
        if name in LOOPS:
            cell = written_cell(call, self.known) if isinstance(node.op, Loop) else None
            outputs = LOOPS[name](call, self.lines) if cell is None else cell
            return outputs if isinstance(node.op, Loop) else outputs[0]
        if not isinstance(node.op, Map):
            return EXPRESSIONS[name](call)
        for pattern in PATTERNS.get(name, ()):
            found = pattern(node, self.value)
            if found is not None:
                return found
        return EXPRESSIONS[name](*self._operands(node))

    def _operands(self, node: Node) -> list[Tensor]:
        """The operands of an elementwise op: ONNX repeats what is repeated along an axis itself."""
        whole = any(x.ndim == node.ndim and not isinstance(x.op, Broadcast) for x in node.inputs)
        return [
            aligned(self.b, self.value(x.inputs[0]), node.ndim, x.op.axes)
            if whole and isinstance(x.op, Broadcast)
            else self.value(x)
            for x in node.inputs
        ]


def written(
    outputs: Mapping[str, Node],
    members: Sequence[Mapping[str, Array]],
    others: Mapping[str, Node],
    opset: int,
) -> tuple[Builder, list[tuple[str, Node]], list[tuple[str, Node]], dict[str, str]]:
    """The graph of some outputs: the builder that holds it, its inputs and outputs as (name, node),
    and what values are to be called.

    `members` are the values of parameters and states; of several, outputs are the means. `others`
    are inputs that may give the sizes of dimensions. Raises GraphError for what has no
    expression, at the line that made it.
    """
    roots = resolve_mode(list(outputs.values()), training=False)
    refuse(roots, opset)
    inputs = list(input_nodes(roots).values())
    names = names_of(dim for node in toposort(roots) for dim in dims_of(node))
    inputs += measured(names, inputs, others)
    b = Builder(opset)
    given = [(b.take(node.name), node) for node in inputs]
    taken = {name for name, _ in given} | {p.name for p in leaves(roots, Param)}
    for name in outputs:
        if name in taken or not name:
            fail(
                GraphError,
                f"export_onnx: the output {name!r} has the name of an input or a parameter",
                do="give the output another name, outputs={'name': node}",
            )
        b.take(name)
    _measure(b, given)
    for name, node in given:
        b.main.known[node] = Tensor(b, name, node.dtype)
    if len(members) == 1:
        writer = Writer(b, members[0])
        tensors, labels = writer.lines(roots), writer.labels
    else:
        tensors, labels = _means(b, roots, members), {}
    renamed = _renamed(b, dict(zip(outputs, tensors, strict=True)), labels)
    return b, given, list(zip(outputs, roots, strict=True)), renamed


def _means(
    b: Builder, roots: Sequence[Node], members: Sequence[Mapping[str, Array]]
) -> list[Tensor]:
    """The outputs of each member, one after the other, and what they are on the average."""
    for root in roots:
        if not root.type.is_float:
            fail(
                GraphError,
                f"export_onnx: the members' {root.type} have no mean",
                do="export one of them: session.member(k).export_onnx(...)",
                where=root.where,
            )
    before = dict(b.main.known)  # inputs and their sizes
    found = []
    for k, values in enumerate(members):
        b.main.known = dict(before)
        found.append(Writer(b, values, f"member.{k}.").lines(roots))
    totals = [reduce(Tensor.__add__, column) for column in zip(*found, strict=True)]
    return [total / float(len(members)) for total in totals]


def _measure(b: Builder, given: Sequence[tuple[str, Node]]) -> None:
    """Where the sizes of named dimensions come from: the shapes of inputs."""
    for name, node in given:
        for axis, dim in enumerate(node.shape):
            if isinstance(dim, Dim) and dim not in b.main.known:
                shape = b.op("Shape", Tensor(b, name, node.dtype), dtype="int64")
                size = shape.op("Gather", b.ints([axis]), axis=0)
                b.main.known[dim] = size


def _renamed(
    b: Builder, outputs: Mapping[str, Tensor], labels: Mapping[str, str]
) -> dict[str, str]:
    """Values by the names that they are to have: those of outputs, and labels that are free."""
    made = {name for entry in b.main.entries for name in entry.outputs}
    renamed: dict[str, str] = {}
    for name, tensor in outputs.items():
        if tensor.name in made and tensor.name not in renamed:
            renamed[tensor.name] = name
        else:  # an input, a constant, or an output twice
            renamed[tensor.op("Identity").name] = name
    taken = set(renamed.values())
    for value, label in labels.items():
        if value not in renamed and value in made and label not in taken:
            renamed[value] = b.take(label)
            taken.add(label)
    return renamed


def refuse(roots: Sequence[Node], opset: int) -> None:
    """Raise GraphError for the first node that ONNX has no words for, in bodies of loops too."""
    for node in toposort(roots):
        if isinstance(node.op, Loop):
            refuse(node.op.body, opset)
        if isinstance(node.op, Hyper):
            continue  # of a draw, which is refused by its own name
        if isinstance(node.op, Input | Param | State | Const | BodyInput):
            continue
        why = why_not(node, opset)
        if why is not None:
            fail(
                GraphError,
                f"export_onnx: {node.op.name} cannot be written in ONNX",
                got=why,
                do="export what comes before it, or write it with other ops",
                where=node.where,
            )
