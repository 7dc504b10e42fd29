"""Metrics that are no means over rows are refused by name; those that are, are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops

ROWS = 37
RNG = np.random.default_rng(0)
FED = {
    "x": RNG.normal(size=(ROWS, 4)).astype("float32"),
    "t": RNG.normal(size=(ROWS, 1)).astype("float32"),
    "label": RNG.integers(0, 3, ROWS),
    "weight": RNG.uniform(0.5, 1.5, ROWS).astype("float32"),
}


class Net:
    """What metrics are made of."""

    def __init__(self) -> None:
        self.x, self.t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
        self.label = sf.input("label", ("batch",), "int64")
        self.weight = sf.input("weight", ("batch",))
        self.y = models.FNN([4, 8, 1], norm="batch")(self.x)
        self.z = models.FNN([4, 8, 3], name="z")(self.x)
        self.w = sf.param("w", (4,), init="ones")

    @property
    def error(self) -> sf.Node:
        return ops.abs(self.y - self.t)

    def session(self, metric: sf.Node) -> sf.Session:
        read = 0.0 * (self.weight.mean() + self.label.mean() + ops.sum(self.w) + self.z.mean())
        return sf.Session(loss=ops.mse(self.y, self.t) + read, metrics={"m": metric})


Metric = Callable[[Net], sf.Node]
MEANS: dict[str, Metric] = {
    "mae": lambda n: ops.mae(n.y, n.t),
    "mse and a penalty": lambda n: ops.mse(n.y, n.t) + 0.1 * ops.sum(n.w * n.w),
    "of a product": lambda n: ops.mse(n.y, n.t) * ops.sum(n.w * n.w) - 1.0,
    "accuracy": lambda n: ops.equal(ops.argmax(n.z, -1), n.label).astype("float32").mean(),
    "per cent wrong": lambda n: (
        100.0 * (1.0 - ops.equal(ops.argmax(n.z, -1), n.label).astype("float32").mean())
    ),
    "cross entropy": lambda n: ops.softmax_cross_entropy(n.z, n.label).mean(),
    "the best of two": lambda n: ops.top_k(n.z, 2)[0].mean(),
    "among the best two": lambda n: (
        ops.equal(ops.top_k(n.z, 2)[1], n.label[:, None]).astype("float32").sum(-1).mean()
    ),
    "a solution for each row": lambda n: ops.linalg.solve(
        ops.eye(3) + n.z[:, :, None] * n.z[:, None, :], n.z[:, :, None]
    ).mean(),
    "running sums in each row": lambda n: ops.cumsum(n.z, -1).mean(),
    "a spread in each row": lambda n: ops.std(n.z, -1).mean(),
    "relative": lambda n: (n.error / (1.0 + ops.abs(n.t))).mean(),
    "a sum over a count": lambda n: ops.sum(n.error) / ops.sum(ops.ones_like(n.t)),
    "a product with weights": lambda n: (n.weight * n.error[:, 0]).mean(),
    "of weights alone": lambda n: ops.sqrt(ops.sum(n.w * n.w)),
    "a constant": lambda n: sf.const(2.0) * 1.0,
    "two means": lambda n: ops.mae(n.y, n.t) - 2.0 * ops.mean(n.z),
    "a loop over features": lambda n: sf.scan(
        lambda c, row: (c + ops.square(row), None), n.y[:, 0] * 0.0, n.z.T
    )[0].mean(),
}
OTHERS: dict[str, tuple[Metric, str]] = {
    "R2": (
        lambda n: 1 - ops.sum(ops.square(n.error)) / ops.sum(ops.square(n.t - ops.mean(n.t))),
        "of a sum over rows",
    ),
    "RMSE": (lambda n: ops.sqrt(ops.mse(n.y, n.t)), "sqrt of a sum over rows"),
    "variance": (lambda n: ops.var(n.y), "of a sum over rows"),
    "a weighted mean": (
        lambda n: ops.sum(n.weight * n.error[:, 0]) / ops.sum(n.weight), "divide of a sum over rows"
    ),
    "the worst": (lambda n: ops.max(n.error), "max over rows"),
    "a sum": (lambda n: ops.sum(n.error), "grows with the number of rows"),
    "a count": (lambda n: ops.sum((n.y > 0).astype("float32")), "grows with the number of rows"),
    "a sum and a penalty": (lambda n: ops.sum(n.error) + ops.sum(n.w), "add of a sum over rows"),
    "a product of columns": (lambda n: (n.t.T @ n.y)[0, 0], "grows with the number of rows"),
    "a median": (lambda n: ops.sort(n.y[:, 0])[0], "argsort over rows"),
    "the first row": (lambda n: n.y[0, 0], "slice over rows"),
    "the last of running sums": (lambda n: ops.cumsum(n.y[:, 0])[-1], "over rows"),
    "a loop over rows": (
        lambda n: sf.scan(lambda c, row: (c + row[0], None), 0.0, n.y)[0], "scan over rows"
    ),
    "neighbours": (lambda n: ops.mean(ops.diff(n.y, axis=0)), "slice over rows"),
    "pairs of rows": (lambda n: ops.mean(n.x @ n.x.T), "dot over rows"),
    "a number of rows": (lambda n: n.x.shape[0] * ops.sum(n.w), "a value, which grows with"),
    "an unbiased mean": (lambda n: ops.sum(n.y) / (n.x.shape[0] - 1), "it cannot be told how"),
    "a log of a mean": (lambda n: ops.log(ops.mae(n.y, n.t)), "log of a sum over rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANS)
def test_means_over_rows_are_taken_and_are_what_they_say(name: str) -> None:
    net = Net()
    session = net.session(MEANS[name](net))
    by_batches = session.evaluate(FED, batch_size=8)["m"]
    assert by_batches == pytest.approx(session.evaluate(FED, batch_size=ROWS)["m"], rel=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_refused_by_name(name: str) -> None:
    net = Net()
    metric, why = OTHERS[name]
    with pytest.raises(sf.GraphError, match=f"(?s)metric 'm' is no mean over rows.*{why}") as e:
        net.session(metric(net))
    assert "test_row_means.py:" in str(e.value)


def test_rows_may_lie_on_another_axis() -> None:
    x, t = sf.input("x", ("time", "batch", 3)), sf.input("t", ("batch", 1))
    y = models.FNN([4, 1])(models.RNN(4, "gru")(ops.transpose(x, (1, 0, 2))))
    session = sf.Session(loss=ops.mse(y, t), metrics={"mae": ops.mae(y, t)})
    fed = {"x": RNG.normal(size=(5, ROWS, 3)).astype("float32"), "t": FED["t"]}
    assert np.isfinite(session.run("mae", fed))


def test_what_batch_norm_does_in_training_is_no_fault() -> None:
    net = Net()
    session = net.session(ops.mae(net.y, net.t))
    assert np.isfinite(session.evaluate(FED)["m"])


def test_the_rows_may_be_named_when_the_fit_begins() -> None:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("other",))
    loss = ops.square(x @ sf.param("w", (4, 1))).mean() + ops.mean(t)
    session = sf.Session(loss=loss, metrics={"worst": ops.max(x)}, optimizer=sf.optim.SGD(0.1))
    feeds = {"x": FED["x"], "t": np.ones(3)}
    with pytest.raises(sf.GraphError, match="metric 'worst' is no mean over rows"):
        session.fit(feeds, batch_axis="batch", progress=False)


def test_a_session_without_rows_has_any_metric(tmp_path: Path) -> None:
    w = sf.param("w", (4,), init="ones")
    loss = ops.sum(ops.square(w))
    session = sf.Session(loss=loss, metrics={"n": ops.sqrt(loss)}, optimizer=sf.optim.SGD(0.1))
    assert session.step({}) == 4.0
