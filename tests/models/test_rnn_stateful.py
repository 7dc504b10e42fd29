"""A hidden state that goes on from batch to batch, and gradients that end where they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

ROWS, FEATURES, HIDDEN, CHUNK, CHUNKS = 4, 3, 5, 6, 7
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, CHUNK * CHUNKS, FEATURES))
T = RNG.standard_normal((ROWS, CHUNK * CHUNKS, 1))


def chunks(size: int = CHUNK) -> Iterator[dict[str, Any]]:
    """One long sequence a row, cut along time."""
    for k in range(0, X.shape[1], size):
        yield {"x": X[:, k : k + size], "t": T[:, k : k + size]}


def carried(cell: str, **options: Any) -> tuple[sf.Session, models.RNN]:
    """A net whose state is a state of the session."""
    x = sf.input("x", (ROWS, "time", FEATURES), "float64")
    t = sf.input("t", (ROWS, "time", 1), "float64")
    starts = [
        sf.state(name, (ROWS, HIDDEN), "zeros", "float64")
        for name in ("h", "c")[: 1 + (cell == "lstm")]
    ]
    model = models.RNN(HIDDEN, cell, return_sequences=True, **options)
    ys, last = model(x, initial_state=starts, return_state=True)
    for start, end in zip(starts, last if isinstance(last, tuple) else (last,), strict=True):
        sf.update(start, end)
    y = models.FNN([HIDDEN, 1], name="head")(ys)
    return sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(0.02), outputs={"y": y}), model


class Peer:
    """The same in PyTorch, which detaches the state between chunks."""

    def __init__(self, torch: Any, cell: str, session: sf.Session, model: models.RNN) -> None:
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "tanh": torch.nn.RNN}[cell]
        self.torch = torch
        self.rnn = kind(FEATURES, HIDDEN, batch_first=True, dtype=torch.float64)
        self.head = torch.nn.Linear(HIDDEN, 1, dtype=torch.float64)
        given = models.to_torch_state(session, model)
        self.rnn.load_state_dict({k: torch.as_tensor(v) for k, v in given.items()})
        with torch.no_grad():
            weight, bias = (session.params[f"head.0.{k}"] for k in ("weight", "bias"))
            self.head.weight.copy_(torch.as_tensor(weight.T.copy()))
            self.head.bias.copy_(torch.as_tensor(bias.copy()))
        self.state: Any = None

    def detach(self) -> None:
        if isinstance(self.state, tuple):
            self.state = tuple(s.detach() for s in self.state)
        elif self.state is not None:
            self.state = self.state.detach()

    def loss(self, feeds: dict[str, Any], every: int = CHUNK) -> Any:
        """The mean over the chunk, detached after every so many steps."""
        x, t = (self.torch.as_tensor(feeds[name].copy()) for name in "xt")
        errors = []
        for k in range(0, x.shape[1], every):
            self.detach()
            ys, self.state = self.rnn(x[:, k : k + every], self.state)
            errors.append((self.head(ys) - t[:, k : k + every]).square())
        return self.torch.cat(errors, 1).mean()


@pytest.mark.peers
@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_training_over_chunks_of_a_sequence(cell: str) -> None:
    torch = pytest.importorskip("torch")
    session, model = carried(cell)
    peer = Peer(torch, cell, session, model)
    adam = torch.optim.Adam([*peer.rnn.parameters(), *peer.head.parameters()], 0.02)
    losses = session.fit(chunks, epochs=2, progress=False).epochs
    for log in losses:
        total = 0.0
        for feeds in chunks():
            adam.zero_grad()
            loss = peer.loss(feeds)
            loss.backward()
            adam.step()
            total += loss.item() / CHUNKS
        np.testing.assert_allclose(log["loss"], total, rtol=1e-10)
    expected = peer.state if isinstance(peer.state, tuple) else (peer.state,)
    for name, state in zip("hc", expected, strict=False):
        np.testing.assert_allclose(session.states[name], state[0].detach().numpy(), rtol=1e-9)


@pytest.mark.peers
@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_truncated_gradients(cell: str) -> None:
    """Runs of 3 steps within a chunk: as if detached after each."""
    torch = pytest.importorskip("torch")
    session, model = carried(cell, truncate=3)
    peer = Peer(torch, cell, session, model)
    feeds = next(chunks(11))
    peer.loss(feeds, every=3).backward()
    slopes = {key: p.grad for key, p in peer.rnn.named_parameters()}
    expected = models.from_torch_state(slopes, model)
    found = session.gradients(feeds)
    for name, slope in expected.items():
        np.testing.assert_allclose(found[name], slope, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("remat", [2, True])
def test_remat_changes_no_gradient(remat: Any) -> None:
    plain, _ = carried("lstm")
    segmented, _ = carried("lstm", remat=remat)
    segmented.load_params(dict(plain.params))
    feeds = next(chunks(11))
    found, expected = segmented.gradients(feeds), plain.gradients(feeds)
    for name, slope in expected.items():
        np.testing.assert_allclose(found[name], slope, rtol=1e-11, atol=1e-13, err_msg=name)


def test_without_rows_to_slice_data_comes_in_batches() -> None:
    session, _ = carried("gru")
    with pytest.raises(sf.GraphError, match="cannot tell which dimension to slice"):
        session.fit(next(chunks()), progress=False)
    assert session.step_count == 0
    loss = session.evaluate(chunks)["loss"]
    assert loss == pytest.approx(np.mean([session.evaluate(c)["loss"] for c in chunks()]))
