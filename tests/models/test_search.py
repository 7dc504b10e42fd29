"""Searches: the results of scikit-learn's, with all fits in a few sessions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticflow import models

selection = pytest.importorskip("sklearn.model_selection", reason="needs scikit-learn")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
Y = X @ [1.0, -2.0, 0.5]
CLASSES = np.array(["a", "b"])[(Y > 0).astype(int)]
GRID = {"learning_rate": [1e-1, 1e-3], "hidden": [(3,), (5,)], "weight_decay": [0.0, 0.1]}


def regressor(**settings: Any) -> models.FNNRegressor:
    return models.FNNRegressor(**{"epochs": 3, "random_state": 0, "threads": 1, **settings})


def check_equal(found: Any, expected: Any) -> None:
    """The results are the same, but for the times."""
    assert found.cv_results_.keys() == expected.cv_results_.keys()
    for name, values in expected.cv_results_.items():
        if "test" in name:
            np.testing.assert_array_equal(found.cv_results_[name], values, name)
        elif "time" not in name:
            assert str(found.cv_results_[name]) == str(values)
    assert found.best_params_ == expected.best_params_
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


def test_a_search_is_scikit_learns() -> None:
    found = models.search(regressor(), GRID, cv=3).fit(X, Y)
    check_equal(found, selection.GridSearchCV(regressor(), GRID, cv=3).fit(X, Y))
    assert found.score(X, Y) == found.best_estimator_.score(X, Y)


def test_classes_splitters_and_several_scores() -> None:
    classifier = models.FNNClassifier(hidden=(4,), epochs=3, random_state=1, threads=1)
    grid = [{"learning_rate": [1e-1, 1e-2]}, {"activation": ["tanh"], "early_stopping": [True]}]
    options: dict[str, Any] = {
        "cv": selection.ShuffleSplit(2, random_state=0),
        "scoring": ["accuracy", "neg_log_loss"],
        "refit": "neg_log_loss",
    }
    found = models.search(classifier, grid, **options).fit(X, CLASSES)
    check_equal(found, selection.GridSearchCV(classifier, grid, **options).fit(X, CLASSES))
    np.testing.assert_array_equal(found.classes_, ["a", "b"])
    assert found.predict_proba(X).shape == (50, 2)


def test_settings_are_drawn() -> None:
    options: dict[str, Any] = {"n_iter": 3, "random_state": 4, "cv": 2}
    found = models.search(regressor(), GRID, **options).fit(X, Y)
    check_equal(found, selection.RandomizedSearchCV(regressor(), GRID, **options).fit(X, Y))


def test_losers_stop_early() -> None:
    grid = {"learning_rate": [1e-1, 1e-2, 1e-3, 1e-4], "weight_decay": [0.0]}
    whole = models.search(regressor(epochs=9), grid, cv=2).fit(X, Y)
    found = models.search(regressor(epochs=9), grid, cv=2, halving=True).fit(X, Y)
    assert sorted(found.cv_results_["epochs"]) == [1, 1, 3, 9]
    best = found.best_index_
    assert found.cv_results_["epochs"][best] == 9
    mean = "mean_test_score"
    assert found.cv_results_[mean][best] == whole.cv_results_[mean][best]


def test_what_fails_gets_its_score(tmp_path: Path) -> None:
    grid = {"learning_rate": [1e-1, 1e300], "hidden": [(3,)]}
    with pytest.warns(RuntimeWarning, match="fits failed, the first with: the loss became NaN"):
        found = models.search(regressor(optimizer=None), grid, cv=2).fit(X, Y)
    scores = found.cv_results_["mean_test_score"]
    assert np.isfinite(scores[0]) and np.isnan(scores[1])
    np.testing.assert_array_equal(found.cv_results_["rank_test_score"], [1, 2])
    found.plot(tmp_path / "scores.svg")
    assert "<svg" in (tmp_path / "scores.svg").read_text()
    with pytest.warns(RuntimeWarning, match="2 of 4 fits failed"):
        models.search(regressor(), {"hidden": [(3,), (0,)]}, cv=2, error_score=-9).fit(X, Y)
    with pytest.raises(ValueError, match="NaN"):
        models.search(regressor(), grid, cv=2, error_score="raise").fit(X, Y)


def test_what_is_refused() -> None:
    from sklearn.linear_model import Ridge

    with pytest.raises(TypeError, match="an estimator of staticflow, got Ridge"):
        models.search(Ridge(), {"alpha": [1.0]}).fit(X, Y)
    with pytest.raises(ValueError, match="names none of the scores"):
        models.search(regressor(), GRID, scoring=["r2"]).fit(X, Y)


def test_sequences_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    sequences = RNG.normal(size=(20, 4, 2))
    recurrent = models.RNNRegressor(hidden=3, epochs=2, random_state=0, threads=1)
    grid = {"learning_rate": [1e-2, 1e-3]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = models.search(recurrent, grid, cv=2, verbose=True)
        found.fit(sequences, sequences[:, -1, 0])
    expected = selection.GridSearchCV(recurrent, grid, cv=2).fit(sequences, sequences[:, -1, 0])
    np.testing.assert_allclose(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    assert "search" in capsys.readouterr().err
