"""Estimators with scikit-learn's interface, on scikit-learn's base classes where it is installed.

    FNNClassifier(hidden=(64, 32), epochs=50, random_state=0).fit(X, y).score(X_test, y_test)

They compute in the dtype of X where that is float32 or float64, else in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from staticflow.models.estimator_base import base
from staticflow.models.estimator_data import EstimatorTable, Sequences, as_sequences, of_steps
from staticflow.models.scaling import Scaler
from staticflow.models.training_estimator import TrainingEstimator

Array = NDArray[Any]


class _Classifier(base.ClassifierMixin, TrainingEstimator):
    """Targets are classes of any type; the outputs are their probabilities."""

    many: ClassVar[bool] = False
    classes_: Array

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train for one epoch; the first call learns scales, and takes all `classes` there are."""
        first = not self.is_fitted
        data, target = self._table(X, y, reset=first)
        if first:
            self._start(data, self._learn_targets(target if classes is None else classes))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={classes!r} are not those of the first call, {self.classes_}; "
                "make a new estimator for others"
            )
        return self._train(data, target, 1)

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class: (n, classes), in the order of `classes_`; of several
        members, the mean of theirs.
        """
        probabilities: Array = self._output(X)
        return probabilities

    def predict(self, X: Any) -> Array:
        """The most probable class of each row: (n,)."""
        best = self._output(X).argmax(axis=1)
        names: Array = self.classes_[best]
        return names

    def _learn_targets(self, target: Any) -> None:
        classes = np.asarray(target)
        base.check_classes(classes)
        self.classes_ = np.unique(classes)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _encode(self, target: Array) -> Array:
        unknown = ~np.isin(target, self.classes_)
        if unknown.any():
            raise ValueError(
                f"y has the class {target[unknown][0]}, which is not among {self.classes_}"
            )
        return np.searchsorted(self.classes_, target)

    def _groups(self, target: Array) -> Array:
        return target

    def _extra(self) -> dict[str, Any]:
        return {**super()._extra(), "classes": [_plain(name) for name in self.classes_.tolist()]}


def _plain(name: Any) -> Any:
    """A class as files have it."""
    return name if isinstance(name, str | int | float) else str(name)


class _Regressor(base.RegressorMixin, TrainingEstimator):
    """Targets are numbers, one or several for each row."""

    many: ClassVar[bool] = True
    n_outputs_: int

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Train for one epoch; the first call learns the scales of features and targets."""
        first = not self.is_fitted
        data, target = self._table(X, y, reset=first)
        if first:
            self._start(data, self._learn_targets(target))
        return self._train(data, target, 1)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The predicted targets: (n,), or (n, outputs) if they were given so; of several members,
        their mean. With `return_std` a tuple of that and of their deviation from it.
        """
        if return_std and self.members == 1:
            raise ValueError(
                f"{type(self).__name__}: one member has no deviation; pass members=10, for example"
            )
        found = self._output(X, deviation=True) if return_std else (self._output(X),)
        shown = tuple(y[:, 0] if self._is_vector else y for y in found)
        return shown if return_std else shown[0]

    def _learn_targets(self, target: Array) -> Scaler:
        self._is_vector = target.ndim == 1
        rows = target.reshape(len(target), -1).astype(np.float64)
        self.n_outputs_ = rows.shape[1]
        return Scaler.fitted(rows)

    def _outputs(self) -> int:
        return self.n_outputs_

    def _encode(self, target: Array) -> Array:
        rows = target.reshape(len(target), -1)
        if rows.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {rows.shape[1]} outputs, expected {self.n_outputs_}")
        return rows.astype(np.float64)

    def __sklearn_tags__(self) -> Any:
        tags: Any = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.multi_output = True
        return tags


class _FNN(TrainingEstimator):
    """The settings of a feed-forward network."""

    def __init__(
        self,
        hidden: int | Sequence[int] = (64,),
        activation: Any = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        optimizer: Any = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        standardise: bool = True,
        random_state: Any = None,
        threads: int | None = None,
        verbose: bool = False,
        members: int = 1,
        bagging: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardise = standardise
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose
        self.members = members
        self.bagging = bagging

    def _model_settings(self) -> dict[str, Any]:
        return {"activation": self.activation, "dropout": self.dropout, "norm": self.norm}

    def _rows(self, X: Any) -> EstimatorTable:
        return EstimatorTable(base.read_rows(self, X))

    def _table(self, X: Any, y: Any, reset: bool) -> tuple[EstimatorTable, Array]:
        rows, target = base.read_table(self, X, y, reset, self.many)
        return EstimatorTable(rows), target


class _RNN(TrainingEstimator):
    """The settings of a recurrent network, and sequences in place of tables."""

    recurrent = True

    def __init__(
        self,
        hidden: int = 64,
        cell: str = "lstm",
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        optimizer: Any = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        standardise: bool = True,
        random_state: Any = None,
        threads: int | None = None,
        verbose: bool = False,
        members: int = 1,
        bagging: bool = False,
    ) -> None:
        self.hidden = hidden
        self.cell = cell
        self.layers = layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardise = standardise
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose
        self.members = members
        self.bagging = bagging

    def _model_settings(self) -> dict[str, Any]:
        names = ("cell", "layers", "bidirectional", "dropout")
        return {name: getattr(self, name) for name in names}

    def _rows(self, X: Any) -> Sequences:
        sequences = as_sequences(X)
        found = of_steps(base.read_rows(self, X)) if sequences is None else sequences
        if found.rows.shape[1] != self._network.design.features:
            raise ValueError(
                f"X has {found.rows.shape[1]} features, but {type(self).__name__} expects "
                f"{self._network.design.features} features at each step"
            )
        return found

    def _table(self, X: Any, y: Any, reset: bool) -> tuple[Sequences, Array]:
        sequences = as_sequences(X)
        if sequences is None:
            rows, target = base.read_table(self, X, y, reset, self.many)
            return of_steps(rows), target
        if reset:
            self.n_features_in_ = sequences.rows.shape[1]
        return sequences, base.read_targets(y, len(sequences.lengths), self.many)


class FNNClassifier(_Classifier, _FNN):
    """A classifier by a feed-forward network, trained on the cross entropy.

    `hidden` are the widths of the hidden layers; `optimizer` one of `sf.optim` in place of
    Adam(learning_rate, weight_decay). With `early_stopping`, `validation_fraction` of the rows are
    held out, training stops after `patience` epochs without a better loss there, and the best
    values are kept. `standardise` scales each feature to mean 0 and deviation 1. With `members=n`
    so many networks are trained at once, each with its own initial values and order of rows, and
    predictions are their mean; with `bagging` each has as many rows of its own, drawn with
    replacement.
    """


class FNNRegressor(_Regressor, _FNN):
    """A regressor by a feed-forward network, trained on the squared error.

    The settings are those of `FNNClassifier`; `standardise` scales the targets as well.
    """


class RNNClassifier(_Classifier, _RNN):
    """A classifier of sequences by a recurrent network and a dense layer on its last state.

    X is an array (n, time, features) or (n, time), or a list of arrays (time, features) or (time,)
    of different lengths. `hidden`, `cell`, `layers`, `bidirectional` and `dropout` are those of
    `models.RNN`, the others those of `FNNClassifier`.
    """


class RNNRegressor(_Regressor, _RNN):
    """A regressor of sequences; X is as for `RNNClassifier`, y as for `FNNRegressor`."""


__all__ = ["FNNClassifier", "FNNRegressor", "RNNClassifier", "RNNRegressor"]
