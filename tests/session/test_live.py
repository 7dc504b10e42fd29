"""Every attribute of a session that can be assigned counts from the next step on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.optim import algorithms as optim

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
FED = {"x": X, "t": X[:, :1]}


def session_of(optimizer: Any = None, **options: Any) -> sf.Session:
    x, t = sf.input("x", ("batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([3, 8, 1])(x)
    return sf.Session(
        loss=ops.mse(y, t), outputs={"y": y, "noise": ops.random.normal((4,))},
        metrics={"mae": ops.mae(y, t)}, optimizer=optimizer, seed=0, **options,
    )  # fmt: skip


def assert_equal(a: sf.Session, b: sf.Session) -> None:
    for name in a.params:
        np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)


CHANGES = [
    (optim.Adam(0.1), optim.Adam(0.01)),
    (optim.Adam(0.1), optim.Adam(optim.exponential(0.1, 0.5))),
    (optim.Adam(0.1), optim.Adam(0.1, betas=(0.5, 0.9), weight_decay=0.1)),
    (optim.Adam(0.1), optim.AdamW(0.1)),
    (optim.SGD(0.1, momentum=0.9), optim.SGD(0.1)),
    (optim.Adam(0.1), optim.SGD(0.1, momentum=0.9)),
    (None, optim.Lion(0.1)),
]


@pytest.mark.parametrize(("first", "then"), CHANGES, ids=lambda o: repr(o)[:40])
def test_an_optimizer_counts_from_the_next_step(first: Any, then: Any) -> None:
    """As in a session that has had it from the start, with these values and slots."""
    session, other = session_of(first), session_of(then)
    if first is not None:
        session.step(FED)
        for name, value in session.params.items():
            other.params[name][...] = value
        if isinstance(first, type(then)) or isinstance(then, type(first)):
            for name in other._state.slots.keys() & session._state.slots.keys():
                other._state.slots[name][:] = session._state.slots[name]
        other.step_count = session.step_count
    session.optimizer = then
    assert session.step(FED) == other.step(FED)
    session.fit(FED, 2, 8, progress=False)
    other.fit(FED, 2, 8, progress=False)
    assert session.step_count == other.step_count > 6
    assert_equal(session, other)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("then", [optim.Adam(0.0), optim.SGD(0.0, momentum=0.9)])
def test_a_callback_changes_the_next_epoch(stream: bool, then: Any) -> None:
    session = session_of(optim.Adam(0.1))
    seen: list[np.ndarray] = []

    def callback(session: sf.Session, log: dict[str, float]) -> None:
        session.optimizer = then
        session.threads = 1
        seen.append(session.params["fnn.0.weight"].copy())

    data = (lambda: iter([FED])) if stream else FED
    first = session.params["fnn.0.weight"].copy()
    session.fit(data, 3, 8, callbacks=callback, progress=False)
    assert (seen[0] != first).any()
    np.testing.assert_array_equal(seen[2], seen[0])


def test_the_other_settings() -> None:
    session = session_of(optim.Adam(0.1))
    session.fit(FED, 1, 8, progress=False)
    noise = session.run("noise")
    session.seed = 7
    other = session_of(optim.Adam(0.1))
    other.seed = 7
    assert (session.run("noise") != noise).any()
    session.step_count, session.epoch_count, session.extra = 0, 0, {"a": 1}
    session.threads = 1
    session.run("y", {"x": X})
    session.check_numerics = True
    with pytest.raises(sf.NumericsError, match="input 'x' holds NaN"):
        session.step({"x": X * np.nan, "t": X[:, :1]})
    with pytest.raises(sf.NumericsError, match="input 'x' holds NaN"):
        session.run("y", {"x": X * np.nan})
    session.check_numerics = False
    assert np.isnan(session.run("y", {"x": X * np.nan})).all()


def test_a_seed_is_as_from_the_start() -> None:
    x = sf.input("x", ("batch", 3))
    y = models.FNN([3, 8, 1], dropout=0.5)(x)
    params = sf.Session(outputs=y, seed=1).params
    options = {"loss": ops.square(y).mean(), "params": params, "optimizer": optim.SGD(0.1)}
    one, other = sf.Session(**options, seed=5), sf.Session(**options, seed=0)
    other.seed = 5
    for each in (one, other):
        each._state.rng = np.random.default_rng(5)
        each.fit({"x": X}, 2, 8, progress=False)
    assert_equal(one, other)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", None, "make another session"),
        ("outputs", {}, "make another session"),
        ("metrics", {}, "make another session"),
        ("inputs", {}, "make another session"),
        ("params", {}, "write into it"),
        ("states", {}, "write into it"),
        ("lr", 0.1, "the learning rate is the optimizer's"),
        ("optimizer", 0.1, r"must be one of sf\.optim"),
        ("seed", -1, "the seed must be an integer"),
        ("threads", 0, "threads must be an integer"),
        ("step_count", 1.5, "must be an integer"),
        ("extra", [], "a dict of plain data"),
    ],
)
def test_what_cannot_be_set_is_refused(name: str, value: Any, text: str) -> None:
    session = session_of(optim.SGD(0.1))
    with pytest.raises(sf.GraphError, match=text):
        setattr(session, name, value)
    assert np.isfinite(session.step(FED))


def test_outputs_and_metrics_cannot_be_changed_in_place() -> None:
    session = session_of()
    for fixed in (session.outputs, session.metrics):
        for change in (
            lambda d: d.update(z=1), lambda d: d.__setitem__("z", 1), lambda d: d.pop("y", None),
            lambda d: d.clear(), lambda d: d.setdefault("z", 1), lambda d: d.__ior__({"z": 1}),
        ):  # fmt: skip
            with pytest.raises(sf.GraphError, match="cannot be changed"):
                change(fixed)
