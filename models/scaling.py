"""Features and targets scaled to mean 0 and deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Scaler:
    """(x - mean) / scale along the last axis."""

    mean: Array
    scale: Array

    @staticmethod
    def fitted(rows: Array, wanted: bool) -> Scaler:
        """For rows (n, width); the identity if it is not wanted."""
        width = rows.shape[1]
        if not wanted or not len(rows):
            return Scaler(np.zeros(width), np.ones(width))
        wide = rows.astype(np.float64)
        deviation, largest = wide.std(axis=0), np.abs(wide).max(axis=0)
        # Of a constant column only rounding errors deviate: it is centred and not scaled.
        constant = deviation <= 10 * np.finfo(rows.dtype).eps * largest
        return Scaler(wide.mean(axis=0), np.where(constant, 1.0, deviation))

    def apply(self, x: Array, dtype: str) -> Array:
        """Scaled, in `dtype`."""
        scaled: Array = ((x - self.mean) / self.scale).astype(dtype)
        return scaled

    def undo(self, x: Array) -> Array:
        """As before it was scaled."""
        raw: Array = x * self.scale.astype(x.dtype) + self.mean.astype(x.dtype)
        return raw
