"""Recurrent networks, compiled, against PyTorch: outputs, gradients and training."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

FEATURES, HIDDEN = 3, 4
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


class Pair:
    """The same network and loss, ours and PyTorch's, with equal weights."""

    def __init__(
        self, cell: str, layers: int, both: bool, dtype: str, optimizer: Any = None
    ) -> None:
        torch.manual_seed(0)
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
        self.dtype = dtype
        self.net = kind(
            FEATURES, HIDDEN, num_layers=layers, bidirectional=both, batch_first=True,
            dtype=getattr(torch, dtype), **({"nonlinearity": cell} if kind is torch.nn.RNN else {}),
        )  # fmt: skip
        self.model = models.RNN(HIDDEN, cell, layers, both, return_sequences=True)
        x = sf.input("x", ("batch", "time", FEATURES), dtype)
        y = self.model(x, sf.input("lengths", ("batch",), "int64"))
        loss = ops.mean(ops.square(y - 0.5))
        self.session = sf.Session(loss=loss, outputs={"y": y}, optimizer=optimizer)
        self.session.load_params(models.from_torch_state(self.net.state_dict(), self.model))

    def data(self, batch: int, time: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(batch + time)
        lengths = rng.integers(1, time + 1, batch)
        lengths[0] = time
        return {
            "x": rng.normal(size=(batch, time, FEATURES)).astype(self.dtype),
            "lengths": lengths,
        }

    def peer(self, data: dict[str, np.ndarray]) -> tuple[Any, Any]:
        """PyTorch's outputs and loss."""
        utils = torch.nn.utils.rnn
        rows = utils.pack_padded_sequence(
            torch.from_numpy(data["x"]),
            torch.from_numpy(data["lengths"]),
            batch_first=True,
            enforce_sorted=False,
        )
        y, _ = utils.pad_packed_sequence(self.net(rows)[0], batch_first=True)
        return y, (y - 0.5).square().mean()

    def close(self, ours: Any, theirs: Any, what: str = "") -> None:
        close = TOLERANCE[self.dtype]
        np.testing.assert_allclose(ours, theirs, rtol=10 * close, atol=close, err_msg=what)


@pytest.mark.parametrize(
    ("cell", "layers", "both", "dtype"),
    [
        *product(["tanh", "relu", "lstm", "gru"], [1], [False], ["float32", "float64"]),
        *product(["tanh", "relu", "lstm", "gru"], [2], [True], ["float32", "float64"]),
    ],
)
def test_outputs_and_gradients(cell: str, layers: int, both: bool, dtype: str) -> None:
    pair = Pair(cell, layers, both, dtype)
    for batch, time in ((5, 6), (1, 1), (9, 17)):
        data = pair.data(batch, time)
        y, loss = pair.peer(data)
        pair.close(pair.session.run("y", data), y.detach().numpy())
        pair.net.zero_grad()
        loss.backward()
        slopes = {key: p.grad for key, p in pair.net.named_parameters()}
        theirs = models.from_torch_state(slopes, pair.model)
        for name, ours in pair.session.gradients(data).items():
            pair.close(ours, theirs[name], name)


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_training(cell: str) -> None:
    pair = Pair(cell, 2, True, "float64", sf.optim.Adam(0.01))
    data = pair.data(64, 9)
    history = pair.session.fit(data, epochs=5, batch_size=16, shuffle=False, progress=False)
    peer, expected = torch.optim.Adam(pair.net.parameters(), 0.01), []
    for _ in range(5):
        total = 0.0
        for k in range(0, 64, 16):
            batch = {name: array[k : k + 16] for name, array in data.items()}
            peer.zero_grad()
            y, _ = pair.peer(batch)
            y = torch.nn.functional.pad(y, (0, 0, 0, 9 - y.shape[1]))
            loss = (y - 0.5).square().mean()
            loss.backward()
            peer.step()
            total += loss.item() / 4
        expected.append(total)
    np.testing.assert_allclose([log["loss"] for log in history.epochs], expected, rtol=1e-9)
