"""exp and what is built on it: expm1, exp2, sigmoid, tanh, sinh, cosh.

All share one reduction: exp(x) = 2^k (1 + q), q = expm1(r), |r| <= ln(2)/2. Keeping q and 2^k
apart until the last operation is what keeps expm1, sigmoid and tanh accurate: 2^k q + (2^k + c) is
rounded once.
"""

from __future__ import annotations

from staticflow.native.math.define import define, in_double
from staticflow.native.math.trace import Format, Value

# expm1(r) = r + r^2 P(r), |r| <= ln(2)/2: minimax, relative error 2^-28.2 and 2^-61.6
_P4 = (
    0.5,
    0.16666635870933533,
    0.041666511446237564,
    0.008341509848833084,
    0.0013930542627349496,
    0.00015046008047647774,
)
_P8 = (
    0.5,
    0.16666666666666677,
    0.04166666666666669,
    0.008333333333321738,
    0.001388888888888462,
    0.00019841269885443471,
    2.4801587301021314e-05,
    2.7557245121985624e-06,
    2.7557310009416565e-07,
    2.510867434250648e-08,
    2.089978992228332e-09,
)
# 2^r - 1 = r E(r), |r| <= 1/2: relative error of 2^r 2^-27.5 and 2^-59.1
_E4 = (
    0.6931472420692444,
    0.24022655189037323,
    0.05550272390246391,
    0.009617065079510212,
    0.0013418133603408933,
    0.000158210881636478,
)
_E8 = (
    0.6931471805599453,
    0.2402265069591007,
    0.05550410866482338,
    0.009618129107630225,
    0.0013333558146032085,
    0.0001540353038890698,
    1.5252734168464596e-05,
    1.32154913090331e-06,
    1.0177931594211071e-07,
    7.052959911058009e-09,
    4.4734206570068115e-10,
    2.8711603926955272e-11,
)
# expm1(2 h) / 2 = h + h^2 H(h), 0 <= 2 h <= ln(2): relative error 2^-26.1
_H4 = (
    1.0000017881393433,
    0.6665907502174377,
    0.334358811378479,
    0.12740136682987213,
    0.059532538056373596,
)
LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
# ln(2) in two parts; the first has so few bits that its product with any exponent is exact
LN2_HIGH_F4, LN2_LOW_F4 = 0.693145751953125, 1.4286068203094173e-06
LN2_HIGH_F8, LN2_LOW_F8 = 0.6931471805598903, 5.497923018708371e-14


def _rounded(m: Format, x: Value) -> tuple[Value, Value]:
    """(k, t): the nearest integer as a number, and in the low bits of t."""
    rounder = 1.5 * 2.0**m.fraction_bits  # adding it leaves the nearest integer in the low bits
    t = x + rounder
    return t - rounder, t


def _expm1_near_zero(m: Format, r: Value) -> Value:
    """expm1(r), |r| <= ln(2)/2."""
    square = r * r
    return r + square * m.pairwise(r, square, _P4 if m.single else _P8)


def reduced_expm1(m: Format, x: Value, low: Value | float = 0.0) -> tuple[Value, Value]:
    """(q, t): exp(x + low) = (1 + q) 2^k, q = expm1(r), |r| <= ln(2)/2, k in the low bits of t."""
    k, t = _rounded(m, x * LOG2_E)
    r = x - k * m.pick(LN2_HIGH_F4, LN2_HIGH_F8)
    r = r - k * m.pick(LN2_LOW_F4, LN2_LOW_F8)
    if isinstance(low, Value):
        r = r + low
    return _expm1_near_zero(m, r), t


def power_of_two(m: Format, t: Value, offset: int = 0) -> Value:
    """2^(k + offset) for the integer k in the low bits of t."""
    return ((t.bits() + (m.bias + offset)) << m.fraction_bits).value()


def _scaled(m: Format, y: Value, t: Value) -> Value:
    """y 2^k by adding k to the exponent; y and the result are normal."""
    return (y.bits() + (t.bits() << m.fraction_bits)).value()


def exp(m: Format, x: Value, low: Value | float = 0.0) -> Value:
    """exp(x). Error: 1.0 ulp (f4), 1.0 (f8)."""
    q, t = reduced_expm1(m, x, low)
    y = m.select(x >= m.pick(-87.33654, -708.3964185322641), _scaled(m, q + 1.0, t), 0.0)
    return m.select(x <= m.pick(88.72283, 709.782712893384), y, x * m.huge)


