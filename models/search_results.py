"""What a search has found, as scikit-learn has it in `cv_results_`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.models.search_groups import Trial

Array = NDArray[Any]


def tabulated(
    candidates: Sequence[Mapping[str, Any]],
    trials: Sequence[Trial],
    names: Sequence[str],
    folds: int,
    replacement: float,
    epochs: bool,
) -> dict[str, Any]:
    """Times, settings, scores by fold, their means, deviations and ranks, one entry a candidate.

    `trials` are in order of candidates and folds; a fit that failed has `replacement` for a score.
    """
    shape = len(candidates), folds
    found: dict[str, Any] = {}
    for name in ("fit_time", "score_time"):
        times = np.array([getattr(t, name) for t in trials]).reshape(shape)
        found[f"mean_{name}"], found[f"std_{name}"] = times.mean(axis=1), times.std(axis=1)
    for name in sorted({name for own in candidates for name in own}):
        found[f"param_{name}"] = _column([own.get(name, _MISSING) for own in candidates])
    found["params"] = [dict(own) for own in candidates]
    if epochs:
        found["epochs"] = np.array([t.epochs for t in trials]).reshape(shape).max(axis=1)
    for name in names:
        scores = np.array(
            [replacement if t.error else t.scores.get(name, replacement) for t in trials], float
        ).reshape(shape)
        for k in range(folds):
            found[f"split{k}_test_{name}"] = scores[:, k]
        mean = scores.mean(axis=1)
        found[f"mean_test_{name}"], found[f"std_test_{name}"] = mean, scores.std(axis=1)
        longest = found["epochs"] if epochs else np.zeros(len(candidates))
        found[f"rank_test_{name}"] = ranks(mean, longest)
    return found


def ranks(means: Array, epochs: Array) -> NDArray[np.int32]:
    """Ranks from 1, equal ones for equal means; those trained for more epochs come first, and those
    without a score last.
    """
    scores = [(e, -np.inf if np.isnan(m) else m) for e, m in zip(epochs, means, strict=True)]
    return np.array([1 + sum(other > own for other in scores) for own in scores], np.int32)


_MISSING = object()


def _column(values: Sequence[Any]) -> Any:
    """The values of a setting, masked where a candidate has none."""
    mask = np.array([value is _MISSING for value in values])
    known = [value for value in values if value is not _MISSING]
    plain = np.array(known) if known and all(np.ndim(v) == 0 for v in known) else None
    kind = plain.dtype if plain is not None and plain.dtype.kind in "biuf" else np.dtype(object)
    column = np.ma.MaskedArray(np.empty(len(values), kind), mask=mask)
    for k, value in enumerate(values):
        if value is not _MISSING:
            column[k] = value
    return column
