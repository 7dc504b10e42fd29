"""What a rewrite rule is, and rules written as formulas.

    formula("-(-x)", "x")        formula("x + 0", "x")        formula("where(c, x, x)", "x")

In a formula `x y z c` stand for any value (the same letter for the same value), `a b` for scalar
constants, numbers for themselves, also where they are repeated to a shape. Operators and names are
those of `ops`; operands of commutative ones match in both orders.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import permutations

from staticflow.graph.leaves import Const, is_scalar_const
from staticflow.graph.node import Node
from staticflow.graph.op_table import table
from staticflow.graph.rewriting import RewriteRule
from staticflow.ops.views import Broadcast, Expand

Bindings = dict[str, Node]
CONSTANTS = ("a", "b")
COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "logical_and", "logical_or")
OPERATORS: Mapping[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
    ast.Pow: "power", ast.USub: "negative", ast.Not: "logical_not",
}  # fmt: skip


def formula(before: str, after: str) -> RewriteRule:
    """The rule that what looks like `before` is `after`."""
    pattern, result = (_parse(text) for text in (before, after))
    head, _ = _call(pattern)

    def rewrite(node: Node) -> Node | None:
        found = next(_match(pattern, node, {}), None)
        return None if found is None else _build(result, found)

    return RewriteRule(head, f"{before} = {after}", rewrite)


def uniform_value(node: Node) -> float | None:
    """The value of a scalar constant, as it is or repeated; None for anything else."""
    while isinstance(node.op, Broadcast | Expand):
        (node,) = node.inputs
    if isinstance(node.op, Const) and is_scalar_const(node):
        value: float = node.op.value.item()
        return value
    return None


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _call(expr: ast.expr) -> tuple[str, list[ast.expr]]:
    """The op's name and the operands of an expression that is no letter and no number."""
    if isinstance(expr, ast.BinOp):
        return OPERATORS[type(expr.op)], [expr.left, expr.right]
    if isinstance(expr, ast.UnaryOp):
        return OPERATORS[type(expr.op)], [expr.operand]
    assert isinstance(expr, ast.Call) and isinstance(expr.func, ast.Name)
    return expr.func.id, expr.args


def _number(expr: ast.expr) -> float | None:
    if isinstance(expr, ast.UnaryOp) and isinstance(expr.op, ast.USub):
        inner = _number(expr.operand)
        return None if inner is None else -inner
    return expr.value if isinstance(expr, ast.Constant) else None  # type: ignore[return-value]


def _match(expr: ast.expr, node: Node, bound: Bindings) -> Iterator[Bindings]:
    """Every way in which `node` has the form of `expr`, given what letters stand for already."""
    number = _number(expr)
    if number is not None:
        if uniform_value(node) == number:
            yield bound
    elif isinstance(expr, ast.Name):
        if expr.id in CONSTANTS and not is_scalar_const(node):
            return
        if bound.get(expr.id, node) is node:
            yield {**bound, expr.id: node}
    else:
        name, args = _call(expr)
        if node.op.name == name:
            orders = permutations(node.inputs) if name in COMMUTATIVE else [node.inputs]
            for inputs in orders:
                yield from _match_all(args, inputs, bound)


def _match_all(
    args: list[ast.expr], inputs: tuple[Node, ...], bound: Bindings
) -> Iterator[Bindings]:
    if not args:
        yield bound
        return
    for found in _match(args[0], inputs[0], bound):
        yield from _match_all(args[1:], inputs[1:], found)


def _build(expr: ast.expr, bound: Bindings) -> Node:
    if isinstance(expr, ast.Name):
        return bound[expr.id]
    name, args = _call(expr)
    made: Node = table()[name].function(*(_build(arg, bound) for arg in args))
    return made
