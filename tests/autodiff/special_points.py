"""Value, gradient and second derivatives of a special function at a point, against 50 digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

import staticflow as sf
from staticflow import Node
from staticflow.runtime.interpreter import interpret
from tests.autodiff.special_point_table import Special

Array = NDArray[Any]
DIGITS = 50


@cache
def graph(special: Special, size: int, dtype: str) -> tuple[Node, list[Node]]:
    """The input, and value, gradient and, of order 2, the matrix of second derivatives."""
    x = sf.input("x", (size,), dtype)
    y = special.call(x)
    gradient = sf.grad(y, x)
    outputs = [y, gradient]
    if special.order > 1:
        outputs.append(sf.ops.stack([sf.grad(gradient[k], x) for k in range(size)]))
    return x, outputs


def interpreted(special: Special, point: Sequence[float], dtype: str = "float64") -> list[Array]:
    """What the interpreter makes of it."""
    x, outputs = graph(special, len(point), dtype)
    return interpret(outputs, {x: np.array(point, dtype)})


@cache
def compiled(special: Special, size: int, dtype: str) -> Callable[[Array], list[Array]]:
    """The same as machine code."""
    x, outputs = graph(special, size, dtype)
    return sf.function([x], outputs)


def _real(value: Any) -> float:
    """A number as float64; NaN for one that is not real, beyond what a function is defined for."""
    return float(mp.re(value)) if mp.im(value) == 0 else float("nan")


def exact(special: Special, point: Sequence[float]) -> list[Array]:
    """The same to 50 digits, by differences of far smaller steps than any double has."""
    size = len(point)
    with mp.workdps(DIGITS):
        at = tuple(mpf(float(p)) for p in point)

        def function(*v: Any) -> Any:
            return special.reference(v)

        def slope(*orders: int) -> float:
            return _real(mp.diff(function, at, orders) if sum(orders) else function(*at))

        def unit(*axes: int) -> list[int]:
            return [axes.count(k) for k in range(size)]

        found: list[Any] = [slope(*unit()), [slope(*unit(k)) for k in range(size)]]
        if special.order > 1:
            found.append([[slope(*unit(k, j)) for j in range(size)] for k in range(size)])
    return [np.array(v) for v in found]


def check(
    special: Special, point: Sequence[float], found: Sequence[Array], tolerance: float
) -> None:
    """AssertionError where a derivative is not the exact one."""
    for order, (ours, right) in enumerate(zip(found, exact(special, point), strict=True)):
        scale = max(1.0, float(np.max(np.abs(right))))
        np.testing.assert_allclose(
            ours, right, rtol=tolerance, atol=tolerance * scale,
            err_msg=f"{special} at {tuple(point)}: derivative {order}",
        )  # fmt: skip
