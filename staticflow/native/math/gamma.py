"""lgamma and digamma, in float64 (float32 passes through it)."""

from __future__ import annotations

import math

from staticflow.native.math.define import define, in_double
from staticflow.native.math.log import log
from staticflow.native.math.trace import Format, Value
from staticflow.native.math.trig import sin, tan

# lgamma(2 + t) = t G(t), |t| <= 1/2: relative error 2^-62.5 (before rounding)
_G = (
    0.42278433509846713,
    0.32246703342411276,
    -0.06735230105319491,
    0.020580808427893182,
    -0.0073855510290111,
    0.002890510323076463,
    -0.001192753897957305,
    0.0005096697705045185,
    -0.00022315503893552166,
    9.945324553522052e-05,
    -4.492302810566238e-05,
    2.055073083227643e-05,
    -9.460971132735854e-06,
    4.1066353970833965e-06,
    -1.9560168475088963e-06,
    1.9378693684710862e-06,
    -6.19708885884105e-07,
    -1.758383470898608e-06,
    3.393185093837198e-08,
    1.716540914138021e-06,
)
# digamma(3/2 + t) = (3/2 + t - root) D(t), |t| <= 1/2: relative error 2^-58.5 (before rounding)
_D = (
    0.9510558760318328,
    -0.42362742128146114,
    0.24054248424082925,
    -0.1484049230537276,
    0.09498872444606468,
    -0.06192213328884316,
    0.04076083437017132,
    -0.026975796126906617,
    0.017907234484373473,
    -0.01190823178340029,
    0.007927281556525041,
    -0.005279783542665753,
    0.003515068056973677,
    -0.0023467621925901934,
    0.0015861800485154416,
    -0.0010298627330003445,
    0.0005809853704671137,
    -0.0005069858474588967,
    0.000652828133117787,
    -0.0001072728905171521,
    -0.00045917498765096087,
    -0.00020691207885394024,
    0.0005241690791058897,
)
_ROOT = (1.4616321449683622, 9.549995429965697e-17)
# Stirling's series of lgamma and the asymptotic series of digamma: B(2n) / (2n (2n - 1)) and B(2n)
# / 2n
_STIRLING = (
    1 / 12,
    -1 / 360,
    1 / 1260,
    -1 / 1680,
    1 / 1188,
    -691 / 360360,
    1 / 156,
    -3617 / 122400,
)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)
_HALF_LOG_TWO_PI = 0.9189385332046728


def _lgamma_positive(m: Format, x: Value) -> Value:
    """t G(t) +- log(...) after a shift into [3/2, 5/2) up to 8, Stirling's series above."""
    shifted = x
    factor: Value = m.constant(1.0)
    for _ in range(6):
        above = shifted >= 2.5
        shifted = m.select(above, shifted - 1.0, shifted)
        factor = m.select(above, factor * shifted, factor)
    lowest, low = x < 0.5, x < 1.5
    t = m.select(lowest, x, m.select(low, x - 1.0, shifted - 2.0))
    factor = m.select(lowest, x * (1.0 + x), m.select(low, x, factor))
    large = x >= 8.0
    logarithm = log(m, m.select(large, x, factor))
    small = t * m.polynomial(t, _G) + m.select(low, -logarithm, logarithm)
    inverse = 1.0 / x
    series = inverse * m.polynomial(inverse * inverse, _STIRLING)
    stirling = (x - 0.5) * (logarithm - 1.0) + ((_HALF_LOG_TWO_PI - 0.5) + series)
    return m.select(large, stirling, small)


def lgamma(m: Format, x: Value) -> Value:
    """log(|gamma(x)|); by reflection for x < 0.

    There the error near the zeros is absolute. Error for x > 0: 0.5 ulp (f4), 3.5 (f8).
    """
    a = abs(x)
    y = _lgamma_positive(m, a)
    part = a - m.call("rint", a)
    reflected = log(m, math.pi / (a * abs(sin(m, math.pi * part)))) - y
    y = m.select(x < 0.0, reflected, y)
    return m.select(a.equals(math.inf) | a.equals(0.0), math.inf, y)


def _digamma_positive(m: Format, x: Value) -> Value:
    """On [1, 2] a polynomial with the root split off; recurrence up to 10; then the series."""
    low, large = x < 1.0, x >= 10.0
    shifted = m.select(low, x + 1.0, x)
    total: Value = m.select(low, -1.0 / x, 0.0)
    for _ in range(8):
        above = shifted >= 2.0
        shifted = m.select(above, shifted - 1.0, shifted)
        total = total + m.select(above, 1.0 / shifted, 0.0)
    distance = (shifted - _ROOT[0]) - _ROOT[1]
    small = total + distance * m.polynomial(shifted - 1.5, _D)
    inverse = 1.0 / x
    z = inverse * inverse
    return m.select(large, log(m, x) - (0.5 * inverse + z * m.polynomial(z, _DIGAMMA)), small)


def digamma(m: Format, x: Value) -> Value:
    """The derivative of lgamma, by reflection for x < 0.

    There the error near the zeros is absolute. Error for x > 0: 0.5 ulp (f4), 2.1 (f8).
    """
    negative = x < 0.0
    y = _digamma_positive(m, m.select(negative, 1.0 - x, x))
    part = x - m.call("rint", x)
    cotangent = math.pi / tan(m, math.pi * part)
    y = m.select(negative, m.select(part.equals(0.0), math.nan, y - cotangent), y)
    y = m.select(x.is_nan(), x, y)
    return m.select(x.equals(0.0), m.constant(-math.inf).copysign(-x), y)


FUNCTIONS = {
    **define("lgamma", in_double(lgamma)),
    **define("digamma", in_double(digamma)),
}
