"""Rewrite rules for products with diagonal matrices, which are scalings.

    eye @ x        x                  the basis of a Jacobian in its first product
    diag(d) @ x    d[:, None] * x     the derivative of an elementwise function by its input
    x @ diag(d)    x * d

In the whole product a NaN or an infinity of x meets zeros and spreads over its column; here it
stays in its place, so that it shows in the result all the same.
"""

from __future__ import annotations

from staticflow.graph.leaves import const
from staticflow.graph.node import Node
from staticflow.graph.rewriting import RewriteRule
from staticflow.ops.arithmetic import divide, multiply, negative
from staticflow.ops.cast import is_conversion
from staticflow.ops.counting import Iota
from staticflow.ops.rules import uniform_value
from staticflow.ops.shape import expand_dims
from staticflow.ops.views import Broadcast, Transpose


def diagonal_of(node: Node) -> Node | None:
    """The vector on the diagonal of a matrix that is zero elsewhere, or the scalar repeated on it;
    None for any other matrix.
    """
    name, inputs = node.op.name, node.inputs
    if node.ndim != 2 or node.shape[0] != node.shape[1]:
        return None
    if isinstance(node.op, Transpose):
        return diagonal_of(inputs[0])
    if is_conversion(node):
        return const(1, node.dtype) if _is_identity(inputs[0]) else None
    if name == "where":
        mask, inside, outside = inputs
        zero = uniform_value(outside) == 0
        return _along(inside) if zero and _is_identity(mask) else None
    if name == "negative":
        inner = diagonal_of(inputs[0])
        return None if inner is None else negative(inner)
    if name == "multiply":
        found = _scaled(*inputs)
        return _scaled(*inputs[::-1]) if found is None else found
    if name == "divide":
        inner, by = diagonal_of(inputs[0]), _along(inputs[1])
        return None if inner is None or by is None else divide(inner, by)
    return None


def _scaled(diagonal: Node, factor: Node) -> Node | None:
    by = _along(factor)
    inner = None if by is None else diagonal_of(diagonal)
    return None if inner is None or by is None else multiply(inner, by)


def _along(x: Node) -> Node | None:
    """The diagonal of a matrix with equal rows or equal columns, or of a scalar."""
    if x.ndim == 0:
        return x
    if isinstance(x.op, Broadcast) and len(x.op.axes) < 2:
        return x.inputs[0]
    return None


def _is_identity(mask: Node) -> bool:
    """Whether a mask names the elements whose row is their column."""
    if mask.op.name != "equal":
        return False
    row, column = mask.inputs
    if not isinstance(row.op, Broadcast) or not isinstance(column.op, Broadcast):
        return False
    axes = {row.op.axes, column.op.axes}
    counts = row.inputs[0].op, column.inputs[0].op
    return axes == {(0,), (1,)} and isinstance(counts[0], Iota) and counts[0] == counts[1]


def _dot(node: Node) -> Node | None:
    left, right = node.inputs
    scale = diagonal_of(left)
    if scale is not None:
        return right if uniform_value(scale) == 1 else _by_rows(scale, right)
    scale = diagonal_of(right)
    if scale is not None:
        return left if uniform_value(scale) == 1 else multiply(left, scale)
    return None


def _by_rows(scale: Node, x: Node) -> Node:
    return multiply(expand_dims(scale, 1) if scale.ndim else scale, x)


DIAGONAL_RULES = (
    RewriteRule("dot", "a product with a diagonal matrix scales rows or columns", _dot),
)
