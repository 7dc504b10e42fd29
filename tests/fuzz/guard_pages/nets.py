"""Networks of random sizes and options, to be trained between guard pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves
from tests.fuzz.guard_pages.case import Array, extent, extents, normal


@dataclass(frozen=True)
class Net:
    """A loss and an output of a net, and how to make so many rows of its inputs."""

    loss: sf.Node
    output: sf.Node
    data: Callable[[int], dict[str, Array]]


def dtype_of(random: Random) -> str:
    return random.choice(("float32", "float64"))


def feed_forward(random: Random) -> Net:
    dtype = dtype_of(random)
    sizes = extents(random, random.randint(2, 4), 513, 1 << 15)
    x, t = sf.input("x", ("batch", sizes[0]), dtype), sf.input("t", ("batch", sizes[-1]), dtype)
    y = models.FNN(
        sizes,
        activation=random.choice(("relu", "tanh", "gelu", "sigmoid")),
        dropout=random.choice((0.0, 0.0, 0.2)),
        norm=random.choice((None, None, "batch", "layer")),
    )(x)
    loss = ops.mse(y, t)
    if random.random() < 0.3:
        loss = loss + 0.01 * sum(ops.sum(ops.square(p)) for p in leaves([y], Param))
    return Net(loss, y, rows(x, t))


def rows(*inputs: sf.Node) -> Callable[[int], dict[str, Array]]:
    """Random rows for float inputs of shapes ("batch", numbers ...)."""

    def make(count: int) -> dict[str, Array]:
        return {
            x.name: normal(k, (count, *(int(str(n)) for n in x.shape[1:])), x.dtype)
            for k, x in enumerate(inputs)
        }

    return make


def classes(random: Random) -> Net:
    dtype = dtype_of(random)
    width, hidden, out = extents(random, 3, 129, 1 << 13)
    x, label = sf.input("x", ("batch", width), dtype), sf.input("l", ("batch",), "int64")
    y = models.FNN([width, hidden, out])(x)

    def data(count: int) -> dict[str, Array]:
        labels = np.random.default_rng(1).integers(0, out, count)
        return {**rows(x)(count), "l": labels}

    return Net(ops.softmax_cross_entropy(y, label).mean(), y, data)


def recurrent(random: Random) -> Net:
    dtype = dtype_of(random)
    steps, width = random.choice((1, 2, 3, 5, 9)), extent(random, 33)
    hidden = extent(random, 65)
    x, t = sf.input("x", ("batch", steps, width), dtype), sf.input("t", ("batch", 2), dtype)
    lengths = sf.input("lengths", ("batch",), "int64")
    ragged = random.random() < 0.3
    options: dict[str, Any] = random.choice(({}, {}, {"remat": 2}, {"truncate": 2}))
    rnn = models.RNN(
        hidden,
        random.choice(("tanh", "relu", "lstm", "gru")),
        layers=random.choice((1, 1, 2)),
        bidirectional=random.random() < 0.3,
        dropout=random.choice((0.0, 0.2)),
        **options,
    )
    h = rnn(x, lengths if ragged else None)
    y = h @ sf.param("head", (h.shape[-1], 2), dtype=dtype)

    def data(count: int) -> dict[str, Array]:
        some = np.random.default_rng(4).integers(0, steps + 1, count)
        return {**rows(x, t)(count), **({"lengths": some} if ragged else {})}

    return Net(ops.mse(y, t), y, data)


def scanned(random: Random) -> Net:
    """A cell of the user's own, over time that comes first in the scan."""
    dtype = dtype_of(random)
    steps, width, hidden = random.choice((1, 2, 4, 7)), extent(random, 17), extent(random, 49)
    x, t = sf.input("x", ("batch", steps, width), dtype), sf.input("t", ("batch", hidden), dtype)
    w, u = sf.param("w", (width, hidden), dtype=dtype), sf.param("u", (hidden, hidden), dtype=dtype)
    start = ops.zeros_like(t)

    def step(h: Any, row: Any) -> Any:
        gate = ops.sigmoid(row @ w)
        new = gate * ops.tanh(h @ u) + (1.0 - gate) * h
        return new, ops.sum(new, axis=-1)

    last, sums = sf.scan(step, start, ops.swapaxes(x, 0, 1))
    return Net(ops.mse(last, t) + 0.1 * ops.mean(ops.square(sums)), last, rows(x, t))


