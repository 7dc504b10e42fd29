"""Differentiate a graph: derivatives are nodes of the same ops, so it can be done again.

    y = sum(tanh(x))
    grad(y, x):   ones -> broadcast -> * (1 - tanh(x)^2)          reverse: from y back to x
    jvp(y, x, v): v -> * (1 - tanh(x)^2) -> sum                   forward: from x to y

The sweeps are in `accumulate`; what they do at a loop or a branch is said in `scan_rules` and
`branch_rules`, which are entered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticflow.autodiff.accumulate import cotangents_of, pull_back, push_forward
from staticflow.autodiff.branch_rules import BRANCH_RULES, WHILE_RULES
from staticflow.autodiff.scan_rules import SCAN_RULES
from staticflow.autodiff.ties import tied
from staticflow.autodiff.wrt import check_float, entries, given_for, like, nodes_of
from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.branch_ops import Branch, While
from staticflow.graph.leaves import const
from staticflow.graph.loop_op import RULES
from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import is_zero
from staticflow.ops import reshape

RULES.update({Scan: SCAN_RULES, Branch: BRANCH_RULES, While: WHILE_RULES})


def grad(y: Node, wrt: Any) -> Any:
    """The derivative of a scalar `y` by a node, of its shape; by several in a list or dict.

    A scalar may have shape (), (1,) or (1, 1): all axes of size 1. A dict from name to node, such
    as `net.parameters`, gives a dict with the same names.
    """
    check_float("grad", y)
    if y.ndim and all(n == 1 for n in y.shape):
        y = reshape(y, ())
    if y.ndim:
        fail(
            ShapeError,
            "grad: differentiates a scalar only",
            got=str(y),
            do="reduce it with .sum() or .mean(), or use sf.vjp or sf.jacobian",
        )
    nodes = nodes_of("grad", y, wrt)
    found = pull_back([y], [_direction("grad", "cotangent", 1.0, y)], nodes)
    return like(wrt, tied(found, [y, *nodes]))


def vjp(y: Node, wrt: Any, cotangent: Any) -> Any:
    """The sum over y's elements of `cotangent` times their derivatives by `wrt`: cotangent @ J.

    `cotangent` has y's shape, the result that of `wrt`; a list or dict of nodes gives one of such.
    """
    nodes = nodes_of("vjp", y, wrt)
    g = _direction("vjp", "cotangent", cotangent, y)
    return like(wrt, tied(pull_back([y], [g], nodes), [y, *nodes, g]))


def jvp(y: Node, wrt: Any, tangent: Any) -> Any:
    """The change of `y` as `wrt` moves along `tangent`: J @ tangent, of y's shape.

    For a list or dict of nodes, `tangent` is one of tangents, each of its node's shape.
    """
    return _along("jvp", "tangent", [y], wrt, tangent)[0]


def _along(what: str, role: str, ys: Sequence[Node], wrt: Any, direction: Any) -> list[Node]:
    """The changes of `ys` as `wrt` moves along a direction."""
    nodes = nodes_of(what, ys[0], wrt)
    given = given_for(what, role, wrt, direction)
    moves = [_direction(what, role, t, x) for t, x in zip(given, nodes, strict=True)]
    return tied(push_forward(ys, nodes, moves), [*ys, *nodes, *moves])


def hvp(y: Node, wrt: Any, vector: Any) -> Any:
    """The Hessian of a scalar times a vector of the shape of `wrt`, without forming the Hessian.

    For a list or dict of nodes, `vector` is one of vectors, and so is the result.
    """
    rows = entries(grad(y, wrt))
    return like(wrt, _along("hvp", "vector", rows, wrt, vector) if rows else [])


def reaching(y: Node, wrt: Sequence[Node]) -> list[Node | None]:
    """The derivatives of a scalar by nodes; None where it does not depend on one."""
    found = cotangents_of(wrt, [y], [_direction("grad", "cotangent", 1.0, y)])
    return [None if g is None or is_zero(g) else g for g in found]


def _direction(what: str, role: str, value: Any, of: Node) -> Node:
    """A cotangent or tangent as a node of the type of what it belongs to."""
    if not isinstance(value, Node):
        value = const(np.asarray(value), of.dtype)
    if value.type != of.type:
        fail(
            DTypeError if value.shape == of.shape else ShapeError,
            f"{what}: the {role}'s type differs from that of {of.name}",
            got=f"{value.type} for {of.type}",
            do=f"give the {role} the shape and dtype of what it belongs to",
        )
    node: Node = value
    return node
