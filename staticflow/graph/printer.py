"""A graph as text, for people.

    %0:float32[batch, 784] = input('x')  # model.py:10
    %1:float32[784, 10] = param('w')  # model.py:11
    %2:float32[batch, 10] = dot(%0, %1)  # model.py:12  <- output

The goldens of the passes are written in it as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort


def format_graph(roots: Sequence[Node]) -> str:
    """Print a graph, a line for each node, with the source line that made it."""
    order = toposort(roots)
    number = {node: i for i, node in enumerate(order)}
    lines = []
    for node in order:
        args = [f"%{number[x]}" for x in node.inputs]
        attributes = node.op.attributes()
        call = f"{node.op.name}({', '.join(args + ([attributes] if attributes else []))})"
        mark = "  <- output" if node in roots else ""
        lines.append(f"%{number[node]}:{_type_text(node)} = {call}  # {node.where}{mark}")
    return "\n".join(lines)


def _type_text(node: Node) -> str:
    if isinstance(node.type, tuple):
        return "(" + ", ".join(map(str, node.type)) + ")"
    return str(node.type)