def exp2(m: Format, x: Value) -> Value:
    """2^x. Error: 0.8 ulp (f4), 0.8 (f8)."""
    rounder = 1.5 * 2.0**m.fraction_bits
    t = x + rounder
    r = x - (t - rounder)
    y = r * m.polynomial(r, _E4 if m.single else _E8) + 1.0
    y = m.select(x >= 1.0 - m.bias, _scaled(m, y, t), 0.0)
    return m.select(x < m.bias + 1.0, y, x * m.huge)


def expm1(m: Format, x: Value) -> Value:
    """exp(x) - 1 = 2 (2^(k-1) q + (2^(k-1) - 1/2)): the scaling is exact and overflows by itself.

    Error: 1.5 ulp (f4), 1.9 (f8).
    """
    clamped = m.minimum(m.maximum(x, m.pick(-20.0, -40.0)), m.pick(89.0, 710.0))
    q, t = reduced_expm1(m, clamped)
    half = power_of_two(m, t, -1)
    y = half * q + (half - 0.5)
    return m.select(abs(x) < m.epsilon / 8, x, y + y)


def sigmoid(m: Format, x: Value) -> Value:
    """1 / (1 + exp(-x)), the denominator as 2^k + (1 + 2^k q). Error: 2.0 ulp (f4), 2.0 (f8)."""
    bounded = m.minimum(x, m.pick(80.0, 700.0))
    k, t = _rounded(m, bounded * -LOG2_E)
    r = k * -m.pick(LN2_HIGH_F4, LN2_HIGH_F8) - bounded
    q = _expm1_near_zero(m, r - k * m.pick(LN2_LOW_F4, LN2_LOW_F8))
    scale = power_of_two(m, t)
    y = 1.0 / (scale + (scale * q + 1.0))
    return m.select(x < -m.pick(87.33654, 708.3964185322641), 0.0, y)


def tanh(m: Format, x: Value) -> Value:
    """e / (e + 1), e = expm1(2 |x|) / 2. Error: 1.9 ulp (f4; all numbers tried), 2.5 (f8)."""
    a = abs(x)
    if not m.single:
        z = m.minimum(a, 19.1)
        q, t = reduced_expm1(m, z + z)
        scale = power_of_two(m, t)
        e = scale * q + (scale - 1.0)
        return (e / (e + 2.0)).copysign(x)
    return _single_tanh(m, m.minimum(a, 9.02)).copysign(x)


def _single_tanh(m: Format, a: Value) -> Value:
    """As n - n^2 / (e + 1), n = min(e, 1): the division's error counts little where e is small.

    a = h + k ln(2)/2, h >= 0, so that e = 2^k (expm1(2 h) / 2) + (2^k - 1)/2 has no cancellation;
    up to k = 26 one constant for ln(2) is enough.
    """
    k, t = _rounded(m, a * (2.0 * LOG2_E) - 0.5)
    h = a - k * (LN2 / 2.0)
    square = h * h
    scale = power_of_two(m, t)
    e = scale * (h + square * m.pairwise(h, square, _H4)) + (0.5 * scale - 0.5)
    n = m.minimum(e, 1.0)
    return n - n * (n / (e + 1.0))


def _quarter(m: Format, x: Value) -> tuple[Value, Value]:
    """(q, 2^(k-2)) for |x|, clamped where sinh and cosh are infinite."""
    q, t = reduced_expm1(m, m.minimum(abs(x), 710.6))
    return q, power_of_two(m, t, -2)


def sinh(m: Format, x: Value) -> Value:
    """h + h / (2 h + 1), h = expm1(|x|) / 2. Error: 0.5 ulp (f4), 2.4 (f8)."""
    q, quarter = _quarter(m, x)
    h = 2.0 * (quarter * q + (quarter - 0.25))
    y = m.select(h < 1e18, h + h / (h + h + 1.0), h)
    return y.copysign(x)


def cosh(m: Format, x: Value) -> Value:
    """h + 1 / (4 h), h = exp(|x|) / 2. Error: 0.5 ulp (f4), 1.4 (f8)."""
    q, quarter = _quarter(m, x)
    h = 2.0 * (quarter * q + quarter)
    return h + 0.25 / h


FUNCTIONS = {
    **define("exp", exp),
    **define("exp2", exp2),
    **define("expm1", expm1),
    **define("sigmoid", sigmoid),
    **define("tanh", tanh),
    **define("sinh", in_double(sinh)),
    **define("cosh", in_double(cosh)),
}
