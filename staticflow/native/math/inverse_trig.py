"""arcsin, arccos, arctan and arctan2, in float64 (float32 passes through it)."""

from __future__ import annotations

import math

from staticflow.native.math.define import define, in_double
from staticflow.native.math.trace import Format, Value

# arctan(t) = t + t^3 A(t^2), 0 <= t <= 1: relative error 2^-62.8 before the coefficients are
# rounded
_A = (
    -0.33333333333333326,
    0.19999999999998289,
    -0.14285714285578066,
    0.11111111105605088,
    -0.09090908956719482,
    0.07692305518298653,
    -0.06666641737924917,
    0.0588214166018887,
    -0.05261792078636396,
    0.047550096293561765,
    -0.04320142134862934,
    0.03910306863050344,
    -0.03466346945772961,
    0.029295992042125844,
    -0.022794684142427492,
    0.01569959600909281,
    -0.009186052972291405,
    0.004370585866445944,
    -0.0016057814345283763,
    0.0004241424975964405,
    -7.129467039294186e-05,
    5.707165134111422e-06,
)
# arcsin(s) = s + s^3 B(s^2), 0 <= s <= 1/2: relative error 2^-59.7
_B = (
    0.1666666666666676,
    0.07499999999970865,
    0.04464285717457795,
    0.03038194270805514,
    0.02237221501458938,
    0.01735161101652445,
    0.013980837266426618,
    0.01139874645676457,
    0.010781299152089748,
    0.0037021440371446768,
    0.0217183467781538,
    -0.021014982067900062,
    0.0326387769993529,
)
_HALF_PI_LOW = 6.123233995736766e-17


def _arctan_unit(m: Format, t: Value) -> Value:
    """arctan(t) for 0 <= t <= 1."""
    z = t * t
    return t + (t * z) * m.polynomial(z, _A)


def _arcsin_parts(m: Format, x: Value) -> tuple[Value, Value]:
    """(arcsin(s), |x|) with s = |x| up to 1/2, sqrt((1 - |x|) / 2) above."""
    a = abs(x)
    near = a <= 0.5
    z = m.select(near, a * a, 0.5 - 0.5 * a)
    s = m.select(near, a, m.call("sqrt", z))
    return s + (s * z) * m.polynomial(z, _B), a


def arcsin(m: Format, x: Value) -> Value:
    """Above 1/2: pi/2 - 2 arcsin(sqrt((1 - |x|) / 2)). NaN outside [-1, 1].

    Error: 0.5 ulp (f4), 2.1 (f8).
    """
    y, a = _arcsin_parts(m, x)
    far = math.pi / 2 - (2.0 * y - _HALF_PI_LOW)
    return m.select(a <= 0.5, y, far).copysign(x)


def arccos(m: Format, x: Value) -> Value:
    """pi/2 - arcsin(x), and 2 arcsin(sqrt((1 - |x|) / 2)), or pi minus that, outside [-1/2, 1/2].

    Error: 0.5 ulp (f4), 1.2 (f8).
    """
    y, a = _arcsin_parts(m, x)
    near = math.pi / 2 - (y.copysign(x) - _HALF_PI_LOW)
    twice = 2.0 * y
    far = m.select(x > 0.0, twice, math.pi - (twice - 2 * _HALF_PI_LOW))
    return m.select(a <= 0.5, near, far)


def arctan(m: Format, x: Value) -> Value:
    """Above 1: pi/2 - arctan(1 / |x|). Error: 0.5 ulp (f4), 1.4 (f8)."""
    a = abs(x)
    far = a > 1.0
    y = _arctan_unit(m, m.select(far, 1.0 / a, a))
    return m.select(far, math.pi / 2 - (y - _HALF_PI_LOW), y).copysign(x)


def arctan2(m: Format, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), signed zeros and infinities as in C.

    Error: 0.5 ulp (f4), 1.5 (f8).
    """
    a, b = abs(x), abs(y)
    steep = b > a
    low = m.select(steep, a, b)
    high = m.select(steep, b, a)
    both_infinite = low.equals(math.inf) & high.equals(math.inf)
    ratio = m.select(both_infinite, 1.0, low / m.select(high.equals(0.0), 1.0, high))
    angle = _arctan_unit(m, ratio)
    angle = m.select(steep, math.pi / 2 - (angle - _HALF_PI_LOW), angle)
    left = m.constant(1.0).copysign(x) < 0.0
    return m.select(left, math.pi - (angle - 2 * _HALF_PI_LOW), angle).copysign(y)


FUNCTIONS = {
    **define("arcsin", in_double(arcsin)),
    **define("arccos", in_double(arccos)),
    **define("arctan", in_double(arctan)),
    **define("arctan2", in_double(arctan2), arity=2),
}
