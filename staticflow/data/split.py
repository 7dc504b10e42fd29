"""Splitting rows into a part to train on and a part to test on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Split:
    """Row numbers, each part in ascending order."""

    train: Indices
    test: Indices


def split_rows(
    rows: int,
    test_fraction: float,
    seed: int,
    labels: np.ndarray[Any, Any] | None = None,
) -> Split:
    """Draw `rows * test_fraction` rows, rounded up, for the test; at least one for each part.

    With `labels`, every class is represented in the test by its share of the rows: the counts are
    rounded so that they sum up (largest remainders). Each class keeps a row to train on, even if
    the test gets fewer rows by it.
    """
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"the test fraction must lie between 0 and 1, got {test_fraction}")
    if rows < 2:
        raise ValueError(f"a split needs two rows or more, got {rows}")
    rng = np.random.default_rng(seed)
    wanted = min(rows - 1, math.ceil(rows * test_fraction - 1e-9))
    if labels is None:
        chosen = rng.permutation(rows)[:wanted]
    else:
        chosen = _stratified(np.asarray(labels), wanted, rng)
    in_test = np.zeros(rows, bool)
    in_test[chosen] = True
    return Split(np.flatnonzero(~in_test), np.flatnonzero(in_test))


def _stratified(
    labels: np.ndarray[Any, Any], wanted: int, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = counts * (wanted / len(labels))
    take = np.floor(share).astype(np.int64)
    room = counts - take > 1
    order = np.lexsort((rng.random(len(counts)), -(share - take), ~room))
    take[order[: wanted - take.sum()]] += 1
    take = np.minimum(take, counts - 1)
    parts = [
        rng.permutation(np.flatnonzero(codes == code))[:n] for code, n in enumerate(take.tolist())
    ]
    chosen = np.concatenate(parts)
    return chosen if len(chosen) else rng.permutation(len(labels))[:1]
