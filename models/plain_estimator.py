"""The little of scikit-learn that the estimators need, for where it is not installed."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class NotFittedError(ValueError, AttributeError):
    """An estimator is used before it is fitted."""


class BaseEstimator:
    """Settings by name: those of `__init__`, each kept in an attribute of its name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name; returns the estimator."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no setting {name!r}; it has {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({settings})"


class ClassifierMixin:
    """Scored by accuracy."""

    def score(self, X: Any, y: Any) -> float:
        """The share of rows whose class is predicted."""
        return float(np.mean(self.predict(X) == np.asarray(y)))  # type: ignore[attr-defined]


class RegressorMixin:
    """Scored by the coefficient of determination."""

    def score(self, X: Any, y: Any) -> float:
        """R^2, the mean over outputs: 1 is perfect, 0 as good as the mean."""
        target = np.asarray(y, np.float64)
        error = np.sum((target - self.predict(X)) ** 2, axis=0)  # type: ignore[attr-defined]
        return float(np.mean(1.0 - error / np.sum((target - target.mean(axis=0)) ** 2, axis=0)))


def read_rows(estimator: Any, X: Any, reset: bool = False) -> Array:
    """Rows of finite floats (n, features), as many features as at the fit unless `reset`."""
    x = np.asarray(X)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"X must have the shape (samples, features), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("X contains NaN or infinity")
    if reset:
        estimator.n_features_in_ = x.shape[1]
    elif x.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {x.shape[1]} features, but {type(estimator).__name__} expects "
            f"{estimator.n_features_in_} features"
        )
    return x


def read_table(estimator: Any, X: Any, y: Any, reset: bool, many: bool) -> tuple[Array, Array]:
    """Rows and their targets; `many` allows several for each row, which then are numbers."""
    x = read_rows(estimator, X, reset)
    return x, read_targets(y, len(x), many)


def read_targets(y: Any, count: int, many: bool) -> Array:
    """Targets of `count` rows: (n,), or (n, outputs) of numbers where there may be many."""
    if y is None:
        raise ValueError("y is missing: pass the targets")
    targets = np.asarray(y, np.float64) if many else np.asarray(y)
    if targets.ndim != 1 and not (many and targets.ndim == 2):
        raise ValueError(f"y has the wrong shape {targets.shape}")
    if len(targets) != count:
        raise ValueError(f"X has {count} samples and y has {len(targets)}")
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise ValueError("y contains NaN or infinity")
    return targets


def check_classes(y: Array) -> None:
    """Refuse targets that are no classes."""
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise ValueError("y has fractions in it, which are no classes: use a regressor")


def threads_here() -> int | None:
    """How many threads a fit may use where nobody has said so: None for all cores."""
    return None
