"""What operators and methods of nodes mean: tables that are empty until ops fill them.

A node has `+` and `.sum()`, and a size that is divided becomes a node; what these do is an op, and
ops are made of nodes. So both look here, and the op table (`op_table`) enters what it declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPERATORS: dict[str, Callable[..., Any]] = {}  # by symbol: add, getitem, broadcast_to
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # every declared op, by the name that users call


def bind(symbol: str, function: Callable[..., Any]) -> None:
    """Make `function` the meaning of an operator."""
    if symbol in OPERATORS:
        raise ImportError(f"operator {symbol} is bound twice")
    OPERATORS[symbol] = function
