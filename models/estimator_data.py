"""Data as estimators take it: tables, and sequences, which are padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class EstimatorTable:
    """Rows (n, features)."""

    rows: Array

    def take(self, chosen: NDArray[np.int64]) -> EstimatorTable:
        """Some of the rows."""
        return EstimatorTable(self.rows[chosen])

    def feeds(self, dtype: str) -> dict[str, Array]:
        """{"x": (n, features)}."""
        return {"x": self.rows.astype(dtype, copy=False)}


@dataclass(frozen=True)
class Sequences:
    """Sequences one after the other: `rows` (sum of lengths, features)."""

    rows: Array
    lengths: NDArray[np.int64]

    def take(self, chosen: NDArray[np.int64]) -> Sequences:
        """Some of the sequences."""
        starts = np.cumsum(self.lengths) - self.lengths
        own = [np.arange(starts[k], starts[k] + self.lengths[k]) for k in chosen]
        steps = np.concatenate(own) if own else np.zeros(0, np.int64)
        return Sequences(self.rows[steps], self.lengths[chosen])

    def feeds(self, dtype: str) -> dict[str, Array]:
        """{"x": (n, longest, features), 0 past each length, "lengths": (n,)}."""
        longest = max(int(np.max(self.lengths)), 1)
        x = np.zeros((len(self.lengths), longest, self.rows.shape[1]), dtype)
        x[np.arange(longest) < self.lengths[:, None]] = self.rows
        return {"x": x, "lengths": self.lengths}


def of_steps(table: Array) -> Sequences:
    """A table (n, time) as sequences of one feature."""
    return Sequences(table.reshape(-1, 1), np.full(len(table), table.shape[1], np.int64))


def as_sequences(X: Any) -> Sequences | None:
    """Sequences of a 3-D array, or of a list of arrays (time,) or (time, features).

    None for a table, and for what is neither.
    """
    if isinstance(X, np.ndarray) and X.dtype != object:
        return _joined(list(X)) if X.ndim == 3 and len(X) else None
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        return None
    try:
        rows = [np.asarray(row) for row in X]
    except ValueError:
        return None
    ranks = {row.ndim for row in rows}
    if ranks == {2} or (ranks == {1} and len({len(row) for row in rows}) > 1):
        return _joined([row if row.ndim == 2 else row[:, None] for row in rows])
    return None


def _joined(rows: Sequence[Array]) -> Sequences:
    widths = {row.shape[1] for row in rows}
    if len(widths) != 1:
        raise ValueError(f"the sequences must have the same features, got {sorted(widths)}")
    steps = np.concatenate(list(rows))
    if steps.dtype.kind not in "fiub":
        raise ValueError(f"the sequences must be of numbers, got dtype {steps.dtype}")
    steps = steps if steps.dtype in (np.float32, np.float64) else steps.astype(np.float64)
    if not np.isfinite(steps).all():
        first = next(k for k, row in enumerate(rows) if not np.isfinite(row).all())
        raise ValueError(f"sequence {first} contains NaN or infinity")
    return Sequences(steps, np.array([len(row) for row in rows], np.int64))


def split_rows(
    rng: np.random.Generator, groups: Array, fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of rows for training and for validation, the same fraction of each group."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"validation_fraction must lie between 0 and 1, got {fraction}")
    count = len(groups)
    held = []
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        held.append(members[: round(fraction * len(members))])
    validation = np.sort(np.concatenate(held))
    if not 0 < len(validation) < count:
        raise ValueError(f"of {count} samples, {fraction:g} cannot be held out for validation")
    return np.setdiff1d(np.arange(count), validation), validation


def seed_of(random_state: Any) -> int:
    """A seed: the number itself, a draw from a generator, or for None a new one each time."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(random_state)
