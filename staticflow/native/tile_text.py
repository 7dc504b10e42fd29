"""What becomes of a product's result while it is still in registers, as text.

    add_relu over C [m, n]:      v1 = C;  v2 = p1[column]      loads
                                 v0 = (v1 + v2)                lets, with the expressions of kernels
                                 v3 = (f4(0) if v0 < f4(0) else v0)
                                 C = v3                        stores

Every variable is one element here and a vector in the machine code (`gemm_finish`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from staticflow.native.syntax import parsed_expression

MATRIX, LINE, SINGLE, SUM = "matrix", "line", "single", "sum"
FLOAT, TRUTH = "float", "truth"
CALLS = {"abs": 1, "min": 2, "max": 2}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
RELATIONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


@dataclass(frozen=True)
class Tile:
    """Statements over the elements of C.

    A pointer's role says what lies there: a `matrix` of C's shape and strides, a `line` of values
    for the columns, a `single` value, or a `sum` over the rows, for the columns.
    """

    suffix: str
    pointers: tuple[tuple[str, str], ...]  # name, role
    own: str  # the pointer of C itself
    loads: tuple[tuple[str, str], ...]  # variable, pointer
    lets: tuple[tuple[str, str], ...]  # variable, expression
    stores: tuple[tuple[str, str], ...]  # pointer of a matrix or a sum, variable

    @property
    def others(self) -> tuple[str, ...]:
        """The pointers beside C's."""
        return tuple(name for name, _ in self.pointers if name != self.own)

    def of_role(self, role: str) -> tuple[str, ...]:
        """The pointers beside C's that have a role."""
        return tuple(name for name, own in self.pointers if own == role and name != self.own)

    @property
    def text(self) -> str:
        """The statements, one after the other, with what lies where."""
        places = {MATRIX: "{}[row, column]", LINE: "{}[column]", SINGLE: "{}[0]", SUM: "{}[column]"}
        at = {p: places[role].format(p) for p, role in self.pointers} | {self.own: "C[row, column]"}
        sums = self.of_role(SUM)
        return "; ".join((
            *(f"{name} = {at[p]}" for name, p in self.loads),
            *(f"{name} = {expression}" for name, expression in self.lets),
            *(f"{at[p]} {'+=' if p in sums else '='} {name}" for p, name in self.stores),
        ))  # fmt: skip


def vector_kind(text: str, kinds: Mapping[str, str], suffix: str) -> str | None:
    """FLOAT or TRUTH, for what an expression over vectors of these kinds gives.

    None where it is not a few instructions on vectors of `suffix`, as `gemm_finish.evaluate` makes
    them.
    """
    return _kind(parsed_expression(text), kinds, suffix)


def _kind(node: ast.expr, kinds: Mapping[str, str], suffix: str) -> str | None:
    def all_are(kind: str, *parts: ast.expr) -> bool:
        return all(_kind(part, kinds, suffix) == kind for part in parts)

    match node:
        case ast.Name(id=name):
            return kinds.get(name)
        case ast.BinOp(left, operation, right):
            known = isinstance(operation, ARITHMETIC)
            return FLOAT if known and all_are(FLOAT, left, right) else None
        case ast.UnaryOp(ast.USub(), operand):
            return FLOAT if all_are(FLOAT, operand) else None
        case ast.Compare(left, [operation], [right]):
            known = isinstance(operation, RELATIONS)
            return TRUTH if known and all_are(FLOAT, left, right) else None
        case ast.IfExp(test, body, orelse):
            kind = _kind(body, kinds, suffix)
            return kind if kind and all_are(TRUTH, test) and all_are(kind, orelse) else None
        case ast.Call(ast.Name(id=name), [number], []) if name == suffix:
            return FLOAT if _is_number(number) else None
        case ast.Call(ast.Name(id=name), arguments, []):
            known = CALLS.get(name) == len(arguments)
            return FLOAT if known and all_are(FLOAT, *arguments) else None
    return None


def _is_number(node: ast.expr) -> bool:
    """Whether an expression is a number, or one with a sign."""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)
