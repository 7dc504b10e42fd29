"""Recurrent networks against PyTorch: values, gradients, state dicts; states and padding."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves
from tests.models.support import Holder, features, names, values


def torch_rnn(torch: Any, cell: str, layers: int, both: bool) -> Any:
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    kind = {"nonlinearity": cell} if cell in ("tanh", "relu") else {}
    return module(
        3, 4, num_layers=layers, bidirectional=both, batch_first=True, dtype=torch.float64, **kind
    )


@pytest.mark.peers
@pytest.mark.parametrize(
    ("cell", "layers", "both", "ragged", "initial"),
    [
        *product(["tanh", "relu", "lstm", "gru"], [1, 2], [False, True], [True], [True]),
        *product(["tanh", "lstm", "gru"], [1], [False, True], [False, True], [False]),
    ],
)
def test_rnn_agrees_with_torch(
    cell: str, layers: int, both: bool, ragged: bool, initial: bool
) -> None:
    torch = pytest.importorskip("torch")
    rng, net = np.random.default_rng(0), torch_rnn(torch, cell, layers, both)
    model = models.RNN(4, cell, layers, both, return_sequences=True)
    arrays: dict[str, Any] = models.from_torch_state(net.state_dict(), model)
    arrays["x"], arrays["lengths"] = rng.normal(size=(5, 6, 3)), np.array([6, 1, 3, 5, 2])
    count = layers * (1 + both)
    state = ["h", "c"][: 1 + (cell == "lstm")] if initial else []
    arrays |= {name: rng.normal(size=(count, 5, 4)) for name in state}

    x = features(("batch", "time", 3))
    lengths = sf.input("lengths", ("batch",), "int64") if ragged else None
    starts = [sf.input(name, (count, "batch", 4), "float64") for name in state] or None
    ys, last = model(x, lengths, starts, return_state=True)
    lasts = last if isinstance(last, tuple) else (last,)
    wrt = [*leaves([ys], Param), x]
    loss = ops.sum(ops.square(ys)) + sum((ops.sum(s) for s in lasts), ops.zeros((), "float64"))
    found = values([ys, *lasts, *sf.grad(loss, wrt)], arrays)

    fed = torch.tensor(arrays["x"], requires_grad=True)
    given = tuple(torch.from_numpy(arrays[name]) for name in state)
    expected, theirs = torch_run(torch, net, fed, arrays["lengths"] if ragged else None, given)
    (expected.square().sum() + sum(s.sum() for s in theirs)).backward()
    np.testing.assert_allclose(found[0], expected.detach().numpy(), atol=1e-12)
    for ours, s in zip(found[1:], theirs, strict=False):
        np.testing.assert_allclose(ours.reshape(s.shape), s.detach().numpy(), atol=1e-12)
    slopes = {key: p.grad for key, p in net.named_parameters()}
    named = models.from_torch_state(slopes, model) | {"x": fed.grad.numpy()}
    for leaf, ours in zip(wrt, found[1 + len(lasts) :], strict=True):
        np.testing.assert_allclose(ours, named[leaf.name], rtol=1e-9, atol=1e-10)


def torch_run(
    torch: Any, net: Any, x: Any, lengths: Any, initial: tuple[Any, ...]
) -> tuple[Any, tuple[Any, ...]]:
    """Every step's output and the last states."""
    start = None if not initial else initial if len(initial) == 2 else initial[0]
    utils = torch.nn.utils.rnn
    if lengths is None:
        y, last = net(x, start)
    else:
        rows = torch.from_numpy(lengths)
        packed = utils.pack_padded_sequence(x, rows, batch_first=True, enforce_sorted=False)
        y, last = net(packed, start)
        y, _ = utils.pad_packed_sequence(y, batch_first=True)
    return y, last if isinstance(last, tuple) else (last,)


@pytest.mark.peers
@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_rnn_state_there_and_back(cell: str) -> None:
    torch = pytest.importorskip("torch")
    net, other = (torch_rnn(torch, cell, 2, True) for _ in range(2))
    model = models.RNN(4, cell, 2, True)
    named = models.from_torch_state(net.state_dict(), model)
    other.load_state_dict(models.to_torch_state(Holder(named), model), strict=True)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    prefixed = {f"encoder.{key}": value for key, value in net.state_dict().items()}
    again = models.from_torch_state(prefixed, model)
    assert all((again[name] == named[name]).all() for name in named)


def test_parameters_of_rnn() -> None:
    y = models.RNN(4, "gru", layers=2, bidirectional=True)(features(("batch", "time", 3)))
    assert str(y.type) == "float64[batch, 8]"
    shapes = names(y)
    assert len(shapes) == 16
    assert shapes["rnn.0.weight_ih"] == (3, 12)
    assert shapes["rnn.1.reverse.weight_ih"] == (8, 12)
    assert shapes["rnn.1.reverse.weight_hh"] == (4, 12)
    assert shapes["rnn.0.bias_hh"] == (12,)


def rnn_arrays(nodes: list[sf.Node]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {p.name: rng.normal(size=p.shape) for p in leaves(nodes, Param)}


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_a_state_carries_a_sequence_on(cell: str) -> None:
    model = models.RNN(4, cell)
    x = features(("batch", "time", 3))
    count = 2 if cell == "lstm" else 1
    starts = [sf.input(f"s{k}", ("batch", 4), "float64") for k in range(count)]
    y, state = model(x, initial_state=starts, return_state=True)
    nodes = [y, *(state if isinstance(state, tuple) else [state])]
    arrays = rnn_arrays(nodes) | {f"s{k}": np.zeros((2, 4)) for k in range(count)}
    steps = np.random.default_rng(0).normal(size=(2, 6, 3))
    whole = values(nodes, arrays | {"x": steps})
    for part in np.split(steps, [1, 4], axis=1):
        found = values(nodes, arrays | {"x": part})
        arrays |= {f"s{k}": s for k, s in enumerate(found[1:])}
    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_does_not_matter(cell: str, layers: int) -> None:
    model = models.RNN(4, cell, layers, bidirectional=True)
    x, lengths = features(("batch", "time", 3)), sf.input("lengths", ("batch",), "int32")
    y = model(x, lengths)
    arrays = rnn_arrays([y])
    steps = np.random.default_rng(0).normal(size=(3, 5, 3))
    counts = np.array([5, 2, 0])
    together = values([y], arrays | {"x": steps, "lengths": counts})[0]
    for k, n in enumerate(counts):
        alone = {"x": steps[k : k + 1, : max(n, 1)], "lengths": [n]}
        np.testing.assert_allclose(values([y], arrays | alone)[0][0], together[k], rtol=1e-12)
