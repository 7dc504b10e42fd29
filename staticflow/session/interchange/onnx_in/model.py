"""`from_onnx`: a model as inputs, outputs and parameters of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.declare import input as declare_input
from staticflow.graph.dims import AnyDim, as_dim
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.session.interchange.onnx_in.graph import (
    WRONG,
    Names,
    Reader,
    domain_of,
    needed,
    unknown,
)
from staticflow.session.interchange.onnx_in.reading import Source, read_model
from staticflow.session.interchange.onnx_in.table import OLDEST
from staticflow.session.interchange.onnx_in.values import DTYPES, Value
from staticflow.session.interchange.onnx_out.builder import onnx_module

_WORD = re.compile(r"\W+")


@dataclass(frozen=True)
class OnnxModel:
    """A model that was taken in: nodes by name, to make sessions, losses and derivatives of.

    `parameters` are the weights, in order of use; a session starts from the values of the file.
    """

    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    parameters: Mapping[str, Node]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        ins, outs = (", ".join(f"{k}: {n.type}" for k, n in nodes.items())
                     for nodes in (self.inputs, self.outputs))  # fmt: skip
        return f"OnnxModel({ins} -> {outs}; {len(self.parameters)} parameters, opset {self.opset})"


def from_onnx(
    model: Any,
    constants: Mapping[str, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
) -> OnnxModel:
    """Take in an ONNX model: a path, the bytes of a file, or a ModelProto.

    The result has `inputs`, `outputs` and `parameters`, nodes by name: float arrays of the file are
    parameters, which a session trains. `constants` gives inputs values that decide about the graph,
    such as a list of axes; `dims` gives named dimensions other names, or numbers. A file is data:
    it is checked, nothing of it is run, and external tensors are read from its folder alone.

    Raises GraphError, naming it, for an opset before 7 or unknown to the onnx package, an operator
    or a setting that staticflow has not, and for a damaged file; OSError where there is none.
    """
    onnx = onnx_module()
    proto, source = read_model(model, onnx)
    try:
        return _taken(proto, onnx, source, constants or {}, dims or {})
    except (GraphError, ShapeError, DTypeError):
        raise
    except WRONG as error:  # names that are no text, numbers that are none
        source.damaged(f"{type(error).__name__}: {error}"[:200])


def _taken(
    proto: Any, onnx: Any, source: Source, constants: Mapping[str, Any], dims: Mapping[str, Any]
) -> OnnxModel:
    opsets = _checked_opsets(proto, onnx, source)
    reader = Reader(proto, source, opsets)
    graph = proto.graph
    outputs = [x.name for x in graph.output]
    if not outputs:
        source.damaged("a graph without outputs")
    lost = unknown(needed(graph.node, outputs), reader.functions, opsets)
    if lost:
        fail(
            GraphError,
            "from_onnx: the model has operators that staticflow has not",
            got=", ".join(f"{name} ({count})" for name, count in sorted(lost.items()))[:500],
            do="export the part of the model without them",
        )
    names = Names()
    reader.initializers(graph, names, parameters=True)
    inputs = _inputs(graph, names, source, constants, dims)
    reader.nodes(graph.node, outputs, names, {}, opsets)
    found = {name: _output(names, name, source) for name in outputs}
    params = leaves(found.values(), Param)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return OnnxModel(inputs, found, {p.name: p for p in params}, opsets[""], metadata)


def _output(names: Names, name: str, source: Source) -> Node:
    value = names.find(name)
    if value is None:
        source.damaged(f"an output {name!r} that no node gives")
    return value.node


def _checked_opsets(proto: Any, onnx: Any, source: Source) -> dict[str, int]:
    opsets = {domain_of(entry.domain): int(entry.version) for entry in proto.opset_import}
    version, newest = opsets.get("", 0), onnx.defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        source.refuse(
            f"opset {version} is not supported",
            got=f"staticflow reads opsets from {OLDEST} to {newest}, with onnx {onnx.__version__}",
            do="convert the model with onnx.version_converter, or install another onnx",
        )
    return opsets


def _inputs(
    graph: Any, names: Names, source: Source, constants: Mapping[str, Any], dims: Mapping[str, Any]
) -> dict[str, Node]:
    """The inputs that are fed, declared; those that are constants, or have a default, are known."""
    declared = [x for x in graph.input if x.name not in names.known]
    wrong = set(constants) - {x.name for x in declared}
    if wrong:
        fail(GraphError, f"from_onnx: the model has no input {sorted(wrong)[0]!r}",
             do=f"its inputs are {', '.join(x.name for x in declared) or 'none'}")  # fmt: skip
    taken: dict[str, str] = {}
    found: dict[str, Node] = {}
    for entry in declared:
        if entry.name in constants:
            names.known[entry.name] = Value(known=np.asarray(constants[entry.name]))
            continue
        kind = entry.type.tensor_type
        if not entry.type.HasField("tensor_type") or kind.elem_type not in DTYPES:
            source.refuse(
                f"input {entry.name!r} is of none of staticflow's dtypes",
                got=f"ONNX's dtype number {kind.elem_type}",
                do=f"convert the model to {', '.join(DTYPES.values())}",
            )
        if not kind.HasField("shape"):
            source.refuse(f"input {entry.name!r} has an unknown number of axes",
                          do="give it a shape, whose sizes may be names")  # fmt: skip
        shape = [
            _dim(dim, f"{entry.name}_{axis}", taken, dims, source)
            for axis, dim in enumerate(kind.shape.dim)
        ]
        node = declare_input(entry.name, tuple(shape), DTYPES[kind.elem_type])
        found[entry.name] = node
        names.known[entry.name] = Value(node)
    return found


def _dim(
    dim: Any, default: str, taken: dict[str, str], dims: Mapping[str, Any], source: Source
) -> AnyDim:
    """A size, or a name that Python would take for one; equal names stay equal."""
    if dim.HasField("dim_value"):
        if not 0 <= dim.dim_value < 1 << 48:
            source.damaged(f"an input with {dim.dim_value} elements along an axis")
        return int(dim.dim_value)
    given = dim.dim_param or default
    if given in dims:
        return as_dim(dims[given])
    if given not in taken:
        name = _WORD.sub("_", given)[:100] or "size"
        name = name if name.isidentifier() else f"n_{name}"
        while name in taken.values():
            name += "_"
        taken[given] = name
    return as_dim(taken[given])
