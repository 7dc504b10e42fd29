"""Shards of a batch together do what one does with the whole; blocks of a shard's rows as well.

The cost model is set aside: a step of a few microseconds would never be shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import CollectiveStep
from staticflow.compiler.passes.sharding_rules import PARTIAL
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves
from staticflow.runtime import blocked_frame as blocking
from tests.support.sharding import Made, assert_close, force, train
from tests.support.small_nets import values

RNG = np.random.default_rng(1)
X = RNG.standard_normal((45, 4)).astype(np.float32)
T = RNG.standard_normal((45, 1)).astype(np.float32)
LABELS = RNG.integers(0, 3, 45)


def _inputs() -> tuple[sf.Node, sf.Node]:
    return sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))


def _regression(y: sf.Node, t: sf.Node, more: Any = 0.0) -> Made:
    return ops.mse(y, t) + more, {"mae": ops.mae(y, t)}, {"x": X, "t": T}


def fnn() -> Made:
    x, t = _inputs()
    return _regression(models.FNN([4, 8, 8, 1], activation="tanh")(x), t)


def batch_norm() -> Made:
    """The statistics of the whole batch are needed in the middle of the step."""
    x, t = _inputs()
    return _regression(models.FNN([4, 8, 1], activation="tanh", norm="batch")(x), t)


def layer_norm() -> Made:
    x, t = _inputs()
    return _regression(models.FNN([4, 8, 1], activation="tanh", norm="layer")(x), t)


def dropout() -> Made:
    """Draws depend on the row within the batch, not on the shard."""
    x, t = _inputs()
    return _regression(models.FNN([4, 8, 1], activation="tanh", dropout=0.3)(x), t)


def classes() -> Made:
    x, labels = sf.input("x", ("batch", 4)), sf.input("l", ("batch",), "int64")
    logits = models.FNN([4, 8, 3])(x)
    right = ops.equal(ops.argmax(logits, axis=-1), labels)
    loss = ops.softmax_cross_entropy(logits, labels).mean()
    return loss, {"accuracy": right.astype("float32").mean()}, {"x": X, "l": LABELS}


def penalty() -> Made:
    """One gradient adds a sum over rows and a term that every shard has whole."""
    x, t = _inputs()
    w = sf.param("w", (4, 1))
    loss, metrics, fed = _regression(x @ w, t, 0.1 * ops.sum(w * w))
    loss = loss + 0.1 * ops.sqrt(ops.mse(x @ w, t))
    return loss, {**metrics, "norm": ops.sum(w * w)}, fed


def penalties() -> Made:
    """Terms about all weights, of the loss and of its gradient, are added in shares."""
    x, t = _inputs()
    y = models.FNN([4, 8, 1], activation="tanh")(x)
    weights = [p for p in leaves([y], Param) if p.ndim == 2]
    square, size = (sum(f(w).sum() for w in weights) for f in (ops.square, ops.abs))
    return ops.mse(y, t) + 0.1 * square - 0.01 * size, {}, {"x": X, "t": T}


def penalty_alone() -> Made:
    """The gradient of `v` has no sum over rows in it at all."""
    x, t = _inputs()
    return _regression(x @ sf.param("w", (4, 1)), t, 0.1 * ops.sum(ops.sin(sf.param("v", (3,)))))


def sums_in_a_state() -> Made:
    x, t = _inputs()
    s, count = sf.state("s", (4,)), sf.state("count", ())
    sf.update(s, 0.5 * s + x.sum(axis=0))
    sf.update(count, count + 1.0)
    return _regression(x @ sf.param("w", (4, 1)) + 0.01 * s.sum(), t)


def masked_mean() -> Made:
    x, t = _inputs()
    mask = sf.input("m", ("batch", 1))
    error = ops.square(x @ sf.param("w", (4, 1)) - t) * mask
    fed = {"x": X, "t": T, "m": (LABELS[:, None] > 0).astype(np.float32)}
    return error.sum() / (mask.sum() + 1e-3), {}, fed


def embedding() -> Made:
    """The gradient of the table is a scatter of rows."""
    labels, t = sf.input("l", ("batch",), "int64"), sf.input("t", ("batch", 1))
    y = ops.embedding(sf.param("table", (3, 5)), labels) @ sf.param("w", (5, 1))
    return ops.mse(y, t), {}, {"l": LABELS, "t": T}


def whole_input() -> Made:
    """An input without rows is the same on every shard."""
    x, t = _inputs()
    keys, w = sf.input("k", ("keys", 4)), sf.param("w", (4, 1))
    loss, metrics, fed = _regression(ops.softmax(x @ keys.T) @ (keys @ w), t)
    return loss, metrics, {**fed, "k": X[:6]}


def rows_of_pairs() -> Made:
    """Rows split into two halves each, and put together again."""
    x, t = _inputs()
    halves = ops.tanh(ops.reshape(x, (-1, 2)) @ sf.param("w", (2, 1)))
    return _regression(ops.reshape(halves, ("batch", 2)).sum(axis=1, keepdims=True), t)


MODELS = (
    fnn, batch_norm, layer_norm, dropout, classes, penalty, penalties, penalty_alone,
    sums_in_a_state, masked_mean, embedding, whole_input, rows_of_pairs,
)  # fmt: skip


@pytest.mark.parametrize("make", MODELS)
def test_shards_train_as_one(make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(make, 1)
    for threads in (2, 3):
        several = train(make, threads)
        assert_close(several, one)
        again = train(make, threads)
        assert again[0] == several[0], "another run gives another loss"
        for name, array in several[1].items():
            np.testing.assert_array_equal(again[1][name], array, err_msg=name)


@pytest.mark.parametrize(
    "optimizer",
    [
        sf.optim.Adam(0.01, clip_norm=0.05, weight_decay=0.1),
        sf.optim.SGD(0.1, momentum=0.9, nesterov=True, clip_value=0.01),
        sf.optim.AdamW(sf.optim.cosine(0.01, 8)),
    ],
)
def test_slices_of_the_update_are_one(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm of the gradient is a sum over the shards' slices."""
    force(monkeypatch)
    assert_close(train(fnn, 3, optimizer), train(fnn, 1, optimizer))


