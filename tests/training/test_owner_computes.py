"""Gradients that shards make in parts: all parameters are trained as on one shard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.cost_model import Choice
from staticflow.compiler.ir.steps import ProductStep
from staticflow.training import trainer as training

RNG = np.random.default_rng(0)
# Sizes, rows of a batch, and how many weight gradients are worth making in parts
NETS = (
    ((300, 40, 3), 8, 1),
    ((200, 200, 200, 1), 6, 2),
    ((64, 80, 80, 80, 2), 5, 3),
    ((20, 16, 4), 40, 0),
)


def train(sizes: tuple[int, ...], batch: int, threads: int, dtype: str) -> sf.Session:
    """Two epochs of four batches and a smaller one."""
    x, t = (sf.input(n, ("batch", k), dtype) for n, k in (("x", sizes[0]), ("t", sizes[-1])))
    y = models.FNN(list(sizes), activation="tanh")(x)
    session = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.SGD(0.05), threads=threads)
    rng = np.random.default_rng(1)
    rows = 4 * batch + batch // 2
    data = {n: rng.standard_normal((rows, k)).astype(dtype)
            for n, k in (("x", sizes[0]), ("t", sizes[-1]))}  # fmt: skip
    session.fit(data, epochs=2, batch_size=batch, progress=False)
    return session


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "batch", "owned"), NETS)
def test_all_parameters_are_trained(
    sizes: tuple[int, ...], batch: int, owned: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(work: Any, threads: int, rows: int, reason: str) -> Choice:
        return Choice(threads, 1e9, 1e9, reason)

    monkeypatch.setattr(training, "choose_shards", choose)
    one, two = (train(sizes, batch, threads, dtype) for threads in (1, 2))
    (trainer,) = two._state.trainers.values()
    steps = trainer.programs.forward.compiled.steps
    waiting = [
        s.owner_bit for s in steps if isinstance(s, ProductStep) and s.owner_bit and not s.split_k
    ]
    assert len(trainer.shards) == 2 and len(trainer.owned) == owned
    assert len(waiting) == len(set(waiting)) == len(sizes) - 1
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    start = sf.Session(loss=one.loss, optimizer=sf.optim.SGD(0.05)).params
    for name, array in one.params.items():
        assert not np.array_equal(array, start[name]), f"{name} was not trained"
        np.testing.assert_allclose(two.params[name], array, tolerance, tolerance, err_msg=name)
