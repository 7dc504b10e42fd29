"""Random networks with random losses, each twice: as a graph, and as PyTorch has it.

A program is drawn from a seed as a list of layers over (batch, width) and a loss. What a layer does
is written once, over the functions that both libraries have; its parameters are named by its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import staticflow as sf
from staticflow import ops
from tests.support.thread_nets import CLASSES, Net, Tensors, rows

OURS = SimpleNamespace(
    tanh=ops.tanh, relu=ops.relu, sigmoid=ops.sigmoid, softplus=ops.softplus, gelu=ops.gelu,
    elu=ops.elu, silu=ops.silu, softsign=ops.softsign, sin=ops.sin, exp=ops.exp, square=ops.square,
    sqrt=ops.sqrt, abs=ops.abs, softmax=lambda x: ops.softmax(x, -1),
    mean=lambda x: ops.mean(x, -1, keepdims=True), concat=lambda xs: ops.concatenate(xs, 1),
    largest=lambda x: ops.max(x, -1, keepdims=True), where=ops.where, huber=ops.huber,
    cross_entropy=lambda z, t: ops.mean(ops.softmax_cross_entropy(z, t)),
    binary=lambda z, t: ops.mean(ops.sigmoid_binary_cross_entropy(z, t)),
)  # fmt: skip
THEIRS = SimpleNamespace(
    tanh=torch.tanh, relu=torch.relu, sigmoid=torch.sigmoid, softplus=functional.softplus,
    gelu=functional.gelu, elu=functional.elu, silu=functional.silu, softsign=functional.softsign,
    sin=torch.sin, exp=torch.exp, square=torch.square, sqrt=torch.sqrt, abs=torch.abs,
    softmax=lambda x: torch.softmax(x, -1), mean=lambda x: x.mean(-1, keepdim=True),
    concat=lambda xs: torch.cat(xs, 1), largest=lambda x: torch.amax(x, -1, keepdim=True),
    where=torch.where, huber=functional.huber_loss, cross_entropy=functional.cross_entropy,
    binary=functional.binary_cross_entropy_with_logits,
)  # fmt: skip
ACTIVATIONS = (
    "tanh", "relu", "sigmoid", "softplus", "gelu", "elu", "silu", "softsign", "sin", "softmax",
)  # fmt: skip
LOSSES = ("mse", "mae", "huber", "cross entropy", "binary", "poisson", "root")
SHIFTS = ("softmax", "norm", "cross entropy")  # to which a shift of their inputs is nothing
Layer = Callable[[Any, Any, Any], Any]  # of the library, the parameters, and x


@dataclass(frozen=True)
class Program:
    """Layers with their parameters' shapes, and a loss."""

    width: int
    kinds: tuple[str, ...]
    layers: tuple[Layer, ...]
    shapes: dict[str, tuple[int, ...]]
    loss: str
    penalty: float

    def value(self, library: Any, p: Any, x: Any, t: Any, labels: Any) -> Any:
        """The loss of a batch."""
        for layer in self.layers:
            x = layer(library, p, x)
        loss = _loss(self.loss, library, x, t, labels)
        for name in self.shapes if self.penalty else ():
            loss = loss + self.penalty * (p[name] * p[name]).sum()
        return loss

    @property
    def net(self) -> Net:
        """The program as thread_nets has its own."""

        def graph(dtype: str) -> sf.Node:
            x, t = sf.input("x", ("batch", self.width), dtype), sf.input("t", ("batch", 3), dtype)
            labels = sf.input("labels", ("batch",), "int64")
            p = {n: sf.param(n, shape, _init(shape), dtype) for n, shape in self.shapes.items()}
            read = 0.0 * (ops.mean(t) + ops.mean(labels).astype(dtype))
            return self.value(OURS, p, x, t, labels) + read

        def loss(p: Tensors, b: Tensors, s: Tensors, u: list[torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = self.value(THEIRS, p, b["x"], b["t"], b["labels"])
            return found

        noisy = any(kind in SHIFTS for kind in (*self.kinds, self.loss))
        return Net(graph, rows(x=self.width, t=3, labels=CLASSES), loss, noisy)


def program(seed: int) -> Program:
    """The program of a seed."""
    choose = random.Random(seed)
    width = first = choose.choice((1, 2, 3, 5, 8, 10, 17, 32, 40, 65))
    shapes: dict[str, tuple[int, ...]] = {}
    layers, kinds = [], []
    for place in range(choose.randint(1, 4)):
        kind = choose.choice(("dense", "dense", "residual", "gate", "norm", "wider", "repeated"))
        out = choose.choice((1, 2, 3, 7, 10, 16, 33, 64)) if kind == "dense" else width
        activation = choose.choice(ACTIVATIONS)
        layer, own = _layer(kind, f"l{place}", width, out, activation)
        layers.append(layer)
        kinds += [kind, activation]
        shapes |= own
        width = 2 * width if kind == "wider" else out
    last, own = _layer("linear", "last", width, CLASSES, "")
    penalty = choose.choice((0.0, 0.0, 0.01))
    loss = choose.choice(LOSSES)
    return Program(first, tuple(kinds), (*layers, last), {**shapes, **own}, loss, penalty)


def _init(shape: tuple[int, ...]) -> Any:
    return "glorot_uniform" if len(shape) == 2 else np.linspace(-0.3, 0.4, shape[0])


def _layer(
    kind: str, name: str, width: int, out: int, activation: str
) -> tuple[Layer, dict[str, tuple[int, ...]]]:
    w, b, v = f"{name}.w", f"{name}.b", f"{name}.v"

    def affine(p: Any, x: Any) -> Any:
        return x @ p[w] + p[b]

    def act(m: Any, x: Any) -> Any:
        return getattr(m, activation)(x)

    def norm(m: Any, p: Any, x: Any) -> Any:
        middle = x - m.mean(x)
        return middle / m.sqrt(m.mean(m.square(middle)) + 0.1) * p[v] + p[b]

    def repeated(m: Any, p: Any, x: Any) -> Any:
        h = m.tanh(affine(p, x))
        for _ in range(2):
            h = m.tanh(affine(p, h) + x)
        return h

    layers: dict[str, Layer] = {
        "linear": lambda m, p, x: affine(p, x),
        "dense": lambda m, p, x: act(m, affine(p, x)),
        "residual": lambda m, p, x: x + act(m, affine(p, x)),
        "gate": lambda m, p, x: x * m.sigmoid(affine(p, x)) + 0.1 * act(m, x),
        "norm": norm,
        "wider": lambda m, p, x: m.concat([x, act(m, affine(p, x))]),
        "repeated": repeated,
    }
    vectors = {b: (out,)}
    shapes = {v: (out,), **vectors} if kind == "norm" else {w: (width, out), **vectors}
    return layers[kind], shapes


def _loss(name: str, m: Any, y: Any, t: Any, labels: Any) -> Any:
    match name:
        case "mse":
            return m.square(y - t).mean()
        case "mae":
            return m.abs(y - t).mean()
        case "huber":
            return m.huber(y, t)
        case "cross entropy":
            return m.cross_entropy(y, labels)
        case "binary":
            return m.binary(y, m.sigmoid(t))
        case "poisson":
            return (m.exp(0.3 * y) - y * m.square(t)).mean()
        case _:
            return m.sqrt(m.square(y - t) + 0.2).mean()
