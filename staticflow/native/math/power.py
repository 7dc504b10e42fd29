"""x ** y, the cube root, and the length of a vector."""

from __future__ import annotations

import math

from staticflow.native.math.define import define, in_double
from staticflow.native.math.exp import LN2_HIGH_F8, LN2_LOW_F8, exp
from staticflow.native.math.log import log, reduced
from staticflow.native.math.trace import Condition, Format, Value

# 2 artanh(s) = 2 s + s^3 (2/3 + s^2 R(s^2)): relative error 2^-73.5
_R = (
    0.3999999999999998,
    0.28571428571443847,
    0.22222222217787357,
    0.1818181884438624,
    0.1538455839599986,
    0.13336265937649608,
    0.11675748215379915,
    0.11982048242521197,
)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)

Pair = tuple[Value, Value]  # an unevaluated sum, the second term an error term of the first


def _sum(x: Value | float, y: Value) -> Pair:
    """x + y and its rounding error."""
    total = x + y
    back = total - x
    return total, (x - (total - back)) + (y - back)


def _product(m: Format, x: Value, y: Value) -> Pair:
    """x y and its rounding error."""
    high = x.times(y)
    return high, m.fma(x, y, -high)


def _multiply(m: Format, x: Pair, y: Pair) -> Pair:
    high, low = _product(m, x[0], y[0])
    return high, low + (x[0] * y[1] + x[1] * y[0])


def _log_pair(m: Format, x: Value) -> Pair:
    """log(x) to some 66 bits, for positive finite x in float64."""
    f, k = reduced(m, x)
    divisor, divisor_low = _sum(2.0, f)
    s = f / divisor
    s_low = (m.fma(-s, divisor, f) - s * divisor_low) / divisor
    z = _multiply(m, (s, s_low), (s, s_low))
    inner, inner_low = _sum(_TWO_THIRDS[0], z[0] * m.polynomial(z[0], _R))
    cubic = _multiply(m, _multiply(m, (s, s_low), z), (inner, inner_low + _TWO_THIRDS[1]))
    high, low = _sum(k.times(LN2_HIGH_F8), s + s)
    total, error = _sum(high, cubic[0])
    return total, error + (low + (cubic[1] + (s_low + s_low + k * LN2_LOW_F8)))


def _magnitude(m: Format, a: Value, y: Value) -> Value:
    """a ** y = exp(y log(a)) for a > 0 in float64."""
    high, low = _log_pair(m, a)
    special = m.select(a.equals(0.0), -math.inf, a)
    finite = (a > 0.0) & (a < math.inf)
    high = m.select(finite, high, special)
    low = m.select(finite, low, 0.0)
    total, error = _product(m, y, high)
    error = error + y * low
    return exp(m, total, m.select(abs(total) < 800.0, error, 0.0))


def _signs(m: Format, x: Value, y: Value, size: Value) -> Value:
    """The special cases and the sign of C's pow, for the size |x| ** y."""
    whole: Condition = m.call("floor", y).equals(y)
    half = 0.5 * y
    odd = whole & ~m.call("floor", half).equals(half)
    size = m.select(abs(x).equals(1.0), 1.0, size)
    signed = m.select(odd, size.copysign(x), size)
    undefined = (x < 0.0) & (x > -math.inf) & ~whole & (abs(y) < math.inf)
    signed = m.select(undefined | x.is_nan() | y.is_nan(), math.nan, signed)
    return m.select(y.equals(0.0) | x.equals(1.0), 1.0, signed)


def pow(m: Format, x: Value, y: Value) -> Value:
    """x ** y with C's special cases.

    float64 carries the logarithm in two parts, float32 uses float64. Error: 0.5 ulp (f4), 1.1 (f8).
    """
    if not m.single:
        return _signs(m, x, y, _magnitude(m, abs(x), y))
    wide = m.wide(abs(x))
    size = m.narrow(exp(wide.form, m.wide(y) * log(wide.form, wide)))
    return _signs(m, x, y, size)


def cbrt(m: Format, x: Value) -> Value:
    """exp(log(|x|) / 3) and one Newton step. Error: 0.5 ulp (f4), 0.8 (f8)."""
    a = abs(x)
    y = exp(m, log(m, a) / 3.0)
    y = y - (y - a / (y * y)) / 3.0
    y = m.select(a.equals(0.0) | a.equals(math.inf), a, y)
    return y.copysign(x)


def hypot(m: Format, x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2), scaled if a square would overflow or vanish. Error: 0.5 ulp (f4), 1.2 (f8).

    float32 goes through float64.
    """
    a, b = (m.wide(abs(v)) if m.single else abs(v) for v in (x, y))
    wide = a.form
    infinite = a.equals(math.inf) | b.equals(math.inf)
    if m.single:
        length = wide.call("sqrt", a * a + b * b)
    else:
        large, small = (a > 2.0**500) | (b > 2.0**500), (a < 2.0**-500) & (b < 2.0**-500)
        scale = m.select(large, 2.0**-600, m.select(small, 2.0**600, 1.0))
        a, b = a * scale, b * scale
        length = m.call("sqrt", a * a + b * b) / scale
    length = wide.select(infinite, math.inf, length)
    return m.narrow(length) if m.single else length


FUNCTIONS = {
    **define("pow", pow, arity=2),
    **define("cbrt", in_double(cbrt)),
    **define("hypot", hypot, arity=2),
}
