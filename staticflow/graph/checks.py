"""Checks of what a session is made of: a scalar loss, metrics, values outside loops, integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.loop_op import BodyInput
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort


def check_loss(loss: Any, what: str = "the loss") -> None:
    """Refuse anything but a float scalar node."""
    if not isinstance(loss, Node):
        fail(GraphError, f"{what} must be a node", got=type(loss).__name__)
    if loss.shape != ():
        fail(
            ShapeError,
            f"{what} must be a scalar",
            got=str(loss.type),
            do="take its mean or sum",
        )
    if not loss.type.is_float:
        fail(DTypeError, f"{what} must be a float", got=str(loss.type))


def check_outside_loops(roots: Sequence[Node]) -> None:
    """Refuse what reads a value that only a step of a loop has."""
    uses = [(x, node) for node in toposort(roots) for x in node.inputs]
    for node, user in [*uses, *((root, root) for root in roots)]:
        if isinstance(node.op, BodyInput):
            fail(
                GraphError,
                f"a value of a loop's step is used outside of the loop: its {node.name}",
                got=f"{user.name}, made at {user.where}",
                do="return it from the step: in the carry to have the last, as y to have all; "
                "a state is updated after the loop, with what the loop returns",
                where=node.where,
            )


def check_metrics(metrics: Any) -> dict[str, Node]:
    """Float scalars by names that no log has yet."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        fail(
            GraphError,
            "metrics must be a dict from name to node",
            got=type(metrics).__name__,
            do='pass metrics={"accuracy": ...}',
        )
    for name, node in metrics.items():
        if not isinstance(name, str) or name == "loss":
            fail(
                GraphError,
                "a metric's name is a string other than 'loss', which the loss itself has",
                got=repr(name),
                do="give it another name",
            )
        check_loss(node, f"metric {name!r}")
    return dict(metrics)


def check_integer(what: str, value: Any, low: int, do: str) -> int:
    """An int64 of at least `low`."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool | np.bool_)
    number = int(value.__index__()) if whole else -1
    if not low <= number <= np.iinfo(np.int64).max:
        fail(
            GraphError, f"{what} must be an integer from {low} to 2**63 - 1", got=repr(value), do=do
        )
    return number
