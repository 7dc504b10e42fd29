"""Hidden layers: what a person gives a name to in a function of many layers.

They are the values of elementwise functions that go into a product of matrices: h1 = tanh(X @ W).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from staticflow.compiler.formula.map_rules import ARITHMETIC
from staticflow.graph.kinds import Map
from staticflow.graph.node import Kind, Node
from staticflow.ops.contraction import Dot


def hidden_layers(between: Sequence[Node], taken: Iterable[str]) -> dict[Node, str]:
    """Names for the hidden layers among nodes, inner ones first."""
    taken = set(taken)
    inner = {_source(x) for node in between if isinstance(node.op, Dot) for x in node.inputs}
    found = [n for n in between if n in inner and is_layer(n)]
    numbers = (k for k in range(1, len(found) + len(taken) + 1) if f"h{k}" not in taken)
    return {node: f"h{k}" for node, k in zip(found, numbers, strict=False)}


def _source(x: Node) -> Node:
    """Of what a view shows."""
    while x.op.kind is Kind.VIEW:
        (x,) = x.inputs
    return x


def is_layer(x: Node) -> bool:
    """Whether this is an elementwise function, beside arithmetic, of a vector or matrix."""
    return isinstance(x.op, Map) and x.op.name not in ARITHMETIC and 0 < x.ndim < 3
