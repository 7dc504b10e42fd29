"""Fits of several members: each is the fit of its own session, bit for bit."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
T = np.tanh(X @ RNG.normal(size=(3, 1))).astype(np.float32)
DATA = {"x": X, "t": T}
MEMBERS = 4


def made(
    optimizer: Any = None, dropout: Any = 0.0, norm: str | None = None, **settings: Any
) -> sf.Session:
    x, t = sf.input("x", ("batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([3, 5, 1], dropout=dropout, norm=norm)(x)
    error = ops.mean(ops.abs(y - t))
    return sf.Session(
        loss=ops.mse(y, t),
        outputs={"y": y},
        metrics={"error": error},
        optimizer=sf.optim.Adam(1e-2) if optimizer is None else optimizer,
        **settings,
    )


def check_equal(whole: sf.Session, history: Any, singles: Any) -> None:
    """Members are what sessions of their own have become, and logged the same."""
    for k, (single, own) in enumerate(singles):
        for name in (*single.params, *single.states):
            store, other = (
                (whole.params, single.params)
                if name in single.params
                else (whole.states, single.states)
            )
            np.testing.assert_array_equal(store[name][k], other[name], f"{name} of {k}")
        for log, expected in zip(history, own, strict=True):
            assert {name: value[k] for name, value in log.items()} == expected


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_member_is_the_session_of_its_seed(
    threads: int, norm: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("staticflow.session.run.member_steps.granted_threads", lambda: threads)
    options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "progress": False, "shuffle": "own"}
    whole = made(norm=norm, members=MEMBERS, seed=7, threads=threads, dropout=0.2)
    history = whole.fit(DATA, validation_data=DATA, **options)
    singles = []
    for k in range(MEMBERS):
        single = made(norm=norm, seed=7 + k, threads=1, dropout=0.2)
        singles.append((single, single.fit(DATA, validation_data=DATA, **options)))
    check_equal(whole, history, singles)
    np.testing.assert_array_equal(whole.step_count, 12)
    np.testing.assert_array_equal(whole.epoch_count, 3)


def test_an_order_of_rows_is_shared() -> None:
    whole = made(members=2, seed=1)
    whole.params["fnn.0.weight"] = whole.params["fnn.0.weight"][0]
    whole.params["fnn.1.weight"] = whole.params["fnn.1.weight"][0]
    whole.fit(DATA, epochs=2, batch_size=8, progress=False)
    first, second = whole.params["fnn.0.weight"]
    np.testing.assert_array_equal(first, second)
    single = made(seed=1, threads=1)
    single.fit(DATA, epochs=2, batch_size=8, progress=False)
    np.testing.assert_array_equal(first, single.params["fnn.0.weight"])


@pytest.mark.parametrize("shuffle", [False, "own"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_member_has_rows_of_its_own(shuffle: Any, accumulate: int) -> None:
    chosen = [np.arange(40), np.array([3, 3, 9]), np.arange(49, 0, -1), np.arange(33)]
    options: dict[str, Any] = {
        "epochs": 2, "batch_size": 16, "progress": False, "shuffle": shuffle,
        "accumulate": accumulate,
    }  # fmt: skip
    whole = made(members=MEMBERS, seed=2)
    history = whole.fit(DATA, rows=chosen, **options)
    singles = []
    for k, rows in enumerate(chosen):
        single = made(seed=2 + k, threads=1)
        singles.append((single, single.fit({"x": X[rows], "t": T[rows]}, **options)))
    check_equal(whole, history, singles)


def test_masks_are_rows_in_order_and_data_may_be_a_members_own() -> None:
    masks = RNG.random((MEMBERS, 50)) < 0.6
    own = T + np.arange(MEMBERS, dtype=np.float32)[:, None, None]
    options: dict[str, Any] = {"epochs": 2, "progress": False, "shuffle": "own"}
    whole = made(members=MEMBERS)
    history = whole.fit({"x": X, "t": own}, rows=masks, **options)
    singles = []
    for k in range(MEMBERS):
        single = made(seed=k, threads=1)
        data = {"x": X[masks[k]], "t": own[k][masks[k]]}
        singles.append((single, single.fit(data, **options)))
    check_equal(whole, history, singles)


def test_other_sizes_of_data_follow_each_other() -> None:
    whole, single = made(members=2), made(threads=1)
    for count in (50, 37, 16, 5, 50):
        data = {"x": X[:count], "t": T[:count]}
        for session in (whole, single):
            session.fit(data, batch_size=16, progress=False, shuffle=False)
    np.testing.assert_array_equal(whole.params["fnn.0.weight"][0], single.params["fnn.0.weight"])


@pytest.mark.parametrize("decoupled", [False, True])
def test_members_have_rates_and_decays_of_their_own(decoupled: bool) -> None:
    kind = sf.optim.AdamW if decoupled else sf.optim.Adam
    rates, decays = [1e-1, 1e-2, 1e-3], np.array([0.0, 0.1, 0.5])
    options: dict[str, Any] = {"epochs": 2, "progress": False, "shuffle": "own"}
    optimizer = kind(sf.optim.cosine(rates, steps=3), weight_decay=decays)
    whole = made(optimizer, members=3)
    history = whole.fit(DATA, **options)
    singles = []
    for k in range(3):
        own = kind(sf.optim.cosine(rates[k], steps=3), weight_decay=float(decays[k]))
        single = made(own, seed=k, threads=1)
        singles.append((single, single.fit(DATA, **options)))
    check_equal(whole, history, singles)
    assert whole.member(1).optimizer.weight_decay == 0.1


def test_members_have_schedules_of_their_own() -> None:
    schedules = [
        sf.optim.cosine(1e-1, steps=3), 1e-2, sf.optim.warmup(2, sf.optim.step(1e-1, every=2)),
        sf.optim.cosine(1e-2, steps=3), lambda done: 0.1 / (1.0 + done),
    ]  # fmt: skip
    options: dict[str, Any] = {"epochs": 2, "progress": False, "shuffle": "own"}
    whole = made(sf.optim.Adam(schedules), members=5)
    history = whole.fit(DATA, **options)
    singles = []
    for k, schedule in enumerate(schedules):
        single = made(sf.optim.Adam(schedule), seed=k, threads=1)
        singles.append((single, single.fit(DATA, **options)))
    check_equal(whole, history, singles)
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.step(DATA), whole.step(DATA))
    with pytest.raises(sf.GraphError, match="settings lr are 5, of 2 members"):
        made(sf.optim.Adam(schedules), members=2)


def test_members_drop_out_at_rates_of_their_own() -> None:
    rates = [0.0, 0.3, 0.6]
    options: dict[str, Any] = {"epochs": 2, "progress": False, "shuffle": "own"}
    whole = made(dropout=rates, members=3)
    history = whole.fit(DATA, **options)
    for k, rate in enumerate(rates):
        alone = made(dropout=[rate], members=1, seed=k)
        own = alone.fit(DATA, **options)
        assert history.epochs[1]["loss"][k] == own.epochs[1]["loss"][0]
        single = made(dropout=rate, seed=k, threads=1)  # whose code has the rate in it
        other = single.fit(DATA, **options)
        losses = [float(loss[0]) for loss in own.curve("loss")]
        np.testing.assert_allclose(other.curve("loss"), losses, rtol=1e-5)
    with pytest.raises(sf.GraphError, match="each of 3 members"):
        made(dropout=rates)


def test_a_member_whose_loss_is_nan_stops_alone_and_is_named() -> None:
    own = np.stack([T] * 3)
    own[1, 33] = np.inf
    whole = made(members=3)
    start = whole.params["fnn.0.weight"].copy()
    with pytest.warns(RuntimeWarning, match="the loss of member 1 is NaN in step 3 of epoch 1"):
        x = np.stack([X] * 3)
        x[1, 33] = np.nan
        history = whole.fit(
            {"x": x, "t": T}, epochs=3, batch_size=16, progress=False, shuffle=False
        )
    np.testing.assert_array_equal(whole.step_count, [12, 2, 12])
    assert len(history) == 3
    losses = np.array(history.curve("loss"))
    assert np.isnan(losses[:, 1]).all() and np.isfinite(losses[:, [0, 2]]).all()
    assert np.isfinite(whole.params["fnn.0.weight"]).all()
    assert not np.array_equal(whole.params["fnn.0.weight"][1], start[1])
    with pytest.raises(sf.NumericsError, match="member 1"):
        whole.fit({"x": x, "t": T}, on_nan="raise", progress=False)


def test_callbacks_stop_members() -> None:
    whole = made(members=3)
    seen: list[Any] = []

    def stop(session: sf.Session, log: Any) -> Any:
        seen.append(log["loss"])
        return np.array([len(seen) >= 1, len(seen) >= 2, False])

    history = whole.fit(DATA, epochs=4, progress=False, callbacks=stop)
    np.testing.assert_array_equal(whole.epoch_count, [1, 2, 4])
    assert [int(np.isnan(log["loss"]).sum()) for log in history] == [0, 1, 2, 2]
    whole.fit(DATA, epochs=4, progress=False, callbacks=lambda session, log: True)
    np.testing.assert_array_equal(whole.epoch_count, [2, 3, 5])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_come_from_an_iterator(accumulate: int) -> None:
    def batches() -> Any:
        return iter([{"x": X[i : i + 20], "t": T[i : i + 20]} for i in (0, 20, 40)])

    whole = made(members=2)
    history = whole.fit(batches, epochs=2, progress=False, accumulate=accumulate)
    singles = []
    for k in range(2):
        single = made(seed=k, threads=1)
        singles.append((single, single.fit(batches, epochs=2, progress=False,
                                           accumulate=accumulate)))  # fmt: skip
    check_equal(whole, history, singles)


def test_steps_and_accumulated_gradients() -> None:
    whole, single = made(members=2), made(seed=1, threads=1)
    feeds = {"x": X[:9], "t": T[:9]}
    assert whole.step(feeds)[1] == single.step(feeds)
    for _ in range(2):
        assert whole.accumulate(feeds)[1] == single.accumulate(feeds)
    with pytest.raises(sf.GraphError, match="gradients have been accumulated"):
        whole.fit(DATA, progress=False)
    assert whole.apply()[1] == single.apply()
    gradient = whole.gradients(feeds)["fnn.0.weight"]
    np.testing.assert_array_equal(gradient[1], single.gradients(feeds)["fnn.0.weight"])
    np.testing.assert_array_equal(whole.params["fnn.1.bias"][1], single.params["fnn.1.bias"])


def test_numbers_are_checked() -> None:
    whole = made(members=2, check_numerics=True)
    plain = made(members=2)
    for session in (whole, plain):
        session.fit(DATA, epochs=2, batch_size=16, progress=False, shuffle="own")
    np.testing.assert_allclose(
        whole.params["fnn.0.weight"], plain.params["fnn.0.weight"], rtol=1e-5
    )
    whole.params["fnn.0.weight"][1] = np.nan
    with pytest.raises(sf.NumericsError):
        whole.fit(DATA, progress=False)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rows": np.zeros((3, 4), int)}, "lists of rows are 3, of 2 members"),
        ({"rows": np.full((2, 4), 50)}, "member 0 has a row that is not there"),
        ({"rows": np.zeros((2, 50), bool)}, "member 0 has no rows"),
        ({"rows": np.zeros((2, 4))}, "neither indices nor a mask"),
        ({"rows": 3}, "rows are indices or masks"),
        ({"shuffle": "mine"}, "shuffle says in which order"),
        ({"callbacks": lambda s, log: np.array([True, False, True])}, "which members stop"),
    ],
)
def test_what_is_refused(settings: Any, match: str) -> None:
    whole = made(members=2)
    with pytest.raises(sf.GraphError, match=match):
        whole.fit(DATA, progress=False, **settings)


def test_arrays_of_another_length_are_refused_by_name() -> None:
    with pytest.raises(sf.GraphError, match="settings lr are 3, of 2 members"):
        made(sf.optim.Adam([1e-3, 1e-2, 1e-1]), members=2)
    with pytest.raises(sf.GraphError, match="settings weight_decay are 3, of 2 members"):
        made(sf.optim.Adam(weight_decay=[0.0, 0.1, 0.2]), members=2)
    whole = made(members=2)
    with pytest.raises(sf.GraphError, match="arrays for input 'x' are 3, of 2 members"):
        whole.fit({"x": np.stack([X] * 3), "t": T}, progress=False)
    with pytest.raises(sf.GraphError, match=r"values of 'fnn\.0\.bias' are 3, of 2 members"):
        whole.params["fnn.0.bias"] = np.zeros((3, 5))
    with pytest.raises(sf.GraphError, match="settings lr of 2 members"):
        made(sf.optim.Adam([1e-3, 1e-2]))


def test_ctrl_c_leaves_whole_steps() -> None:
    whole = made(members=3, threads=2)

    def interrupt(session: sf.Session, log: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), warnings.catch_warnings():
        whole.fit(DATA, epochs=9, batch_size=16, progress=False, callbacks=interrupt)
    np.testing.assert_array_equal(whole.step_count, 4)


def test_rows_in_blocks_and_terms_of_other_data() -> None:
    def pair(**settings: Any) -> sf.Session:
        x, b = sf.input("x", ("batch", 4)), sf.input("b", ("m", 4))
        net = models.FNN([4, 32, 16, 2], activation="tanh")
        loss = (net(x) ** 2).mean() + 10.0 * ((net(b) - 1.0) ** 2).mean()
        return sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2), **settings)

    rows = RNG.normal(size=(5000, 4)).astype(np.float32)
    own = np.stack([rows[:30], rows[30:60]])
    options: dict[str, Any] = {
        "epochs": 2, "batch_size": 3000, "progress": False, "shuffle": "own", "batch_axis": "batch",
    }  # fmt: skip
    whole, single = pair(members=2, threads=2), pair(seed=1, threads=1)
    whole.fit({"x": rows, "b": own}, **options)
    single.fit({"x": rows, "b": own[1]}, **options)
    for name, values in single.params.items():
        np.testing.assert_array_equal(whole.params[name][1], values)
