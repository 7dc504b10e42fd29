"""Operators that ONNX itself defines by a function of others, such as Attention.

Where there is no writer for an operator, its definition is read from the onnx package, for the
opset of the model and, where it depends on them, for the types of the node's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from staticflow.graph.dims import Dim
from staticflow.session.interchange.onnx_in.values import DTYPES, Value
from staticflow.session.interchange.onnx_out.builder import onnx_module

NUMBERS = {name: number for number, name in DTYPES.items()}


def schema_of(kind: str, domain: str, version: int) -> Any:
    """The schema of an operator; None if there is none in that opset."""
    defs = onnx_module("defs")
    try:
        return defs.get_schema(kind, version, domain)
    except defs.SchemaError:
        return None


def is_function(kind: str, domain: str, version: int) -> bool:
    """Whether ONNX defines the operator by others."""
    schema = schema_of(kind, domain, version)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def function_of(node: Any, domain: str, version: int, values: Sequence[Value | None]) -> Any:
    """The FunctionProto of a node, or None."""
    schema = schema_of(node.op_type, domain, version)
    if schema is None:
        return None
    function = onnx_module().FunctionProto()
    if schema.has_function:
        usable = [n for n in schema.function_opset_versions if n <= version]
        data = schema.get_function_with_opset_version(max(usable)) if usable else b""
    elif schema.has_context_dependent_function:
        usable = [n for n in schema.context_dependent_function_opset_versions if n <= version]
        types = [_type(value) for value in values]
        data = b""
        if usable:
            data = schema.get_context_dependent_function_with_opset_version(
                max(usable), node.SerializeToString(), types
            )
    else:
        return None
    function.ParseFromString(data)
    return function if data else None


def defaults_of(kind: str, domain: str, version: int) -> Mapping[str, Any]:
    """The attributes that an operator has if none are given."""
    schema = schema_of(kind, domain, version)
    entries = {} if schema is None else schema.attributes
    return {name: a.default_value for name, a in entries.items() if a.default_value.name}


def _type(value: Value | None) -> bytes:
    """The type of a value, as ONNX writes it."""
    made = onnx_module().TypeProto()
    if value is not None:
        made.tensor_type.elem_type = NUMBERS[value.dtype]
        for n in value.shape:
            dim = made.tensor_type.shape.dim.add()
            if isinstance(n, Dim):
                dim.dim_param = str(n)
            else:
                dim.dim_value = n
    data: bytes = made.SerializeToString()
    return data
