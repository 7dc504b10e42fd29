"""What parameters alone determine is computed at export."""

from __future__ import annotations

import numpy as np

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.c_out.fold import folded
from staticflow.session.interchange.c_out.model import module_of


def test_sums_of_biases_and_turned_weights_are_constants() -> None:
    x = sf.input("x", ("batch", 4))
    w, b, c = sf.param("w", (3, 4)), sf.param("b", (3,)), sf.param("c", (3,))
    y = ops.tanh(x @ w.T + (b + c * 2.0))
    values = {p.name: np.random.default_rng(0).normal(size=p.shape).astype("f4") for p in (w, b, c)}
    (z,) = folded([y], values, [])
    assert [node.name for node in toposort([z]) if node in (w, b, c)] == []
    data = np.ones((2, 4), np.float32)
    found = interpret([z], {x: data}, training=False)[0]
    np.testing.assert_allclose(found, y.eval(x=data, **values), rtol=1e-6)
    (kept,) = folded([y], values, [w, b, c])
    assert kept is y


def test_nothing_grows_and_nothing_is_kept_twice() -> None:
    x = sf.input("x", ("batch", 4, 3))
    p = sf.param("p", (3,))
    session = sf.Session(
        outputs={"y": x * ops.outer(ops.exp(p), p).sum(0) + p[:, None] @ p[None, :] @ p}
    )
    module = module_of(session, "net")
    assert sum(text.count(",") for text in module.arrays.values()) < 20
    net = sf.Session(outputs={"y": models.RNN(5, "lstm")(sf.input("s", ("batch", "time", 2)))})
    arrays = module_of(net, "net", sizes={"time": 3}).arrays
    assert not any("bias" in name for name in arrays)
