"""Feed-forward networks against PyTorch: values, gradients, state dicts; names; refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Param, State
from staticflow.graph.traversal import leaves
from tests.models.support import Holder, features, names, values
from tests.support.places import ROOT

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
    with pytest.raises(sf.GraphError, match=r"fnn.1.weight \(3, 4\) \|\n"):
        models.from_torch_state(state, models.FNN([5, 4, 3]))
    with pytest.raises(sf.GraphError, match=r"fnn.0.weight \(6, 5\) \| 0.weight \(4, 5\)"):
        models.from_torch_state(state, models.FNN([5, 6]))
    with pytest.raises(sf.GraphError, match=r"rnn.0.weight_ih \(4, \?\) +\| 0.weight \(4, 5\)"):
        models.from_torch_state(state, models.RNN(4))


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
    assert "test_fnn.py" in str(caught.value)


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


@pytest.mark.parametrize("prefix", ["", "net."])
def test_a_state_sorted_as_text_is_in_the_order_of_its_numbers(prefix: str) -> None:
    """As safetensors files sort keys: 0, 10, 12, 2, ..."""
    model = models.FNN([3] * 8, activation="tanh")
    model(sf.input("x", ("batch", 3)))
    state = {
        f"{prefix}{2 * k}.{kind}": np.full(shape, k, "float32")
        for k in range(7)
        for kind, shape in (("weight", (3, 3)), ("bias", (3,)))
    }
    for given in (state, {key: state[key] for key in sorted(state)}):
        for name, value in models.from_torch_state(given, model).items():
            assert (value == int(name.split(".")[1])).all(), name


def test_names_decide_about_the_order() -> None:
    """Safetensors' readers give another order at each call."""
    model = models.FNN([3, 3, 3])
    model(sf.input("x", ("batch", 3)))
    state = {
        f"fc{k}.{kind}": np.full(shape, k, "float32")
        for k in (1, 0)
        for kind, shape in (("weight", (3, 3)), ("bias", (3,)))
    }
    for name, value in models.from_torch_state(state, model).items():
        assert (value == int(name.split(".")[1])).all(), name
