"""Typed values while a source is translated to LLVM IR, with Numba's rules for mixed types.

Integers compute as 64-bit words, whatever width they were read with; an integer with a float32
gives a float64, and so does a division of integers. A truth value is one bit, and one byte in
memory. Integer divisions round down, and by zero they give 0. A float beyond the integers becomes
the nearest of them, and NaN 0.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from llvmlite import ir

from staticflow.native.objects import Signature

BIT, BYTE, WORD = ir.IntType(1), ir.IntType(8), ir.IntType(64)
LLVM_TYPES: dict[str, Any] = {
    "f4": ir.FloatType(), "f8": ir.DoubleType(), "i4": ir.IntType(32), "i8": WORD, "b1": BIT,
}  # fmt: skip
FLOATS, INTEGERS = ("f4", "f8"), ("b1", "i4", "i8")
ARITHMETIC = {
    ast.Add: ("add", "fadd"), ast.Sub: ("sub", "fsub"), ast.Mult: ("mul", "fmul"),
    ast.BitAnd: ("and_", ""), ast.BitOr: ("or_", ""), ast.BitXor: ("xor", ""),
    ast.LShift: ("shl", ""), ast.RShift: ("ashr", ""), ast.Div: ("", "fdiv"),
    ast.FloorDiv: ("", ""), ast.Mod: ("", ""),
}  # fmt: skip
RELATIONS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


class Untranslatable(Exception):
    """A source uses something that only Numba knows."""


class Value(NamedTuple):
    """An LLVM value and its type code; no code, no value."""

    code: str
    raw: Any


NOTHING = Value("", None)


def plain(code: str) -> str:
    """A type code as values have it: sizes are words like others."""
    return "i8" if code == "u8" else code


def function_type(signature: Signature) -> Any:
    """The LLVM type of a function with a signature."""
    result = llvm_type(signature.result) if signature.result else ir.VoidType()
    return ir.FunctionType(result, [llvm_type(code) for code in signature.arguments])


def llvm_type(code: str) -> Any:
    """The LLVM type of a type code."""
    if code == "b1*":
        return BYTE.as_pointer()
    known = LLVM_TYPES.get(plain(code.rstrip("*")))
    if known is None:
        raise Untranslatable(f"the type {code}")
    return known.as_pointer() if code.endswith("*") else known


def constant(value: object) -> Value:
    """A Python or NumPy number."""
    if isinstance(value, bool):
        return Value("b1", ir.Constant(BIT, int(value)))
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return Value("i8", ir.Constant(WORD, value))
    if isinstance(value, float):
        return Value("f8", ir.Constant(LLVM_TYPES["f8"], value))
    code = getattr(getattr(value, "dtype", None), "str", "")[1:]
    if code in FLOATS or code in INTEGERS:
        return Value(code, ir.Constant(LLVM_TYPES[code], value.item()))  # type: ignore[attr-defined]
    raise Untranslatable(f"the constant {value!r}")


def cast(builder: Any, value: Value, code: str) -> Value:
    """A value converted to another type."""
    if value.code == code:
        return value
    if value.code.endswith("*") or code.endswith("*"):
        raise Untranslatable(f"{value.code} as {code}")
    folded = _folded(value, code)
    return Value(code, _converted(builder, value, code)) if folded is None else folded


def _folded(value: Value, code: str) -> Value | None:
    """A constant converted while translating."""
    number = value.raw.constant if isinstance(value.raw, ir.Constant) else None
    if code in FLOATS and isinstance(number, int | float):
        return Value(code, ir.Constant(llvm_type(code), float(number)))
    if code in ("i4", "i8") and isinstance(number, int) and -(1 << 31) <= number < 1 << 31:
        return Value(code, ir.Constant(llvm_type(code), int(number)))
    return None


def _converted(builder: Any, value: Value, code: str) -> Any:
    source, raw, target = value.code, value.raw, llvm_type(code)
    if code == "b1":
        return truth(builder, value)
    if code in FLOATS:
        if source in FLOATS:
            return builder.fptrunc(raw, target) if code == "f4" else builder.fpext(raw, target)
        return builder.uitofp(raw, target) if source == "b1" else builder.sitofp(raw, target)
    if source in FLOATS:
        return builder.call(_nearest_integer(builder.module, target, raw.type), (raw,))
    if source == "b1":
        return builder.zext(raw, target)
    return builder.sext(raw, target) if code == "i8" else builder.trunc(raw, target)


def _nearest_integer(module: Any, target: Any, source: Any) -> Any:
    """LLVM's conversion that is defined for all numbers; the plain one gives anything for some."""
    type_ = ir.FunctionType(target, [source])
    return module.declare_intrinsic("llvm.fptosi.sat", (target, source), type_)


def truth(builder: Any, value: Value) -> Any:
    """Whether a number is not 0, as a bit."""
    if value.code == "b1":
        return value.raw
    zero = ir.Constant(llvm_type(value.code), 0)
    if value.code in FLOATS:
        return builder.fcmp_unordered("!=", value.raw, zero)
    return builder.icmp_signed("!=", value.raw, zero)


