"""sin, cos and tan.

float32: x 2/pi modulo 1 in float64, for every finite x. 2^s 2/pi is known modulo 4 for four shifts
s, in three parts; the range of x selects the shift, and the products with the first two parts are
exact, so that no quadrant is lost to rounding.
float64: x - k pi/2 with pi/2 in three parts and the result in two, for |x| < 2^50. Beyond it
(10^15) neighbouring numbers lie a quarter of a radian apart, and the result is NaN: a reduction for
all of float64 would cost every call some hundred instructions, because a vector loop cannot branch.
Kernels look for such numbers first, and call `sin_far`, ... where there are any (see the compiler's
`schedule.large_arguments`).
"""

from __future__ import annotations

import math

from staticflow.native.math.define import Traced, define
from staticflow.native.math.trace import Bits, Format, Value

# sin(r) = r + r^3 S(r^2), cos(r) = 1 - r^2/2 + r^4 C(r^2), |r| <= pi/4: relative errors 2^-27.9
# and 2^-33.0 for float32, 2^-63.2 and 2^-69.0 for float64, where |r| may reach 0.9 for large |x|
_S4 = (-0.16666655242443085, 0.008332189172506332, -0.0001951828453456983)
_C4 = (0.04166664555668831, -0.0013887309469282627, 2.4432327336398885e-05)
_S8 = (
    -0.16666666666666666,
    0.008333333333333042,
    -0.00019841269840962478,
    2.7557319073990783e-06,
    -2.5052070925561343e-08,
    1.6054311952321417e-10,
    -7.389482397537192e-13,
)
_C8 = (
    0.041666666666666664,
    -0.0013888888888888389,
    2.480158730118082e-05,
    -2.7557319060685305e-07,
    2.087672201027964e-09,
    -1.1466862071967235e-11,
    4.592703252168215e-14,
)
_TWO_OVER_PI = 2.0 / math.pi
# pi/2 in three parts
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
# (lower bound of |x|, 2/pi modulo 4 / 2^s in parts of 29, 29 and 53 bits) for s = 0, 27, 54, 81
_WINDOWS = (
    (0.0, ("0x1.45f306cp-1", "0x1.c9c882ap-29", "0x1.4fe13abe8fa9ap-59")),
    (2.0**50, ("-0x1.1b1bbecp-28", "0x1.29fc274p-56", "0x1.7d1f534ddc0dbp-84")),
    (2.0**77, ("0x1.4a7f09cp-54", "0x1.5f47d4dp-82", "0x1.bb81b6c52b328p-113")),
    (2.0**104, ("-0x1.505c15ap-81", "0x1.377036cp-110", "0x1.8a5664f10e410p-138")),
)
_ROUNDER = 1.5 * 2.0**52


def _fraction(y: Value) -> tuple[Value, Bits]:
    """(y - k, k) for the nearest integer k, given in the low bits."""
    t = y + _ROUNDER
    return y - (t - _ROUNDER), t.bits()


def _window(d: Format, x: Value, part: int) -> Value:
    """One part of 2/pi for the range of x."""
    chosen = d.constant(float.fromhex(_WINDOWS[0][1][part]))
    for bound, parts in _WINDOWS[1:]:
        chosen = d.select(x >= bound, float.fromhex(parts[part]), chosen)
    return chosen


def _reduce_single(d: Format, x: Value) -> tuple[Value, Bits]:
    """(r, quadrant) in float64 of x = |x| from float32."""
    high, first = _fraction(x.times(_window(d, x, 0)))
    middle, second = _fraction(x.times(_window(d, x, 1)))
    rest, third = _fraction((high + middle) + x * _window(d, x, 2))
    return rest * _HALF_PI[0], first + second + third


def _reduce_double(m: Format, a: Value) -> tuple[Value, Value, Bits]:
    """(r, error of r, quadrant) of a = |x| in float64."""
    a = m.select(a < 2.0**50, a, math.nan)
    t = a * _TWO_OVER_PI + _ROUNDER
    k = t - _ROUNDER
    first = m.fma(-k, _HALF_PI[0], a)
    product = k.times(_HALF_PI[1])
    error = m.fma(k, _HALF_PI[1], -product)
    r = first - product
    back = first - r
    low = ((first - (r + back)) + (back - product)) - error - k * _HALF_PI[2]
    total = r + low
    return total, low - (total - r), t.bits()


