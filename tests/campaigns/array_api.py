"""Elementwise functions and reductions have the values and dtypes of the Array API standard.

A case is a function of `array_api_strict` that ops has under the same name, and the dtypes of its
operands: real ones. All pairs of special values (zeros of both signs, infinities, NaN, extremes)
are operands. What the standard does not define for these dtypes is no case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import array_api_strict as standard
import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret
from tests.campaigns import Tick

UNARY = (
    "abs acos acosh asin asinh atan atanh bitwise_invert ceil cos cosh exp expm1 floor isfinite "
    "isinf isnan log log10 log1p log2 logical_not negative positive reciprocal round sign signbit "
    "sin sinh sqrt square tan tanh trunc"
).split()
BINARY = (
    "add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign "
    "divide equal floor_divide greater greater_equal hypot less less_equal logaddexp logical_and "
    "logical_or logical_xor maximum minimum multiply not_equal pow remainder subtract"
).split()
REDUCTIONS = "all any argmax argmin max mean min prod std sum var".split()
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, np.inf, -np.inf, np.nan, np.pi / 2, 1e18,
          1e-300, -1e-300, 1e300)  # fmt: skip
with np.errstate(over="ignore"):
    VALUES: dict[str, np.ndarray[Any, Any]] = {
        "float32": np.array(FLOATS, "float32"),
        "float64": np.array(FLOATS),
        "int32": np.array([0, 1, -1, 5, -7, 100, 2**31 - 1, -(2**31)], "int32"),
        "int64": np.array([0, 1, -1, 5, -7, 100, 2**62, -(2**62)]),
        "bool": np.array([True, False]),
    }
CASES = [
    *((name, (dtype,)) for name in (*UNARY, *REDUCTIONS) for dtype in VALUES),
    *((name, (one, other)) for name in BINARY for one in VALUES for other in VALUES),
]
COUNT, SAMPLE = len(CASES), 40


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Cases in random order, each once before any comes again."""
    order = np.random.default_rng(seed).permutation(len(CASES))
    found: Counter[str] = Counter()
    names: set[str] = set()
    for k in range(count):
        name, dtypes = CASES[order[k % len(CASES)]]
        arrays = list(_operands(name, dtypes))
        wanted = _standard(name, arrays)
        if wanted is not None:
            _check(name, arrays, wanted)
            names.add(name)
        found["undefined" if wanted is None else "equal"] += 1
        tick()
    return {
        "cases": count,
        "functions": len(names),
        "as in the standard": found["equal"],
        "undefined there": found["undefined"],
    }


def _operands(name: str, dtypes: tuple[str, ...]) -> Iterator[np.ndarray[Any, Any]]:
    """All pairs of values; shifts, divisors and powers of integers are those that are defined."""
    yield VALUES[dtypes[0]][:, None] if len(dtypes) > 1 else VALUES[dtypes[0]]
    for dtype in dtypes[1:]:
        values = VALUES[dtype]
        if values.dtype.kind == "i" and (name.endswith("shift") or name == "pow"):
            values = np.abs(values[:6]) % 5
        if values.dtype.kind == "i" and name in ("floor_divide", "remainder"):
            values = values[1:]
        yield values


def _standard(name: str, arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any] | None:
    """The value by the standard; None where it has none for these dtypes."""
    try:
        with np.errstate(all="ignore"):
            value = getattr(standard, name)(*map(standard.asarray, arrays))
    except (TypeError, ValueError):
        return None
    return np.from_dlpack(value)


def _check(name: str, arrays: list[np.ndarray[Any, Any]], wanted: np.ndarray[Any, Any]) -> None:
    xs = [sf.input(f"x{k}", a.shape, str(a.dtype)) for k, a in enumerate(arrays)]
    (found,) = interpret([getattr(ops, name)(*xs)], dict(zip(xs, arrays, strict=True)))
    what = f"{name} of {', '.join(str(a.dtype) for a in arrays)}"
    assert found.dtype == wanted.dtype, f"{what}: {found.dtype} instead of {wanted.dtype}"
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-37, err_msg=what)
    if wanted.dtype.kind == "f":
        zeros = wanted == 0
        signs = np.signbit(found[zeros]), np.signbit(wanted[zeros])
        np.testing.assert_array_equal(*signs, err_msg=f"{what}: signs of zeros")
