"""What becomes of a product's result while it is still in registers, as values.

    add_relu over C [m, n]:      v1 = C;  v2 = p1[column]      loads
                                 v0 = (v1 + v2)                lets
                                 v3 = (f4(0) if v0 < f4(0) else v0)
                                 C = v3                        stores

Every variable is one element here and a vector in the machine code (`gemm.epilogue`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from staticflow.native.toolchain.syntax import parsed_expression

MATRIX, LINE, SINGLE, SUM, SPARE = "matrix", "line", "single", "sum", "spare"
FLOAT, TRUTH = "float", "truth"
CALLS = {"abs": 1, "min": 2, "max": 2}
ARITHMETIC: Mapping[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
RELATIONS: Mapping[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
NEGATE, CHOOSE = "negate", "choose"


@dataclass(frozen=True)
class Variable:
    """What a statement before has named."""

    name: str
    kind: str = FLOAT


@dataclass(frozen=True)
class Number:
    """The same number in all elements."""

    value: float
    kind = FLOAT


@dataclass(frozen=True)
class Operation:
    """An instruction or two: arithmetic, a relation, a choice by a truth, or one of CALLS."""

    name: str
    parts: tuple[VectorValue, ...]
    kind: str


VectorValue: TypeAlias = "Variable | Number | Operation"


@dataclass(frozen=True)
class NamedValue:
    """A variable and its value; `text` is how source writes that."""

    name: str
    value: VectorValue
    text: str


@dataclass(frozen=True)
class Tile:
    """Statements over the elements of C.

    A pointer's role says what lies there: a `matrix` of C's shape and strides, a `line` of values
    for the columns, a `single` value, or a `sum` over the rows, for the columns. What is `spare`,
    only the kernel over memory needs.
    """

    suffix: str
    pointers: tuple[tuple[str, str], ...]  # name, role
    own: str  # the pointer of C itself
    loads: tuple[tuple[str, str], ...]  # variable, pointer
    lets: tuple[NamedValue, ...]
    stores: tuple[tuple[str, str], ...]  # pointer of a matrix or a sum, variable

    @property
    def others(self) -> tuple[str, ...]:
        """The pointers beside C's."""
        return tuple(name for name, _ in self.pointers if name != self.own)

    def of_role(self, role: str) -> tuple[str, ...]:
        """The pointers beside C's that have a role."""
        return tuple(name for name, own in self.pointers if own == role and name != self.own)

    @property
    def statements(self) -> tuple[str, ...]:
        """What it does, one statement after the other, with what lies where."""
        at = {p: _place(p, role, self.own) for p, role in self.pointers if role != SPARE}
        sums = self.of_role(SUM)
        return (
            *(f"{name} = {at[p]}" for name, p in self.loads),
            *(f"{let.name} = {let.text}" for let in self.lets),
            *(f"{at[p]} {'+=' if p in sums else '='} {name}" for p, name in self.stores),
        )


def parsed_tile(suffix: str, own: str, roles: Mapping[str, str], text: str) -> Tile:
    """The tile whose statements these are, one a line; `own` is the pointer of C.

    Raises ValueError for a statement that is none of a tile.
    """
    sums = {_place(p, role, own): p for p, role in roles.items() if role == SUM}
    others = ((p, role) for p, role in roles.items() if role not in (SUM, SPARE))
    places = {_place(p, role, own): p for p, role in others}
    loads, lets, stores = [], [], []
    known: dict[str, VectorValue] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        target, operator, value = line.partition(" += " if " += " in line else " = ")
        if operator == " += " or target in places:
            stores.append(((sums if operator == " += " else places)[target], value))
        elif value in places:
            loads.append((target, places[value]))
            known[target] = Variable(target)
        else:
            made = vector_value(value, known, suffix)
            if made is None:
                raise ValueError(f"no statement of a tile: {line}")
            lets.append(NamedValue(target, made, value))
            known[target] = Variable(target, made.kind)
    pointers = tuple(roles.items())
    return Tile(suffix, pointers, own, tuple(loads), tuple(lets), tuple(stores))


def _place(pointer: str, role: str, own: str) -> str:
    """How a statement writes an element of what lies at a pointer."""
    return "C[row, column]" if pointer == own else f"{pointer}[{_INDICES[role]}]"


_INDICES = {MATRIX: "row, column", LINE: "column", SINGLE: "0", SUM: "column"}


def vector_value(body: str, operands: Mapping[str, VectorValue], suffix: str) -> VectorValue | None:
    """What an op's body makes of its operands, over the names of which it is written.

    None where it is not a few instructions on vectors of `suffix`, as `gemm.epilogue.evaluate`
    makes them.
    """
    return _value(_parsed(body), operands, suffix)


@cache
def _parsed(body: str) -> ast.expr:
    tree: ast.expr = parsed_expression(body)
    return tree


def _value(node: ast.expr, operands: Mapping[str, VectorValue], suffix: str) -> VectorValue | None:
    def operation(name: str, kind: str, wanted: str, *parts: ast.expr) -> VectorValue | None:
        values = [_value(part, operands, suffix) for part in parts]
        of_kind = tuple(x for x in values if x is not None and x.kind == wanted)
        return Operation(name, of_kind, kind) if len(of_kind) == len(parts) else None

    match node:
        case ast.Name(id=name):
            return operands.get(name)
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            return operation(ARITHMETIC[type(operator)], FLOAT, FLOAT, left, right)
        case ast.UnaryOp(ast.USub(), operand):
            return operation(NEGATE, FLOAT, FLOAT, operand)
        case ast.Compare(left, [relation], [right]) if type(relation) in RELATIONS:
            return operation(RELATIONS[type(relation)], TRUTH, FLOAT, left, right)
        case ast.IfExp(test, body, orelse):
            return _choice(*(_value(part, operands, suffix) for part in (test, body, orelse)))
        case ast.Call(ast.Name(id=name), [number], []) if name == suffix:
            return Number(float(ast.literal_eval(number))) if _is_number(number) else None
        case ast.Call(ast.Name(id=name), arguments, []) if CALLS.get(name) == len(arguments):
            return operation(name, FLOAT, FLOAT, *arguments)
    return None


def _choice(
    test: VectorValue | None, then: VectorValue | None, otherwise: VectorValue | None
) -> VectorValue | None:
    if test is None or then is None or otherwise is None:
        return None
    if test.kind != TRUTH or then.kind != otherwise.kind:
        return None
    return Operation(CHOOSE, (test, then, otherwise), then.kind)


def _is_number(node: ast.expr) -> bool:
    """Whether an expression is a number, or one with a sign."""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)
