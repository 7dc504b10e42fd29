"""What recurrent networks are for: sequences to one answer, to many, to others; step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves

SYMBOLS, WIDTH, HIDDEN = 7, 5, 6


def embedded(symbols: sf.Node, dtype: str = "float32") -> sf.Node:
    table = sf.param("table", (SYMBOLS, WIDTH), init="normal", dtype=dtype)
    return ops.embedding(table, symbols)


@pytest.mark.peers
@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_masked_loss_over_every_step_of_symbols(cell: str, dtype: str) -> None:
    """An embedding, a network, a class for each step that there is: gradients are PyTorch's."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    x, y = (sf.input(name, ("batch", "time"), "int64") for name in "xy")
    lengths = sf.input("lengths", ("batch",), "int64")
    model = models.RNN(HIDDEN, cell, return_sequences=True)
    head = models.FNN([HIDDEN, SYMBOLS], name="head")
    losses = ops.softmax_cross_entropy(head(model(embedded(x, dtype), lengths)), y)
    there = ops.less(ops.arange(x.shape[1])[None], ops.expand_dims(lengths, 1)).astype(dtype)
    session = sf.Session(loss=ops.sum(losses * there) / ops.sum(there))

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    options = {"dtype": getattr(torch, dtype)}
    embedding = torch.nn.Embedding(SYMBOLS, WIDTH, **options)
    rnn = kind(WIDTH, HIDDEN, batch_first=True, **options)
    linear = torch.nn.Linear(HIDDEN, SYMBOLS, **options)
    named = models.from_torch_state(rnn.state_dict(), model)
    session.load_params({
        "table": embedding.weight.detach().numpy(), **named,
        "head.0.weight": linear.weight.detach().numpy().T, "head.0.bias": linear.bias.detach(),
    })  # fmt: skip

    rng = np.random.default_rng(0)
    data = {n: rng.integers(0, SYMBOLS, (4, 9)) for n in "xy"} | {"lengths": np.array([9, 1, 4, 6])}
    hidden, _ = rnn(embedding(torch.as_tensor(data["x"])))
    answers = torch.as_tensor(data["y"])
    answers[np.arange(9)[None] >= data["lengths"][:, None]] = -100
    loss = torch.nn.functional.cross_entropy(linear(hidden).flatten(0, 1), answers.flatten())
    loss.backward()
    data["y"] = np.maximum(answers.numpy(), 0)
    close = {"float32": 1e-5, "float64": 1e-10}[dtype]
    assert session.evaluate(data)["loss"] == pytest.approx(loss.item(), rel=close)
    slopes = models.from_torch_state({k: p.grad for k, p in rnn.named_parameters()}, model)
    slopes |= {"table": embedding.weight.grad.numpy(), "head.0.weight": linear.weight.grad.T}
    found = session.gradients(data)
    for name, slope in slopes.items():
        np.testing.assert_allclose(found[name], slope, rtol=10 * close, atol=close, err_msg=name)


class Translator:
    """Reads symbols with one network, and writes them backwards with a scan of its own."""

    def __init__(self) -> None:
        self.table = sf.param("table", (SYMBOLS, WIDTH), init="normal")
        self.encoder = models.RNN(48, "gru", name="encoder")
        self.w = sf.param("decoder.w", (WIDTH + 48, 2 * 48))
        self.v = sf.param("decoder.v", (WIDTH + 48, 48))
        self.head = models.FNN([48, SYMBOLS], name="head")

    def decoder(self, h: sf.Node, symbol: sf.Node) -> sf.Node:
        """The next state: a gated unit."""
        x = ops.embedding(self.table, symbol)
        r, z = ops.split(ops.sigmoid(ops.concatenate([x, h], axis=-1) @ self.w), 2, axis=-1)
        new = ops.tanh(ops.concatenate([x, r * h], axis=-1) @ self.v)
        return z * h + (1.0 - z) * new

    def taught(self, x: sf.Node, before: sf.Node) -> sf.Node:
        """Logits (time, batch, SYMBOLS), with the right symbols before each."""

        def step(h: sf.Node, symbol: sf.Node) -> tuple[sf.Node, sf.Node]:
            h = self.decoder(h, symbol)
            return h, self.head(h)

        return sf.scan(step, self.encoder(ops.embedding(self.table, x)), before.T)[1]

    def written(self, x: sf.Node) -> sf.Node:
        """Symbols (time, batch), each the likeliest after those written before."""

        def step(carry: tuple[sf.Node, sf.Node], _: Any) -> tuple[Any, sf.Node]:
            h = self.decoder(*carry)
            symbol = ops.argmax(self.head(h), axis=-1)
            return (h, symbol), symbol

        start = ops.zeros((x.shape[0],), "int64")
        return sf.scan(
            step, (self.encoder(ops.embedding(self.table, x)), start), None, length=x.shape[1]
        )[1]


