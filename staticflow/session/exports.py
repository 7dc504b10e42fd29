"""The ways out of a session into other formats, which are written above it."""

from __future__ import annotations

from typing import Any

from staticflow.graph.operators import OPERATORS


class Exports:
    """The methods of a session that write it in other formats."""

    def export_onnx(self, path: Any, outputs: Any = None, opset: int | None = None) -> None:
        """Write outputs, at inference, as an ONNX model; by default all of them.

        `outputs` are names, nodes, a list of these or a dict from name to node; `opset` is 18 by
        default. Of a session with members, floats are their means; `session.member(k)` is one.
        Raises GraphError, before there is a file, for an op that ONNX has no words for.
        """
        OPERATORS["export_onnx"](self, path, outputs, opset)
