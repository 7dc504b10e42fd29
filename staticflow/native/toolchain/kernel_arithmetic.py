"""What kernels compute where Numba leaves it to the processor, as lowering rules of Numba's.

The processor traps at a division of the lowest word by -1, and LLVM gives anything for a float
beyond the integers. Here a division by 0 gives 0, the lowest word by -1 itself, and a float becomes
the nearest integer there is, NaN 0.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import Registry
from numba.extending import intrinsic

ARITHMETIC = Registry("kernel arithmetic")


def _divided(builder: Any, values: Any, remainder: bool) -> Any:
    """The quotient rounded down, or its remainder."""
    a, b = values
    zero, one = (ir.Constant(a.type, n) for n in (0, 1))
    traps = builder.icmp_unsigned("<=", builder.add(b, one), one)  # -1 and 0
    divisor = builder.select(traps, one, b)
    rest = builder.srem(a, divisor)
    opposite = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    inexact = builder.and_(opposite, builder.icmp_signed("!=", rest, zero))
    if remainder:
        result = builder.select(inexact, builder.add(rest, divisor), rest)
    else:
        quotient = builder.sdiv(a, divisor)
        result = builder.select(inexact, builder.sub(quotient, one), quotient)
        by_minus_one = builder.icmp_signed("==", b, ir.Constant(b.type, -1))
        result = builder.select(by_minus_one, builder.neg(a), result)
    return builder.select(builder.icmp_signed("==", b, zero), zero, result)


def _quotient(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    return _divided(builder, values, remainder=False)


def _remainder(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    return _divided(builder, values, remainder=True)


def _nearest_integer(context: Any, builder: Any, _source: Any, target: Any, value: Any) -> Any:
    type_ = context.get_value_type(target)
    kind = "llvm.fptosi.sat" if target.signed else "llvm.fptoui.sat"
    signature = ir.FunctionType(type_, [value.type])
    function = builder.module.declare_intrinsic(kind, (type_, value.type), signature)
    return builder.call(function, (value,))


_WORDS = (types.int64, types.int64)
for _operator in (operator.floordiv, operator.ifloordiv):
    ARITHMETIC.lower(_operator, *_WORDS)(_quotient)
for _operator in (operator.mod, operator.imod):
    ARITHMETIC.lower(_operator, *_WORDS)(_remainder)
ARITHMETIC.lower_cast(types.Float, types.Integer)(_nearest_integer)


def _of_two(name: str, relation: str) -> Any:
    """`min` or `max` of two numbers, as Python has it: the second if it is less, or greater."""

    def definition(typing_context: Any, first: Any, second: Any) -> Any:
        type_ = typing_context.unify_types(types.unliteral(first), types.unliteral(second))

        def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            first, second = values
            floats = isinstance(type_, types.Float)
            compare = builder.fcmp_ordered if floats else builder.icmp_signed
            return builder.select(compare(relation, second, first), second, first)

        return type_(type_, type_), generate

    definition.__name__ = definition.__qualname__ = name
    return intrinsic(definition)


OF_TWO: dict[Any, Any] = {min: _of_two("min", "<"), max: _of_two("max", ">")}
