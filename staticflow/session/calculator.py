"""`node.eval`: a node's value at once, by NumPy and without compiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Const, Hyper, Leaf
from staticflow.graph.node import Array, Node
from staticflow.graph.traversal import toposort
from staticflow.runtime.feeds import as_array
from staticflow.runtime.interpreter import interpret


def value_of(node: Node, feeds: Mapping[Any, Any]) -> Array:
    """The node's value for arrays by the names of its leaves, or by nodes.

    Every input, parameter and state that it reaches must be given; what it is random by is drawn
    with seed 0, and it is computed as outside of training. Raises GraphError, ShapeError and
    DTypeError for feeds that do not fit.
    """
    value: Array = interpret([node], environment([node], feeds), training=False)[0]
    return value


def environment(nodes: Sequence[Node], feeds: Mapping[Any, Any]) -> dict[Node, Array]:
    """The arrays for the leaves that nodes reach, checked."""
    leaves = [n for n in toposort(nodes) if isinstance(n.op, Leaf)]
    leaves = [n for n in leaves if not isinstance(n.op, Const | Hyper)]
    found = {n: feeds[key] for n in leaves for key in (n, n.name) if key in feeds}
    missing = [n.name for n in leaves if n not in found]
    if missing:
        fail(
            GraphError,
            f"no value is given for {', '.join(map(repr, missing))}",
            got=f"values for {', '.join(map(_shown, feeds)) or 'nothing'}",
            do="give an array for each leaf by its name",
        )
    unused = [_shown(key) for key in feeds if key not in {*found, *(n.name for n in found)}]
    if unused:
        fail(
            GraphError,
            f"nothing here is called {', '.join(unused)}",
            got=f"leaves {', '.join(repr(n.name) for n in leaves) or 'none'}",
        )
    return {n: as_array(n, value) for n, value in found.items()}


def _shown(key: Any) -> str:
    return repr(key.name if isinstance(key, Node) else key)
