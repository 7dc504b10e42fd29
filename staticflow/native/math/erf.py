"""erf and erfc."""

from __future__ import annotations

from staticflow.native.math.define import define, in_double
from staticflow.native.math.exp import power_of_two, reduced_expm1
from staticflow.native.math.trace import Format, Value

# erf(x) = x + x N(x^2), |x| <= 1: relative error 2^-29.4 and 2^-62.7 (before rounding)
_N4 = (
    0.12837916612625122,
    -0.3761262595653534,
    0.11283578723669052,
    -0.026853347197175026,
    0.005187162198126316,
    -0.0007997853099368513,
    7.806903158780187e-05,
)
_N8 = (
    0.1283791670955126,
    -0.376126389031841,
    0.11283791670971086,
    -0.026866170648026835,
    0.005223977652632384,
    -0.000854832853136843,
    0.00012055385998801699,
    -1.4926876049438935e-05,
    1.6480960962836753e-06,
    -1.6555982475863966e-07,
    1.600482903347162e-08,
    -1.6429813085798799e-09,
    1.428058637684689e-10,
)
# log(1 - erf(x)), 1 <= x <= 4: error of erf 2^-29.8
_L4 = (
    -0.0003415232349652797,
    -1.1270891427993774,
    -0.6381449699401855,
    -0.10310661047697067,
    0.021838001906871796,
    -0.0029476513154804707,
    0.00018638030451256782,
)
# erfc(x) exp(x^2) (1 + 2 x) in (x - 3) / (x + 3), 1/2 <= x <= 28: relative error 2^-59.9 (before
# rounding)
_T8 = (
    1.2530080582697296,
    -0.13562110612458808,
    -0.047562294353431296,
    0.1296451587037199,
    -0.11927366341678733,
    0.0683080273047694,
    -0.023770514873088004,
    0.0025293925511505164,
    0.001888689620151605,
    -0.0007798398538283545,
    -0.0001051526968159321,
    0.00012514641540066726,
    4.906609304657908e-06,
    -2.0283934500242318e-05,
    -5.64945182692782e-07,
    3.9241858931960526e-06,
    -5.84625083566405e-08,
    -1.2999559312949288e-06,
    4.998256872670419e-07,
    6.806304772729612e-07,
    -5.165855889037352e-07,
    -2.2275741928456741e-07,
    2.0148385549546132e-07,
)


def _near_zero(m: Format, x: Value) -> Value:
    """erf(x) for |x| <= 1."""
    return x + x * m.polynomial(x * x, _N4 if m.single else _N8)


def _upper_tail(m: Format, x: Value) -> Value:
    """erfc(x) for x >= 1/2 in float64; exp(-x^2) with the rounding error of x^2."""
    bounded = m.minimum(x, 26.6)
    u = (bounded - 3.0) / (bounded + 3.0)
    square = bounded.times(bounded)
    error = m.fma(bounded, bounded, -square)
    q, t = reduced_expm1(m, -square, -error)
    factor = m.polynomial(u, _T8) / (1.0 + 2.0 * bounded)
    tail = (factor * q + factor) * power_of_two(m, t)
    return m.select(x > 26.5432, 0.0, tail)


def erf(m: Format, x: Value) -> Value:
    """Above 1: f4 1 - exp(polynomial), f8 1 - erfc(|x|). Error: 1.0 ulp (f4), 0.9 (f8)."""
    a = abs(x)
    if m.single:
        bounded = m.minimum(a, 4.0)
        q, t = reduced_expm1(m, m.polynomial(bounded, _L4))
        scale = power_of_two(m, t)
        far = (1.0 - scale) - scale * q
    else:
        far = 1.0 - _upper_tail(m, a)
    return m.select(a < 1.0, _near_zero(m, a), far).copysign(x)


def erfc(m: Format, x: Value) -> Value:
    """1 - erf(x) below 1/2, without cancellation above. Error: 0.5 ulp (f4), 3.6 (f8)."""
    a = abs(x)
    tail = _upper_tail(m, a)
    far = m.select(x < 0.0, 2.0 - tail, tail)
    return m.select(a < 0.5, 1.0 - _near_zero(m, x), far)


FUNCTIONS = {
    **define("erf", erf),
    **define("erfc", in_double(erfc)),
}
