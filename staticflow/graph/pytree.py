"""Nested structures of nodes: a node, or a list, tuple or dict of such."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node


def flatten(structure: Any) -> list[Node]:
    """The nodes of a structure, in order."""
    return list(_walk(structure))


def _walk(structure: Any) -> Iterator[Node]:
    if isinstance(structure, Node):
        yield structure
    elif isinstance(structure, dict):
        for value in structure.values():
            yield from _walk(value)
    elif isinstance(structure, list | tuple):
        for value in structure:
            yield from _walk(value)
    elif structure is not None:
        fail(
            GraphError,
            "a structure consists of nodes in lists, tuples and dicts",
            got=type(structure).__name__,
        )


def paths(structure: Any, name: str) -> list[str]:
    """What each node of a structure is called, in order: name, name[0], name['h'] ..."""
    if isinstance(structure, dict):
        return [p for key, v in structure.items() for p in paths(v, f"{name}[{key!r}]")]
    if isinstance(structure, list | tuple):
        return [p for k, v in enumerate(structure) for p in paths(v, f"{name}[{k}]")]
    return [] if structure is None else [name]


def rebuild_like(structure: Any, values: Iterator[Any]) -> Any:
    """The same structure with the nodes replaced by `values`, in order."""
    if isinstance(structure, Node):
        return next(values)
    if isinstance(structure, dict):
        return {key: rebuild_like(value, values) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(rebuild_like(value, values) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(rebuild_like(value, values) for value in structure)
    return None


def map_structure(function: Callable[[Any], Node], structure: Any) -> Any:
    """Apply `function` to every entry that is not a list, tuple or dict."""
    if isinstance(structure, dict):
        return {key: map_structure(function, value) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_structure(function, value) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, value) for value in structure)
    return None if structure is None else function(structure)
