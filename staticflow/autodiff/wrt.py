"""What one differentiates by: a node, a list of them, or a dict from name to node.

    grad(y, [w, b])                [dy/dw, dy/db]
    grad(y, net.parameters)        {"fnn.0.weight": dy/dw, ...}

Results stand in the structure of what was asked for; so do tangents and vectors that are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticflow.errors import DTypeError, GraphError, fail
from staticflow.graph.node import Node


def nodes_of(what: str, y: Any, wrt: Any) -> list[Node]:
    """The nodes by which `y` is differentiated; raises for what has no derivatives."""
    nodes = entries(wrt)
    for node in (y, *nodes):
        check_float(what, node)
    return nodes


def entries(wrt: Any) -> list[Any]:
    """What stands in a structure, in its order."""
    if isinstance(wrt, Mapping):
        return list(wrt.values())
    return list(wrt) if isinstance(wrt, list | tuple) else [wrt]


def like(wrt: Any, results: list[Any]) -> Any:
    """Results in the structure of what they belong to: a dict, a list (of a tuple too), or one."""
    if isinstance(wrt, Mapping):
        return dict(zip(wrt, results, strict=True))
    return results if isinstance(wrt, list | tuple) else results[0]


def given_for(what: str, role: str, wrt: Any, given: Any) -> list[Any]:
    """The tangents or vectors for the nodes of `wrt`, in their order; refuses another structure."""
    if isinstance(wrt, Mapping):
        names = list(given) if isinstance(given, Mapping) else None
        if names is None or {*names} != {*wrt}:
            fail(
                GraphError,
                f"{what}: needs one {role} for each node, in a dict with the same names",
                got=f"{role}s for {_listed(names)}" if names is not None else _kind(given),
                do=f"give {{{', '.join(f'{name!r}: ...' for name in wrt)}}}"[:300],
            )
        return [given[name] for name in wrt]
    several = isinstance(wrt, list | tuple)
    found = given if several else [given]
    count = len(wrt) if several else 1
    if not isinstance(found, list | tuple) or len(found) != count:
        have = len(found) if isinstance(found, list | tuple) else "no list of"
        fail(GraphError, f"{what}: needs one {role} for each node",
             f"{have} {role}s for {count} nodes")  # fmt: skip
    return list(found)


def check_float(what: str, y: Any) -> None:
    """Refuse to differentiate what is no node of floats."""
    if not isinstance(y, Node):
        fail(GraphError, f"{what}: differentiates nodes", repr(y)[:80], "pass what ops returned")
    if not y.type.is_float:
        fail(
            DTypeError,
            f"{what}: only floats have derivatives",
            got=str(y),
            do="convert with .astype('float32') before, or differentiate something else",
        )


def _listed(names: list[Any]) -> str:
    return ", ".join(map(repr, names))[:200] or "none"


def _kind(given: Any) -> str:
    return f"no dict but {type(given).__name__}"