@pytest.mark.parametrize("make", [fnn, dropout, classes, embedding, penalties, penalty, batch_norm])
def test_blocks_of_rows_train_as_one(
    make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a term or a collective is about the whole batch, there are no blocks."""
    force(monkeypatch)
    one = train(make, 1, batch_size=40)
    monkeypatch.setattr(blocking, "CORE_CACHE_BYTES", 0)
    monkeypatch.setattr(blocking, "BLOCK_BYTES", 64)
    monkeypatch.setattr(blocking, "MAX_GRADIENT_SHARE", 1e9)
    blocked = make not in (penalty, batch_norm)
    for threads in (1, 2):
        assert_close(train(make, threads, batch_size=40, blocked=blocked), one)


def test_penalties_need_no_collectives() -> None:
    loss, _, _ = penalties()
    params = leaves([loss], Param)
    compiled = compile_graph([loss, *sf.grad(loss, params)], training=True, shard="batch")
    assert compiled.sharding.shard == "batch"
    assert set(compiled.sharding.of_outputs) == {PARTIAL}
    assert not any(isinstance(step, CollectiveStep) for step in compiled.steps)


def test_gradients_do_not_depend_on_the_path() -> None:
    """`gradients` runs on one shard, and by rows they average to those of the whole."""
    loss, metrics, fed = fnn()
    session = sf.Session(loss=loss, metrics=metrics, seed=3)
    whole = session.gradients(fed)
    parts = [session.gradients({k: v[i : i + 15] for k, v in fed.items()}) for i in (0, 15, 30)]
    for name, array in whole.items():
        mean = np.mean([part[name] for part in parts], axis=0)
        np.testing.assert_allclose(array, mean, 1e-4, 1e-6)


def test_fewer_rows_than_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch has one row: two shards of three have none."""
    force(monkeypatch)
    results = []
    for threads in (1, 3):
        loss, _, fed = batch_norm()
        session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), threads=threads)
        session.fit({k: v[:27] for k, v in fed.items()}, batch_size=13, progress=False)
        results.append(values(session))
    for name, array in results[0].items():
        np.testing.assert_allclose(results[1][name], array, 1e-3, 1e-5, err_msg=name)


# What cannot be sharded says so, and runs on one shard

x, y = sf.input("x", ("batch", 4)), sf.input("y", ("batch", 4))
ALONE = {
    "pairs rows of different shards": lambda: ops.sum(ops.square(x @ y.T)),
    "runs over the rows of all shards": lambda: ops.sum(x - ops.max(x)),
    "takes the rows apart": lambda: ops.sum(x[1:] * x[:-1]),
    "joins rows of different shards": lambda: ops.sum(ops.square(ops.concatenate([x, y]))),
    "counts over batch": lambda: ops.sum(x[:, 0] * ops.arange("batch").astype("float32")),
}


@pytest.mark.parametrize("reason", ALONE)
def test_what_needs_the_whole_batch_says_so(reason: str) -> None:
    sharding = compile_graph([ALONE[reason]()], shard="batch").sharding
    assert sharding.shard is None
    assert reason in sharding.reason and "test_sharding.py" in sharding.reason


def test_draws_over_merged_rows_are_not_sharded() -> None:
    """A draw is by its position in the whole; merged with another axis, rows have no one place."""
    wide = sf.input("x", ("batch", "time", 2))
    loss = ops.sum(ops.dropout(ops.reshape(wide, (-1, 2)), 0.5))
    assert compile_graph([loss], training=True, shard="batch").sharding.shard is None
