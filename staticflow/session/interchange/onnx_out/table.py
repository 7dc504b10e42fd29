"""Every op that has an ONNX expression, by its name: rows of the op table, and classes of ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from staticflow.graph.kinds import Map, Part, Reduce
from staticflow.graph.node import Node
from staticflow.session.interchange.onnx_out.arrays import ARRAYS, REDUCTIONS
from staticflow.session.interchange.onnx_out.elementwise import MAPS
from staticflow.session.interchange.onnx_out.loops import LOOPS

EXPRESSIONS: Mapping[str, Callable[..., Any]] = {**MAPS, **REDUCTIONS, **ARRAYS, **LOOPS}

# What an op needs that ONNX has only from some opset on.
SINCE: Mapping[str, int] = {
    "bitwise_and": 18, "bitwise_or": 18, "bitwise_xor": 18, "invert": 18,
}  # fmt: skip
WHY_NOT: Mapping[str, str] = {
    "Random": "what it draws here, nothing else draws; at inference dropout draws nothing",
    "CustomCall": "it is the user's own compiled function",
    "Cholesky": "ONNX has no factorisations", "Eigh": "ONNX has no factorisations",
    "Lu": "ONNX has no factorisations", "LuSolve": "ONNX has no solvers",
    "Qr": "ONNX has no factorisations", "Svd": "ONNX has no factorisations",
    "Triangular": "ONNX has no solvers", "Squarings": "ONNX has no matrix functions",
}  # fmt: skip


def name_of(node: Node) -> str:
    """What the op of a node is called in the table."""
    if isinstance(node.op, Map | Reduce):
        return node.op.row.name
    return "Part" if isinstance(node.op, Part) else type(node.op).__name__


def why_not(node: Node, opset: int) -> str | None:
    """Why a node cannot be written; None if it can."""
    name = name_of(node)
    if name == "Part":
        return None
    if name not in EXPRESSIONS:
        return WHY_NOT.get(name, "it has no expression in ONNX")
    whole = bool(node.inputs) and node.inputs[0].dtype != "bool"
    since = SINCE.get(name, 0) if whole else 0
    return f"ONNX has it from opset {since} on" if opset < since else None
