"""log and what is built on it: log1p, log2, log10, softplus, and the inverse hyperbolic functions.

All share one reduction: x = 2^k (1 + f), sqrt(1/2) <= 1 + f <= sqrt(2), with integer operations on
the bits.
"""

from __future__ import annotations

import math

from staticflow.native.math.define import define, in_double
from staticflow.native.math.exp import LN2_HIGH_F4, LN2_HIGH_F8, LN2_LOW_F4, LN2_LOW_F8, LOG2_E, exp
from staticflow.native.math.trace import Bits, Format, Value

# log(1 + f) = f - f^2/2 + f^3 P(f): minimax, relative error 2^-29.3
_P4 = (
    0.3333331346511841,
    -0.2500016689300537,
    0.20002222061157227,
    -0.1665937304496765,
    0.1420963704586029,
    -0.1254955679178238,
    0.12107900530099869,
    -0.1091725155711174,
    0.0534294992685318,
)
# 2 artanh(s) = 2 s + s^3 R(s^2), s = f / (2 + f): relative error 2^-59.5
_R8 = (
    0.6666666666666734,
    0.39999999999416386,
    0.28571428742136906,
    0.22222198588897119,
    0.18183563937178998,
    0.1531405105972071,
    0.14796028776088319,
)
# log(1 + t) = t + t^2 S(t), 0 <= t <= 1: relative error 2^-30.0
_S4 = (
    -0.49999988079071045,
    0.33332714438438416,
    -0.24988864362239838,
    0.1989959478378296,
    -0.16134889423847198,
    0.12478403002023697,
    -0.08321565389633179,
    0.042088452726602554,
    -0.013676133006811142,
    0.0020808116532862186,
)
# as _R8, up to s = 1/3: relative error 2^-66.3
_S8 = (
    0.6666666666666666,
    0.40000000000001984,
    0.2857142857105847,
    0.22222222256718363,
    0.18181816307843213,
    0.15384679705683957,
    0.13331876559594338,
    0.11786891315691087,
    0.10299647169362817,
    0.1103607612390668,
    0.025369255421685933,
    0.2098879209368179,
)
LN2 = 0.6931471805599453
_LOG10_E = 0.4342944819032518
# log10(2) in two parts; the first times any exponent is exact
_LG2_HIGH_F4, _LG2_LOW_F4 = 0.301025390625, 4.605038981195214e-06
_LG2_HIGH_F8, _LG2_LOW_F8 = 0.30102999566383914, 1.42050232272661e-13
_SQRT_HALF = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}


def _split(m: Format, x: Value) -> tuple[Bits, Value]:
    """(s, k): x = 2^k (1 + f) for positive normal x; s holds the biased k above the fraction."""
    one = m.bias << m.fraction_bits
    s = x.bits() + (one - _SQRT_HALF[m.width])
    rounder = 2.0**m.fraction_bits
    k = ((s >> m.fraction_bits) | m.constant_bits(rounder)).value() - (rounder + m.bias)
    return s, k


def _exponent(m: Format, s: Bits) -> Bits:
    return s & -(1 << m.fraction_bits)


def reduced(m: Format, x: Value) -> tuple[Value, Value]:
    """(f, k): x = 2^k (1 + f), for positive finite x, also below the normal numbers."""
    shift = m.fraction_bits + 1
    small = x < m.tiny
    s, k = _split(m, m.select(small, x * 2.0**shift, x))
    k = m.select(small, k - float(shift), k)
    fraction = (1 << m.fraction_bits) - 1
    return ((s & fraction) + _SQRT_HALF[m.width]).value() - 1.0, k


def _artanh_log(m: Format, f: Value, coefficients: tuple[float, ...], low: Value | float) -> Value:
    """log(1 + f) + low as f - (f^2/2 - (s (f^2/2 + s^2 R(s^2)) + low))."""
    s = f / (2.0 + f)
    z = s * s
    half = 0.5 * (f * f)
    return f - (half - (s * (half + z * m.polynomial(z, coefficients)) + low))


def log_of_fraction(m: Format, f: Value, low: Value | float = 0.0) -> Value:
    """log(1 + f) + low for a reduced f and a small low."""
    if not m.single:
        return _artanh_log(m, f, _R8, low)
    square = f * f
    return f + (((f * square) * m.polynomial(f, _P4) + low) - 0.5 * square)


