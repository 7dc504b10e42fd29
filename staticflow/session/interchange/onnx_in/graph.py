"""The nodes of a model, one after the other, written with ours.

Names live in scopes: a graph within sees those around it; a model's own function sees its arguments
alone. How much a file can ask for is bounded: functions and graphs lie in each other only so deep,
and all together have only so many nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.dims import product
from staticflow.graph.leaves import Const, Leaf, const
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.native.memory import Array
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.onnx_in.functions import (
    defaults_of,
    function_of,
    is_function,
    schema_of,
)
from staticflow.session.interchange.onnx_in.reading import Source, array_of
from staticflow.session.interchange.onnx_in.shapes import MOST, folded
from staticflow.session.interchange.onnx_in.table import GIVEN, WRITERS
from staticflow.session.interchange.onnx_in.values import Call, Value

DEEPEST, MOST_NODES = 24, 1 << 16
WRONG = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError, ArithmeticError,
    StopIteration,
)  # fmt: skip
FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS = 1, 2, 3, 4, 5, 6, 7, 8


class Names:
    """Values by name; those of the graph around are seen from within."""

    def __init__(self, outer: Names | None = None) -> None:
        self.outer = outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.known: dict[str, Value] = {}

    def find(self, name: str) -> Value | None:
        scope: Names | None = self
        while scope is not None:
            if name in scope.known:
                return scope.known[name]
            scope = scope.outer
        return None


class Reader:
    """Reads the graphs of one model."""

    def __init__(self, model: Any, source: Source, opsets: Mapping[str, int]) -> None:
        self.source, self.opsets = source, opsets
        self.functions = {(domain_of(f.domain), f.name, f.overload): f for f in model.functions}
        self.count = 0

    def refuse(self, what: str, got: str = "", do: str = "") -> NoReturn:
        self.source.refuse(what, got, do)

    def nodes(
        self, nodes: Sequence[Any], outputs: Iterable[str], names: Names,
        given: Mapping[str, Any], opsets: Mapping[str, int],
    ) -> None:  # fmt: skip
        """Read those nodes that outputs need, in their order. `given` are the attributes of the
        call, in a function.
        """
        if names.depth > DEEPEST:
            self.refuse("graphs and functions lie too deep in each other", f"over {DEEPEST}")
        for node in needed(nodes, outputs):
            self.count += 1
            if self.count > MOST_NODES:
                self.refuse(f"the model has more than {MOST_NODES:,} nodes in all")
            results = self._node(node, names, given, opsets)
            for name, value in zip(node.output, results, strict=False):
                if name:
                    names.known[name] = value
            lost = [name for name in node.output[len(results) :] if name]
            names.known.update((name, _Missing(place_of(node))) for name in lost)

    def _node(
        self, node: Any, names: Names, given: Mapping[str, Any], opsets: Mapping[str, int]
    ) -> list[Value]:
        domain, place = domain_of(node.domain), place_of(node)
        inputs = [self._value(name, names, place) if name else None for name in node.input]
        attributes = {
            a.name: v for a in node.attribute if (v := self._attribute(a, given)) is not None
        }
        function = self.functions.get((domain, node.op_type, node.overload))
        if function is not None:
            return self._function(function, inputs, attributes, names, node.output)
        version = opsets.get(domain, 0)
        if node.op_type not in WRITERS.get(domain, {}) and not (
            not domain and node.op_type in GIVEN
        ):
            made = function_of(node, domain, version, inputs)
            if made is None:
                self.refuse(f"{place} is an operator that staticflow has not")
            usual = defaults_of(node.op_type, domain, version)
            whole = {k: self._attribute(a, {}) for k, a in usual.items()} | attributes
            return self._function(made, inputs, whole, names, node.output)
        if node.op_type == "Constant" and not domain:
            return [Value(known=self._constant(attributes, place))]

        def graph(body: Any, values: Sequence[Value]) -> list[Value]:
            return self.body(body, values, names, given, opsets)

        call = Call(node.op_type, attributes, inputs, len(node.output), version, place, graph)
        schema = schema_of(node.op_type, domain, version)
        least = 0 if schema is None else schema.min_input
        if len(inputs) < least:
            self.refuse(f"{place} takes {least} inputs at least", f"{len(inputs)} of them")
        return self._written(call, domain)

    def _written(self, call: Call, domain: str) -> list[Value]:
        try:
            known = folded(call) if not domain else None
            if known is not None:
                return [Value(known=known)]
            if call.kind == "Identity" and not domain and call.values[0] is not None:
                return [call.values[0]]
            result = WRITERS[domain][call.kind](call)
        except (GraphError, ShapeError, DTypeError) as error:
            if str(error).startswith("from_onnx: "):
                raise
            first, *rest = str(error).splitlines()
            told = [line.strip() for line in rest if line.strip().startswith("got:")]
            fail(GraphError, f"from_onnx: {call.place}: {first}", got="; ".join(told)[5:])
        except RecursionError:
            self.refuse(f"{call.place} is nested too deeply")
        except WRONG as error:
            fail(
                GraphError,
                f"from_onnx: {call.place} is no valid node",
                got=f"{type(error).__name__}: {error}"[:200],
                do="check the model with onnx.checker.check_model(model, full_check=True)",
            )
        several = result if isinstance(result, list | tuple) else [result]
        return [self._settled(call, value) for value in several]

    def _settled(self, call: Call, node: Node) -> Value:
        """A small value that follows from constants alone is one."""
        fixed = all(v is None or (v.array is not None and not v.is_parameter) for v in call.values)
        fixed = fixed and all(isinstance(x.op, Const) for x in leaves([node], Leaf))
        count = product(node.shape)
        small = isinstance(count, int) and count <= MOST
        if not fixed or not small or call.kind in ("Loop", "Scan"):
            return Value(node)
        array = np.asarray(interpret([node], {}, training=False)[0])
        return Value(const(array), array)

    def _value(self, name: str, names: Names, place: str) -> Value:
        found = names.find(name)
        if found is None:
            self.refuse(f"{place} reads {name!r}, which nothing before it gives")
        if isinstance(found, _Missing):
            self.refuse(f"{place} reads {name!r}, which is not supported", got=found.place)
        return found

    def body(
        self, graph: Any, values: Sequence[Value], names: Names, given: Mapping[str, Any],
        opsets: Mapping[str, int],
    ) -> list[Value]:  # fmt: skip
        """A graph within the graph, for its inputs."""
        inner = Names(names)
        self.initializers(graph, inner, parameters=False)
        inner.known.update((x.name, v) for x, v in zip(graph.input, values, strict=True))
        outputs = [x.name for x in graph.output]
        self.nodes(graph.node, outputs, inner, given, opsets)
        return [self._value(name, inner, "an inner graph") for name in outputs]

    def _function(
        self, function: Any, inputs: Sequence[Value | None], attributes: Mapping[str, Any],
        names: Names, wanted: Sequence[str],
    ) -> list[Value]:  # fmt: skip
        """A function, of the model's own or of ONNX's; only what is `wanted` of it, by a name."""
        inner = Names()
        inner.depth = names.depth + 1
        pairs = zip(function.input, inputs, strict=False)
        inner.known.update((name, value) for name, value in pairs if value is not None)
        defaults = {a.name: self._attribute(a, {}) for a in function.attribute_proto}
        opsets = {domain_of(o.domain): o.version for o in function.opset_import} or self.opsets
        place = f"function {function.name}"
        asked = {n: bool(w) for n, w in zip(function.output, wanted, strict=False)}
        outputs = [name for name, is_asked in asked.items() if is_asked]
        self.nodes(function.node, outputs, inner, {**defaults, **attributes}, opsets)
        return [
            self._value(n, inner, place) if is_asked else _Missing(place)
            for n, is_asked in asked.items()
        ]

    def _attribute(self, attribute: Any, given: Mapping[str, Any]) -> Any:
        """The value of an attribute, or of that of the function's call which it refers to."""
        if attribute.ref_attr_name:
            return given.get(attribute.ref_attr_name)
        kind = attribute.type
        if kind == STRING:
            return attribute.s.decode("utf-8", "replace")
        if kind == STRINGS:
            return [text.decode("utf-8", "replace") for text in attribute.strings]
        if kind == TENSOR:
            return array_of(attribute.t, self.source, attribute.name)
        fields = {FLOAT: "f", INT: "i", GRAPH: "g", FLOATS: "floats", INTS: "ints"}
        if kind not in fields:
            self.refuse(f"attribute {attribute.name!r} is of a kind that is not supported")
        value = getattr(attribute, fields[kind])
        return list(value) if kind in (FLOATS, INTS) else value

    def _constant(self, attributes: Mapping[str, Any], place: str) -> Array:
        kinds = {"value": None, "value_float": np.float32, "value_int": np.int64,
                 "value_floats": np.float32, "value_ints": np.int64}  # fmt: skip
        for name, dtype in kinds.items():
            if name in attributes:
                return np.asarray(attributes[name], dtype)
        self.refuse(f"{place} is a constant of a kind that is not supported")

    def initializers(self, graph: Any, names: Names, parameters: bool) -> None:
        """The arrays of a graph; floats with axes are parameters, of the model's own graph."""
        if graph.sparse_initializer:
            self.refuse("sparse tensors are not supported")
        for tensor in graph.initializer:
            array = array_of(tensor, self.source)
            trained = parameters and array.dtype.kind == "f" and array.ndim > 0
            make = maker(tensor.name, array) if trained else None
            names.known[tensor.name] = Value(known=array, make=make)


