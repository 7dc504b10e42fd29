"""Elementwise rows of the op table in ONNX: each a function of tensors.

Where ONNX Runtime has no kernel, or another meaning at an edge, the row is a composition. There, an
integer over 0 is an error, where ours is 0, and the least integer over -1 ends the process; so the
divisor is looked at first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from staticflow.ops.cast import CASTS
from staticflow.session.interchange.onnx_out import double
from staticflow.session.interchange.onnx_out.builder import Tensor

Written = Callable[..., Tensor]


def _same(kind: str, dtype: str = "") -> Written:
    """One operator of ONNX, in every dtype."""
    return lambda x, *others: x.op(kind, *others, dtype=dtype)


def _single(kind: str, composed: Written) -> Written:
    """One operator of ONNX in float32, a composition in float64."""

    def write(x: Tensor, *others: Tensor) -> Tensor:
        return x.op(kind, *others) if x.dtype == "float32" else composed(x, *others)

    return write


def _numbers(of_numbers: Written, of_booleans: Written) -> Written:
    def write(x: Tensor, *others: Tensor) -> Tensor:
        return (of_booleans if x.dtype == "bool" else of_numbers)(x, *others)

    return write


def _compared(kind: str) -> Written:
    """A comparison; False is below True."""

    def write(x: Tensor, y: Tensor) -> Tensor:
        if x.dtype == "bool" and kind != "Equal":
            x, y = x.cast("int32"), y.cast("int32")
        return x.op(kind, y, dtype="bool")

    return write


def _bits(kind: str, logic: str) -> Written:
    return _numbers(_same(kind), _same(logic))


def _wide(function: Written) -> Written:
    """A composition that float32 goes through in float64."""

    def write(*xs: Tensor) -> Tensor:
        return function(*(x.cast("float64") for x in xs)).cast(xs[0].dtype)

    return write


def _whole_unless_float(kind: str) -> Written:
    return lambda x: x.op(kind) if x.is_float else x


def _trunc(x: Tensor) -> Tensor:
    return x.builder.where(x < 0, x.op("Ceil"), x.op("Floor")) if x.is_float else x


def _relu(x: Tensor) -> Tensor:
    return x.op("Relu") if x.is_float else x.op("Max", 0)


def _is_nan(x: Tensor) -> Tensor:
    return x.op("IsNaN", dtype="bool") if x.is_float else ~x.equals(x)


def _is_inf(x: Tensor) -> Tensor:
    return x.op("IsInf", dtype="bool") if x.is_float else ~x.equals(x)


def _is_finite(x: Tensor) -> Tensor:
    return ~(_is_nan(x) | _is_inf(x)) if x.is_float else x.equals(x)


def _sign(x: Tensor) -> Tensor:
    """NaN stays NaN, for which ONNX has no rule."""
    return x.builder.where(_is_nan(x), x, x.op("Sign")) if x.is_float else x.op("Sign")


def _cbrt(x: Tensor) -> Tensor:
    return abs(x).op("Pow", 1.0 / 3.0).copysign(x)


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    """Scaled by the longer leg, so that no square overflows."""
    b, u, v = x.builder, abs(x), abs(y)
    high, low = u.op("Max", v), u.op("Min", v)
    plain = high.equals(0.0) | high.equals(math.inf)
    ratio = low / b.where(plain, 1.0, high)
    infinite = u.equals(math.inf) | v.equals(math.inf)
    return b.where(
        infinite, math.inf, b.where(plain, high, high * (ratio * ratio + 1.0).op("Sqrt"))
    )


def _softplus(x: Tensor) -> Tensor:
    return x.op("Softplus") if x.dtype == "float32" else double.softplus(x)


def _logaddexp(x: Tensor, y: Tensor) -> Tensor:
    b, same = x.builder, x.equals(y)
    gap = b.where(same, 0.0, x - y)
    tail = b.where(same, math.log(2.0), _softplus(-abs(gap)))
    return x.op("Max", y) + tail


def _binary_cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    return x * ((x > 0.0).cast(x.dtype) - y) + _softplus(-abs(x))


def _power(x: Tensor, y: Tensor) -> Tensor:
    return x.op("Pow", y)


def _exp2(x: Tensor) -> Tensor:
    return x.like(2.0).op("Pow", x)


# Integers


def _quotient(x: Tensor, y: Tensor) -> Tensor:
    """The largest integer not above x / y; 0 where y is 0."""
    b = x.builder
    none, back = y.equals(0), y.equals(-1)  # the least integer over -1 is beyond the integers
    safe = b.where(none | back, 1, y)
    q = x / safe
    rest = x - q * safe
    uneven = ~rest.equals(0) & (rest.op("Sign") * safe < 0)
    return b.where(none, 0, b.where(back, -x, b.where(uneven, q - 1, q)))


def _remainder(x: Tensor, y: Tensor) -> Tensor:
    b = x.builder
    trivial = y.equals(0) | y.equals(-1)
    return b.where(trivial, 0, x.op("Mod", b.where(trivial, 1, y)))


def _float_remainder(x: Tensor, y: Tensor) -> Tensor:
    """The remainder with the sign of y, from that with the sign of x."""
    rest = x.op("Mod", y, fmod=1)
    turned = ~rest.equals(0.0) & ~(rest < 0.0).op("Equal", y < 0.0)
    moved = x.builder.where(turned, rest + y, rest)
    return x.builder.where(rest.equals(0.0), abs(rest).copysign(y), moved)


def _float_quotient(x: Tensor, y: Tensor) -> Tensor:
    """(x - rest) / y, to the nearest integer; x / y where y is 0."""
    b = x.builder
    ratio = x / y
    whole = (x - _float_remainder(x, y)) / y
    near = (whole + 0.5).op("Floor")
    return b.where(
        y.equals(0.0), ratio, b.where(near.equals(0.0), (near * 0.0).copysign(ratio), near)
    )


def _integer_power(x: Tensor, y: Tensor) -> Tensor:
    """By squaring, for exponents below 64; an even base to higher ones is 0, an odd one goes round.

    Below 0: of 1 and -1 as above, else 0.
    """
    b = x.builder
    size = abs(y)
    result, power, rest = x * 0 + 1, x, size
    for _ in range(_exponent_bits(y)):
        half = rest / 2
        odd = ~(rest - half * 2).equals(0)
        result = b.where(odd, result * power, result)
        power, rest = power * power, half
    unit = abs(x).equals(1)
    return b.where((y < 0) & ~unit, 0, result)


def _exponent_bits(y: Tensor) -> int:
    value = y.builder.constants.get(y.name)
    return 63 if value is None else int(np.max(np.abs(value), initial=0)).bit_length()


def _shift(direction: str) -> Written:
    """ONNX shifts unsigned integers, by less than their width."""

    def write(x: Tensor, y: Tensor) -> Tensor:
        b, count = x.builder, y.cast("int64")
        inside = (count >= 0) & (count < 64)
        kept = b.where(inside, count, 0 if direction == "LEFT" else 63)
        wide = x.cast("int64")
        flipped = wide < 0 if direction == "RIGHT" else None
        if flipped is not None:  # ~(~x >> y) lets the sign come in
            wide = b.where(flipped, -1 - wide, wide)
        moved = b.op(
            "BitShift",
            *(v.op("Cast", dtype="uint64", to=13) for v in (wide, kept)),
            dtype="uint64",
            direction=direction,
        ).op("Cast", dtype="int64", to=7)
        if flipped is None:
            return b.where(inside, moved, 0).cast(x.dtype)
        return b.where(flipped, -1 - moved, moved).cast(x.dtype)

    return write


def _converted(target: str) -> Written:
    """A float beyond the integers becomes the nearest of them, and NaN 0."""

    def write(x: Tensor) -> Tensor:
        if not x.is_float or target not in ("int32", "int64"):
            return x.cast(target)
        b, bounds = x.builder, np.iinfo(target)
        low, high = float(bounds.min), -float(bounds.min)
        inside = b.where((x >= low) & (x < high), x, 0.0).cast(target)
        beyond = b.where(x >= high, b.scalar(bounds.max, target), inside)
        return b.where(x < low, b.scalar(bounds.min, target), beyond)

    return write


MAPS: Mapping[str, Written] = {
    "equal": _compared("Equal"), "not_equal": lambda x, y: ~x.equals(y),
    "less": _compared("Less"), "less_equal": _compared("LessOrEqual"),
    "greater": _compared("Greater"), "greater_equal": _compared("GreaterOrEqual"),
    "logical_and": _same("And"), "logical_or": _same("Or"), "logical_xor": _same("Xor"),
    "logical_not": _same("Not"), "bitwise_and": _bits("BitwiseAnd", "And"),
    "bitwise_or": _bits("BitwiseOr", "Or"), "bitwise_xor": _bits("BitwiseXor", "Xor"),
    "invert": _bits("BitwiseNot", "Not"), "isnan": _is_nan, "isinf": _is_inf,
    "isfinite": _is_finite, "signbit": lambda x: x.negative(),
    "where": lambda c, x, y: x.builder.where(c, x, y),
    "exp": _same("Exp"), "exp2": _exp2, "expm1": double.expm1,
    "log": _same("Log"), "log2": lambda x: x.op("Log") * (1 / math.log(2.0)),
    "log10": lambda x: x.op("Log") * (1 / math.log(10.0)), "log1p": double.log1p,
    "square": lambda x: x * x, "reciprocal": _same("Reciprocal"), "sqrt": _same("Sqrt"),
    "cbrt": _cbrt, "sin": _same("Sin"), "cos": _same("Cos"), "tan": _single("Tan", double.tan),
    "arcsin": _single("Asin", double.arcsin), "arccos": _single("Acos", double.arccos),
    "arctan": _single("Atan", double.arctan), "sinh": _single("Sinh", double.sinh),
    "cosh": _single("Cosh", double.cosh), "tanh": _same("Tanh"),
    "arcsinh": _single("Asinh", double.arcsinh), "arccosh": _single("Acosh", double.arccosh),
    "arctanh": _single("Atanh", double.arctanh), "erf": _single("Erf", double.erf),
    "erfc": _wide(double.erfc), "abs": _same("Abs"), "sign": _sign,
    "floor": _whole_unless_float("Floor"), "ceil": _whole_unless_float("Ceil"), "trunc": _trunc,
    "rint": _whole_unless_float("Round"), "relu": _relu, "sigmoid": _same("Sigmoid"),
    "softplus": _softplus, "add": _same("Add"), "subtract": _same("Sub"),
    "multiply": _same("Mul"), "divide": _same("Div"), "negative": _same("Neg"),
    "maximum": _same("Max"), "minimum": _same("Min"), "arctan2": _wide(double.arctan2),
    "hypot": _hypot, "logaddexp": _logaddexp, "copysign": lambda x, y: x.copysign(y),
    "left_shift": _shift("LEFT"), "right_shift": _shift("RIGHT"),
    "floor_divide": _float_quotient, "mod": _float_remainder, "power": _power,
    "sigmoid_binary_cross_entropy": _binary_cross_entropy, "integer_power": _integer_power,
    "integer_floor_divide": _quotient, "integer_mod": _remainder,
    **{row.name: _converted(dtype) for dtype, row in CASTS.items()},
}  # fmt: skip
