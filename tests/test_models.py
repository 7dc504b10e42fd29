"""Networks against PyTorch: values, gradients, state dicts; names, sharing, refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph import Input, Param, State, leaves
from staticflow.interpret import interpret

ROOT = Path(__file__).parent.parent


def values(nodes: list[sf.Node], arrays: dict[str, Any], training: bool = False) -> list[Any]:
    """The nodes, interpreted, for leaves by name."""
    found = [leaf for kind in (Input, Param, State) for leaf in leaves(nodes, kind)]
    return interpret(nodes, {leaf: arrays[leaf.name] for leaf in found}, training=training)


def names(*nodes: sf.Node) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters by name."""
    return {leaf.name: leaf.shape for leaf in leaves(nodes, Param)}


def features(shape: tuple[Any, ...] = ("batch", 5), dtype: str = "float64") -> sf.Node:
    return sf.input("x", shape, dtype)


# -- feed-forward --------------------------------------------------------------------------------


def test_parameters_of_fnn() -> None:
    y = models.FNN([5, 4, 3])(features())
    assert str(y.type) == "float64[batch, 3]"
    assert names(y) == {
        "fnn.0.weight": (5, 4),
        "fnn.0.bias": (4,),
        "fnn.1.weight": (4, 3),
        "fnn.1.bias": (3,),
    }


def test_it_computes_in_the_dtype_of_its_input() -> None:
    assert models.FNN([5, 3])(features(dtype="float32")).dtype == "float32"
    model = models.FNN([5, 3], name="net")
    model(features())
    with pytest.raises(sf.DTypeError, match=r"net\.0\.weight is float64 by its first use"):
        model(features(dtype="float32"))


def test_two_calls_share_parameters() -> None:
    model = models.FNN([5, 5], norm="layer")
    assert names(model(features()), model(features())) == names(model(features()))


def test_leading_axes_are_kept() -> None:
    assert (
        str(models.FNN([5, 4, 3])(features(("batch", "time", 5))).type) == "float64[batch, time, 3]"
    )
    assert str(models.FNN([5, 3])(features((5,))).type) == "float64[3]"


@pytest.mark.parametrize(
    ("activation", "init"),
    [
        ("relu", "he_uniform"),
        ("tanh", "glorot_uniform"),
        ("selu", "lecun"),
        (ops.tanh, "glorot_uniform"),
    ],
)
def test_initial_weights_suit_the_activation(activation: Any, init: str) -> None:
    first, _, last, _ = leaves([models.FNN([5, 4, 3], activation)(features())], Param)
    assert first.op.init == init
    assert last.op.init == "glorot_uniform"


