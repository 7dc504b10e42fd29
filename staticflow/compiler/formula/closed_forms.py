"""Closed forms: the derivatives of functions of a whole vector or matrix, as a textbook has them.

One table for all who print derivatives: `explain` and `derive` build them of their own expressions
(`built`), the page of ops shows them as they stand here. `a` is the argument, and a formula is
NumPy, of the shape of `a`. `SLOPES` has those of elementwise functions with parameters, by name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClosedForm:
    """What a rule is called, and the gradient of a scalar function."""

    rule: str
    gradient: str


CLOSED_FORMS: Mapping[str, ClosedForm] = {
    "det": ClosedForm("determinant", "det(a) * inv(a).T"),
    "logdet": ClosedForm("logarithm of a determinant", "inv(a).T"),
    "norm": ClosedForm("norm", "a / norm(a)"),
    "logsumexp": ClosedForm("logsumexp", "softmax(a)"),
    "max": ClosedForm("maximum", "a == max(a)"),
    "min": ClosedForm("minimum", "a == min(a)"),
    "prod": ClosedForm("product of elements", "prod(a) / a"),
    "norm_2": ClosedForm("largest singular value", "outer(svd(a)[0][:, 0], svd(a)[2][0])"),
    "norm_nuc": ClosedForm("sum of singular values", "svd(a)[0] @ svd(a)[2]"),
}


@dataclass(frozen=True)
class Slope:
    """The parameters of an elementwise function, and its derivative."""

    parameters: tuple[str, ...]
    text: str


SLOPES: Mapping[str, Slope] = {
    "clip": Slope(("low", "high"), "(a > low) * (a < high)"),
    "leaky_relu": Slope(("slope",), "where(a >= 0, 1, slope)"),
    "huber": Slope(("delta",), "clip(a, -delta, delta)"),
}


def built(text: str, names: Mapping[str, Any], make: Mapping[str, Callable[..., Any]]) -> Any:
    """An expression in someone's own terms: `make` has the operators and functions by name."""

    def build(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.Constant):
            return make["number"](node.value)
        if isinstance(node, ast.BinOp):
            return make[type(node.op).__name__](build(node.left), build(node.right))
        if isinstance(node, ast.UnaryOp):
            return make["USub"](build(node.operand))
        if isinstance(node, ast.Compare):
            compare = make[type(node.ops[0]).__name__]
            return compare(build(node.left), build(node.comparators[0]))
        if isinstance(node, ast.Attribute):
            return make["T"](build(node.value))
        if isinstance(node, ast.Subscript):
            return make["part"](build(node.value), ast.unparse(node.slice).strip("()"))
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        return make[node.func.id](*(build(a) for a in node.args))

    return build(ast.parse(text, mode="eval").body)
