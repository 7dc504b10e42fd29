"""The bodies of elementwise ops, which are expressions in Python for Numba, as C.

Types are Numba's: integers compute in 64 bits and wrap, a comparison is a truth value, floats of
one width stay what they are. What a body calls is entered among the functions that the text needs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from staticflow.session.interchange.c_out.math_text import function_name, is_function
from staticflow.session.interchange.c_out.words import C_TYPES, FLOATS, INTEGERS, number


class Typed(NamedTuple):
    """An expression of C, and the suffix of its type; "int" and "float" are bare numbers."""

    text: str
    type: str


class NoWords(Exception):
    """An expression that has no translation; the message says which part."""


_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_COMPARED: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_BOUNDS = {
    "lowest_f4": "(-INFINITY)", "lowest_f8": "(-(double)INFINITY)", "lowest_i4": "INT32_MIN",
    "highest_f4": "INFINITY", "highest_f8": "(double)INFINITY", "highest_i4": "INT32_MAX",
    "lowest_i8": "INT64_MIN", "highest_i8": "INT64_MAX",
}  # fmt: skip
_NUMBERS = {"inf": math.inf, "nan": math.nan}


@cache
def _parsed(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


class Expressions:
    """Translates expressions over names of known types; `functions` collects what they call."""

    def __init__(self, functions: set[str]) -> None:
        self.functions = functions

    def of(self, source: str, names: Mapping[str, Typed]) -> Typed:
        """An expression of Python as C; raises NoWords."""
        return self._of(_parsed(source), names)

    def _of(self, node: ast.expr, names: Mapping[str, Typed]) -> Typed:
        match node:
            case ast.Constant(value=bool() as value):
                return Typed(str(int(value)), "b1")
            case ast.Constant(value=int() as value):
                return Typed(number(value, "i8"), "int")
            case ast.Constant(value=float() as value):
                return Typed(repr(value), "float")
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.Name(id=name) if name in _BOUNDS:
                return Typed(_BOUNDS[name], name[-2:])
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="math"), attr=name) if (
                name in _NUMBERS
            ):
                return Typed(number(_NUMBERS[name], "f8"), "f8")
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(_BINARY[type(op)], self._of(left, names), self._of(right, names))
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(op, self._of(operand, names))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                sign = _COMPARED[type(op)]
                return self._compare(sign, self._of(left, names), self._of(right, names))
            case ast.BoolOp(op=op, values=values):
                sign = " && " if isinstance(op, ast.And) else " || "
                return Typed(f"({sign.join(self._of(v, names).text for v in values)})", "b1")
            case ast.IfExp(test=test, body=body, orelse=orelse):
                then, otherwise = self._of(body, names), self._of(orelse, names)
                type_ = _common(then.type, otherwise.type)
                texts = (self.cast(type_, x).text for x in (then, otherwise))
                return Typed(f"({self._of(test, names).text} ? {' : '.join(texts)})", type_)
            case ast.Call(func=func, args=args, keywords=[]):
                return self.call(ast.unparse(func), [self._of(x, names) for x in args])
        raise NoWords(ast.unparse(node))

    def binary(self, sign: str, left: Typed, right: Typed) -> Typed:
        """Two operands and what stands between them in Python."""
        type_ = _common(left.type, right.type)
        if sign == "/" and type_ not in FLOATS:
            type_ = "f8"
        if type_ in FLOATS:
            if sign not in ("+", "-", "*", "/"):
                raise NoWords(f"{sign} of floats")
            x, y = self.cast(type_, left).text, self.cast(type_, right).text
            return Typed(f"({x} {sign} {y})", type_)
        if type_ == "b1" and sign in ("&", "|", "^"):
            return Typed(f"({left.text} {sign} {right.text})", "b1")
        if type_ == "int":
            return Typed(f"({left.text} {sign} {right.text})", "int")
        return self._integers(sign, left, right)

    def _integers(self, sign: str, left: Typed, right: Typed) -> Typed:
        named = {
            "//": "sf_quotient_i8", "%": "sf_rest_i8", "<<": "sf_shift_left",
            ">>": "sf_shift_right",
        }  # fmt: skip
        if sign in named:
            self.functions.add(named[sign])
            return Typed(f"{named[sign]}({left.text}, {right.text})", "i8")
        if sign in ("&", "|", "^"):
            return Typed(f"((int64_t){left.text} {sign} {right.text})", "i8")
        x, y = (f"(uint64_t){v.text}" for v in (left, right))
        return Typed(f"(int64_t)({x} {sign} {y})", "i8")

    def _unary(self, op: ast.unaryop, x: Typed) -> Typed:
        if isinstance(op, ast.Not):
            return Typed(f"(!{x.text})", "b1")
        if isinstance(op, ast.USub):
            if x.type in (*FLOATS, "float", "int"):
                inner = f"({x.text})" if x.text.startswith("-") else x.text
                return Typed(f"(-{inner})", x.type)
            return Typed(f"(int64_t)(0 - (uint64_t){x.text})", "i8")
        if isinstance(op, ast.Invert):
            return Typed(f"(~(int64_t){x.text})", "i8")
        return x

    def _compare(self, sign: str, left: Typed, right: Typed) -> Typed:
        type_ = _common(left.type, right.type)
        if left.text == right.text and type_ not in FLOATS:
            return Typed(str(int(sign in ("==", "<=", ">="))), "b1")  # which compilers warn of
        x, y = (self.cast(type_, v).text if type_ in FLOATS else v.text for v in (left, right))
        return Typed(f"({x} {sign} {y})", "b1")

    def call(self, name: str, args: list[Typed]) -> Typed:
        """What a body calls, by its name there; raises NoWords for what there is not in C."""
        if name in C_TYPES:
            return self.cast(name, args[0])
        if is_function(name):
            stem, _, suffix = name.rpartition("_")
            self.functions.add(name)
            texts = ", ".join(self.cast(suffix, x).text for x in args)
            return Typed(f"{function_name(stem, suffix)}({texts})", suffix)
        made = _CALLS.get(name)
        if made is None:
            raise NoWords(name)
        return made(self, args)

    def cast(self, suffix: str, x: Typed) -> Typed:
        """A value in another type, as kernels convert it."""
        if x.type == suffix or suffix in ("int", "float"):
            return x
        if x.type in ("int", "float") and suffix in FLOATS and _is_plain(x.text):
            return Typed(number(float(x.text), suffix), suffix)
        if suffix == "b1":
            return Typed(f"({x.text} != 0)", "b1")
        if suffix in INTEGERS and x.type in (*FLOATS, "float"):
            self.functions.add(f"sf_nearest_{suffix}")
            return Typed(f"sf_nearest_{suffix}({x.text})", suffix)
        if suffix in INTEGERS and x.type == "int":
            return Typed(x.text, suffix)
        return Typed(f"({C_TYPES[suffix]}){x.text}", suffix)


def _is_plain(text: str) -> bool:
    return text.replace(".", "").replace("e-", "").isdigit()


def _common(left: str, right: str) -> str:
    """The type of two operands together."""
    types = {left, right}
    if left == right:
        return left
    if "float" in types:
        other = (types - {"float"}).pop()
        return other if other in FLOATS else "f8"
    if types & set(FLOATS):
        return "f8" if "f8" in types or types & {"i8", "i4"} else "f4"
    return "i8"


def _magnitude(self: Expressions, args: list[Typed]) -> Typed:
    (x,) = args
    if x.type in FLOATS:
        return Typed(f"fabs{'f' if x.type == 'f4' else ''}({x.text})", x.type)
    return Typed(f"({x.text} < 0 ? (int64_t)(0 - (uint64_t){x.text}) : (int64_t){x.text})", "i8")


def _copysign(self: Expressions, args: list[Typed]) -> Typed:
    type_ = _common(args[0].type, args[1].type)
    texts = ", ".join(self.cast(type_, x).text for x in args)
    return Typed(f"copysign{'f' if type_ == 'f4' else ''}({texts})", type_)


def _root(self: Expressions, args: list[Typed]) -> Typed:
    (x,) = args
    return Typed(f"sqrt{'f' if x.type == 'f4' else ''}({x.text})", x.type)


def _wrap(self: Expressions, args: list[Typed]) -> Typed:
    self.functions.add("sf_wrap_index")
    return Typed(f"sf_wrap_index({args[0].text}, {args[1].text})", "i8")


def _power(self: Expressions, args: list[Typed]) -> Typed:
    self.functions.add("sf_integer_power")
    return Typed(f"sf_integer_power({args[0].text}, {args[1].text})", "i8")


def _of_two(relation: str) -> Callable[[Expressions, list[Typed]], Typed]:
    """Python's min and max: the second if it is less, or greater."""

    def made(self: Expressions, args: list[Typed]) -> Typed:
        type_ = _common(args[0].type, args[1].type)
        x, y = (self.cast(type_, v).text for v in args)
        return Typed(f"({y} {relation} {x} ? {y} : {x})", type_)

    return made


_CALLS: Mapping[str, Callable[[Expressions, list[Typed]], Typed]] = {
    "abs": _magnitude, "math.copysign": _copysign, "math.sqrt": _root, "wrap_index": _wrap,
    "integer_power": _power, "min": _of_two("<"), "max": _of_two(">"),
}  # fmt: skip
