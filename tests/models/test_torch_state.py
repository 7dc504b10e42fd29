"""Weights of PyTorch's modules, state dicts and files, both ways."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.session.files.tensor_file import write_tensors

RNG = np.random.default_rng(0)


def dense(name: str, out: int, width: int) -> dict[str, Any]:
    shapes = {"weight": (out, width), "bias": (out,)}
    return {f"{name}.{k}": RNG.normal(size=s).astype("f4") for k, s in shapes.items()}


def test_a_file_has_its_layers_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    state = {k: v for n in range(12) for k, v in dense(f"net.{2 * n}", 3, 3).items()}
    write_tensors(tmp_path / "n.safetensors", state, {})
    model = models.FNN([3] * 13)
    taken = models.from_torch_state(tmp_path / "n.safetensors", model)
    for k in range(12):
        np.testing.assert_array_equal(taken[f"fnn.{k}.weight"], state[f"net.{2 * k}.weight"].T)


def test_sequentials_in_each_other() -> None:
    names = ["0.0.1", "0.0.10", "0.2", "1", "10.0"]
    state = {k: v for name in names[::-1] for k, v in dense(name, 3, 3).items()}
    taken = models.from_torch_state(state, models.FNN([3] * 6))
    for k, name in enumerate(names):
        np.testing.assert_array_equal(taken[f"fnn.{k}.weight"], state[f"{name}.weight"].T)


def test_names_that_are_words_need_an_order_or_shapes() -> None:
    state = {**dense("last", 3, 4), **dense("first", 4, 3)}
    taken = models.from_torch_state(state, models.FNN([3, 4, 3]))  # the shapes decide
    np.testing.assert_array_equal(taken["fnn.0.weight"], state["first.weight"].T)
    square = {**dense("in", 3, 3), **dense("out", 3, 3)}
    with pytest.raises(sf.GraphError, match="shapes leave it open"):
        models.from_torch_state(square, models.FNN([3, 3, 3]))
    ordered = OrderedDict(square)  # what a module's state_dict() is
    taken = models.from_torch_state(ordered, models.FNN([3, 3, 3]))
    np.testing.assert_array_equal(taken["fnn.1.weight"], square["out.weight"].T)
    parts = {"out": models.FNN([3, 3], name="a"), "in": models.FNN([3, 3], name="b")}
    taken = models.from_torch_state(square, parts)
    np.testing.assert_array_equal(taken["a.0.weight"], square["out.weight"].T)


def test_bfloat16_files_are_read_exactly(tmp_path: Path) -> None:
    values = np.array([[1.0, -0.5, 3.140625], [np.inf, 2.0**-130, -0.0]], "f4")
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    header = b'{"weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},' \
             b'"bias":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}'  # fmt: skip
    data = len(header).to_bytes(8, "little") + header + halves.tobytes() + bytes(8)
    path = tmp_path / "bf16.safetensors"
    path.write_bytes(data)
    taken = models.from_torch_state(path, models.FNN([3, 2]))
    np.testing.assert_array_equal(taken["fnn.0.weight"], values.T)
    assert taken["fnn.0.weight"].dtype == np.float32
    path.write_bytes(data[:-1])
    with pytest.raises(sf.GraphError, match="damaged"):
        models.from_torch_state(path, models.FNN([3, 2]))


def test_pickles_stay_closed(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not to be opened")
    with pytest.raises(sf.GraphError, match="this is a pickle"):
        models.from_torch_state(tmp_path / "weights.pt", models.FNN([3, 2]))


def test_biases_and_scales_that_are_missing() -> None:
    state = {"0.weight": np.ones((4, 3), "f4"), "1.running_mean": np.ones(4, "f4"),
             "1.running_var": np.ones(4, "f4"), "2.weight": np.ones((2, 4), "f4")}  # fmt: skip
    taken = models.from_torch_state(state, models.FNN([3, 4, 2], norm="batch"))
    assert not taken["fnn.0.bias"].any() and (taken["fnn.0.norm.weight"] == 1).all()
    del state["1.running_var"]
    with pytest.raises(sf.GraphError, match=r"fnn\.0\.norm\.running_var \(4,\)"):
        models.from_torch_state(state, models.FNN([3, 4, 2], norm="batch"))


def test_what_is_no_model_or_no_state() -> None:
    with pytest.raises(sf.GraphError, match="this is no model"):
        models.from_torch_state({}, "fnn")
    with pytest.raises(sf.GraphError, match="this is no state"):
        models.from_torch_state(3, models.FNN([3, 2]))
    with pytest.raises(sf.GraphError, match="makes the hidden state of an lstm narrower"):
        models.RNN(4, "gru", projection=2)
    with pytest.raises(sf.GraphError, match="narrower"):
        models.RNN(4, "lstm", projection=4)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("proj", [0, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_a_module_of_many_parts(proj: int, bias: bool) -> None:
    """An embedding, an LSTM, a norm and a head that is tied to the embedding, in and out again."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(9, 6)
            self.lstm = torch.nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True,
                                      proj_size=proj, bias=bias)  # fmt: skip
            width = 2 * (proj or 5)
            self.body = torch.nn.Sequential(torch.nn.Sequential(
                torch.nn.Linear(width, 6, bias=bias), torch.nn.LayerNorm(6), torch.nn.Tanh(),
            ), torch.nn.Linear(6, 6))  # fmt: skip
            self.head = torch.nn.Linear(6, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Any) -> Any:
            return self.head(self.body(self.lstm(self.table(ids))[0]))

    net = Net().eval()
    ids = torch.randint(0, 9, (3, 4))
    x = sf.input("ids", ("batch", "time"), "int64")
    table = sf.param("table", (9, 6))
    rnn = models.RNN(5, "lstm", layers=2, bidirectional=True, return_sequences=True,
                     projection=proj or None)  # fmt: skip
    body = models.FNN([2 * (proj or 5), 6, 6], activation="tanh", norm="layer")
    y = body(rnn(ops.embedding(table, x))) @ table.T
    session = sf.Session(outputs={"y": y})
    parts = [table, rnn, body]
    for given in (net, net.state_dict()):
        session.load_params(models.from_torch_state(given, parts))
        found = session.run("y", {"ids": ids.numpy()})
        np.testing.assert_allclose(found, net(ids).detach().numpy(), atol=1e-6)
    by_name = models.from_torch_state(net, {"table": table, "lstm": rnn, "body": body})
    assert by_name.keys() == models.from_torch_state(net, parts).keys()
    for name, value in session.params.items():
        if bias or (not (name.startswith("rnn") and "bias" in name) and name != "fnn.0.bias"):
            value[...] = RNG.normal(size=value.shape)
    net.load_state_dict(models.to_torch_state(session, parts, like=net), strict=True)
    found = session.run("y", {"ids": ids.numpy()})
    np.testing.assert_allclose(found, net(ids).detach().numpy(), atol=1e-5)
    assert net.head.weight is net.table.weight
    if not bias:
        session.params["fnn.0.bias"][...] = 1.0
        with pytest.raises(sf.GraphError, match="the module has no bias"):
            models.to_torch_state(session, parts, like=net)