def test_sequence_to_sequence() -> None:
    """Trained with the right symbols as inputs, it writes from its own."""
    x, before, y = (sf.input(name, ("batch", "time"), "int64") for name in ("x", "before", "y"))
    net = Translator()
    loss = ops.softmax_cross_entropy(net.taught(x, before), y.T).mean()
    adam = sf.optim.Adam(sf.optim.cosine(1e-2, 1200), clip_norm=1.0)
    session = sf.Session(loss=loss, outputs={"text": net.written(x)}, optimizer=adam, seed=0)
    rng = np.random.default_rng(0)
    text = rng.integers(1, SYMBOLS, (3000, 5))
    turned = text[:, ::-1]
    shifted = np.c_[np.zeros(3000, int), turned[:, :-1]]
    known = {"x": text[:2560], "before": shifted[:2560], "y": turned[:2560]}
    session.fit(known, epochs=30, batch_size=64, progress=False)
    right = session.run("text", {"x": text[2560:]}).T == turned[2560:]
    assert right.mean() > 0.95


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_one_step_at_a_time_is_the_whole(cell: str) -> None:
    """By `run`, and by `jit` from the user's own loop."""
    x = sf.input("x", ("batch", "time", 3))
    count = 1 + (cell == "lstm")
    starts = [sf.input(f"s{k}", ("batch", HIDDEN)) for k in range(count)]
    y, state = models.RNN(HIDDEN, cell)(x, initial_state=starts, return_state=True)
    ends = list(state) if count == 2 else [state]
    names = ["y", *(f"end{k}" for k in range(count))]
    session = sf.Session(outputs=dict(zip(names, [y, *ends], strict=True)))
    steps = np.random.default_rng(0).standard_normal((2, 30, 3)).astype(np.float32)
    zeros = [np.zeros((2, HIDDEN), np.float32)] * count

    def run(part: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
        fed = {f"s{k}": s for k, s in enumerate(states)}
        return session.run(names, {"x": part, **fed})

    whole = run(steps, zeros)
    found = [whole[0], *zeros]
    for t in range(30):
        found = run(steps[:, t : t + 1], found[1:])
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    one = session.jit(tuple(names))
    if cell == "lstm":

        @njit
        def stream(steps: Any, h: Any, c: Any) -> Any:
            y = h
            for t in range(steps.shape[1]):
                y, h, c = one(steps[:, t : t + 1], h, c)
            return y, h, c
    else:

        @njit
        def stream(steps: Any, h: Any) -> Any:
            y = h
            for t in range(steps.shape[1]):
                y, h = one(steps[:, t : t + 1], h)
            return y, h

    for a, b in zip(stream(steps, *zeros), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ten_thousand_steps_train() -> None:
    """To tell which of two levels a long noisy sequence has; the memory is that of `remat`."""
    x, y = sf.input("x", ("batch", "time", 1)), sf.input("y", ("batch", 1))
    last = models.RNN(8, "gru", remat=True)(x)
    loss = ops.mse(models.FNN([8, 1], name="head")(last), y)
    session = sf.Session(loss=loss, optimizer=sf.optim.Adam(0.01), seed=0)
    rng = np.random.default_rng(0)
    levels = rng.choice([-1.0, 1.0], (16, 1))
    fed = {"x": 0.3 * levels[:, None] + rng.standard_normal((16, 10_000, 1)), "y": levels}
    history = session.fit(fed, epochs=30, batch_size=16, progress=False)
    assert history.epochs[-1]["loss"] < 0.5 * history.epochs[0]["loss"]


def test_memory_is_linear_in_time_and_less_with_remat() -> None:
    """In numbers for each step, row and unit: 4 gates' inputs, 4 gates, tanh c, h and c."""

    def held(steps: int, remat: Any) -> float:
        x = sf.input("x", ("batch", "time", 8))
        loss = ops.sum(models.RNN(64, "lstm", remat=remat)(x))
        compiled = compile_graph([loss, *sf.grad(loss, leaves([loss], Param))], training=True)
        sizes = compiled.sized.sizes_by_name({"batch": 8, "time": steps})
        return compiled.memory.offsets(sizes)[1] / (4 * steps * 8 * 64)

    assert held(10_000, None) == pytest.approx(held(1000, None), rel=0.05)
    assert held(10_000, None) < 12
    assert held(10_000, True) < 0.05 * held(10_000, None)
    assert held(40_000, True) < 0.8 * held(10_000, True)


def _source(time: int | str, hidden: int) -> str:
    x, t = sf.input("x", ("batch", time, 3)), sf.input("t", ("batch", hidden))
    y = models.RNN(hidden, "lstm")(x)
    text = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(0.1), threads=1).source
    # Kernels and drivers; the loop over batches runs long sequences in blocks of rows.
    text = text.partition("@kernel")[2].partition("@loop")[0]
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))


def test_the_code_does_not_grow_with_time() -> None:
    """Nor with the width: both are numbers in a table."""
    short = _source(5, 4)
    kernels = short.count("\ndef ")
    assert kernels > 5
    for time, hidden in ((5000, 4), (5, 64)):
        assert _source(time, hidden) == short
