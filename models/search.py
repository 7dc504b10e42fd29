"""Search for the best settings of an estimator, by scikit-learn's interface.

    search = models.search(models.FNNRegressor(), {"learning_rate": [1e-2, 1e-3]}, cv=5)
    search.fit(X, y)
    search.best_params_, search.best_score_, search.predict(X)

Candidates and folds whose networks have equal shapes are trained at once, as members of one session
(`search_groups`); the results are those of scikit-learn's `GridSearchCV`.
"""

from __future__ import annotations

import copy
import math
import numbers
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.utils.validation import check_is_fitted

import staticflow as sf
from staticflow.models.estimator_base import base
from staticflow.models.scaling import Scaler
from staticflow.models.search_groups import Fold, Group, Trial, alone, taken
from staticflow.models.search_results import tabulated
from staticflow.models.training_estimator import TrainingEstimator

Array = NDArray[Any]
KEPT = 3  # of so many candidates, one goes on after each rung of a halving search


class Search(base.BaseEstimator):
    """A search over a grid (a dict of lists, or a list of such), or over `n_iter` draws from it.

    `estimator` is one of staticflow's; `cv` a number of folds or a splitter, `scoring` a name or a
    function f(estimator, X, y), or a dict or list of several, of which `refit` names one. With
    `halving`, all candidates train for some epochs, and the best third of them three times as long,
    and so on: `cv_results_["epochs"]` says how long. A candidate that fails gets `error_score`, or
    raises with "raise". `verbose` shows a bar. After `fit` there are `best_params_`,
    `best_estimator_` and `cv_results_`, as in scikit-learn.
    """

    def __init__(
        self,
        estimator: Any,
        grid: Any,
        n_iter: int | None = None,
        halving: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = math.nan,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.n_iter = n_iter
        self.halving = halving
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.error_score = error_score
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, **split: Any) -> Self:
        """Train and score all candidates on all folds; `split` goes to the splitter (groups)."""
        if not isinstance(self.estimator, TrainingEstimator):
            raise TypeError(
                f"search takes an estimator of staticflow, got {type(self.estimator).__name__}; "
                "scikit-learn's GridSearchCV takes others"
            )
        self.scorer_ = self._scorers()
        self.multimetric_ = isinstance(self.scoring, list | tuple | set | dict)
        if self.multimetric_ and self.refit not in (False, *self.scorer_):
            raise ValueError(
                f"refit={self.refit!r} names none of the scores {', '.join(self.scorer_)}"
            )
        candidates = self._candidates()
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        folds = [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(X, y, **split)]
        self.n_splits_ = len(folds)
        trials = _trials(self.estimator, candidates, folds, X, y)
        with _bar(sum(t.estimator.epochs for t in trials), self.verbose) as advance:
            self._run(trials, X, y, advance)
        self._report_failures(trials)
        self.cv_results_ = tabulated(
            candidates, trials, list(self.scorer_), self.n_splits_, self._replacement(),
            bool(self.halving),
        )  # fmt: skip
        self._choose(candidates, X, y)
        return self

    def _run(self, trials: list[Trial], X: Any, y: Any, advance: Callable[[int], None]) -> None:
        """Train and score."""
        groups, single = self._groups(trials, X, y)
        for trial in single:
            if not trial.error:
                alone(trial, X, y, self.scorer_)
                advance(trial.epochs)
        rungs = _rungs(groups) if self.halving else [1.0]
        before = 0.0
        for number, share in enumerate(rungs):
            for group in groups:
                total = group.trials[0].estimator.epochs
                epochs = round(total * share) - round(total * before)
                group.train(epochs, advance if self.verbose else None)
                group.score(X, y, self.scorer_)
            before = share
            if number < len(rungs) - 1:
                self._halve(groups)

    def _groups(self, trials: list[Trial], X: Any, y: Any) -> tuple[list[Group], list[Trial]]:
        """Trials that are members of one session, and those that go alone."""
        found: dict[Any, list[Trial]] = {}
        for trial in trials:
            found.setdefault(None if trial.error else trial.key, []).append(trial)
        single = found.pop(None, [])
        groups = []
        for members in found.values():
            if len(members) == 1 and not self.halving:
                single += members
                continue
            data, target = members[0].estimator._table(X, y, reset=True)
            try:
                groups.append(Group(members, data, target))
            except Exception:
                single += members  # each of which says by itself what is wrong
        return groups, single

    def _halve(self, groups: list[Group]) -> None:
        """Let the best third of the candidates that are left go on."""
        name = self.refit if self.multimetric_ and self.refit else next(iter(self.scorer_))
        scores: dict[int, list[float]] = {}
        for group in groups:
            for k in np.flatnonzero(group.active):
                trial = group.trials[k]
                scores.setdefault(trial.candidate, []).append(trial.scores.get(name, -math.inf))
        ranked = sorted(scores, key=lambda c: -float(np.mean(scores[c])))
        kept = set(ranked[: max(1, math.ceil(len(ranked) / KEPT))])
        for group in groups:
            group.active &= [trial.candidate in kept for trial in group.trials]

    def _choose(self, candidates: list[dict[str, Any]], X: Any, y: Any) -> None:
        """Name the best candidate, and fit it to all data."""
        if not self.refit and self.multimetric_:
            return
        name = self.refit if self.multimetric_ else "score"
        results = self.cv_results_
        if callable(self.refit):
            self.best_index_ = int(self.refit(results))
        else:
            self.best_index_ = int(results[f"rank_test_{name}"].argmin())
            self.best_score_ = results[f"mean_test_{name}"][self.best_index_]
        self.best_params_ = candidates[self.best_index_]
        if not self.refit:
            return
        began = time.perf_counter()
        self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(X, y)
        self.refit_time_ = time.perf_counter() - began

    def _scorers(self) -> dict[str, Any]:
        """Scorers by name."""
        given = self.scoring
        if isinstance(given, list | tuple | set):
            given = {name: name for name in given}
        if isinstance(given, Mapping):
            return {n: check_scoring(self.estimator, s) for n, s in given.items()}
        return {"score": check_scoring(self.estimator, given)}

    def _candidates(self) -> list[dict[str, Any]]:
        """The settings to try."""
        if self.n_iter is None:
            return list(ParameterGrid(self.grid))
        return list(ParameterSampler(self.grid, self.n_iter, random_state=self.random_state))

    def _replacement(self) -> float:
        """The score of what failed."""
        return math.nan if self.error_score == "raise" else float(self.error_score)

    def _report_failures(self, trials: list[Trial]) -> None:
        failed = [t for t in trials if t.error]
        if not failed:
            return
        if self.error_score == "raise":
            raise ValueError(f"{failed[0].estimator}: {failed[0].error}")
        if not isinstance(self.error_score, numbers.Number):
            raise ValueError(f"error_score is a number or 'raise', got {self.error_score!r}")
        if len(failed) == len(trials):
            raise ValueError(f"all {len(trials)} fits failed, the first with: {failed[0].error}")
        text = f"{len(failed)} of {len(trials)} fits failed, the first with: {failed[0].error}"
        warnings.warn(f"{text}. Their score is {self.error_score}", FitFailedWarning, stacklevel=3)

    def predict(self, X: Any) -> Any:
        """Predictions of the best estimator."""
        return self._best().predict(X)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the best classifier."""
        return self._best().predict_proba(X)

    def score(self, X: Any, y: Any) -> float:
        """The score of the best estimator."""
        name = self.refit if self.multimetric_ else "score"
        return float(self.scorer_[name](self._best(), X, y))

    @property
    def classes_(self) -> Any:
        """The classes of the best classifier."""
        return self._best().classes_

    def _best(self) -> Any:
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the candidates' mean scores from the best to the worst, with those of the folds: to
        a file (`.svg` needs no other package), else as a figure.
        """
        check_is_fitted(self, "cv_results_")
        name = next(iter(self.scorer_))
        order = np.argsort(self.cv_results_[f"rank_test_{name}"], kind="stable")
        splits = [f"split{k}_test_{name}" for k in range(self.n_splits_)]
        names = [f"mean_test_{name}", *splits]
        return sf.History([{n: float(self.cv_results_[n][k]) for n in names} for k in order]).plot(
            path
        )


