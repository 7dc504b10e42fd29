"""Features and targets scaled to mean 0 and deviation 1, by leaves of the graph.

    scale = Standard("x", (8,))
    y = net(scale.apply(x, "float32"))       # x as it comes
    scale.values(Scaler.fitted(rows, True))  # for session.load_params

The leaves are states that nothing updates: they are in a session's files, copies and jitted
functions, and other values of them compile nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf

Array = NDArray[Any]


@dataclass(frozen=True)
class Scaler:
    """The scales of columns: (x - mean) / scale is what is computed with."""

    mean: Array
    scale: Array

    @staticmethod
    def fitted(rows: Array) -> Scaler:
        """For rows (n, width)."""
        width = rows.shape[1]
        if not len(rows):
            return Scaler(np.zeros(width), np.ones(width))
        wide = rows.astype(np.float64)
        deviation, largest = wide.std(axis=0), np.abs(wide).max(axis=0)
        # Of a constant column only rounding errors deviate, and compiled code takes subnormal
        # numbers for 0: such a column is centred and not scaled.
        floats = np.finfo(rows.dtype if rows.dtype.kind == "f" else np.float64)
        constant = deviation <= np.maximum(10 * floats.eps * largest, floats.tiny)
        return Scaler(wide.mean(axis=0), np.where(constant, 1.0, deviation))


class Standard:
    """The leaves `name.mean` and `name.scale` of a shape, at first the identity."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str = "float64") -> None:
        self._names = f"{name}.mean", f"{name}.scale"
        self._shape = shape
        mean, scale = self._names
        self._mean = sf.state(mean, shape, "zeros", dtype)
        self._scale = sf.state(scale, shape, "ones", dtype)

    def apply(self, x: sf.Node, dtype: str) -> sf.Node:
        """Scaled, in `dtype`: (..., *shape)."""
        return ((x.astype(self._mean.dtype) - self._mean) / self._scale).astype(dtype)

    def undo(self, y: sf.Node, dtype: str) -> sf.Node:
        """As before it was scaled, in `dtype`."""
        return (y.astype(self._mean.dtype) * self._scale + self._mean).astype(dtype)

    def values(self, scaler: Scaler) -> dict[str, Array]:
        """What the leaves are to hold, by name."""
        pair = (scaler.mean, scaler.scale)
        return {n: a.reshape(self._shape) for n, a in zip(self._names, pair, strict=True)}
