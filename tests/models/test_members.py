"""Estimators of several networks."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from staticflow import models

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = 5.0 + X @ [1.0, -2.0, 0.5]


def regressor(**settings: Any) -> models.FNNRegressor:
    chosen = {"hidden": (4,), "epochs": 3, "random_state": 2, "members": 3, **settings}
    return models.FNNRegressor(**chosen).fit(X, Y)


def single(member: int) -> models.FNNRegressor:
    return models.FNNRegressor(hidden=(4,), epochs=3, random_state=2 + member, threads=1).fit(X, Y)


def test_members_are_the_estimators_of_their_seeds() -> None:
    found, deviation = regressor().predict(X, return_std=True)
    own = np.stack([single(k).predict(X) for k in range(3)])
    np.testing.assert_allclose(found, own.mean(axis=0))
    np.testing.assert_allclose(deviation, own.std(axis=0))
    assert found.shape == deviation.shape == (60,)


def test_probabilities_are_averaged() -> None:
    classes = np.array(["a", "b", "c"])[np.digitize(Y, [4.0, 6.0])]
    settings: dict[str, Any] = {"hidden": (4,), "epochs": 3}
    whole = models.FNNClassifier(**settings, random_state=0, members=2).fit(X, classes)
    own = [
        models.FNNClassifier(**settings, random_state=k, threads=1).fit(X, classes)
        for k in range(2)
    ]
    mean = np.mean([each.predict_proba(X) for each in own], axis=0)
    np.testing.assert_allclose(whole.predict_proba(X), mean, rtol=1e-6)
    assert (whole.predict(X) == whole.classes_[mean.argmax(axis=1)]).all()


def test_bags_differ_and_repeat() -> None:
    plain, bagged = regressor(), regressor(bagging=True)
    _, spread = bagged.predict(X, return_std=True)
    assert not np.allclose(bagged.predict(X), plain.predict(X)) and spread.mean() > 0
    np.testing.assert_array_equal(regressor(bagging=True).predict(X), bagged.predict(X))


def test_each_member_stops_early_by_itself_and_keeps_its_best() -> None:
    found = regressor(early_stopping=True, patience=2, epochs=60, learning_rate=0.3)
    epochs = found.session.epoch_count
    assert len(set(epochs.tolist())) > 1 and found.n_iter_ == epochs.max()
    held = found.validation_curve_
    assert len(held) == found.n_iter_ and np.isfinite(held).all()


def test_settings_survive_pickling() -> None:
    found = regressor(bagging=True)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(X), found.predict(X))
    assert again.get_params()["members"] == 3


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="one member has no deviation"):
        single(0).predict(X, return_std=True)
    with pytest.raises(ValueError, match="members must be a positive integer"):
        regressor(members=0)


def test_workers_of_joblib_do_not_take_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    joblib = pytest.importorskip("joblib", reason="comes with scikit-learn")
    monkeypatch.setattr("staticflow.session.session.granted_threads", lambda: 3)

    def threads(_: int) -> int:
        estimator = models.FNNRegressor(hidden=(2,), epochs=1).fit(X, Y)
        return int(estimator.session.threads)

    assert threads(0) == 3
    pool = joblib.Parallel(n_jobs=2, backend="threading")
    assert pool(joblib.delayed(threads)(k) for k in range(2)) == [1, 1]
