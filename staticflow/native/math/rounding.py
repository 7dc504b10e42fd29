"""Rounding, sign, square root, and NumPy's floor_divide and remainder."""

from __future__ import annotations

from staticflow.native.math.define import Traced, define
from staticflow.native.math.trace import Format, Value


def _direct(name: str) -> Traced:
    def traced(m: Format, x: Value) -> Value:
        return m.call(name, x)

    traced.__doc__ = f"One instruction: {name}."
    return traced


def sign(m: Format, x: Value) -> Value:
    """-1, 0 or 1; NaN stays NaN."""
    y = m.select(x > 0.0, 1.0, m.select(x < 0.0, -1.0, 0.0))
    return m.select(x.is_nan(), x, y)


def _remainder(m: Format, x: Value, y: Value) -> tuple[Value, Value]:
    """(C's fmod, the remainder with the sign of y).  fmod is exact, a call, and not vectorised."""
    c = Value(m, m.builder.frem(x.raw, y.raw, flags=("arcp",)))
    differs = ((c < 0.0) & (y > 0.0)) | ((c > 0.0) & (y < 0.0))
    return c, m.select(c.equals(0.0), m.constant(0.0).copysign(y), m.select(differs, c + y, c))


def remainder(m: Format, x: Value, y: Value) -> Value:
    """x - floor(x / y) y with the sign of y; NaN for y = 0."""
    return _remainder(m, x, y)[1]


def floor_divide(m: Format, x: Value, y: Value) -> Value:
    """floor(x / y), computed from the exact remainder; x / y for y = 0."""
    c, r = _remainder(m, x, y)
    quotient = (x - c) / y
    quotient = m.select(r.equals(c), quotient, quotient - 1.0)
    whole = m.call("floor", quotient)
    whole = m.select(quotient - whole > 0.5, whole + 1.0, whole)
    ratio = x / y
    whole = m.select(quotient.equals(0.0), m.constant(0.0).copysign(ratio), whole)
    return m.select(y.equals(0.0), ratio, whole)


FUNCTIONS = {
    **{
        name: function
        for public, llvm in (
            ("floor", "floor"),
            ("ceil", "ceil"),
            ("trunc", "trunc"),
            ("rint", "rint"),
            ("sqrt", "sqrt"),
        )
        for name, function in define(public, _direct(llvm)).items()
    },
    **define("sign", sign),
    **define("remainder", remainder, arity=2),
    **define("floor_divide", floor_divide, arity=2),
}