def common(*codes: str) -> str:
    """The type in which values of several types are computed."""
    kinds = set(codes)
    if len(kinds) == 1:
        return codes[0]
    floats = kinds & set(FLOATS)
    if not kinds <= {*FLOATS, *INTEGERS} or (floats and "b1" in kinds):
        raise Untranslatable(" with ".join(codes))
    return "f8" if floats else "i8"


def binary(builder: Any, kind: type, left: Value, right: Value) -> Value:
    """`left <operator> right`."""
    if kind not in ARITHMETIC:
        raise Untranslatable(kind.__name__)
    code = common(left.code, right.code)
    if kind is ast.Div and code in INTEGERS:
        code = "f8"
    elif code == "i4" or (code == "b1" and kind not in (ast.BitAnd, ast.BitOr, ast.BitXor)):
        code = "i8"
    a, b = (cast(builder, value, code).raw for value in (left, right))
    if code in INTEGERS and kind in (ast.FloorDiv, ast.Mod):
        return Value(code, _divided(builder, kind is ast.Mod, a, b))
    name = ARITHMETIC[kind][code in FLOATS]
    if not name:
        raise Untranslatable(f"{kind.__name__} of {code}")
    return Value(code, getattr(builder, name)(a, b))


def _divided(builder: Any, remainder: bool, a: Any, b: Any) -> Any:
    """The quotient rounded down, or its remainder; 0 for a division by zero.

    The processor traps at a division of the lowest word by -1, and by 0: both divide by 1 instead.
    """
    zero, one = ir.Constant(WORD, 0), ir.Constant(WORD, 1)
    known = isinstance(b, ir.Constant) and b.constant > 0
    divisor = b
    if not known:
        traps = builder.icmp_unsigned("<=", builder.add(b, one), one)
        divisor = builder.select(traps, one, b)
    rest = builder.srem(a, divisor)
    opposite = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    inexact = builder.and_(opposite, builder.icmp_signed("!=", rest, zero))
    if remainder:
        result = builder.select(inexact, builder.add(rest, divisor), rest)
    else:
        quotient = builder.sdiv(a, divisor)
        result = builder.select(inexact, builder.sub(quotient, one), quotient)
        if not known:
            by_minus_one = builder.icmp_signed("==", b, ir.Constant(WORD, -1))
            result = builder.select(by_minus_one, builder.neg(a), result)
    return result if known else builder.select(builder.icmp_signed("==", b, zero), zero, result)


def compare(builder: Any, kind: type, left: Value, right: Value) -> Value:
    """`left <relation> right`, as a bit."""
    if kind not in RELATIONS:
        raise Untranslatable(kind.__name__)
    code = common(left.code, right.code)
    a, b = (cast(builder, value, code).raw for value in (left, right))
    relation = RELATIONS[kind]
    if code in FLOATS:
        test = builder.fcmp_unordered if relation == "!=" else builder.fcmp_ordered
    else:
        test = builder.icmp_unsigned if code == "b1" else builder.icmp_signed
    return Value("b1", test(relation, a, b))


def negative(builder: Any, value: Value) -> Value:
    """`-value`."""
    if value.code in FLOATS:
        if isinstance(value.raw, ir.Constant):
            return Value(value.code, ir.Constant(value.raw.type, -value.raw.constant))
        return Value(value.code, builder.fneg(value.raw))
    word = cast(builder, value, "i8").raw
    if isinstance(word, ir.Constant):
        return Value("i8", ir.Constant(WORD, -word.constant))
    return Value("i8", builder.neg(word))


def magnitude(builder: Any, value: Value) -> Value:
    """`abs(value)`."""
    if value.code in FLOATS:
        function = builder.module.declare_intrinsic("llvm.fabs", [value.raw.type])
        return Value(value.code, builder.call(function, [value.raw]))
    minus, word = negative(builder, value).raw, cast(builder, value, "i8").raw
    below = builder.icmp_signed("<", word, ir.Constant(WORD, 0))
    return Value("i8", builder.select(below, minus, word))


def load(builder: Any, pointer: Value, index: Value) -> Value:
    """`pointer[index]`."""
    raw = builder.load(_element(builder, pointer, index))
    code = pointer.code[:-1]
    if code == "b1":
        return Value(code, builder.icmp_unsigned("!=", raw, ir.Constant(BYTE, 0)))
    return Value(code, raw)


def store(builder: Any, pointer: Value, index: Value, value: Value) -> None:
    """`pointer[index] = value`."""
    raw = cast(builder, value, pointer.code[:-1]).raw
    if pointer.code == "b1*":
        raw = builder.zext(raw, BYTE)
    builder.store(raw, _element(builder, pointer, index))


def _element(builder: Any, pointer: Value, index: Value) -> Any:
    if not pointer.code.endswith("*") or index.code not in INTEGERS:
        raise Untranslatable(f"{pointer.code}[{index.code}]")
    return builder.gep(pointer.raw, [cast(builder, index, "i8").raw])
