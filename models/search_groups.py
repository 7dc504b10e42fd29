"""The fits of a search, candidates times folds: those of equal networks are members of one session.

    hidden (8,), lr 0.1      fold 0 | fold 1 | fold 2 }
    hidden (8,), lr 0.01     fold 0 | fold 1 | fold 2 }  one session of six members
    hidden (16,), lr 0.1     fold 0 | fold 1 | fold 2    another one, whose program is the same

What members may differ in is the rows that they train on, their scales, their seed, the learning
rate and the weight decay.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.models.network import Design, Network, output_of
from staticflow.models.scaling import Scaler

Array = NDArray[Any]
Rows = NDArray[np.int64]


@dataclass
class Fold:
    """A split of the rows, and what an estimator learns from its training rows but the network."""

    train: Rows
    test: Rows
    learned: dict[str, Any]
    scales: tuple[Scaler, Scaler | None]


@dataclass
class Trial:
    """One fit: a candidate's estimator on the rows of a fold."""

    candidate: int
    number: int  # of the fold
    fold: Fold
    estimator: Any
    design: Design | None = None
    scores: dict[str, float] = field(default_factory=dict)
    fit_time: float = 0.0
    score_time: float = 0.0
    epochs: int = 0
    error: str = ""  # why there is no fit

    @property
    def key(self) -> Any:
        """Equal for trials that may be members of one session; None for those that go alone."""
        own, design = self.estimator, self.design
        if design is None or own.early_stopping or own.members != 1:
            return None
        classes = tuple(map(str, getattr(own, "classes_", ())))
        adam = own.optimizer is None
        decay = bool(own.weight_decay) if adam else own.optimizer
        return replace(design, optimizer=None), adam, decay, own.batch_size, own.epochs, classes


class Group:
    """Trials that are trained as members of one session."""

    def __init__(self, trials: Sequence[Trial], data: Any, target: Array) -> None:
        self.trials = list(trials)
        first = self.trials[0]
        own, design = first.estimator, first.design
        assert design is not None
        optimizer = own.optimizer
        if optimizer is None:
            rates = [t.estimator.learning_rate for t in trials]
            decays: Any = [t.estimator.weight_decay for t in trials]
            decays = decays[0] if len(set(decays)) == 1 else decays
            optimizer = sf.optim.Adam(rates, weight_decay=decays)
        seeds = [t.estimator._seed for t in trials]
        threads = own.threads
        self.session: Any = replace(design, optimizer=optimizer).build(seeds, threads, len(trials))
        self.session.load_params(_scales(design, [t.fold for t in trials]))
        self.feeds = {**data.feeds(design.dtype), "t": _encoded(own, target)}
        self.batch_size = own.batch_size
        self.active = np.ones(len(trials), bool)

    def train(self, epochs: int, callback: Callable[[int], None] | None = None) -> None:
        """Train the members that are active for some epochs."""
        began = time.perf_counter()
        stops = ~self.active

        def told(session: Any, log: Any) -> bool:
            if callback is not None:
                callback(int(np.isfinite(log["loss"]).sum()))
            return False

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of members whose loss is NaN
            history = self.session.fit(
                self.feeds, epochs=epochs, batch_size=self.batch_size, shuffle="own",
                rows=[t.fold.train for t in self.trials], progress=False,
                callbacks=told if callback is not None else (), stopped=stops,
            )  # fmt: skip
        took = (time.perf_counter() - began) / max(1, self.active.sum())
        for k in np.flatnonzero(self.active):
            trial = self.trials[k]
            trial.fit_time += took
            trial.epochs += epochs
            losses = np.array([log["loss"][k] for log in history.epochs])
            if np.isnan(losses).any():
                self.active[k] = False
                trial.error = f"the loss became NaN in epoch {int(np.isnan(losses).argmax()) + 1}"

    def score(self, X: Any, y: Any, scorers: Any) -> None:
        """Score every active member on its test rows; the outputs for a fold's are computed for all
        members at once.
        """
        (name,) = self.session.outputs
        inputs = {n: a for n, a in self.feeds.items() if n != "t"}
        folds = {trial.number: trial.fold for trial in self.trials}
        for number, fold in folds.items():
            own = [k for k in np.flatnonzero(self.active) if self.trials[k].number == number]
            if not own:
                continue
            given = {n: a[fold.test] for n, a in inputs.items()}
            outputs = output_of(self.session, name, given, axis=1)
            x, targets = taken(X, fold.test), taken(y, fold.test)
            for k in own:
                trial, member = self.trials[k], partial(self.session.member, int(k))
                trial.estimator._network = _Known(trial, given, outputs[k], member)
                score(trial, x, targets, scorers)


class _Known(Network):
    """The network of a member, of which the outputs for the test rows are known."""

    def __init__(
        self, trial: Trial, feeds: dict[str, Array], output: Array, member: Callable[[], sf.Session]
    ) -> None:
        own = trial.estimator
        assert trial.design is not None
        super().__init__(trial.design, own._seed, own.threads, {}, {})
        self._feeds, self._known, self._member = feeds, output, member

    @property
    def session(self) -> sf.Session:
        return self._member()

    def output(self, feeds: Any, deviation: bool = False) -> Any:
        same = all(np.array_equal(feeds[name], array) for name, array in self._feeds.items())
        return self._known if same else super().output(feeds, deviation)


def alone(trial: Trial, X: Any, y: Any, scorers: Any) -> None:
    """Fit and score a trial by itself, as scikit-learn's search does."""
    began = time.perf_counter()
    train, test = trial.fold.train, trial.fold.test
    try:
        trial.estimator.fit(taken(X, train), taken(y, train))
    except Exception as error:
        trial.error = f"{type(error).__name__}: {error}"
        return
    trial.fit_time = time.perf_counter() - began
    trial.epochs = trial.estimator.n_iter_
    score(trial, taken(X, test), taken(y, test), scorers)


def score(trial: Trial, X: Any, y: Any, scorers: Any) -> None:
    """Enter the scores of a fitted trial."""
    began = time.perf_counter()
    try:
        trial.scores = {n: float(scorer(trial.estimator, X, y)) for n, scorer in scorers.items()}
    except Exception as error:
        trial.error = f"{type(error).__name__}: {error}"
    trial.score_time = time.perf_counter() - began


def taken(table: Any, rows: Rows) -> Any:
    """Some rows of an array, a data frame or a list."""
    if hasattr(table, "iloc"):
        return table.iloc[rows]
    if isinstance(table, np.ndarray):
        return table[rows]
    return [table[k] for k in rows]


def _scales(design: Design, folds: Sequence[Fold]) -> dict[str, Array]:
    """What the leaves that scale are to hold, of each member."""
    known: dict[int, dict[str, Array]] = {}
    for fold in folds:
        if id(fold) not in known:
            known[id(fold)] = design.scales(*fold.scales)
    own = [known[id(fold)] for fold in folds]
    return {name: np.stack([values[name] for values in own]) for name in own[0]}


def _encoded(estimator: Any, target: Array) -> Array:
    """All targets as the network takes them; those of classes that it has not seen are in no
    training rows.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        encoded: Array = estimator._encode(target)
        return encoded
    return np.minimum(np.searchsorted(classes, target), len(classes) - 1)
