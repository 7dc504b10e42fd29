"""Networks that are trained between guard pages, with whatever sizes and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from guard_case import THREADS, Array, Case, Count, extent, extents, normal, settings
from guard_pages import fed

import staticflow as sf
from staticflow import models, ops
from staticflow.graph import Param, leaves
from staticflow.interpret import interpret


@dataclass(frozen=True)
class Net:
    """A loss and an output of a net, and how to make so many rows of its inputs."""

    loss: sf.Node
    output: sf.Node
    data: Callable[[int], dict[str, Array]]
    batch_axis: int = 0


@dataclass(frozen=True)
class Plan:
    """How a net is trained."""

    threads: int
    batch: int
    rows: int
    epochs: int
    shuffle: bool
    optimizer: Any
    metric: bool


def plan_of(random: Random, most_rows: int) -> Plan:
    """Batches, and a last one of any size; often one row less than a whole one."""
    batch = extent(random, most_rows)
    last = random.choice((batch, max(1, batch - 1), random.randint(1, batch)))
    return Plan(
        random.choice(THREADS), batch, batch * random.randint(0, 4) + last,
        random.randint(1, 3), random.random() < 0.7, optimizer(random), random.random() < 0.5,
    )  # fmt: skip


def optimizer(random: Random) -> Any:
    clipped: dict[str, Any] = random.choice(({}, {"clip_norm": 0.5}, {"clip_value": 0.1}))
    kind = random.choice(("sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "lion"))
    rate: Any = random.choice((0.01, sf.optim.cosine(0.01, 20)))
    if kind == "momentum":
        return sf.optim.SGD(rate, momentum=0.9, **clipped)
    made = {
        "sgd": sf.optim.SGD, "adam": sf.optim.Adam, "adamw": sf.optim.AdamW,
        "rmsprop": sf.optim.RMSProp, "adagrad": sf.optim.Adagrad, "lion": sf.optim.Lion,
    }  # fmt: skip
    return made[kind](rate, **clipped)


def train(net: Net, plan: Plan, count: Count) -> list[Array]:
    """Fit, single steps, gradients, evaluation and a run; all that they leave."""
    data = {name: fed(array) for name, array in net.data(plan.rows).items()}
    session = sf.Session(
        loss=net.loss,
        outputs={"y": net.output},
        metrics={"again": ops.mean(ops.square(net.output))} if plan.metric else {},
        optimizer=plan.optimizer,
        threads=plan.threads,
        seed=5,
    )
    log = session.fit(
        data, plan.epochs, plan.batch, plan.shuffle, progress=False, batch_axis="batch"
    )
    left = [np.array([list(epoch.values()) for epoch in log.epochs])]
    few = {name: fed(array) for name, array in net.data(min(plan.rows, plan.batch)).items()}
    left.append(np.array([session.step(few, batch_axis="batch")]))
    left += session.gradients(few, batch_axis="batch").values()
    left.append(np.array(list(session.evaluate(data, batch_axis="batch").values())))
    inputs = {x.name for x in leaves([net.output], sf.graph.Input)}
    left.append(session.run("y", {n: a for n, a in few.items() if n in inputs}))
    left += [np.array(v) for v in (*session.params.values(), *session.states.values())]
    left += [np.array(v) for v in session._slots.values()]
    count.training += session.step_count
    count.calls += 3
    return left


def trained(random: Random) -> Case:
    """Any of the nets, trained in any way."""
    make = random.choice((
        feed_forward, feed_forward, feed_forward, classes, recurrent, recurrent, embedded, masked,
        keyed, counted, scanned, paired,
    ))  # fmt: skip
    net = make(random)
    most = 17 if make in (recurrent, scanned) else 129
    plan = plan_of(random, most)
    about = f"{make.__name__} {net.loss.dtype}, {plan}"
    return Case(about, lambda count: train(net, plan, count), settings=settings(random))


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
    rnn = models.RNN(
        hidden,
        random.choice(("tanh", "relu", "lstm", "gru")),
        layers=random.choice((1, 1, 2)),
        bidirectional=random.random() < 0.3,
    )
    h = rnn(x)
    y = h @ sf.param("head", (h.shape[-1], 2), dtype=dtype)
    return Net(ops.mse(y, t), y, rows(x, t))


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


# -- the batch on other axes, against the interpreter ----------------------------------------------


def elsewhere(random: Random) -> Case:
    """Batches of data whose rows stand on other axes: refused, or as the interpreter has it."""
    make = random.choice((time_major, square, square_cube))
    net = make(random)
    batch = random.choice((1, 2, 3, 4, 5))
    count = batch * random.randint(1, 3) + random.choice((0, 1))
    plan = Plan(random.choice(THREADS), batch, count, 2, False, sf.optim.SGD(0.1), False)

    def work(done: Count) -> list[Array]:
        session = sf.Session(loss=net.loss, optimizer=plan.optimizer, threads=plan.threads, seed=5)
        data = {name: fed(array) for name, array in net.data(count).items()}
        try:
            session.fit(data, 2, batch, shuffle=False, progress=False, batch_axis="batch")
        except (sf.ShapeError, sf.GraphError):
            return []
        done.training += session.step_count
        return [np.array(v) for v in session.params.values()]

    about = f"{make.__name__}, {plan}"
    return Case(about, work, lambda: by_interpreter(net, plan), 1e-4, settings=settings(random))


def time_major(random: Random) -> Net:
    steps, width = random.choice((1, 2, 5)), extent(random, 9)
    x, t = sf.input("x", (steps, "batch", width)), sf.input("t", ("batch", 1))
    w, u = sf.param("w", (width, 3)), sf.param("u", (3, 1))
    last, _ = sf.scan(lambda h, row: (ops.tanh(row @ w + h), None), ops.zeros(("batch", 3)), x)

    def data(count: int) -> dict[str, Array]:
        return {"x": normal(1, (steps, count, width), "float32"), **rows(t)(count)}

    return Net(ops.mse(last @ u, t), last, data)


def square(random: Random) -> Net:
    a = sf.input("a", ("batch", "batch"))
    w = sf.param("w", (), np.float32(1))
    return Net(ops.mean(a * w), a, lambda count: {"a": normal(2, (count, count), "float32")})


def square_cube(random: Random) -> Net:
    a, t = sf.input("a", ("batch", "batch", 2)), sf.input("t", ("batch", 2))
    y = ops.sum(a * sf.param("w", (2,)), axis=1)

    def data(count: int) -> dict[str, Array]:
        return {"a": normal(3, (count, count, 2), "float32"), **rows(t)(count)}

    return Net(ops.mse(y, t), y, data)


def by_interpreter(net: Net, plan: Plan) -> list[Array]:
    """The parameters after plain gradient descent over slices of every axis of that name."""
    params = leaves([net.loss], Param)
    start = sf.Session(loss=net.loss, optimizer=plan.optimizer, seed=5).params
    now = {p: np.array(start[p.name]) for p in params}
    gradients = sf.grad(net.loss, params)
    inputs = leaves([net.loss], sf.graph.Input)
    data = net.data(plan.rows)
    for _ in range(plan.epochs):
        for first in range(0, plan.rows, plan.batch):
            part = slice(first, min(first + plan.batch, plan.rows))
            env = {x: sliced(x, data[x.name], part) for x in inputs}
            for p, g in zip(params, interpret(gradients, {**env, **now}), strict=True):
                now[p] = now[p] - np.float32(0.1) * g
    return [now[p] for p in sorted(params, key=lambda p: list(start).index(p.name))]


def sliced(x: sf.Node, array: Array, part: slice) -> Array:
    index: Mapping[bool, slice] = {True: part, False: slice(None)}
    return array[tuple(index[str(n) == "batch"] for n in x.shape)]
