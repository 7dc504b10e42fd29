"""What the estimators take from scikit-learn; `plain_estimator` stands in for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.multiclass import check_classification_targets as check_classes
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

Array = NDArray[Any]
FLOATS = [np.float64, np.float32]


def read_rows(estimator: Any, X: Any) -> Array:
    """Rows of finite floats (n, features), as many features as at the fit."""
    return np.asarray(validate_data(estimator, X, reset=False, dtype=FLOATS))


def read_table(estimator: Any, X: Any, y: Any, reset: bool, many: bool) -> tuple[Array, Array]:
    """Rows and their targets; `many` allows several for each row, which then are numbers."""
    settings = {"dtype": FLOATS, "multi_output": many, "y_numeric": many}
    x, targets = validate_data(estimator, X, y, reset=reset, **settings)
    return x, targets


def read_targets(y: Any, count: int, many: bool) -> Array:
    """Targets of `count` rows: (n,), or (n, outputs) of numbers where there may be many."""
    if y is None:
        raise ValueError("y is missing: pass the targets")
    numbers = check_array(y, ensure_2d=False, dtype="numeric") if many else column_or_1d(y)
    check_consistent_length(np.empty(count), numbers)
    return np.asarray(numbers)


def threads_here() -> int | None:
    """How many threads a fit may use where nobody has said so: None for all cores, and 1 in a
    worker of joblib (`GridSearchCV(n_jobs=2)`), which has others beside it.
    """
    backend, _ = get_active_backend()
    return 1 if getattr(backend, "nesting_level", 0) else None


__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "NotFittedError",
    "RegressorMixin",
    "check_classes",
    "read_rows",
    "read_table",
    "read_targets",
    "threads_here",
]
