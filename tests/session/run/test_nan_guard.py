"""NaN in a fit: where it is found, what is done, and what the values are afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.cli.main import main

ROWS, BATCH = 44, 8  # the last batch of an epoch has 4 rows
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
T = RNG.normal(size=(ROWS, 1)).astype("float32")


def regression(threads: int = 1, **options: Any) -> sf.Session:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    y = models.FNN([4, 16, 1], norm="batch")(x)
    return sf.Session(
        loss=ops.mse(y, t), outputs={"y": y}, metrics={"mae": ops.mae(y, t)},
        optimizer=sf.optim.Adam(1e-2), threads=threads, **options,
    )  # fmt: skip


def values(session: sf.Session) -> dict[str, np.ndarray]:
    live = {**session.params, **session.states, **session._state.slots}
    return {name: np.array(array) for name, array in live.items()}


def assert_equal(session: sf.Session, other: sf.Session) -> None:
    assert session.step_count == other.step_count
    for name, array in values(session).items():
        np.testing.assert_array_equal(array, values(other)[name], err_msg=name)


def with_nan(row: int) -> np.ndarray:
    x = X.copy()
    x[row, 2] = np.nan
    return x


def batches(x: np.ndarray) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    cuts = range(0, ROWS, BATCH)
    return lambda: ({"x": x[i : i + BATCH], "t": T[i : i + BATCH]} for i in cuts)


def fit(session: sf.Session, data: Any, **options: Any) -> sf.History:
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "progress": False, **options}
    return session.fit(data, **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("row", [0, 25, 43])
@pytest.mark.parametrize("stream", [False, True])
def test_a_fit_stops_before_the_update(threads: int, row: int, stream: bool) -> None:
    bad = {"x": with_nan(row), "t": T}
    twin, session = regression(threads), regression(threads)
    for each in (twin, session):
        fit(each, {"x": X, "t": T}, epochs=2)
    if row >= BATCH:
        whole = row // BATCH * BATCH
        fit(twin, {"x": X[:whole], "t": T[:whole]}, epochs=1)
    step = row // BATCH + 1
    text = f"the loss is NaN in step {step} of epoch 1, training step {12 + step}\n"
    with pytest.warns(RuntimeWarning, match=text) as found:
        history = fit(session, batches(bad["x"]) if stream else bad)
    at = (row % BATCH if stream else row, 2)
    assert f"those of step {11 + step}; input 'x' holds NaN, the first at {at}" in str(found[0])
    assert found[0].filename == __file__
    assert len(history.epochs) == 1
    assert all(np.isnan(list(history.epochs[0].values())))
    assert_equal(session, twin)


def test_epochs_before_it_are_in_the_history() -> None:
    x = sf.input("x", ("batch",))
    count = sf.state("count", ())
    sf.update(count, count + 1.0)
    w = sf.param("w", (), init="ones")
    loss = ops.mean(ops.sqrt(7.5 - count) * w * x)
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.0))
    with pytest.warns(RuntimeWarning, match="step 1 of epoch 5, training step 9"):
        history = session.fit({"x": np.ones(4)}, 9, 2, progress=False)
    assert np.isfinite(history.curve("loss")).tolist() == [True] * 4 + [False]
    assert session.epoch_count == 4


@pytest.mark.parametrize("stream", [False, True])
def test_raise(stream: bool) -> None:
    session = regression()
    data = batches(with_nan(25)) if stream else {"x": with_nan(25), "t": T}
    with pytest.raises(sf.NumericsError, match=r"(?s)step 4 of epoch 1.*lower the learning rate"):
        fit(session, data, on_nan="raise")
    assert session.step_count == 3
    assert np.isfinite(fit(session, {"x": X, "t": T}).epochs[-1]["loss"])


@pytest.mark.parametrize("stream", [False, True])
def test_ignore(stream: bool) -> None:
    session = regression()
    data = batches(with_nan(25)) if stream else {"x": with_nan(25), "t": T}
    history = fit(session, data, on_nan="ignore")
    assert np.isnan(history.curve("loss")).tolist() == [True] * 3
    assert session.step_count == 18


def test_other_words_are_refused() -> None:
    with pytest.raises(sf.GraphError, match="pass one of 'stop', 'raise', 'ignore'"):
        fit(regression(), {"x": X, "t": T}, on_nan="warn")


def root(rows: int, zero: int) -> tuple[sf.Session, dict[str, np.ndarray]]:
    """The gradient at a row of 0 is NaN, and the loss is not."""
    x = sf.input("x", ("batch",))
    w = sf.param("w", (), init="ones")
    loss = ops.mean(ops.sqrt(ops.square(w * x)))
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-3), threads=1)
    data = np.ones(rows)
    data[zero] = 0.0
    return session, {"x": data}


def test_values_are_put_back_if_a_gradient_was_nan() -> None:
    session, data = root(8_000_000, 7_999_000)  # some 0.5 s on a fast machine
    with pytest.warns(RuntimeWarning, match="training step 7999002\n") as found:
        session.fit(data, 1, 1, shuffle=False, progress=False)
    text = re.search(r"again those of step (\d+), ([\d.]+) s before", str(found[0].message))
    assert text and int(text[1]) == session.step_count
    assert 0 < session.step_count <= 7_999_000, "copies are made while a fit runs"
    assert float(text[2]) < 1.0, "0.1 on an idle machine"
    assert all(np.isfinite(array).all() for array in values(session).values())
    twin, _ = root(4, 0)
    twin.fit({"x": np.ones(session.step_count)}, 1, 1, shuffle=False, progress=False)
    assert_equal(session, twin)


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_step_is_looked_at_as_well(stream: bool) -> None:
    session, data = root(6, 5)
    given = (lambda: ({"x": data["x"][i : i + 1]} for i in range(6))) if stream else data
    with pytest.warns(RuntimeWarning, match="at the end of epoch 1, after training step 6"):
        history = session.fit(given, 1, 1, shuffle=False, progress=False)
    assert np.isfinite(history.epochs[0]["loss"])
    assert np.isfinite(session.params["w"]) and session.step_count < 6


def test_infinite_values_from_the_start_are_no_fault() -> None:
    x = sf.input("x", ("batch",))
    largest, low = sf.state("largest", ()), sf.state("low", (2,))
    sf.update(largest, ops.maximum(largest, ops.max(x)))
    w = sf.param("w", (), init="ones")
    loss = ops.square(w - x).mean() + 0.0 * ops.exp(low).sum()
    session = sf.Session(loss=loss, outputs={"m": largest}, optimizer=sf.optim.SGD(0.1))
    for name in ("largest", "low"):
        session.states[name][...] = -np.inf
    session.fit({"x": np.arange(8.0)}, 3, 4, progress=False)
    assert session.states["largest"] == 7.0
    assert np.isfinite(session.params["w"])


def test_step_returns_the_nan() -> None:
    assert np.isnan(regression().step({"x": with_nan(3), "t": T}))


def test_check_numerics_raises_first() -> None:
    session = regression(check_numerics=True)
    with pytest.raises(sf.NumericsError, match="input 'x' holds NaN in training step 1"):
        fit(session, {"x": with_nan(3), "t": T})


# -- labels --------------------------------------------------------------------------------------

GAPS = np.where(np.arange(ROWS)[:, None] % 5 == 3, np.nan, T)


def masked(kind: str) -> sf.Session:
    """Sessions that leave rows without a label out, or believe to."""
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    known_input = sf.input("known", ("batch", 1), "bool")
    y = x @ sf.param("w", (4, 1))
    known = {
        "isnan(t)": ops.logical_not(ops.isnan(t)),
        "isnan(y - t)": ops.logical_not(ops.isnan(y - t)),
        "t == t": ops.equal(t, t),
        "an input": known_input,
    }
    if kind == "isfinite, unused":
        loss = ops.square(y - t).mean() + 0.0 * ops.isfinite(t).astype("float32").mean()
    elif kind == "too late":
        loss = ops.where(known["isnan(t)"], ops.square(y - t), 0.0).mean()
    else:
        loss = ops.square(y - ops.where(known[kind], t, y)).mean()
    return sf.Session(loss=loss, outputs={"y": y}, optimizer=sf.optim.SGD(0.1), threads=1)


def feeds(session: sf.Session) -> dict[str, np.ndarray]:
    known = {"known": np.isfinite(GAPS)} if "known" in session._state.graph.training_inputs else {}
    return {"x": X, "t": GAPS, **known}


@pytest.mark.parametrize("kind", ["isnan(t)", "isnan(y - t)", "t == t", "an input"])
def test_labels_that_are_left_out_may_be_nan(kind: str) -> None:
    session = masked(kind)
    assert np.isfinite(session.step(feeds(session)))
    assert np.isfinite(fit(masked(kind), feeds(session)).curve("loss")).all()


@pytest.mark.parametrize(
    ("kind", "what"), [("isfinite, unused", "the loss"), ("too late", "the gradient of 'w'")]
)
def test_labels_that_reach_the_loss_or_a_gradient_may_not(kind: str, what: str) -> None:
    for call in (lambda s: s.step(feeds(s)), lambda s: fit(s, feeds(s))):
        session = masked(kind)
        before = values(session)
        text = f"input 't': a value is NaN, and so is {what}"
        with pytest.raises(sf.GraphError, match=text) as caught:
            call(session)
        assert "nan at position (3, 0), 9 in all" in str(caught.value)
        np.testing.assert_array_equal(values(session)["w"], before["w"])


@pytest.mark.parametrize("masked", [False, True])
def test_labels_whose_rows_are_an_inner_axis(masked: bool) -> None:
    """Time leads; the only row with NaN is the last."""
    x, t = sf.input("x", ("time", "batch", 2)), sf.input("t", ("time", "batch"))
    shift = sf.input("shift", ("batch",))
    y = (x @ sf.param("w", (2, 1)))[:, :, 0] + shift
    loss = ops.square(y - (ops.where(ops.isnan(t), y, t) if masked else t)).mean()
    session = sf.Session(loss=loss, outputs={"y": y}, optimizer=sf.optim.SGD(0.1))
    data = {"x": np.ones((3, 11, 2)), "t": np.ones((3, 11)), "shift": np.ones(11)}
    data["t"][1, 10] = np.nan
    if masked:
        history = session.fit(data, 2, 4, progress=False, batch_axis="batch")
        assert np.isfinite(history.curve("loss")).all()
    else:
        with pytest.raises(sf.GraphError, match=r"(?s)input 't': a value is NaN.*\(1, 10\), 1 in"):
            session.fit(data, 2, 4, progress=False, batch_axis="batch")


def test_labels_are_not_blamed_for_what_parameters_do() -> None:
    session = masked("isnan(t)")
    session.params["w"][0] = np.nan
    assert np.isnan(session.step(feeds(session)))


# -- estimators and the command line -------------------------------------------------------------


def test_estimators_raise_as_scikit_learns_do() -> None:
    pytest.importorskip("sklearn")
    x = 1e18 * X.astype("float64")
    model = models.FNNRegressor(8, standardise=False, learning_rate=1e300, random_state=0)
    with pytest.raises(ValueError, match=r"FNNRegressor: .*NaN.*learning_rate"):
        model.fit(x, T[:, 0])
    assert not model.is_fitted


def test_the_command_line_exits_with_1_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{x},{t}" for (x, *_), (t,) in zip(X.tolist(), T.tolist(), strict=True)]
    Path("data.csv").write_text("\n".join(["x,t", *lines]))
    options = ["--target", "t", "--lr", "1e30", "--optimizer", "sgd", "--no-progress"]
    assert main(["train", "data.csv", *options]) == 1
    assert re.match(r"staticflow: the loss is NaN in step .*; lower --lr", capsys.readouterr().err)
    assert not Path("data.sf").exists()