class _Missing(Value):
    """An output that a writer does not give."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place


def maker(name: str, array: Array) -> Any:
    """What declares a parameter of that name and value."""
    from staticflow.graph.declare import param

    def make(trainable: bool) -> Node:
        return param(name, array.shape, array, array.dtype.name, trainable)

    return make


def domain_of(name: str) -> str:
    return "" if name == "ai.onnx" else name


def place_of(node: Any) -> str:
    named = f" {node.name!r}" if node.name else f" of {', '.join(node.output)!r}"
    return f"{node.op_type}{named}"[:120]


def needed(nodes: Sequence[Any], outputs: Iterable[str]) -> list[Any]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if any(name in wanted for name in node.output):
            kept.append(node)
            wanted.update(read(node))
    return kept[::-1]


def read(node: Any) -> set[str]:
    """The names that a node reads, and those that graphs within it read."""
    found, stack = set(node.input), [a.g for a in node.attribute if a.type == GRAPH]
    while stack:
        graph = stack.pop()
        found.update(x.name for x in graph.output)
        for inner in graph.node:
            found.update(inner.input)
            stack += [a.g for a in inner.attribute if a.type == GRAPH]
    return found


def unknown(
    nodes: Sequence[Any], functions: Mapping[Any, Any], opsets: Mapping[str, int]
) -> dict[str, int]:
    """The operators that are not supported, with how many nodes there are of each."""
    found: dict[str, int] = {}
    stack, seen = list(nodes), set[Any]()
    while stack:
        node = stack.pop()
        domain = domain_of(node.domain)
        key = (domain, node.op_type, node.overload)
        if key in functions:
            if key not in seen:
                seen.add(key)
                stack += functions[key].node
            continue
        stack += [n for a in node.attribute if a.type == GRAPH for n in a.g.node]
        known = node.op_type in WRITERS.get(domain, {}) or (not domain and node.op_type in GIVEN)
        if not known and not is_function(node.op_type, domain, opsets.get(domain, 0)):
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            found[name] = found.get(name, 0) + 1
    return found
