"""What leaves an estimator or the command line answers as it did inside, whatever way it takes.

Features and targets have means far from 0 and deviations far from 1, so that a way that forgets to
scale them is far off.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models
from staticflow.cli.main import main

pytest.importorskip("sklearn")

CELLS = ("rnn", "lstm", "gru")
SETTINGS = {"hidden": 6, "epochs": 2, "learning_rate": 0.01, "random_state": 0}

Answer = Callable[[dict[str, np.ndarray]], np.ndarray]


def ways_out(session: sf.Session, fetch: str, folder: Path) -> dict[str, Answer]:
    """Every way to have a fetch of a session computed: a function of the feeds, by name."""

    def of(other: sf.Session) -> Answer:
        return lambda feeds: other.run(fetch, feeds)

    def jitted(other: sf.Session) -> Answer:
        return lambda feeds: other.jit(fetch)(*feeds.values())

    session.save(folder / "model.safetensors")
    loaded = sf.Session.load(folder / "model.safetensors")
    unpickled = pickle.loads(pickle.dumps(session))
    return {
        "run": of(session),
        "call": lambda feeds: session(**feeds)[fetch],
        "jit": jitted(session),
        "load": of(loaded),
        "load, jit": jitted(loaded),
        "pickle": of(unpickled),
        "copy": of(copy.copy(session)),
        "deepcopy": of(copy.deepcopy(session)),
    }


def table(dtype: str) -> np.ndarray:
    """Columns of very different scales, one of them constant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) * [1.0, 500.0, 1e-3, 0.0] + [5.0, 2000.0, 1.0, 0.1]
    return x.astype(dtype)


def estimators() -> list[Any]:
    made = [models.FNNClassifier(**SETTINGS, norm="batch"), models.FNNRegressor(**SETTINGS)]
    for cell in ("tanh", "relu", "lstm", "gru"):
        made += [models.RNNClassifier(cell=cell, **SETTINGS)]
    return [*made, models.RNNRegressor(bidirectional=True, **SETTINGS)]


