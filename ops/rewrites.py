"""The rewrite rules: what `simplify` may put in place of a node.

Every rule gives a node of the same type and the same value, but for the rounding of a product with
two constants. None would hide a NaN: there is no rule for `x * 0` or `x - x`, and a product with a
diagonal matrix keeps a NaN in its place, though not in its whole column.
"""

from __future__ import annotations

import math

from staticflow.graph.node import Node
from staticflow.graph.rewriting import RewriteRule, enter
from staticflow.ops.arithmetic import multiply
from staticflow.ops.assembly_rules import ASSEMBLY_RULES
from staticflow.ops.diagonal_rules import DIAGONAL_RULES
from staticflow.ops.rules import formula
from staticflow.ops.view_rules import VIEW_RULES

SMALL_OUTER = 1024  # elements

ALGEBRA = (
    formula("x + 0", "x"),
    formula("x - 0", "x"),
    formula("0 - x", "-x"),
    formula("x * 1", "x"),
    formula("x * -1", "-x"),
    formula("x / 1", "x"),
    formula("x ** 1", "x"),
    formula("-(-x)", "x"),
    formula("-(x - y)", "y - x"),
    formula("x + (-y)", "x - y"),
    formula("x - (-y)", "x + y"),
    formula("(-x) * (-y)", "x * y"),
    formula("(-x) / (-y)", "x / y"),
    formula("a * (b * x)", "(a * b) * x"),
    formula("a * (-x)", "(-a) * x"),
    formula("-(a * x)", "(-a) * x"),
    formula("square(-x)", "square(x)"),
    formula("square(abs(x))", "square(x)"),
    formula("abs(-x)", "abs(x)"),
    formula("abs(abs(x))", "abs(x)"),
    formula("relu(relu(x))", "relu(x)"),
    formula("maximum(x, x)", "x"),
    formula("minimum(x, x)", "x"),
    formula("logical_not(logical_not(c))", "c"),
    formula("where(True, x, y)", "x"),
    formula("where(False, x, y)", "y"),
    formula("where(c, x, x)", "x"),
    formula("where(logical_not(c), x, y)", "where(c, y, x)"),
)


def _narrow_again(node: Node) -> Node | None:
    (inner,) = node.inputs
    if inner.op.name != "astype_float64" or inner.inputs[0].type != node.type:
        return None
    return inner.inputs[0]


def _small_outer(node: Node) -> Node | None:
    """A column times a row is elementwise, and joins other kernels, where it is a small matrix.

    A large one stays a product, in which helpers may take part; so does one with rows of the batch,
    which a kernel could not put side by side.
    """
    sizes = [size if isinstance(size, int) else SMALL_OUTER + 1 for size in node.shape]
    if node.inputs[0].shape[-1] != 1 or math.prod(sizes) > SMALL_OUTER:
        return None
    return multiply(*node.inputs)


PRODUCTS = (RewriteRule("dot", "small outer products are elementwise", _small_outer),)

CONVERSION = (
    RewriteRule("astype_float32", "float32 through float64 is itself", _narrow_again),
    RewriteRule("stopgradient", "derivatives are taken by now", lambda node: node.inputs[0]),
    RewriteRule("ruled", "derivatives are taken by now", lambda node: node.inputs[0]),
)

for _rules in (ALGEBRA, CONVERSION, VIEW_RULES, ASSEMBLY_RULES, DIAGONAL_RULES, PRODUCTS):
    enter(_rules)
