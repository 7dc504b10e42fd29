"""A case of an op, and the arrays that cases are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """`call` on nodes and `expected` on arrays of the same values."""

    op: str
    call: Callable[..., Any]
    expected: Callable[..., Any]
    inputs: tuple[Array, ...] = ()
    smooth: bool = True  # whether finite differences at the inputs are meaningful
    label: str = ""

    def __str__(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op


def f(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Floats, no two of which are close to each other."""
    rng = np.random.default_rng((seed, *shape))
    count = int(np.prod(shape))
    grid = np.linspace(low, high, count + 2)[1:-1] + 0.013
    return rng.permutation(grid).reshape(shape)


def i(*shape: int, below: int, seed: int = 0) -> Array:
    """Integers from 0 up to `below`."""
    return np.random.default_rng((seed, *shape)).integers(0, below, shape)
