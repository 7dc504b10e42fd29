"""The op table: every op by the name that users call.

`declare` refuses an entry without a docstring or with a body that leaves out an operand, so that
such a mistake fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from staticflow.graph.kinds import MapRow, ReduceRow
from staticflow.graph.node import Kind
from staticflow.graph.operators import FUNCTIONS


@dataclass(frozen=True, eq=False)
class Declaration:
    """An entry of the op table: what the documentation and the table test walk over."""

    name: str
    kind: Kind | None  # None for a composition of other ops
    function: Callable[..., Any]
    doc: str
    row: MapRow | ReduceRow | None = None
    formula: str = ""


_TABLE: dict[str, Declaration] = {}  # by the name that users call; closed to changes after import


def declare(entry: Declaration) -> None:
    """Enter an op into the table; a missing rule or a second entry fails here, at import."""
    if entry.name in _TABLE:
        raise ImportError(f"op {entry.name} is declared twice")
    if not entry.doc:
        raise ImportError(f"op {entry.name} has no docstring")
    if isinstance(entry.row, MapRow):
        body = entry.row.body
        missing = [letter for letter in entry.row.inputs if "{" + letter + "}" not in body]
        if missing:
            raise ImportError(f"op {entry.name}: its body does not use {', '.join(missing)}")
    _TABLE[entry.name] = entry
    FUNCTIONS[entry.name] = entry.function


def table() -> Mapping[str, Declaration]:
    """The op table, read-only."""
    return MappingProxyType(_TABLE)
