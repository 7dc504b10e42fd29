"""Random values within loops: drawn anew in each step, and the same in forward and backward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.runtime.interpreter import interpret
from tests.support.sharding import force
from tests.support.small_nets import assert_same, values

RNG = np.random.default_rng(0)
X = RNG.standard_normal((45, 7, 3)).astype(np.float32)
T = RNG.standard_normal((45, 1)).astype(np.float32)


def _stacks(x: sf.Node) -> tuple[sf.Node, sf.Node]:
    """What each step draws, and what it uses of one draw outside."""
    outside = ops.random.uniform((4,))

    def step(carry: Any, now: sf.Node) -> tuple[Any, Any]:
        return carry, (ops.random.uniform((4,)), outside + 0.0 * now[0])

    inside, same = sf.scan(step, (), x)[1]
    return inside, same


def test_each_step_draws_anew_and_what_is_drawn_outside_stays() -> None:
    x = sf.input("x", ("time", 3))
    session = sf.Session(outputs=dict(zip(("new", "same"), _stacks(x), strict=True)), seed=2)
    new, same = session.run(["new", "same"], {"x": np.zeros((50, 3))}, seed=2)
    assert len(np.unique(new)) == new.size
    assert abs(new.mean() - 0.5) < 4 / np.sqrt(12 * new.size)
    np.testing.assert_array_equal(same, np.tile(same[0], (50, 1)))
    again = session.run("new", {"x": np.zeros((50, 3))}, seed=2)
    np.testing.assert_array_equal(again, new)


def _noisy(x: sf.Node, w: sf.Node, **options: Any) -> sf.Node:
    """A mask and noise in the step, in a branch of it, and in a loop within it."""

    def inner(c: sf.Node, _: Any) -> tuple[sf.Node, None]:
        return c * (0.5 + ops.random.uniform(c.shape, dtype=c.dtype)), None

    def step(h: sf.Node, row: sf.Node) -> tuple[sf.Node, sf.Node]:
        h = ops.tanh(row @ w + h)
        h = ops.where(ops.random.bernoulli(h.shape, 0.6), h, 0.0)
        h = sf.cond(ops.sum(row) > 0, lambda: h + ops.random.normal(h.shape, dtype=h.dtype), h)
        h, _ = sf.scan(inner, h, None, length=3)
        return h, h * h

    start = ops.zeros((x.shape[1], w.shape[1]), x.dtype)
    last, every = sf.scan(step, start, x, **options)
    return ops.sum(last * last) + ops.sum(every)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"remat": 2}], ids=str)
def test_the_gradient_is_that_of_the_draws_of_the_forward_pass(options: dict[str, Any]) -> None:
    x, w = sf.input("x", ("time", "batch", 3), "float64"), sf.input("w", (3, 4), "float64")
    y = _noisy(x, w, **options)
    session = sf.Session(outputs={"y": y, "slope": sf.grad(y, w), "jvp": sf.jvp(y, w, w)}, seed=4)
    at = RNG.standard_normal((3, 4))
    fed = {"x": RNG.standard_normal((7, 2, 3)), "w": at}
    fetches = ["y", "slope", "jvp"]
    _, slope, along = session.run(fetches, fed, seed=4)
    near = [fed | {"w": at * (1 + s)} for s in (-1e-6, 1e-6)]
    low, high = (session.run(fetches, feeds, seed=4)[0] for feeds in near)
    np.testing.assert_allclose(along, (high - low) / 2e-6, rtol=1e-7)
    np.testing.assert_allclose(np.sum(slope * at), along, rtol=1e-12)


def test_draws_are_numbered_alike_by_the_interpreter() -> None:
    x, w = sf.input("x", ("time", "batch", 3), "float64"), sf.input("w", (3, 4), "float64")
    y = _noisy(x, w)
    fed = {x: RNG.standard_normal((5, 2, 3)), w: RNG.standard_normal((3, 4))}
    told = interpret([y, sf.grad(y, w)], fed, training=False, seed=4)
    session = sf.Session(outputs={"y": y, "slope": sf.grad(y, w)}, seed=4)
    found = session.run(["y", "slope"], {n.name: a for n, a in fed.items()})
    for a, b in zip(found, told, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_dropout_of_a_state() -> None:
    x = sf.input("x", ("time", "batch", 3))

    def step(h: sf.Node, row: sf.Node) -> tuple[sf.Node, sf.Node]:
        return ops.dropout(h + row, 0.5), ops.dropout(ops.ones(row.shape), 0.5)

    last, other = sf.scan(step, ops.zeros(x.shape[1:]), x)
    fed = {x: RNG.standard_normal((9, 4, 3)).astype(np.float32)}
    last, other = interpret([last, other], fed, seed=1)
    assert set(np.unique(other)) == {0.0, 2.0}, "kept ones are scaled by 1 / (1 - rate)"
    assert 0.2 < np.mean(last == 0) < 0.8
    assert any(np.any(other[0] != mask) for mask in other[1:])


def _recurrent(threads: int) -> sf.Session:
    """Dropout between layers, and in each step of a loop."""
    x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 1))
    ys = models.RNN(5, "gru", layers=2, dropout=0.4, return_sequences=True)(x)

    def step(h: sf.Node, row: sf.Node) -> tuple[sf.Node, None]:
        return ops.tanh(ops.dropout(row + 0.5 * h, 0.3)), None

    h, _ = sf.scan(step, ops.zeros((x.shape[0], 5)), ops.transpose(ys, (1, 0, 2)))
    loss = ops.mse(models.FNN([5, 1], name="head")(h), t)
    return sf.Session(loss=loss, optimizer=sf.optim.Adam(1e-2), threads=threads, seed=3)


def test_shards_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    found = []
    for threads in (1, 2, 3, 3):
        session = _recurrent(threads)
        assert "SHARDS  rows of 'batch'" in session.explain()
        session.fit({"x": X, "t": T}, epochs=2, batch_size=16, progress=False)
        found.append(values(session))
    assert_same(found[2], found[3])
    for other in found[1:]:
        for name, array in other.items():
            np.testing.assert_allclose(array, found[0][name], rtol=2e-4, atol=2e-5, err_msg=name)


def test_inference_draws_nothing() -> None:
    session = _recurrent(1)
    first, second = (session.evaluate({"x": X, "t": T})["loss"] for _ in range(2))
    assert first == second


def test_a_saved_session_draws_on(tmp_path: Path) -> None:
    session, whole = _recurrent(1), _recurrent(1)
    feeds = {"x": X, "t": T}
    session.fit(feeds, epochs=1, batch_size=16, progress=False)
    session.save(tmp_path / "net.sf")
    loaded = sf.Session.load(tmp_path / "net.sf")
    loaded.fit(feeds, epochs=1, batch_size=16, progress=False)
    whole.fit(feeds, epochs=2, batch_size=16, progress=False)
    assert_same(values(loaded), values(whole))
