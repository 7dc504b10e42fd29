"""The op table: every op by the name that users call, and what operators and methods of nodes mean.

`declare` refuses an entry without a docstring or with a body that leaves out an operand, so that
such a mistake fails at import.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from staticflow.op import Kind, MapRow, ReduceRow

if TYPE_CHECKING:
    from staticflow.graph import Node


@dataclass
class OpTable:
    """Every declared op, by the name that users call; closed to changes after import."""

    rows: dict[str, Declaration] = field(default_factory=dict)
    operators: dict[str, Callable[..., Node]] = field(default_factory=dict)
    serials: Iterator[int] = field(default_factory=itertools.count)

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self.rows.values())

    def operator(self, symbol: str) -> Callable[..., Node]:
        """The op behind an operator or a Node method, as bound by `staticflow.ops`."""
        return self.operators[symbol]


@dataclass(frozen=True, eq=False)
class Declaration:
    """An entry of the op table: what the documentation and the table test walk over."""

    name: str
    kind: Kind | None  # None for a composition of other ops
    function: Callable[..., Any]
    doc: str
    row: MapRow | ReduceRow | None = None
    formula: str = ""


OPS = OpTable()


def declare(entry: Declaration) -> None:
    """Enter an op into the table; a missing rule or a second entry fails here, at import."""
    if entry.name in OPS.rows:
        raise ImportError(f"op {entry.name} is declared twice")
    if not entry.doc:
        raise ImportError(f"op {entry.name} has no docstring")
    if isinstance(entry.row, MapRow):
        body = entry.row.body
        missing = [letter for letter in entry.row.inputs if "{" + letter + "}" not in body]
        if missing:
            raise ImportError(f"op {entry.name}: its body does not use {', '.join(missing)}")
    OPS.rows[entry.name] = entry


def bind(symbol: str, function: Callable[..., Any]) -> None:
    """Make `function` the meaning of an operator or Node method."""
    if symbol in OPS.operators:
        raise ImportError(f"operator {symbol} is bound twice")
    OPS.operators[symbol] = function


def table() -> Mapping[str, Declaration]:
    """The op table, read-only."""
    return MappingProxyType(OPS.rows)