def _log_of_product(m: Format, f: Value, k: Value) -> Value:
    """log(2^k (1 + f))."""
    tail = log_of_fraction(m, f, k * m.pick(LN2_LOW_F4, LN2_LOW_F8))
    return k * m.pick(LN2_HIGH_F4, LN2_HIGH_F8) + tail


def _at_the_edges(m: Format, x: Value, y: Value) -> Value:
    """y where x is positive and finite; -inf at 0, NaN below, and inf and NaN as they are."""
    y = m.select(x < math.inf, y, x)
    y = m.select(x.equals(0.0), -math.inf, y)
    return m.select(x < 0.0, math.nan, y)


def log(m: Format, x: Value) -> Value:
    """log(x). Error: 0.8 ulp (f4), 0.8 (f8)."""
    return _at_the_edges(m, x, _log_of_product(m, *reduced(m, x)))


def log2(m: Format, x: Value) -> Value:
    """log(x) / log(2); exact at powers of two. Error: 1.6 ulp (f4), 1.5 (f8)."""
    f, k = reduced(m, x)
    return _at_the_edges(m, x, log_of_fraction(m, f) * LOG2_E + k)


def log10(m: Format, x: Value) -> Value:
    """log(x) / log(10). Error: 1.9 ulp (f4), 1.9 (f8)."""
    f, k = reduced(m, x)
    tail = log_of_fraction(m, f) * _LOG10_E + k * m.pick(_LG2_LOW_F4, _LG2_LOW_F8)
    return _at_the_edges(m, x, k * m.pick(_LG2_HIGH_F4, _LG2_HIGH_F8) + tail)


def log1p(m: Format, x: Value) -> Value:
    """log(1 + x): f = x 2^-k + (2^-k - 1) is rounded once, so that no correction is needed.

    Error: 1.4 ulp (f4), 1.3 (f8).
    """
    u = 1.0 + x
    s, k = _split(m, u)
    # 2^(2-k), because 2^-k may be below the normal numbers
    scale = (_exponent(m, s).negated() + ((2 * m.bias + 2) << m.fraction_bits)).value()
    f = (x * 0.25) * scale + (0.25 * scale - 1.0)
    y = _at_the_edges(m, u, _log_of_product(m, f, k))
    return m.select(abs(x) < m.epsilon / 8, x, y)


def softplus(m: Format, x: Value) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), without a reduction.

    Error: 1.8 ulp (f4), 1.9 (f8).
    """
    t = exp(m, -abs(x))
    if m.single:
        tail = t + (t * t) * m.polynomial(t, _S4)
    else:
        tail = _artanh_log(m, t, _S8, 0.0)
    return m.maximum(x, 0.0) + tail


def arcsinh(m: Format, x: Value) -> Value:
    """log1p(a + a^2 / (1 + sqrt(a^2 + 1))), a = |x|; log(2 a) where a is large.

    Error: 0.5 ulp (f4), 1.7 (f8).
    """
    a = abs(x)
    square = a * a
    large = a >= 2.0**60
    inner = a + square / (1.0 + m.call("sqrt", square + 1.0))
    y = log1p(m, m.select(large, a, inner)) + m.select(large, LN2, 0.0)
    return y.copysign(x)


def arccosh(m: Format, x: Value) -> Value:
    """log1p(t + sqrt(t (t + 2))), t = x - 1; log(2 x) where x is large; NaN below 1.

    Error: 0.5 ulp (f4), 2.2 (f8).
    """
    t = x - 1.0
    large = x >= 2.0**60
    inner = t + m.call("sqrt", t * (t + 2.0))
    y = log1p(m, m.select(large, x, inner)) + m.select(large, LN2, 0.0)
    return m.select(x < 1.0, math.nan, y)


def arctanh(m: Format, x: Value) -> Value:
    """log1p(2 a / (1 - a)) / 2, a = |x|. Error: 0.5 ulp (f4), 1.7 (f8)."""
    a = abs(x)
    return (0.5 * log1p(m, (a + a) / (1.0 - a))).copysign(x)


FUNCTIONS = {
    **define("log", log),
    **define("log2", log2),
    **define("log10", log10),
    **define("log1p", log1p),
    **define("softplus", softplus),
    **define("arcsinh", in_double(arcsinh)),
    **define("arccosh", in_double(arccosh)),
    **define("arctanh", in_double(arctanh)),
}
