"""Networks that train on any number of threads, each twice: as a graph, and as PyTorch has it.

The second is written by hand from the formulas, and shares nothing with the first but the names of
parameters: `p` are the parameters, `b` the arrays of a batch, `s` the states, which it replaces by
their successors, and `u` the draws of the step, in the order in which the graph has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import staticflow as sf
from staticflow import models, ops

Array = NDArray[Any]
Tensors = dict[str, torch.Tensor]
Data = Callable[[np.random.Generator, int, str], dict[str, Array]]
Loss = Callable[[Tensors, Tensors, Tensors, list[torch.Tensor]], torch.Tensor]
CLASSES, TIME = 3, 5


@dataclass(frozen=True)
class Net:
    """A loss as a graph, made for a dtype; its data, for so many rows; and PyTorch's loss."""

    graph: Callable[[str], sf.Node]
    data: Data
    loss: Loss
    noisy: bool = False  # whether a gradient is zero but for rounding, so that signs mean nothing


def rows(**widths: Any) -> Data:
    """Normal inputs of these widths; "labels" and "tokens" are classes."""

    def make(rng: np.random.Generator, count: int, dtype: str) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, width in widths.items():
            shape = (count, *np.atleast_1d(width))
            if name == "labels":
                found[name] = rng.integers(0, CLASSES, count)
            elif name == "tokens":
                found[name] = rng.integers(0, 11, shape)
            elif name == "lengths":
                found[name] = rng.integers(0, TIME + 2, count)
            else:
                found[name] = rng.standard_normal(shape).astype(dtype)
        return found

    return make