@pytest.mark.parametrize("estimator", estimators(), ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_way_out_of_an_estimator(estimator: Any, dtype: str, tmp_path: Path) -> None:
    x, column = table(dtype), table("float64")[:, 1]
    y = 1e4 + 3 * column if _regresses(estimator) else None
    target = np.where(column > 2000, "up", "down") if y is None else y
    model = estimator.fit(x, target)
    feeds = {"x": x}
    if model.recurrent:
        feeds = {"x": x[:, :, None], "lengths": np.full(len(x), x.shape[1])}
    fetch = "probabilities" if y is None else "y"
    truth = model.predict_proba(x) if y is None else model.predict(x)[:, None]
    if y is not None:
        assert abs(truth.mean() - y.mean()) < 3 * y.std()
    for name, answer in ways_out(model.session, fetch, tmp_path).items():
        np.testing.assert_allclose(answer(feeds), truth, rtol=1e-5, err_msg=name)
    again = {"pickle": pickle.loads(pickle.dumps(model)), "deepcopy": copy.deepcopy(model)}
    for name, other in again.items():
        found = other.predict_proba(x) if y is None else other.predict(x)[:, None]
        np.testing.assert_array_equal(found, truth, err_msg=name)
        assert other.session.extra == model.session.extra
    if y is None:
        loaded = sf.Session.load(tmp_path / "model.safetensors")
        assert loaded.extra["classes"] == ["down", "up"]


def _regresses(estimator: Any) -> bool:
    return isinstance(estimator, models.FNNRegressor | models.RNNRegressor)


def test_columns_are_in_the_file(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame(table("float64"), columns=["a", "b", "c", "d"])
    model = models.FNNClassifier(**SETTINGS).fit(x, x["b"] > 2000)
    model.session.save(tmp_path / "model.safetensors")
    extra = sf.Session.load(tmp_path / "model.safetensors").extra
    assert extra == {
        "estimator": "FNNClassifier", "features": ["a", "b", "c", "d"], "classes": [False, True]
    }  # fmt: skip


def test_other_data_are_the_same_program() -> None:
    x = table("float64")
    sources = set()
    for fold in range(5):
        rows = np.arange(len(x)) % 5 != fold
        model = models.FNNRegressor(**SETTINGS).fit(x[rows] * (fold + 1), x[rows, 1])
        sources.add(model.session.source)
    assert len(sources) == 1


def test_partial_fit_keeps_the_first_scales() -> None:
    x = table("float64")
    model = models.FNNRegressor(**SETTINGS).partial_fit(x, x[:, 1])
    before = {name: value.copy() for name, value in model.session.states.items()}
    assert set(before) == {"x.mean", "x.scale", "t.mean", "t.scale"}
    model.partial_fit(10 * x, x[:, 0])
    for name, value in model.session.states.items():
        np.testing.assert_array_equal(value, before[name])


def test_partial_fit_refuses_other_classes() -> None:
    x = table("float64")
    model = models.FNNClassifier(**SETTINGS).partial_fit(x, x[:, 0] > 5, classes=[False, True])
    model.partial_fit(x, x[:, 0] > 5, classes=[True, False])
    with pytest.raises(ValueError, match=r"classes=\[0, 1, 2\] are not those of the first call"):
        model.partial_fit(x, x[:, 0] > 5, classes=[0, 1, 2])


def test_targets_far_from_zero_keep_what_they_differ_by() -> None:
    x = table("float32")
    y = 1.6e9 + 3 * table("float64")[:, 0]  # float32 has steps of 128 there
    settings = {**SETTINGS, "epochs": 200}
    model = models.FNNRegressor(**settings).fit(x, y)
    assert model.loss_curve_[-1] < 0.1


# -- the command line ----------------------------------------------------------------------------


def write_csv(target: str) -> Path:
    x = table("float64")
    names = {"class": np.where(x[:, 1] > 2000, "up", "down"), "number": 1e4 + 3 * x[:, 1]}
    lines = [",".join(map(repr, row.tolist())) for row in x]
    cells = [f"{line},{answer}" for line, answer in zip(lines, names[target], strict=True)]
    path = Path(f"{target}.csv")
    path.write_text("\n".join([f"a,b,c,d,{target}", *cells]) + "\n")
    return path


def answers(model: str, source: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """What `staticflow predict` prints."""
    options = ["--probabilities"] if source == "class.csv" else []
    capsys.readouterr()
    assert main(["predict", model, source, *options]) == 0
    return [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]


@pytest.mark.parametrize("kind", ["fnn", *CELLS])
@pytest.mark.parametrize("target", ["class", "number"])
def test_every_way_out_of_a_table(
    kind: str,
    target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(write_csv(target))
    quick = ["--epochs", "2", "--hidden", "6", "--no-progress", "--no-plot", "--model", kind]
    assert main(["train", source, "--target", target, *quick, "--out", "model.sf"]) == 0
    printed = answers("model.sf", source, capsys)
    truth = np.array([row[1:] if target == "class" else row for row in printed], float)
    session = sf.Session.load("model.sf")
    fields = session.extra["fields"]
    assert fields["features"] == ["a", "b", "c", "d"]
    assert fields["classes"] == (["down", "up"] if target == "class" else None)
    x = table("float64")
    feeds = {"x": x if kind == "fnn" else x[:, :, None]}
    fetch = "probabilities" if target == "class" else "prediction"
    for name, answer in ways_out(session, fetch, tmp_path).items():
        found = answer(feeds).reshape(truth.shape)
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-6, err_msg=name)


def test_every_way_out_of_a_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    values = 1000 + 50 * np.sin(np.arange(80) / 3)
    Path("series.csv").write_text("\n".join(["t", *map(repr, values.tolist())]) + "\n")
    quick = ["--epochs", "2", "--hidden", "6", "--no-progress", "--no-plot", "--out", "model.sf"]
    assert main(["train", "series.csv", "--target", "t", "--window", "5", *quick]) == 0
    ((ahead,),) = answers("model.sf", "series.csv", capsys)
    session = sf.Session.load("model.sf")
    feeds = {"x": values[-5:].reshape(1, 5, 1)}
    for name, answer in ways_out(session, "prediction", tmp_path).items():
        np.testing.assert_allclose(answer(feeds), [float(ahead)], rtol=1e-5, err_msg=name)
