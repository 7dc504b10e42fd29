"""The training step in C: the same losses and parameters as the session's own steps."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.errors import GraphError
from staticflow.session.interchange.c_out.model import module_of
from tests.session.interchange.c_runs import COMPILERS, DTYPES, Library, needs_compiler

ROWS, STEPS = 6, 5
OPTIMIZERS = {
    "sgd": sf.optim.SGD(0.05, momentum=0.9, nesterov=True, clip_value=0.3),
    "rmsprop": sf.optim.RMSProp(0.01, centered=True, momentum=0.5),
    "adam": sf.optim.Adam(sf.optim.cosine(0.02, 7), clip_norm=0.5),
    "adamw": sf.optim.AdamW(0.01, weight_decay=0.1),
    "lion": sf.optim.Lion(0.01, weight_decay=0.1),
    "adagrad": sf.optim.Adagrad(0.05, lr_decay=0.1, weight_decay=0.01),
}  # fmt: skip


def _session(optimizer: Any, norm: str) -> sf.Session:
    """Of a recurrent network and a norm, with a parameter that does not decay and learns faster.

    The bias before a batch norm has a gradient of 0, whose rounding errors others would divide by
    their size.
    """
    s = sf.input("s", ("batch", "time", 3), "float64")
    label = sf.input("label", ("batch",), "int64")
    scale = sf.param("scale", (3,), "ones", "float64", lr_scale=2.0, decay=False)
    h = models.RNN(4, "gru")(s * scale)
    logits = models.FNN([4, 5, 3], norm=norm)(h)
    loss = ops.softmax_cross_entropy(logits, label).mean()
    return sf.Session(loss=loss, outputs={"p": ops.softmax(logits)}, optimizer=optimizer, seed=1)


@needs_compiler
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_session(name: str, tmp_path: Path) -> None:
    session = _session(OPTIMIZERS[name], "batch" if name == "sgd" else "layer")
    rng = np.random.default_rng(0)
    data = [
        {"s": rng.normal(size=(ROWS, 4, 3)), "label": rng.integers(0, 3, ROWS)}
        for _ in range(STEPS + 1)
    ]
    session.step(data[-1])  # it is exported as it stands
    module = module_of(session, "net", sizes={"batch": ROWS, "time": 4}, training=True)
    library = Library(module, tmp_path, COMPILERS[0], "-O1")
    state = np.full(sum(-(-f.bytes // 8) * 8 for f in module.fields), 0xFF, np.uint8)
    pointer = ctypes.c_void_p(state.ctypes.data)
    library.library.net_reset(pointer)
    for batch in data[:STEPS]:
        expected = session.step(batch)
        assert library("net_train", batch, pointer)["loss"] == pytest.approx(expected, rel=1e-9)
    at = 0
    for field in module.fields:
        found = state[at : at + field.bytes].view(DTYPES[field.suffix]).reshape(field.shape)
        at += -(-field.bytes // 8) * 8
        for values in (session.params, session.states):
            for key, value in values.items():
                if key.replace(".", "_") == field.name:
                    np.testing.assert_allclose(found, value, 1e-9, 1e-12, err_msg=key)
    p = library("net_predict", data[0], pointer)["p"]
    np.testing.assert_allclose(p, session.run("p", data[0]), 1e-9)


def test_what_cannot_be_trained_in_c_is_refused() -> None:
    x = sf.input("x", ("batch", 3))
    y = models.FNN([3, 4, 1], dropout=0.5)(x)
    session = sf.Session(loss=(y * y).mean(), optimizer=sf.optim.SGD(0.1))
    for options, why in (
        ({}, "random"),
        ({"stream": "batch"}, "of whole sequences"),
    ):
        with pytest.raises(GraphError, match=why):
            module_of(session, "net", training=True, **options)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="optimizer"):
        module_of(sf.Session(loss=(y * y).mean()), "net", training=True)