def dense(p: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def mse(y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return ((y - t) ** 2).mean()


def _pair(dtype: str, width: int = 6, out: int = 2) -> tuple[sf.Node, sf.Node]:
    return sf.input("x", ("batch", width), dtype), sf.input("t", ("batch", out), dtype)


def _labels() -> sf.Node:
    return sf.input("labels", ("batch",), "int64")


# Shared weights and a penalty: a tied autoencoder


def _tied(dtype: str) -> sf.Node:
    x = sf.input("x", ("batch", 6), dtype)
    w, b, c = (sf.param(n, s, dtype=dtype) for n, s in (("w", (6, 5)), ("b", (5,)), ("c", (6,))))
    return ops.mse(ops.tanh(x @ w + b) @ w.T + c, x) + 0.01 * ops.square(w).sum()


def _tied_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    y = torch.tanh(b["x"] @ p["w"] + p["b"]) @ p["w"].T + p["c"]
    return mse(y, b["x"]) + 0.01 * (p["w"] ** 2).sum()


# Several losses on one trunk


def _heads(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    h = models.FNN([6, 9, 7], activation="tanh", output_activation="tanh", name="trunk")(x)
    y = models.FNN([7, 2], name="value")(h)
    logits = models.FNN([7, CLASSES], name="class")(h)
    size = sum(ops.abs(n).sum() for n in (sf.param("a", (4,), dtype=dtype, init="normal"),))
    entropy = ops.softmax_cross_entropy(logits, _labels()).mean()
    return ops.mse(y, t) + 0.5 * entropy + 0.02 * size


def _heads_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = torch.tanh(dense(p, "trunk.1", torch.tanh(dense(p, "trunk.0", b["x"]))))
    entropy = functional.cross_entropy(dense(p, "class.0", h), b["labels"])
    return mse(dense(p, "value.0", h), b["t"]) + 0.5 * entropy + 0.02 * p["a"].abs().sum()


# Frozen parameters, and groups with a rate or a decay of their own


def _frozen(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    first = sf.param("first", (6, 8), dtype=dtype, trainable=False)
    slow = sf.param("slow", (8, 8), dtype=dtype, lr_scale=0.5)
    last = sf.param("last", (8, 2), dtype=dtype)
    bias = sf.param("bias", (2,), "normal", dtype, decay=False)
    return ops.mse(ops.sigmoid(ops.tanh(x @ first) @ slow) @ last + bias, t)


def _frozen_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = torch.sigmoid(torch.tanh(b["x"] @ p["first"]) @ p["slow"])
    return mse(h @ p["last"] + p["bias"], b["t"])


# What needs the whole batch in the middle of a step


def _batch_norm(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    return ops.mse(models.FNN([6, 8, 2], activation="tanh", norm="batch")(x), t)


def _batch_norm_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = dense(p, "fnn.0", b["x"])
    mean, var = h.mean(0), h.var(0, unbiased=False)
    unbiased = var * len(h) / max(len(h) - 1, 1)
    for name, value in (("running_mean", mean), ("running_var", unbiased)):
        key = f"fnn.0.norm.{name}"
        s[key] = 0.9 * s[key] + 0.1 * value.detach()
    h = (h - mean) / torch.sqrt(var + 1e-5) * p["fnn.0.norm.weight"] + p["fnn.0.norm.bias"]
    return mse(dense(p, "fnn.1", torch.tanh(h)), b["t"])


def _masked_mean(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    keep = ops.greater(x[:, :1], -0.2).astype(dtype)
    error = ops.square(models.FNN([6, 7, 2], activation="tanh")(x) - t) * keep
    return error.sum() / (keep.sum() + 0.1)


def _masked_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    keep = (b["x"][:, :1] > -0.2).to(b["x"].dtype)
    y = dense(p, "fnn.1", torch.tanh(dense(p, "fnn.0", b["x"])))
    return ((y - b["t"]) ** 2 * keep).sum() / (keep.sum() + 0.1)


def _running_sums(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    total = sf.state("total", (6,), dtype=dtype)
    sf.update(total, 0.5 * total + x.sum(axis=0))
    y = (x + 0.01 * total) @ sf.param("w", (6, 2), dtype=dtype)
    return ops.mse(y, t)


def _running_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    loss = mse((b["x"] + 0.01 * s["total"]) @ p["w"], b["t"])
    s["total"] = 0.5 * s["total"] + b["x"].sum(0)
    return loss


# Rows by themselves


def _layer_norm(dtype: str) -> sf.Node:
    x = sf.input("x", ("batch", 6), dtype)
    logits = models.FNN([6, 16, CLASSES], activation="gelu", norm="layer")(x)
    return ops.softmax_cross_entropy(logits, _labels()).mean()


def _layer_norm_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = dense(p, "fnn.0", b["x"])
    weight, bias = p["fnn.0.norm.weight"], p["fnn.0.norm.bias"]
    h = functional.gelu(functional.layer_norm(h, (16,), weight, bias, 1e-5))
    return functional.cross_entropy(dense(p, "fnn.1", h), b["labels"])


def _dropout(dtype: str) -> sf.Node:
    x, t = _pair(dtype)
    return ops.mse(models.FNN([6, 12, 2], activation="tanh", dropout=0.3)(x), t)


def _dropout_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = torch.tanh(dense(p, "fnn.0", b["x"]))
    return mse(dense(p, "fnn.1", h * (u[0] < 0.7) / 0.7), b["t"])


def _embedding(dtype: str) -> sf.Node:
    tokens = sf.input("tokens", ("batch", 7), "int64")
    vectors = ops.embedding(sf.param("table", (11, 5), "normal", dtype), tokens)
    logits = models.FNN([5, CLASSES])(vectors.mean(axis=1))
    return ops.softmax_cross_entropy(logits, _labels()).mean()


def _embedding_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    logits = dense(p, "fnn.0", p["table"][b["tokens"]].mean(1))
    return functional.cross_entropy(logits, b["labels"])


def _wide(dtype: str) -> sf.Node:
    """Gradients of few rows and many columns are made in parts, and so is the first product."""
    x, t = _pair(dtype, 300)
    return ops.mse(models.FNN([300, 40, 40, 2], activation="tanh")(x), t)


def _wide_loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
    h = b["x"]
    for k in range(2):
        h = torch.tanh(dense(p, f"fnn.{k}", h))
    return mse(dense(p, "fnn.2", h), b["t"])


# Recurrent nets, unrolled here


def _recurrent(cell: str, ragged: bool) -> Callable[[str], sf.Node]:
    def graph(dtype: str) -> sf.Node:
        x, t = sf.input("x", ("batch", TIME, 4), dtype), sf.input("t", ("batch", 2), dtype)
        lengths = sf.input("lengths", ("batch",), "int64") if ragged else None
        return ops.mse(models.FNN([6, 2])(models.RNN(6, cell)(x, lengths)), t)

    return graph


Cell = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], list[torch.Tensor]]


def _gru(wx: torch.Tensor, uh: torch.Tensor, state: list[torch.Tensor]) -> list[torch.Tensor]:
    (wr, wz, wn), (ur, uz, un) = wx.chunk(3, 1), uh.chunk(3, 1)
    z = torch.sigmoid(wz + uz)
    return [(1 - z) * torch.tanh(wn + torch.sigmoid(wr + ur) * un) + z * state[0]]


def _lstm(wx: torch.Tensor, uh: torch.Tensor, state: list[torch.Tensor]) -> list[torch.Tensor]:
    i, f, g, o = (wx + uh).chunk(4, 1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def _elman(wx: torch.Tensor, uh: torch.Tensor, state: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.tanh(wx + uh)]


def _recurrent_loss(cell: Cell, states: int, ragged: bool) -> Loss:
    def loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
        x = b["x"]
        state = [torch.zeros(len(x), 6, dtype=x.dtype) for _ in range(states)]
        for k in range(TIME):
            wx = x[:, k] @ p["rnn.0.weight_ih"] + p["rnn.0.bias_ih"]
            new = cell(wx, state[0] @ p["rnn.0.weight_hh"] + p["rnn.0.bias_hh"], state)
            if ragged:
                within = (k < b["lengths"])[:, None]
                new = [torch.where(within, n, o) for n, o in zip(new, state, strict=True)]
            state = new
        return mse(dense(p, "fnn.0", state[0]), b["t"])

    return loss


_SEQUENCES = {"x": (TIME, 4), "t": 2}
NETS: dict[str, Net] = {
    "shared weights, penalty": Net(_tied, rows(x=6), _tied_loss),
    "several losses": Net(_heads, rows(x=6, t=2, labels=1), _heads_loss),
    "frozen, groups": Net(_frozen, rows(x=6, t=2), _frozen_loss),
    "batch norm": Net(_batch_norm, rows(x=6, t=2), _batch_norm_loss, noisy=True),
    "masked mean": Net(_masked_mean, rows(x=6, t=2), _masked_loss),
    "sums in a state": Net(_running_sums, rows(x=6, t=2), _running_loss),
    "layer norm": Net(_layer_norm, rows(x=6, labels=1), _layer_norm_loss),
    "dropout": Net(_dropout, rows(x=6, t=2), _dropout_loss),
    "embedding": Net(_embedding, rows(tokens=7, labels=1), _embedding_loss),
    "wide": Net(_wide, rows(x=300, t=2), _wide_loss),
    "elman": Net(_recurrent("tanh", False), rows(**_SEQUENCES), _recurrent_loss(_elman, 1, False)),
    "gru, ragged": Net(
        _recurrent("gru", True), rows(**_SEQUENCES, lengths=1), _recurrent_loss(_gru, 1, True)
    ),
    "lstm": Net(_recurrent("lstm", False), rows(**_SEQUENCES), _recurrent_loss(_lstm, 2, False)),
}
