"""How the functions of `ops` enter the op table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from staticflow.graph.kinds import Map, MapRow, ReduceRow
from staticflow.graph.leaves import fold, is_scalar_const
from staticflow.graph.node import Kind, Node, apply
from staticflow.graph.op_table import Declaration, declare
from staticflow.graph.operators import bind
from staticflow.ops.coerce import as_nodes, operands
from staticflow.ops.guard import guarded

F = TypeVar("F", bound=Callable[..., Any])


def public(
    kind: Kind | None = None,
    symbol: str = "",
    row: MapRow | ReduceRow | None = None,
    formula: str = "",
) -> Callable[[F], F]:
    """Declare a function as an op of `kind`, None for a composition of other ops.

    `symbol` makes it the meaning of an operator or of a Node's method as well.
    """

    def enter(function: F) -> F:
        name = function.__name__
        function.__module__ = "staticflow.ops"  # where users, and pickle, find it
        derivative = row.formula if row else formula
        entry = guarded(function)
        declare(Declaration(name, kind, entry, function.__doc__ or "", row, derivative))
        if symbol:
            bind(symbol, entry)
        return entry

    return enter


def declare_row(row: MapRow, symbol: str = "") -> Callable[..., Node]:
    """The function of a row of the elementwise table: brings operands together, then maps."""

    def function(*values: Any) -> Node:
        if row.whole and len(values) == 1:
            node = as_nodes(values)[0]
            if not node.type.is_float:
                return node
        return mapped(row, operands(row.name, row.inputs, values, row.domain))

    function.__name__ = function.__qualname__ = row.name
    function.__doc__ = row.doc
    function.__signature__ = signature(row)  # type: ignore[attr-defined]
    return public(Kind.MAP, symbol, row)(function)


def signature(row: MapRow) -> inspect.Signature:
    """What the function of a row takes, by position."""
    names = ["condition" if letter == "c" else letter for letter in row.inputs]
    kind = inspect.Parameter.POSITIONAL_ONLY
    return inspect.Signature(
        [inspect.Parameter(name, kind, annotation="Any") for name in names],
        return_annotation="Node",
    )


def mapped(row: MapRow, nodes: Sequence[Node]) -> Node:
    """The node of a row on operands that are brought together; a constant if they all are."""
    if all(is_scalar_const(x) for x in nodes):
        return fold(Map(row), nodes)
    return apply(Map(row), *nodes)