def _sine(m: Format, r: Value, low: Value | float) -> Value:
    z = r * r
    cubic = (r * z) * m.polynomial(z, _S4 if m.single else _S8)
    return r + (cubic + low)


def _cosine(m: Format, r: Value, low: Value | float) -> Value:
    z = r * r
    half = 0.5 * z
    w = 1.0 - half
    tail = (z * z) * m.polynomial(z, _C4 if m.single else _C8)
    if isinstance(low, Value):
        tail = tail - r * low
    return w + (((1.0 - w) - half) + tail)


def _both(m: Format, x: Value) -> tuple[Value, Value, Bits]:
    """(sin(r), cos(r), quadrant) of |x|."""
    low: Value | float = 0.0
    if m.single:
        wide = m.wide(abs(x))
        reduced, bits = _reduce_single(wide.form, wide)
        r, quadrant = m.narrow(reduced), bits.narrow(m)
    else:
        r, low, quadrant = _reduce_double(m, abs(x))
    return _sine(m, r, low), _cosine(m, r, low), quadrant


def _negate(m: Format, y: Value, bit: Bits) -> Value:
    """y, negated where the second lowest bit is set."""
    return (y.bits() ^ ((bit << (m.width - 2)) & m.sign_bit)).value()


def sin(m: Format, x: Value) -> Value:
    """sin(x). Error: 1.5 ulp (f4), 0.8 (f8)."""
    sine, cosine, quadrant = _both(m, x)
    y = _negate(m, m.select(quadrant.odd(), cosine, sine), quadrant)
    return (y.bits() ^ (x.bits() & m.sign_bit)).value()


def cos(m: Format, x: Value) -> Value:
    """cos(x). Error: 1.5 ulp (f4), 0.8 (f8)."""
    sine, cosine, quadrant = _both(m, x)
    return _negate(m, m.select(quadrant.odd(), sine, cosine), quadrant + 1)


def tan(m: Format, x: Value) -> Value:
    """sin(x) / cos(x), in float64 for float32 too. Error: 0.5 ulp (f4), 2.2 (f8)."""
    a = abs(x)
    d, low = m, m.constant(0.0)
    if m.single:
        wide = m.wide(a)
        d, low = wide.form, wide.form.constant(0.0)
        r, quadrant = _reduce_single(d, wide)
    else:
        r, low, quadrant = _reduce_double(m, a)
    sine, cosine, odd = _sine(d, r, low), _cosine(d, r, low), quadrant.odd()
    y = d.select(odd, -cosine, sine) / d.select(odd, sine, cosine)
    y = m.narrow(y) if m.single else y
    return (y.bits() ^ (x.bits() & m.sign_bit)).value()


def _far(near: Traced, libm: Traced) -> Traced:
    """The same bits below 2^50, and the C library's beyond; float32 is right as it is."""

    def traced(m: Format, x: Value) -> Value:
        if m.single:
            return near(m, x)
        return m.select(abs(x) < 2.0**50, near(m, x), libm(m, x))

    traced.__doc__ = libm.__doc__
    return traced


def _sin(m: Format, x: Value) -> Value:
    """sin(x) for every x, one by one. Error: 1 ulp."""
    return m.call("sin", x)


def _cos(m: Format, x: Value) -> Value:
    """cos(x) for every x, one by one. Error: 1 ulp."""
    return m.call("cos", x)


def _tan(m: Format, x: Value) -> Value:
    """tan(x) for every x, one by one. Error: 2 ulp."""
    return m.call("sin", x) / m.call("cos", x)


FUNCTIONS = {
    **define("sin_far", _far(sin, _sin)),
    **define("cos_far", _far(cos, _cos)),
    **define("tan_far", _far(tan, _tan)),
    **define("sin", sin),
    **define("cos", cos),
    **define("tan", tan),
}
