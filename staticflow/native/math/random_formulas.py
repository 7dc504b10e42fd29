"""The formulas of random numbers: pure functions of (seed, stream, step, index).

A 64-bit hash of the four is a counter-based generator (SplitMix64, whose state is the counter): any
element can be computed anywhere, in any order. The formulas are written once, over a `Machine` that
says what arrays and scalars do differently, and are used twice: on NumPy arrays here, as the
reference, and compiled by `math.random`. Both give the same bits, since every step is an
integer operation or one correctly rounded operation on floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Function = Callable[..., Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: its multiples lie far apart
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # Stafford's mix 13
_ONE, _11, _12, _27 = np.uint64(1), np.uint64(11), np.uint64(12), np.uint64(27)
_30, _31, _40 = np.uint64(30), np.uint64(31), np.uint64(40)
_FRACTION, _UNIT = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000  # of a float64's bits; those of 1.0
_LOG2, _SQRT2, _QUARTER = math.log(2.0), math.sqrt(2.0), math.pi / 4.0


@dataclass(frozen=True)
class Machine:
    """What the formulas need beside arithmetic, for one kind of value."""

    compile: Callable[[Function], Function]
    unsigned: Callable[[Any], Any]  # int64 to uint64
    int32: Callable[[Any], Any]
    int64: Callable[[Any], Any]
    float32: Callable[[Any], Any]
    float64: Callable[[Any], Any]
    bits: Callable[[Any], Any]  # of a float64, as int64
    from_bits: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    select: Callable[[Any, Any, Any], Any]


def formulas(m: Machine) -> dict[str, Function]:
    """uniform_f4, uniform_f8, normal_f4 and normal_f8 of (seed, stream, step, index)."""
    unsigned, int32, int64 = m.unsigned, m.int32, m.int64
    float32, float64 = m.float32, m.float64
    log, circle = _log(m), _circle(m)
    sqrt = m.sqrt

    @m.compile
    def mix(z: Any) -> Any:
        """A hash: every bit of the result depends on every bit of z."""
        z = (z ^ (z >> _30)) * _FIRST
        z = (z ^ (z >> _27)) * _SECOND
        return z ^ (z >> _31)

    @m.compile
    def word(seed: Any, stream: Any, step: Any, index: Any) -> Any:
        """64 random bits."""
        key = mix(unsigned(seed) + _GOLDEN)
        key = mix(key + (unsigned(stream) + _ONE) * _GOLDEN)
        key = mix(key + (unsigned(step) + _ONE) * _GOLDEN)
        return mix(key + (unsigned(index) + _ONE) * _GOLDEN)

    @m.compile
    def uniform_f4(seed: Any, stream: Any, step: Any, index: Any) -> Any:
        """24 bits as a number in [0, 1)."""
        bits = word(seed, stream, step, index) >> _40
        return float32(int32(bits)) * float32(2.0**-24)

    @m.compile
    def uniform_f8(seed: Any, stream: Any, step: Any, index: Any) -> Any:
        """53 bits as a number in [0, 1)."""
        bits = word(seed, stream, step, index) >> _11
        return float64(int64(bits)) * 2.0**-53

    @m.compile
    def normal_f8(seed: Any, stream: Any, step: Any, index: Any) -> Any:
        """Box and Muller's: sqrt(-2 log u) times the abscissa of a random point of the circle."""
        first = word(seed, stream, step, index)
        u = (float64(int64(first >> _12)) + 0.5) * 2.0**-52
        return sqrt(-2.0 * log(u)) * circle(mix(first + _GOLDEN))

    @m.compile
    def normal_f4(seed: Any, stream: Any, step: Any, index: Any) -> Any:
        return float32(normal_f8(seed, stream, step, index))

    made = (uniform_f4, uniform_f8, normal_f4, normal_f8)
    names = ("uniform_f4", "uniform_f8", "normal_f4", "normal_f8")
    return dict(zip(names, made, strict=True))


def _series(m: Machine, coefficients: Sequence[float]) -> Function:
    """The polynomial with these eight coefficients, the constant one first."""
    a, b, c, d, e, f, g, h = coefficients

    @m.compile
    def series(x: Any) -> Any:
        return ((((((h * x + g) * x + f) * x + e) * x + d) * x + c) * x + b) * x + a

    return series


def _log(m: Machine) -> Function:
    """The logarithm of a normal float64: k log(2) + 2 artanh(s) with s = (f - 1) / (f + 1)."""
    bits, from_bits, float64, select = m.bits, m.from_bits, m.float64, m.select
    artanh = _series(m, [1.0 / n for n in range(3, 18, 2)])  # (artanh(s) / s - 1) / s^2, of s^2

    @m.compile
    def log(x: Any) -> Any:
        raw = bits(x)
        f = from_bits((raw & _FRACTION) | _UNIT)
        high = f > _SQRT2
        k = float64((raw >> 52) - 1023) + select(high, 1.0, 0.0)
        f = f * select(high, 0.5, 1.0)
        s = (f - 1.0) / (f + 1.0)
        z = s * s
        return k * _LOG2 + 2.0 * (s + s * z * artanh(z))

    return log


def _circle(m: Machine) -> Function:
    """The abscissa of the point of the unit circle that 64 random bits choose.

    By symmetry it is, with a random sign, the sine or the cosine of an angle in [0, pi/4), each by
    its Taylor series.
    """
    int64, float64, select = m.int64, m.float64, m.select
    cosine = _series(m, [(-1) ** n / math.factorial(2 * n) for n in range(1, 9)])
    sine = _series(m, [(-1) ** n / math.factorial(2 * n + 1) for n in range(1, 9)])

    @m.compile
    def circle(word: Any) -> Any:
        angle = float64(int64(word >> _12)) * (2.0**-52 * _QUARTER)
        z = angle * angle
        low = int64(word & _11)
        value = select((low & 1) == 1, 1.0 + z * cosine(z), angle + angle * z * sine(z))
        return select((low & 2) == 2, -value, value)

    return circle


def _reinterpret(dtype: str) -> Callable[[Array], Array]:
    return lambda x: x.view(dtype)


def _as(dtype: str) -> Callable[[Any], Any]:
    return lambda x: np.asarray(x).astype(dtype)


NUMPY = Machine(
    compile=lambda function: function,
    unsigned=_as("uint64"), int32=_as("int32"), int64=_as("int64"),
    float32=_as("float32"), float64=_as("float64"),
    bits=_reinterpret("int64"), from_bits=_reinterpret("float64"),
    sqrt=np.sqrt, select=np.where,
)  # fmt: skip
REFERENCE = formulas(NUMPY)


def draw(dist: str, dtype: str, seed: int, stream: int, step: int, count: int) -> Array:
    """The first `count` numbers of a stream."""
    suffix = {"float32": "f4", "float64": "f8"}[dtype]
    key = [np.full(1, n, np.int64) for n in (seed, stream, step)]
    values: Array = REFERENCE[f"{dist}_{suffix}"](*key, np.arange(count, dtype=np.int64))
    return values
