"""What an exported file computes beside its outputs: their Jacobians; and what dtype they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticflow.autodiff.jacobian import jacobian
from staticflow.errors import DTypeError, GraphError, fail
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.runtime.feeds import input_nodes


def check_dtype(outputs: Mapping[str, Node], dtype: str | None) -> None:
    """Raises DTypeError if a float output has another dtype than the file is to have."""
    if dtype not in (None, "float32", "float64"):
        fail(DTypeError, "export_c: a file is of float32 or float64", got=repr(dtype))
    for name, node in outputs.items():
        if dtype is not None and node.type.is_float and node.dtype != dtype:
            fail(
                DTypeError,
                f"export_c: output {name!r} is not {dtype}",
                got=node.dtype,
                do=f"declare inputs and parameters as {dtype}, and load the weights into them",
            )


def jacobians(outputs: Mapping[str, Node], names: Sequence[str]) -> dict[str, Node]:
    """The Jacobian of each float output by each of the named inputs that it depends on.

    Raises GraphError for a name that is no float input of any of them.
    """
    found = {}
    for name in [names] if isinstance(names, str) else names:
        inputs = input_nodes(list(outputs.values()))
        x = inputs.get(name)
        if x is None or not x.type.is_float:
            known = [n for n, node in inputs.items() if node.type.is_float]
            fail(
                GraphError,
                f"export_c: no output has a derivative by {name!r}",
                got=f"derivatives={list(names)}",
                do=f"choose from {', '.join(known) or 'none'}",
            )
        for label, y in outputs.items():
            if y.type.is_float and x in toposort([y]):
                found[f"d{label}_d{name}"] = jacobian(y, x)
    return found
