"""What becomes of a product's result while it is still in registers, as text.

    add_relu over C [m, n]:      v1 = C;  v2 = p1[column]      loads
                                 v0 = (v1 + v2)                lets, with the expressions of kernels
                                 v3 = (f4(0) if v0 < f4(0) else v0)
                                 C = v3                        stores

Every variable is one element here and a vector in the machine code (`gemm_finish`).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

MATRIX, LINE, SINGLE, SUM = "matrix", "line", "single", "sum"
CASTS = ("f4", "f8")
CALLS = ("min", "max", "abs")
_NODES = (
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Call, ast.BinOp, ast.Add, ast.Sub,
    ast.Mult, ast.Div, ast.UnaryOp, ast.USub, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.Eq, ast.NotEq, ast.IfExp,
)  # fmt: skip


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


def is_vector_expression(text: str, variables: frozenset[str]) -> bool:
    """Whether an expression over these variables can be a few instructions on vectors."""
    tree = ast.parse(text, mode="eval")
    known = variables.union(CASTS, CALLS)
    return all(_is_known(node, known) for node in ast.walk(tree))


def _is_known(node: ast.AST, names: frozenset[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and not node.keywords and _is_call(node)
    return isinstance(node, _NODES)


def _is_call(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Name)
    if call.func.id in CASTS:
        return len(call.args) == 1 and is_number(call.args[0])
    counts = {"abs": 1, "min": 2, "max": 2}
    return counts.get(call.func.id) == len(call.args)


def is_number(node: ast.expr) -> bool:
    """Whether an expression is a number, or one with a sign."""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)
