"""What all estimators share: reading data, training with early stopping, and the network behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.models.checks import check_count
from staticflow.models.estimator_base import base
from staticflow.models.estimator_data import EstimatorTable, Sequences, seed_of, split_rows
from staticflow.models.network import Design, EarlyStopping, Network
from staticflow.models.scaling import Scaler

Array = NDArray[Any]


class TrainingEstimator(base.BaseEstimator):
    """The base of the estimators; the settings come from one side, the targets from the other."""

    recurrent: ClassVar[bool] = False
    many: ClassVar[bool]  # whether there may be several targets for each row
    dtype_: str
    n_features_in_: int
    n_iter_: int  # epochs trained
    loss_curve_: list[float]  # the mean loss of each epoch
    validation_curve_: list[float]  # the same of the rows held out for early stopping
    hidden: Any
    optimizer: Any
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    early_stopping: bool
    validation_fraction: float
    patience: int
    standardise: bool
    random_state: Any
    threads: int | None
    verbose: bool
    members: int
    bagging: bool

    def fit(self, X: Any, y: Any) -> Self:
        """Train from new initial weights for `epochs`, or until early stopping."""
        data, target = self._table(X, y, reset=True)
        self._start(data, self._learn_targets(target))
        try:
            return self._train(data, target, self.epochs)
        except ValueError:
            del self._network
            raise

    @property
    def is_fitted(self) -> bool:
        """Whether there is a network yet."""
        return hasattr(self, "_network")

    def __sklearn_is_fitted__(self) -> bool:
        return self.is_fitted

    @property
    def session(self) -> sf.Session:
        """The session that holds the fitted network."""
        self._check_fitted()
        return self._network.session

    def _start(self, data: EstimatorTable | Sequences, targets: Scaler | None) -> None:
        """Learn the scales of the features and make a network, which has them as leaves."""
        design = self._design(data)
        values = design.scales(Scaler.fitted(data.rows), targets)
        members = check_count(self.members, f"{type(self).__name__}: members")
        threads = base.threads_here() if self.threads is None else self.threads
        self._network = Network(design, self._seed, threads, values, self._extra(), members)
        self.n_iter_, self.loss_curve_, self.validation_curve_ = 0, [], []

    def _design(self, data: EstimatorTable | Sequences) -> Design:
        """What the network for some data is made of."""
        self.dtype_ = data.rows.dtype.name
        self._seed = seed_of(self.random_state)
        hidden = self.hidden if isinstance(self.hidden, tuple | list) else (self.hidden,)
        adam = sf.optim.Adam(self.learning_rate, weight_decay=self.weight_decay)
        return Design(
            features=data.rows.shape[1],
            outputs=self._outputs(),
            classes=not self.many,
            dtype=self.dtype_,
            hidden=tuple(hidden),
            settings=tuple(self._model_settings().items()),
            optimizer=adam if self.optimizer is None else self.optimizer,
            recurrent=self.recurrent,
            standardise=self.standardise,
        )

    def _train(self, data: EstimatorTable | Sequences, target: Array, epochs: int) -> Self:
        feeds = {**data.feeds(self.dtype_), "t": self._encode(target)}
        settings: dict[str, Any] = {}
        stop = None
        if self.early_stopping and epochs > 1:
            feeds, held = self._split(feeds, target)
            stop = EarlyStopping(self._network, self.patience)
            settings = {"validation_data": held, "callbacks": [stop]}
        if self.members > 1:
            settings |= self._of_members(len(feeds["t"]))
        session = self._network.session
        settings |= {"epochs": epochs, "batch_size": self.batch_size, "progress": self.verbose}
        try:
            history = session.fit(feeds, on_nan="raise", **settings)
        except sf.NumericsError as error:
            what = str(error).splitlines()[0].removeprefix("fit: ")
            raise ValueError(
                f"{type(self).__name__}: {what}. Scale the data (standardise=True) or lower the "
                "learning_rate"
            ) from error
        if stop is not None:
            session.load_params(stop.values)
        self.n_iter_ += len(history.epochs)
        self.loss_curve_ += [_mean(log["loss"]) for log in history.epochs]
        found = [_mean(log["val_loss"]) for log in history.epochs if "val_loss" in log]
        self.validation_curve_ += found
        return self

    def _of_members(self, count: int) -> dict[str, Any]:
        """How members go through so many rows."""
        if not self.bagging:
            return {"shuffle": "own"}
        rng = np.random.default_rng((self._seed, 1))
        return {"shuffle": "own", "rows": rng.integers(count, size=(self.members, count))}

    def _split(
        self, feeds: Mapping[str, Array], target: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Rows to train on and rows held out."""
        rng = np.random.default_rng(self._seed)
        kept, held = split_rows(rng, self._groups(target), self.validation_fraction)
        train = {name: array[kept] for name, array in feeds.items()}
        return train, {name: array[held] for name, array in feeds.items()}

    def _output(self, X: Any, deviation: bool = False) -> Any:
        """The network's output for each row, a mean over members; with their `deviation`, both."""
        self._check_fitted()
        feeds = self._rows(X).feeds(self.dtype_)
        return self._network.output(feeds, deviation)

    def _extra(self) -> dict[str, Any]:
        """What the network's files say beside it, as plain data: the classes, the columns."""
        names = vars(self).get("feature_names_in_")
        columns = {} if names is None else {"features": [str(name) for name in names]}
        return {"estimator": type(self).__name__, **columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"members": 1, "bagging": False} | state)  # older ones had one member
        scaler = vars(self).pop("_scaler", None)  # of version 0.1.0
        if scaler is not None:
            targets = vars(self).pop("_target_scaler", None)
            self._network = self._network.scaled(scaler, targets, self._extra())

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise base.NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit with training data first"
            )

    def _rows(self, X: Any) -> EstimatorTable | Sequences:
        """Data to predict from."""
        raise NotImplementedError

    def _table(
        self, X: Any, y: Any, reset: bool
    ) -> tuple[EstimatorTable, Array] | tuple[Sequences, Array]:
        """Data to train on and its targets; `reset` learns the number of features."""
        raise NotImplementedError

    def _model_settings(self) -> dict[str, Any]:
        """The arguments of the model."""
        raise NotImplementedError

    def _learn_targets(self, target: Array) -> Scaler | None:
        """Learn the classes, or how many numbers there are, whose scales are returned."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """How many outputs the network has."""
        raise NotImplementedError

    def _encode(self, target: Array) -> Array:
        """Targets as the network takes them."""
        raise NotImplementedError

    def _groups(self, target: Array) -> Array:
        """The group of each row, of which validation takes equal shares."""
        return np.zeros(len(target), np.int64)


def _mean(value: Any) -> float:
    """A value, or the mean over the members that are still trained."""
    known = np.atleast_1d(value)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else float("nan")
