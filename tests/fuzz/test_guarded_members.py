"""Native code for several members touches no byte outside of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from tests.fuzz.guard_pages.pages import guarded

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
DATA = {"x": X, "t": X[:, :1] ** 2}
ROWS = [np.arange(40), np.array([3, 3, 9]), np.arange(33)]


def results() -> list[Any]:
    x, t = sf.input("x", ("batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([3, 5, 1], norm="batch", dropout=[0.1, 0.2, 0.3])(x)
    optimizer = sf.optim.Adam([1e-2, 1e-3, 1e-1], weight_decay=[0.0, 0.1, 0.2])
    whole = sf.Session(
        loss=ops.mse(y, t), outputs={"y": y}, optimizer=optimizer, members=3, threads=2
    )
    own = np.stack([X, 2 * X, X])
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "progress": False}
    whole.fit(DATA, rows=ROWS, shuffle="own", **options)
    whole.fit({"x": own, "t": DATA["t"]}, shuffle=False, **options)
    values = [np.array(array) for array in whole.params.values()]
    return [*values, whole.run("y", {"x": own}), whole.evaluate(DATA)["loss"]]


@pytest.mark.parametrize("place", ["end", "begin"])
def test_members_keep_to_their_memory(place: str) -> None:
    expected = results()
    with guarded(place):
        found = results()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