def test_activations() -> None:
    arrays = {"x": np.linspace(-2, 2, 10).reshape(2, 5)}
    hidden = models.FNN([5, 4, 3], ops.sin, output_activation="softmax")(features())
    for leaf in leaves([hidden], Param):
        arrays[leaf.name] = np.random.default_rng(0).normal(size=leaf.shape)
    inner = np.sin(arrays["x"] @ arrays["fnn.0.weight"] + arrays["fnn.0.bias"])
    logits = inner @ arrays["fnn.1.weight"] + arrays["fnn.1.bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(values([hidden], arrays)[0], expected, rtol=1e-12)


def test_dropout_acts_in_training_only() -> None:
    y = models.FNN([5, 400, 1], dropout=0.5)(features())
    arrays = {leaf.name: np.ones(leaf.shape) for leaf in leaves([y], Param)}
    arrays["x"] = np.ones((2, 5))
    np.testing.assert_allclose(values([y], arrays)[0], 2401.0)
    trained = values([y], arrays, training=True)[0]
    assert (trained != 2401.0).all()
    np.testing.assert_allclose(trained, 2401.0, rtol=0.3)


# -- PyTorch's state dicts -----------------------------------------------------------------------


def torch_mlp(nn: Any, norm: str | None, dropout: float) -> Any:
    layers: list[Any] = []
    for width, out in ((5, 6), (6, 4)):
        layers.append(nn.Linear(width, out))
        if norm is not None:
            layers.append({"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm](out))
        layers += [nn.Tanh(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(4, 3)).double()


@pytest.mark.peers
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("training", [False, True])
def test_fnn_agrees_with_torch(norm: str | None, training: bool) -> None:
    torch = pytest.importorskip("torch")
    net = torch_mlp(torch.nn, norm, 0.0).train(training)
    if norm == "batch":
        for k in (1, 4):
            net[k].running_mean.uniform_(-1, 1)
            net[k].running_var.uniform_(0.5, 2)
    model = models.FNN([5, 6, 4, 3], "tanh", norm=norm)
    y = model(features())
    x = np.random.default_rng(0).normal(size=(7, 5))
    arrays = models.from_torch_state(net.state_dict(), model) | {"x": x}
    states = leaves([y], State)
    updates = [leaf.op.updates[-1] for leaf in states]
    wrt = leaves([y], Param)
    found = values([y, *sf.grad(ops.sum(ops.square(y)), wrt), *updates], arrays, training)
    expected = net(torch.from_numpy(x))
    expected.square().sum().backward()
    np.testing.assert_allclose(found[0], expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    slopes = {key: p.grad for key, p in net.named_parameters()}
    slopes |= {key: b for key, b in net.named_buffers() if "running" in key}
    theirs = models.from_torch_state(slopes, model)
    assert len(theirs) == len(wrt) + len(states)
    compared = [*wrt, *(states if training else ())]
    for leaf, ours in zip(compared, found[1:], strict=False):
        np.testing.assert_allclose(ours, theirs[leaf.name], rtol=1e-9, atol=1e-11)


class Holder:
    """What `to_torch_state` reads of a session."""

    def __init__(self, named: dict[str, np.ndarray]) -> None:
        self.params, self.states = named, dict[str, np.ndarray]()


@pytest.mark.peers
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_fnn_state_there_and_back(norm: str | None, dropout: float) -> None:
    torch = pytest.importorskip("torch")
    net, other = (torch_mlp(torch.nn, norm, dropout) for _ in range(2))
    model = models.FNN([5, 6, 4, 3], dropout=dropout, norm=norm)
    holder = Holder(models.from_torch_state(net.state_dict(), model))
    other.load_state_dict(models.to_torch_state(holder, model), strict=True)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.peers
def test_a_single_linear() -> None:
    torch = pytest.importorskip("torch")
    net, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    model = models.FNN([5, 3])
    named = models.from_torch_state(net.state_dict(), model)
    assert named["fnn.0.weight"].shape == (5, 3)
    other.load_state_dict(models.to_torch_state(Holder(named), model))
    assert torch.equal(net.weight, other.weight)


def test_a_state_of_another_net_is_refused() -> None:
    state = {"0.weight": np.zeros((4, 5)), "0.bias": np.zeros(4)}
    with pytest.raises(sf.GraphError, match="1 dense layers and 0 norms"):
        models.from_torch_state(state, models.FNN([5, 4, 3]))
    with pytest.raises(sf.GraphError, match=r"missing: 0\.bias; unknown: none"):
        models.from_torch_state({"0.weight": np.zeros((3, 5))}, models.FNN([5, 3]))
    with pytest.raises(sf.GraphError, match="missing: bias_hh_l0, .*unknown: 0.bias, 0.weight"):
        models.from_torch_state(state, models.RNN(4))


# -- recurrent -----------------------------------------------------------------------------------


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


def test_padding_does_not_matter() -> None:
    model = models.RNN(4, "lstm", bidirectional=True)
    x, lengths = features(("batch", "time", 3)), sf.input("lengths", ("batch",), "int32")
    y = model(x, lengths)
    arrays = rnn_arrays([y])
    steps = np.random.default_rng(0).normal(size=(3, 5, 3))
    counts = np.array([5, 2, 0])
    together = values([y], arrays | {"x": steps, "lengths": counts})[0]
    for k, n in enumerate(counts):
        alone = {"x": steps[k : k + 1, : max(n, 1)], "lengths": [n]}
        np.testing.assert_allclose(values([y], arrays | alone)[0][0], together[k], rtol=1e-12)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: models.FNN([5]), sf.ShapeError, "sizes are the widths"),
        (lambda: models.FNN([5, 0]), sf.ShapeError, "sizes are the widths"),
        (lambda: models.FNN([5, 2.5]), sf.ShapeError, "sizes are the widths"),
        (lambda: models.FNN([5, 3], "rleu"), sf.GraphError, "no activation 'rleu'"),
        (lambda: models.FNN([5, 4, 3], norm="group"), sf.GraphError, "no norm 'group'"),
        (lambda: models.FNN([5, 3], dropout=1.0), sf.GraphError, "probability below 1"),
        (lambda: models.FNN([4, 3])(features()), sf.ShapeError, r"shape \(\.\.\., 4\)"),
        (lambda: models.FNN([5, 3])(features(dtype="int64")), sf.DTypeError, "float dtype"),
        (lambda: models.RNN(0), sf.ShapeError, "hidden must be a positive integer"),
        (lambda: models.RNN(4, layers=0), sf.ShapeError, "layers must be a positive integer"),
        (lambda: models.RNN(4, "elman"), sf.GraphError, "no cell 'elman'.*tanh, relu, lstm, gru"),
        (lambda: models.RNN(4)(features()), sf.ShapeError, r"\(batch, time, features\)"),
        (
            lambda: models.RNN(4)(features(("b", "t", "n"))),
            sf.ShapeError,
            "number of features must be",
        ),
        (
            lambda: models.RNN(4)(features(("b", "t", 3)), sf.input("n", ("m",), "int64")),
            sf.ShapeError,
            "one for each sequence",
        ),
        (
            lambda: models.RNN(4)(features(("b", "t", 3)), sf.input("n", ("b",))),
            sf.ShapeError,
            "lengths are integers",
        ),
        (
            lambda: models.RNN(4, "lstm")(features(("b", "t", 3)), None, sf.input("h", ("b", 4))),
            sf.GraphError,
            "consists of 2 arrays",
        ),
        (
            lambda: models.RNN(4)(features(("b", "t", 3)), None, sf.input("h", ("b", 5))),
            sf.ShapeError,
            r"give the shape \(1, b, 4\)",
        ),
    ],
)
def test_refused_at_the_users_line(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"(?s){text}") as caught:
        make()
    assert "test_models.py" in str(caught.value)


def test_models_from_the_checkout_are_the_same() -> None:
    program = (
        "import models, staticflow.models, models.fnn, models.estimators\n"
        "assert models is staticflow.models\n"
        "assert models.fnn is staticflow.models.fnn\n"
        "assert models.estimators.FNNClassifier is staticflow.models.FNNClassifier\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_importing_models_leaves_scikit_learn_alone() -> None:
    program = (
        "import sys\nfrom staticflow import models\nmodels.FNN([2, 1])\n"
        "assert not {'sklearn', 'torch', 'numba'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
