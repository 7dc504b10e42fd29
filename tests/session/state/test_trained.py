"""Training a part of the parameters, and what the loss does not reach."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.optim import algorithms as optim

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
OPTIMIZERS = [
    optim.AdamW(0.1, weight_decay=0.5),
    optim.Adam(0.1, weight_decay=0.5),
    optim.SGD(0.1, momentum=0.9, weight_decay=0.5, clip_norm=1.0),
    optim.Lion(0.1, weight_decay=0.5),
    optim.RMSProp(0.1, centered=True, weight_decay=0.5),
    optim.Adagrad(0.1, weight_decay=0.5),
]


def gan(**options: Any) -> tuple[sf.Session, models.FNN, models.FNN]:
    """A generator's loss: what a discriminator says of what it makes."""
    z = sf.input("z", ("batch", 3))
    generator = models.FNN([3, 5, 2], name="generator")
    discriminator = models.FNN([2, 4, 1], name="discriminator")
    loss = ops.softplus(-discriminator(generator(z))).mean()
    return sf.Session(loss=loss, seed=0, **options), generator, discriminator


def moved(session: sf.Session, feeds: dict[str, np.ndarray] | None = None) -> set[str]:
    """The parameters that a few steps change."""
    before = {name: value.copy() for name, value in session.params.items()}
    session.fit(feeds or {"z": X}, epochs=3, batch_size=6, progress=False)
    return {name for name, value in session.params.items() if (value != before[name]).any()}


def names(session: sf.Session, prefix: str) -> set[str]:
    return {name for name in session.params if name.startswith(prefix)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "choose",
    [
        lambda g, d: {"train": [g.parameters]},
        lambda g, d: {"train": list(g.parameters.values())},
        lambda g, d: {"train": "generator.*"},
        lambda g, d: {"freeze": [d.parameters]},
        lambda g, d: {"freeze": ["disc*.weight", *(f"discriminator.{k}.bias" for k in (0, 1))]},
        lambda g, d: d.freeze() or {},
    ],
    ids=["dict", "nodes", "pattern", "freeze dict", "freeze names", "net.freeze()"],
)
def test_a_generators_step_leaves_the_discriminator(optimizer: Any, choose: Any) -> None:
    whole, generator, discriminator = gan()
    options = choose(generator, discriminator)
    session = sf.Session(loss=whole.loss, optimizer=optimizer, seed=0, **options)
    assert moved(session) == names(session, "generator")
    assert set(session.gradients({"z": X})) == names(session, "generator")
    assert "NOT TRAINED  discriminator.0.weight, " in session.explain()


def test_a_net_may_be_frozen_before_it_is_called() -> None:
    x = sf.input("x", ("batch", "time", 3))
    encoder = models.RNN(4, "gru", bidirectional=True)
    encoder.freeze()
    head = models.FNN([8, 2], norm="layer")
    session = sf.Session(loss=ops.square(head(encoder(x))).mean(), optimizer=optim.SGD(0.1))
    assert moved(session, {"x": X[:, None]}) == names(session, "fnn")
    assert list(encoder.parameters) == [n for n in session.params if n.startswith("rnn")]


def test_sessions_made_before_are_not_frozen() -> None:
    session, _, discriminator = gan(optimizer=optim.Adam(0.1))
    discriminator.freeze()
    twin = copy.deepcopy(session)
    assert moved(session) == moved(twin) == set(session.params)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train": ["generatr.*"]}, "train: there is no such parameter"),
        ({"freeze": [sf.param("w", (2,))]}, "freeze: there is no such parameter"),
        ({"freeze": [3]}, "freeze: there is no such parameter"),
    ],
)
def test_what_names_nothing_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(sf.GraphError, match=text):
        gan(**options)


def unreached(loss_of: Any, optimizer: Any) -> sf.Session:
    x = sf.input("x", ("batch", 3))
    w, v = sf.param("w", (3, 2)), sf.param("v", (3, 2), init="ones")
    return sf.Session(loss=loss_of(x, w, v), outputs={"v": x @ v}, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "loss_of",
    [
        lambda x, w, v: ops.square(x @ w - 1.0).mean(),
        lambda x, w, v: ops.square(x @ w - ops.stop_gradient(x @ v)).mean(),
        lambda x, w, v: ops.square(x @ w - ops.by_mode(1.0, x @ v)).mean(),
        lambda x, w, v: ops.where(x @ v > 0.0, ops.square(x @ w), 1.0).mean(),
        lambda x, w, v: sf.scan(
            lambda c, row: (c + ops.square(row @ w) + ops.stop_gradient(row @ v), None),
            ops.zeros((2,)), x,
        )[0].sum(),
    ],
    ids=["outputs", "stop_gradient", "inference", "a condition", "stop_gradient in a loop"],
)  # fmt: skip
def test_what_the_loss_does_not_reach_is_left_alone(optimizer: Any, loss_of: Any) -> None:
    session = unreached(loss_of, optimizer)
    assert moved(session, {"x": X}) == {"w"}
    assert session.explain().count("LEFT ALONE  v: the loss does not depend on them") == 1
    assert not session.gradients({"x": X})["v"].any()


def test_a_loss_that_reaches_nothing_is_refused() -> None:
    session = unreached(lambda x, w, v: ops.stop_gradient(x @ w + x @ v).mean(), optim.SGD(0.1))
    with pytest.raises(sf.GraphError, match="does not depend on any parameter that is trained"):
        session.step({"x": X})


def test_a_residual_of_a_derivative_trains() -> None:
    """Its output's bias is in the network, and not in the derivative."""
    x = sf.input("x", ("batch", 2))
    u = models.FNN([2, 8, 1], activation="tanh")(x)
    f = sf.grad(ops.sum(u), x)
    loss = ops.mean(ops.square(f - 1.0))
    session = sf.Session(loss=loss, outputs={"u": u, "f": f}, optimizer=optim.Adam(1e-3))
    alone = sf.Session(loss=loss, optimizer=optim.Adam(1e-3))
    feeds = {"x": X[:, :2]}
    for _ in range(3):
        assert session.step(feeds) == pytest.approx(alone.step(feeds), rel=1e-6)
    assert "LEFT ALONE  fnn.1.bias" in session.explain()


def test_what_is_trained_is_saved(tmp_path: Path) -> None:
    session, _, _ = gan(optimizer=optim.Adam(0.1), freeze=["generator.*"])
    session.step({"z": X})
    session.save(tmp_path / "model.safetensors")
    others = [
        sf.Session.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(session)),
        copy.deepcopy(session),
    ]
    assert moved(session) == names(session, "discriminator")
    for other in others:
        assert moved(other) == names(session, "discriminator")
        for name, value in session.params.items():
            np.testing.assert_array_equal(other.params[name], value)