def _trials(
    estimator: Any, candidates: list[dict[str, Any]], folds: Any, X: Any, y: Any
) -> list[Trial]:
    """One fit for each candidate and fold."""
    found = []
    data, target = clone(estimator)._table(X, y, reset=True)
    known: list[Fold] = []
    for train, test in folds:
        own = clone(estimator)
        rows = data.take(train)
        own._table(taken(X, train[:1]), taken(y, train[:1]), reset=True)
        targets = own._learn_targets(target[train])
        settings = own.get_params()
        learned = {n: v for n, v in vars(own).items() if n not in settings}
        known.append(Fold(train, test, learned, (Scaler.fitted(rows.rows), targets)))
    for number, settings in enumerate(candidates):
        set_up = clone(estimator).set_params(**clone(settings, safe=False))
        for k, fold in enumerate(known):
            own = copy.copy(set_up)
            trial = Trial(number, k, fold, own)
            vars(own).update(fold.learned)
            try:
                trial.design = own._design(data)
            except Exception as error:
                trial.error = f"{type(error).__name__}: {error}"
            own.n_iter_, own.loss_curve_, own.validation_curve_ = 0, [], []
            found.append(trial)
    return found


def _rungs(groups: list[Group]) -> list[float]:
    """The shares of all epochs after which candidates are compared."""
    count = len({trial.candidate for group in groups for trial in group.trials})
    found = [1.0]
    while count > KEPT ** (len(found) - 1) and len(found) < 5:
        found.append(found[-1] / KEPT)
    return found[::-1]


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar over the epochs of all fits; gives what moves it."""
    if not shown:
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit=" epochs", desc="search") as bar:
        yield bar.update


search = Search  # as `models.search(...)`, which reads like a function
