"""The estimators: scikit-learn's own checks, real data, early stopping, sequences, pickling."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models
from tests.support.places import ROOT

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits, make_regression  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

FAST = {"hidden": 8, "epochs": 5, "learning_rate": 0.01, "random_state": 0}


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        models.FNNClassifier(),
        models.FNNRegressor(),
        models.RNNClassifier(hidden=16, cell="gru", learning_rate=0.01),
        models.RNNRegressor(hidden=16, cell="gru", learning_rate=0.01),
    ],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 45


def digits(dtype: str = "float32") -> tuple[np.ndarray, ...]:
    x, y = load_digits(return_X_y=True)
    return tuple(train_test_split(x.astype(dtype), y, test_size=0.2, stratify=y, random_state=0))


def test_classifier_on_digits() -> None:
    x, x_test, y, y_test = digits()
    model = models.FNNClassifier(hidden=(64, 32), epochs=30, random_state=1).fit(x, y)
    assert model.score(x_test, y_test) > 0.95
    assert model.predict_proba(x_test).dtype == np.float32
    np.testing.assert_allclose(model.predict_proba(x_test).sum(axis=1), 1.0, rtol=1e-5)
    assert model.n_iter_ == len(model.loss_curve_) == 30
    assert model.loss_curve_[-1] < 0.1 * model.loss_curve_[0]


def test_early_stopping_keeps_the_best() -> None:
    x, x_test, y, y_test = digits()
    model = models.FNNClassifier(
        learning_rate=0.02, epochs=500, early_stopping=True, patience=4, random_state=1
    ).fit(x, y)
    curve = model.validation_curve_
    assert model.n_iter_ == len(curve) < 500
    assert np.argmin(curve) == len(curve) - 1 - 4
    assert model.score(x_test, y_test) > 0.93


def test_regressor_with_one_output_and_with_several() -> None:
    x, y = make_regression(300, 6, n_targets=2, noise=1.0, random_state=0)
    y = 1000.0 + 50.0 * y  # far from mean 0 and deviation 1
    model = models.FNNRegressor(epochs=60, learning_rate=0.01, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.98
    assert model.predict(x).shape == (300, 2)
    assert model.fit(x, y[:, 0]).score(x, y[:, 0]) > 0.98
    assert model.predict(x).shape == (300,)


def test_classes_of_any_type() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = np.where(x[:, 0] > 0, "right", "left")
    model = models.FNNClassifier(8, epochs=60, learning_rate=0.05, random_state=0).fit(x, y)
    assert model.classes_.tolist() == ["left", "right"]
    assert model.score(x, y) > 0.95


def test_the_same_seed_gives_the_same_bits() -> None:
    x, _, y, _ = digits()
    runs = [models.FNNClassifier(**FAST, dropout=0.1).fit(x, y).predict_proba(x) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    other = models.FNNClassifier(**FAST | {"random_state": 1}).fit(x, y).predict_proba(x)
    assert (other != runs[0]).any()


def test_pickle_and_clone() -> None:
    x, _, y, _ = digits()
    model = models.FNNClassifier(**FAST, norm="batch").fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not fresh.is_fitted


def test_partial_fit_goes_on() -> None:
    x, _, y, _ = digits()
    model = models.FNNClassifier(hidden=32, random_state=0)
    model.partial_fit(x[:20], y[:20], classes=np.arange(10))
    before = model.score(x, y)
    for _ in range(5):
        model.partial_fit(x, y)
    assert model.n_iter_ == 6
    assert model.score(x, y) > max(before, 0.9)
    with pytest.raises(ValueError, match="has the class 11, which is not among"):
        model.partial_fit(x, y + 2)


def test_grid_search() -> None:
    x, _, y, _ = digits()
    search = GridSearchCV(models.FNNClassifier(**FAST), {"activation": ["relu", "tanh"]}, cv=2)
    assert search.fit(x, y).best_score_ > 0.5


def test_an_optimizer_of_ones_own() -> None:
    x, _, y, _ = digits()
    optimizer = sf.optim.SGD(sf.optim.cosine(0.1, 200), momentum=0.9)
    model = models.FNNClassifier(optimizer=optimizer, epochs=5, random_state=0).fit(x, y)
    assert model.session.optimizer is optimizer
    assert model.score(x, y) > 0.9


# -- sequences -----------------------------------------------------------------------------------


def ragged(count: int = 200) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences of different lengths, and whether their sum is positive."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n, 2)) + rng.normal() for n in rng.integers(1, 9, count)]
    return rows, np.array([row.sum() > 0 for row in rows])


def test_rnn_classifier_on_lists_of_arrays() -> None:
    x, y = ragged()
    model = models.RNNClassifier(16, "gru", epochs=40, learning_rate=0.02, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.9
    alone = np.concatenate([model.predict_proba([row]) for row in x[:10]])
    np.testing.assert_allclose(model.predict_proba(x[:10]), alone, rtol=1e-9)


def test_rnn_regressor_on_an_array() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5, 2))
    y = x.sum(axis=(1, 2))
    model = models.RNNRegressor(16, "lstm", epochs=60, learning_rate=0.02, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.95
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(np.zeros((4, 5, 3)))


def test_series_of_numbers() -> None:
    x = [np.arange(n, dtype=float) for n in (2, 3, 5, 4)]
    model = models.RNNRegressor(4, epochs=2, random_state=0).fit(x, [1.0, 2.0, 3.0, 4.0])
    assert model.n_features_in_ == 1
    assert model.predict(x).shape == (4,)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ([np.zeros((2, 3)), np.zeros((2, 4))], "same features"),
        ([np.zeros((2, 3)), np.full((2, 3), np.nan)], "sequence 1 contains NaN"),
        ([np.array([["a"]]), np.array([["b"], ["c"]])], "must be of numbers"),
    ],
)
def test_bad_sequences(x: list[np.ndarray], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        models.RNNClassifier(**FAST).fit(x, [0, 1])


def test_too_few_rows_to_hold_out() -> None:
    model = models.FNNClassifier(**FAST, early_stopping=True)
    with pytest.raises(ValueError, match="cannot be held out"):
        model.fit(np.eye(3), [0, 1, 2])


def test_without_scikit_learn() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from staticflow.models import FNNClassifier, FNNRegressor
x = np.random.default_rng(0).normal(size=(80, 3))
model = FNNClassifier(8, epochs=40, learning_rate=0.05, random_state=0).fit(x, x[:, 0] > 0)
assert model.score(x, x[:, 0] > 0) > 0.9, model.score(x, x[:, 0] > 0)
assert model.set_params(epochs=3).get_params()["epochs"] == 3
model = FNNRegressor(16, epochs=60, learning_rate=0.02, random_state=0).fit(x, x[:, 1])
assert model.score(x, x[:, 1]) > 0.9
for call, text in [
    (lambda: FNNRegressor().predict(x), "not fitted"),
    (lambda: model.predict(x[:, :2]), "X has 2 features, but FNNRegressor expects 3"),
    (lambda: model.fit(x, x[:3, 0]), "X has 80 samples and y has 3"),
    (lambda: model.fit(x * np.nan, x[:, 0]), "NaN or infinity"),
    (lambda: FNNClassifier().fit(x, x[:, 0]), "use a regressor"),
    (lambda: model.set_params(epoch=3), "no setting 'epoch'"),
]:
    try:
        call()
    except ValueError as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
