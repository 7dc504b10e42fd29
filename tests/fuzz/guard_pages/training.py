"""Networks that are trained between guard pages, with whatever sizes and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.graph.leaves import Input, Param
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from tests.fuzz.guard_pages.case import THREADS, Array, Case, Count, extent, normal, settings
from tests.fuzz.guard_pages.nets import LOOPS, NETS, Net, rows
from tests.fuzz.guard_pages.pages import between, fed, spoil


@dataclass(frozen=True)
class Plan:
    """How a net is trained."""

    threads: int
    batch: int
    rows: int
    epochs: int
    shuffle: bool
    optimizer: Any
    metric: bool = False
    checked: bool = False  # for NaN and infinity, step by step
    streamed: bool = False
    profiled: bool = False


def plan_of(random: Random, most_rows: int) -> Plan:
    """Batches, and a last one of any size; often one row less than a whole one."""
    batch = extent(random, most_rows)
    last = random.choice((batch, max(1, batch - 1), random.randint(1, batch)))
    return Plan(
        random.choice(THREADS), batch, batch * random.randint(0, 9) + last,
        random.randint(1, 4), random.random() < 0.7, optimizer(random),
        *(random.random() < share for share in (0.5, 0.1, 0.15, 0.15)),
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
    few = {name: fed(array) for name, array in net.data(min(plan.rows, plan.batch)).items()}
    session = sf.Session(
        loss=net.loss,
        outputs={"y": net.output},
        metrics={"again": ops.mean(ops.square(net.output))} if plan.metric else {},
        optimizer=plan.optimizer,
        threads=plan.threads,
        check_numerics=plan.checked,
        seed=5,
    )

    def batches() -> Iterator[dict[str, Array]]:
        yield data
        yield few

    log = session.fit(
        batches if plan.streamed else data, plan.epochs, plan.batch, plan.shuffle,
        progress=False, batch_axis="batch",
    )  # fmt: skip
    left = [np.array([list(epoch.values()) for epoch in log.epochs])]
    left.append(np.array([session.step(few, batch_axis="batch")]))
    if plan.profiled and len({x.shape[0] for x in session.inputs.values()}) == 1:
        session.profile(few, repeat=2)
    kept_apart(session)
    if not plan.checked:  # who looks for NaN looks there too
        spoil(session)
    left += session.gradients(few, batch_axis="batch").values()
    left.append(np.array(list(session.evaluate(data, batch_axis="batch").values())))
    inputs = {x.name for x in leaves([net.output], Input)}
    left.append(session.run("y", {n: a for n, a in few.items() if n in inputs}))
    left += [np.array(v) for v in (*session.params.values(), *session.states.values())]
    left += [np.array(v) for v in session._state.slots.values()]
    count.training += session.step_count
    count.calls += 3
    return left


def kept_apart(session: sf.Session) -> None:
    """Nothing was written between parameters, or what belongs to them."""
    arrays = list(session._state.slots.values())
    for trainer in session._state.trainers.values():
        arrays += [shard.gradient for shard in trainer.shards]
    for store in (session.params, session.states):
        for (_, trainable), flat in store.flats.items():
            for array in (flat.data, *(arrays if trainable else ())):
                assert not array[between(flat)].any(), "written between parameters"


def trained(random: Random) -> Case:
    """Any of the nets, trained in any way."""
    make = random.choice(NETS)
    net = make(random)
    most = 17 if make in LOOPS else 129
    plan = plan_of(random, most)
    about = f"{make.__name__} {net.loss.dtype}, {plan}"
    return Case(about, lambda count: train(net, plan, count), settings=settings(random))


# -- the batch on other axes, against the interpreter ----------------------------------------------


def elsewhere(random: Random) -> Case:
    """Batches of data whose rows stand on other axes: refused, or as the interpreter has it."""
    make = random.choice((time_major, square, square_cube))
    net = make(random)
    batch = random.choice((1, 2, 3, 4, 5))
    count = batch * random.randint(1, 3) + random.choice((0, 1))
    plan = Plan(random.choice(THREADS), batch, count, 2, False, sf.optim.SGD(0.1))

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
    inputs = leaves([net.loss], Input)
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
