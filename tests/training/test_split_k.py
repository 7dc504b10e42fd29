"""The first product of a step in parts of its sum: trained as on one shard, where it pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.cost_model import Choice
from staticflow.compiler.ir.steps import ProductStep
from staticflow.session.run.steps import step_programs
from staticflow.training import split_k as partials
from staticflow.training import trainer as training


def always(work: Any, threads: int, rows: int, reason: str) -> Choice:
    """As many shards as threads."""
    return Choice(threads, 1e9, 1e9, reason)


def train(
    sizes: tuple[int, ...], batch: int, threads: int, dtype: str, shuffle: bool, **kw: Any
) -> sf.Session:
    """Two epochs of three batches and a smaller one."""
    x, t = (sf.input(n, ("batch", k), dtype) for n, k in (("x", sizes[0]), ("t", sizes[-1])))
    y = models.FNN(list(sizes), **kw)(x)
    session = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(1e-3), threads=threads)
    rng = np.random.default_rng(1)
    rows = 3 * batch + batch // 2
    data = {n: rng.standard_normal((rows, k)).astype(dtype)
            for n, k in (("x", sizes[0]), ("t", sizes[-1]))}  # fmt: skip
    session.fit(data, epochs=2, batch_size=batch, progress=False, shuffle=shuffle)
    return session


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_is_as_on_one_shard(
    dtype: str, activation: str, threads: int, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "choose_shards", always)
    sizes = (509, 70, 3)
    one, more = (train(sizes, 14, n, dtype, shuffle, activation=activation) for n in (1, threads))
    (trainer,) = more._state.trainers.values()
    assert trainer.partial is not None and trainer.partial.rows == 509
    assert [m.table[training.Shard.WHOLE + training.Variant.PARTS] > 0 for m in trainer.shards]
    assert "fnn.0.weight: each shard multiplies by the rows that it updates" in more.explain()
    assert "multiplies by the rows" not in one.explain()
    start = sf.Session(loss=one.loss, optimizer=sf.optim.SGD(0.05)).params
    # Adam divides by the size of gradients, whose last bits differ with the order of the sums.
    tolerance = 2e-4 if dtype == "float32" else 1e-9
    for name, array in one.params.items():
        assert not np.array_equal(array, start[name]), f"{name} was not trained"
        np.testing.assert_allclose(more.params[name], array, tolerance, tolerance, err_msg=name)


def test_memory_for_smaller_batches_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "choose_shards", always)
    session = train((509, 70, 3), 14, 2, "float32", False)
    (trainer,) = session._state.trainers.values()
    held = [len(memory.table._owners) for memory in trainer.shards]
    for rows in (3, 9, 5):
        trainer.prepare_ragged(rows)
    assert trainer.ragged == 5
    assert [len(memory.table._owners) for memory in trainer.shards] == held


def test_the_same_bits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "choose_shards", always)
    first, second = (train((509, 70, 3), 14, 2, "float32", True) for _ in range(2))
    for name, array in first.params.items():
        np.testing.assert_array_equal(second.params[name], array)


def test_gradients_and_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gradients` and the losses of `step` come out as on one shard."""
    monkeypatch.setattr(training, "choose_shards", always)
    one, two = (train((509, 70, 3), 14, n, "float64", False) for n in (1, 2))
    rng = np.random.default_rng(2)
    feeds = {"x": rng.standard_normal((14, 509)), "t": rng.standard_normal((14, 3))}
    gradients = [session.gradients(feeds) for session in (one, two)]
    for name, array in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], array, rtol=1e-7, atol=1e-12)
        assert np.abs(array).max() > 0
    losses = [[session.step(feeds) for _ in range(3)] for session in (one, two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    assert len(set(losses[0])) == 3


@pytest.mark.parametrize(
    ("sizes", "batch"), [((16, 64, 64, 1), 32), ((509, 70, 3), 600), ((40, 3), 4)]
)
def test_not_where_it_does_not_pay(
    sizes: tuple[int, ...], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "choose_shards", always)
    (trainer,) = train(sizes, batch, 2, "float32", False)._state.trainers.values()
    assert len(trainer.shards) == 2 and trainer.partial is None


def early(*outputs: sf.Node, shard: str | None = "batch") -> list[ProductStep]:
    """The marked products of a compiled program."""
    steps = compile_graph(outputs, shard=shard).steps
    return [s for s in steps if isinstance(s, ProductStep) and s.split_k]


def test_only_a_product_of_rows_and_weights_is_marked() -> None:
    x = sf.input("x", ("batch", 30))
    w, v = sf.param("w", (30, 20)), sf.param("v", (20, 30))
    assert len(early(x @ w)) == 0  # an output's memory is not the step's own
    assert len(early(ops.tanh(x @ w).sum())) == 1
    assert len(early(ops.tanh(x @ w).sum(), shard=None)) == 0
    assert len(early(ops.tanh(x @ v.T).sum())) == 0
    assert len(early(ops.tanh(ops.tanh(x) @ w).sum())) == 0
    assert len(early(ops.tanh(x[:, :20] @ v).sum())) == 0


def test_every_shard_has_rows_of_the_weights() -> None:
    x = sf.input("x", ("batch", 700))
    t = sf.input("t", ("batch", 1))
    loss = ops.mse(models.FNN([700, 600, 1])(x), t)
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1))
    programs = step_programs(session._state, "batch")
    flat = session.params.flats[("float32", True)]
    (size, half), env = (flat.size, flat.size // 2), {"batch": 8}
    assert partials.partial_product(programs, flat, env, [(0, half), (half, size)]) is not None
    assert partials.partial_product(programs, flat, env, [(0, 100), (100, size)]) is None
