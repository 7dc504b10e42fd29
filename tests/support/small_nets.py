"""Small networks and data that several tests train. Kernels are shared, so one compiles for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import models, ops

Array = NDArray[Any]
FEATURES = 4


def data(rows: int = 50, dtype: str = "float32", seed: int = 1) -> dict[str, Array]:
    """Inputs `x` and targets `t`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, FEATURES)).astype(dtype)
    t = np.tanh(x @ rng.standard_normal((FEATURES, 1))).astype(dtype)
    return {"x": x, "t": t}


def regression(
    optimizer: Any = None, dtype: str = "float32", hidden: int = 8, **options: Any
) -> sf.Session:
    """A session of a net with one hidden layer, a metric and an output."""
    x = sf.input("x", ("batch", FEATURES), dtype)
    t = sf.input("t", ("batch", 1), dtype)
    y = models.FNN([FEATURES, hidden, 1], activation="tanh")(x)
    return sf.Session(
        loss=ops.mse(y, t),
        outputs={"y": y},
        metrics={"mae": ops.mae(y, t)},
        optimizer=optimizer or sf.optim.SGD(0.1),
        **options,
    )


def values(session: sf.Session) -> dict[str, Array]:
    """A copy of all parameters and states."""
    return {
        name: array.copy() for name, array in (*session.params.items(), *session.states.items())
    }


def assert_same(a: dict[str, Array], b: dict[str, Array]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
