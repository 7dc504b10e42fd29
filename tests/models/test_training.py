"""Models trained by a session: beside PyTorch from the same start, and on real data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.support.places import ROOT

DIGITS = ROOT / "staticflow" / "data" / "digits.npz"
SIZES = [12, 16, 8, 3]
STEPS, BATCH = 60, 16


def task(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes for STEPS batches."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS * BATCH, SIZES[0]))
    return x, (x @ rng.normal(size=(SIZES[0], 3))).argmax(axis=1)


def classifier(model: Any, dtype: str, optimizer: Any, threads: int | None = 1) -> sf.Session:
    x, t = sf.input("x", ("batch", SIZES[0]), dtype), sf.input("t", ("batch",), "int64")
    y = model(x)
    loss = ops.mean(ops.softmax_cross_entropy(y, t))
    return sf.Session(loss=loss, outputs={"y": y}, optimizer=optimizer, threads=threads)


def torch_net(torch: Any, norm: str | None) -> Any:
    nn, layers = torch.nn, list[Any]()
    for width, out in pairwise(SIZES[:-1]):
        kinds = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        layers += [nn.Linear(width, out), *([] if norm is None else [kinds[norm](out)]), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(*SIZES[-2:]))


@pytest.mark.peers
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (sf.optim.SGD(0.1, momentum=0.9), lambda o, p: o.SGD(p, 0.1, momentum=0.9)),
        (sf.optim.Adam(0.01), lambda o, p: o.Adam(p, 0.01)),
        (sf.optim.AdamW(0.01, clip_norm=0.5), lambda o, p: o.AdamW(p, 0.01)),
    ],
    ids=["sgd", "adam", "adamw_clipped"],
)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("threads", [1, 2])
def test_training_follows_torch(
    ours: sf.optim.Optimizer, theirs: Callable[..., Any], norm: str | None, threads: int
) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch_net(torch, norm).double()
    model = models.FNN(SIZES, "tanh", norm=norm)
    session = classifier(model, "float64", ours, threads)
    session.load_params(models.from_torch_state(net.state_dict(), model))
    x, t = task()
    settings = {"batch_size": BATCH, "shuffle": False, "progress": False}
    losses = [log["loss"] for log in session.fit({"x": x, "t": t}, epochs=3, **settings).epochs]

    peer, expected = theirs(torch.optim, net.parameters()), []
    rows, classes = torch.from_numpy(x), torch.from_numpy(t)
    for _ in range(3):
        total = 0.0
        for k in range(0, len(x), BATCH):
            peer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                net(rows[k : k + BATCH]), classes[k : k + BATCH]
            )
            loss.backward()
            if ours.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(net.parameters(), ours.clip_norm)
            peer.step()
            total += loss.item() / STEPS
        expected.append(total)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    for name, value in models.from_torch_state(net.state_dict(), model).items():
        own = {**session.params, **session.states}[name]
        np.testing.assert_allclose(own, value, rtol=1e-6, atol=1e-9, err_msg=name)
    found = session.run("y", {"x": x[:5]})
    np.testing.assert_allclose(found, net.eval()(rows[:5]).detach().numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.peers
def test_gradients_agree_with_torch_in_float32() -> None:
    torch = pytest.importorskip("torch")
    net, model = torch_net(torch, None), models.FNN(SIZES, "tanh")
    session = classifier(model, "float32", None)
    session.load_params(models.from_torch_state(net.state_dict(), model))
    x, t = task()
    loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(x).float()), torch.from_numpy(t))
    loss.backward()
    theirs = models.from_torch_state({k: p.grad for k, p in net.named_parameters()}, model)
    for name, slope in session.gradients({"x": x, "t": t}).items():
        np.testing.assert_allclose(slope, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_digits() -> None:
    with np.load(DIGITS) as data:
        x, t = (data[name] for name in data.files[:2])
    x = (x / x.max()).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[360:], order[:360]
    rows, classes = sf.input("x", ("batch", x.shape[1])), sf.input("t", ("batch",), "int64")
    y = models.FNN([x.shape[1], 64, 10], dropout=0.1, norm="batch")(rows)
    loss = ops.mean(ops.softmax_cross_entropy(y, classes))
    correct = ops.mean(ops.equal(ops.argmax(y, -1), classes).astype("float32"))
    schedule = sf.optim.warmup(20, sf.optim.cosine(1e-2, 700, final=1e-4))
    session = sf.Session(loss=loss, metrics={"right": correct}, optimizer=sf.optim.AdamW(schedule))
    session.fit({"x": x[train], "t": t[train]}, epochs=16, progress=False)
    assert session.evaluate({"x": x[test], "t": t[test]})["right"] > 0.96


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
def test_rnn_learns_to_add(cell: str) -> None:
    """The sum of a few numbers, from sequences of different lengths."""
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(400, 6, 2)).astype("float32"), rng.integers(1, 7, 400)
    valid = (np.arange(6) < lengths[:, None])[:, :, None]
    t = (x * valid).sum(axis=(1, 2))[:, None] / 4
    node = sf.input("x", ("batch", "time", 2))
    last = models.RNN(12, cell)(node, lengths=sf.input("lengths", ("batch",), "int64"))
    loss = ops.mse(models.FNN([12, 1], name="head")(last), sf.input("t", ("batch", 1)))
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(0.01, clip_norm=1.0), threads=1)
    data = {"x": x, "t": t, "lengths": lengths}
    history = session.fit(data, epochs=40, progress=False).epochs
    assert history[-1]["loss"] < 0.05 * history[0]["loss"]