def embedded(random: Random) -> Net:
    dtype = dtype_of(random)
    words, width, per_row = extent(random, 65), extent(random, 33), random.choice((1, 2, 5))
    k, t = sf.input("k", ("batch", per_row), "int64"), sf.input("t", ("batch", 1), dtype)
    found = ops.embedding(sf.param("table", (words, width), dtype=dtype), k)
    y = ops.sum(found, axis=1) @ sf.param("w", (width, 1), dtype=dtype)

    def data(count: int) -> dict[str, Array]:
        numbers = np.random.default_rng(2).integers(0, words, (count, per_row))
        return {"k": numbers, **rows(t)(count)}

    return Net(ops.mse(y, t), y, data)


def masked(random: Random) -> Net:
    dtype, width = dtype_of(random), extent(random, 65)
    x, t, m = (sf.input(n, ("batch", k), dtype) for n, k in (("x", width), ("t", 1), ("m", 1)))
    y = x @ sf.param("w", (width, 1), dtype=dtype)
    error = ops.square(y - t) * m * m
    return Net(ops.sum(error) / (ops.sum(m * m) + 1e-3), y, rows(x, t, m))


def keyed(random: Random) -> Net:
    """An input without rows."""
    dtype = dtype_of(random)
    width, keys = extents(random, 2, 65, 1 << 11)
    x, t = sf.input("x", ("batch", width), dtype), sf.input("t", ("batch", 1), dtype)
    k, w = sf.input("k", ("keys", width), dtype), sf.param("w", (width, 1), dtype=dtype)
    y = ops.softmax(x @ k.T) @ (k @ w)
    return Net(ops.mse(y, t), y, lambda n: {**rows(x, t)(n), "k": normal(9, (keys, width), dtype)})


def counted(random: Random) -> Net:
    """States that sum up rows."""
    dtype, width = dtype_of(random), extent(random, 65)
    x, t = sf.input("x", ("batch", width), dtype), sf.input("t", ("batch", 1), dtype)
    s, n = sf.state("s", (width,), dtype=dtype), sf.state("count", (), dtype=dtype)
    sf.update(s, 0.5 * s + ops.sum(x, axis=0))
    sf.update(n, n + 1.0)
    y = x @ sf.param("w", (width, 1), dtype=dtype) + 0.01 * ops.sum(s)
    return Net(ops.mse(y, t), y, rows(x, t))


def paired(random: Random) -> Net:
    """Rows split into pairs, and put together again."""
    dtype, width = dtype_of(random), 2 * extent(random, 33)
    x, t = sf.input("x", ("batch", width), dtype), sf.input("t", ("batch", 1), dtype)
    parts = ops.tanh(ops.reshape(x, (-1, 2)) @ sf.param("w", (2, 1), dtype=dtype))
    y = ops.sum(ops.reshape(parts, ("batch", width // 2)), axis=1, keepdims=True)
    return Net(ops.mse(y, t), y, rows(x, t))


def edged(random: Random) -> Net:
    """A loss with a term over data of its own, whose rows run apart from the batch's."""
    dtype, width = dtype_of(random), extent(random, 65)
    edges = extent(random, 65)
    x, t = sf.input("x", ("batch", width), dtype), sf.input("t", ("batch", 1), dtype)
    e = sf.input("e", (random.choice(("edges", edges)), width), dtype)
    net = models.FNN([width, extent(random, 65), 1], activation="tanh")
    loss = ops.mse(net(x), t) + 0.3 * ops.mean(ops.square(net(e)))
    return Net(loss, net(x), lambda n: {**rows(x, t)(n), "e": normal(9, (edges, width), dtype)})


LOOPS = (recurrent, scanned)
NETS = (
    feed_forward, feed_forward, feed_forward, classes, recurrent, recurrent, embedded, masked,
    keyed, counted, scanned, paired, edged,
)  # fmt: skip
