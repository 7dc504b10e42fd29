"""What stands behind a sequence's length makes no difference, to values or to gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

LENGTHS = np.array([4, 2, 0, 9, 1])  # of 5 steps; 9 is more than there are
CELLS = ("tanh", "relu", "lstm", "gru")


def session_of(cell: str, layers: int, both: bool, sequences: bool) -> sf.Session:
    x = sf.input("x", ("batch", "time", 2))
    lengths = sf.input("lengths", ("batch",), "int64")
    net = models.RNN(3, cell, layers, bidirectional=both, return_sequences=sequences)
    y, state = net(x, lengths=lengths, return_state=True)
    loss = ops.square(y).sum() + sum(ops.sin(s).sum() for s in _states(state))
    outputs = {"y": y, "state": state, "dx": sf.grad(loss, x)}
    return sf.Session(loss=loss, outputs=outputs, seed=1, threads=1)


def _states(state: Any) -> list[sf.Node]:
    return list(state) if isinstance(state, tuple) else [state]


def answers(session: sf.Session, fill: float) -> list[np.ndarray]:
    x = np.random.default_rng(0).normal(size=(5, 5, 2)).astype("float32")
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = fill
    feeds = {"x": x, "lengths": LENGTHS}
    outputs = session.run(session.outputs, feeds)
    gradients = session.gradients(feeds)
    return [outputs["y"], *_states(outputs["state"]), outputs["dx"], *gradients.values()]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_makes_no_difference(cell: str, layers: int) -> None:
    for both, sequences in itertools.product((False, True), repeat=2):
        session = session_of(cell, layers, both, sequences)
        expected = answers(session, 0.0)
        assert all(np.isfinite(array).all() for array in expected)
        for fill in (np.nan, np.inf, -np.inf, 1e30):
            for found, truth in zip(answers(session, fill), expected, strict=True):
                np.testing.assert_array_equal(found, truth)
