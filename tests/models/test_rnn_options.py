"""Every combination of a recurrent network's options, against a few lines of NumPy."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves
from tests.models.support import features, values

BATCH, TIME, FEATURES, HIDDEN = 3, 4, 2, 3
LENGTHS = np.array([4, 1, 2])
Array = np.ndarray[Any, Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def one_step(cell: str, x: Array, state: list[Array], p: dict[str, Array]) -> list[Array]:
    """PyTorch's formulas."""
    wx, uh = x @ p["weight_ih"] + p["bias_ih"], state[0] @ p["weight_hh"] + p["bias_hh"]
    if cell == "lstm":
        i, f, g, o = np.split(wx + uh, 4, axis=-1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    if cell == "gru":
        (r, z, n), (ur, uz, un) = np.split(wx, 3, axis=-1), np.split(uh, 3, axis=-1)
        new, keep = np.tanh(n + sigmoid(r + ur) * un), sigmoid(z + uz)
        return [(1 - keep) * new + keep * state[0]]
    return [np.tanh(wx + uh) if cell == "tanh" else np.maximum(wx + uh, 0)]


def one_row(
    cell: str, x: Array, starts: list[list[Array]], params: list[dict[str, Array]], ways: int
) -> tuple[Array, list[list[Array]]]:
    """A sequence (time, features) by itself: the last layer's outputs, and all last states."""
    lasts: list[list[Array]] = []
    for layer in range(len(params) // ways):
        found = []
        for way in range(ways):
            state, outputs = starts[layer * ways + way], {}
            for t in reversed(range(len(x))) if way else range(len(x)):
                state = one_step(cell, x[t], state, params[layer * ways + way])
                outputs[t] = state[0]
            found.append(np.array([outputs[t] for t in range(len(x))]))
            lasts.append(state)
        x = np.concatenate(found, axis=-1)
    return x, lasts


def build(cell: str, layers: int, both: bool, options: dict[str, bool]) -> Any:
    """The net's outputs, its inputs and its states."""
    count, parts = layers * (1 + both), 1 + (cell == "lstm")
    model = models.RNN(
        HIDDEN, cell, layers, both, dropout=0.3, return_sequences=options["sequences"]
    )
    x = features(("batch", "time", FEATURES))
    lengths = sf.input("lengths", ("batch",), "int64") if options["lengths"] else None
    starts = [sf.input(f"s{k}", (count, "batch", HIDDEN), "float64") for k in range(parts)]
    made = model(x, lengths, starts if options["initial"] else None, options["state"])
    y, state = made if options["state"] else (made, ())
    return [y, *(state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize(("layers", "both"), [*product([1, 2], [False, True])])
def test_every_combination(cell: str, layers: int, both: bool) -> None:
    """In inference, where dropout between layers does nothing."""
    rng = np.random.default_rng(0)
    count, parts = layers * (1 + both), 1 + (cell == "lstm")
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    given = rng.normal(size=(parts, count, BATCH, HIDDEN))
    names = [f"rnn.{k}{way}" for k in range(layers) for way in ("", ".reverse")[: 1 + both]]
    for flags in product([False, True], repeat=4):
        options = dict(zip(("sequences", "lengths", "initial", "state"), flags, strict=True))
        nodes = build(cell, layers, both, options)
        arrays = {p.name: rng.normal(size=p.shape) for p in leaves(nodes, Param)}
        params = [
            {k.removeprefix(f"{n}."): a for k, a in arrays.items() if k.rpartition(".")[0] == n}
            for n in names
        ]
        starts = given if options["initial"] else np.zeros_like(given)
        fed = {"x": x, "lengths": LENGTHS, **{f"s{k}": given[k] for k in range(parts)}}
        y, *state = values(nodes, arrays | fed)
        for row in range(BATCH):
            steps = LENGTHS[row] if options["lengths"] else TIME
            own = [list(starts[:, k, row]) for k in range(count)]
            expected, lasts = one_row(cell, x[row, :steps], own, params, 1 + both)
            if options["sequences"]:
                np.testing.assert_allclose(y[row, :steps], expected, rtol=1e-10)
                assert not y[row, steps:].any()
            else:
                last = np.concatenate([s[0] for s in lasts[-(1 + both) :]])
                np.testing.assert_allclose(y[row], last, rtol=1e-10)
            for part, array in enumerate(state):
                shown = array[None] if count == 1 else array
                wanted = [s[part] for s in lasts]
                np.testing.assert_allclose(shown[:, row], wanted, rtol=1e-10)


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
def test_dropout_is_between_layers_and_in_training(cell: str) -> None:
    """Other draws give other losses; one layer has nothing between; inference draws nothing."""
    x, t = sf.input("x", ("batch", "time", FEATURES)), sf.input("t", ("batch", 4))
    feeds = {"x": np.ones((8, TIME, FEATURES)), "t": np.zeros((8, 4))}
    for layers in (1, 2):
        losses, outputs = set(), []
        for seed in (0, 1):
            y = models.RNN(2, cell, layers, bidirectional=True, dropout=0.5)(x)
            session = sf.Session(
                loss=ops.mse(y, t), outputs={"y": y}, optimizer=sf.optim.SGD(0.0), seed=seed
            )
            rng = np.random.default_rng(5)
            for array in session.params.values():
                array[...] = rng.uniform(0.1, 0.5, array.shape)
            losses.add(round(session.step(feeds), 6))
            outputs.append(session.run("y", {"x": feeds["x"]}))
        assert len(losses) == layers
        np.testing.assert_array_equal(*outputs)


def test_lengths_as_plain_numbers() -> None:
    x = np.random.default_rng(0).standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
    seq = sf.input("x", x.shape)
    net = models.RNN(HIDDEN, return_sequences=True)
    fixed, number = net(seq, lengths=[4, 1, 2]), sf.input("n", (BATCH,), "int64")
    session = sf.Session(outputs={"fixed": fixed, "fed": net(seq, lengths=number)})
    found = session.run("fed", {"x": x, "n": LENGTHS})
    np.testing.assert_array_equal(session.run("fixed", {"x": x}), found)
    assert not found[1, 1:].any() and found[1, 0].any()
    beyond = session.run("fed", {"x": x, "n": [9, 1, -2]})
    np.testing.assert_array_equal(beyond[:2], found[:2])
    assert not beyond[2].any()


def test_lengths_that_do_not_fit_are_refused() -> None:
    seq = sf.input("x", ("batch", TIME, FEATURES))
    with pytest.raises(sf.ShapeError, match=r"declare sf.input\('lengths', \(batch,\), 'int64'\)"):
        models.RNN(HIDDEN)(seq, lengths=[1, 2])


def test_a_width_alone_is_no_network() -> None:
    with pytest.raises(sf.ShapeError, match="give two or more positive integers"):
        models.FNN(4)  # type: ignore[arg-type]
