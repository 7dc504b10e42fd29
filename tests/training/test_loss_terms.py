"""Terms of a loss that read different data have programs of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Input, Param
from staticflow.graph.traversal import leaves
from staticflow.runtime import blocked_frame as blocking
from staticflow.runtime.interpreter import interpret
from staticflow.session.run.steps import step_programs
from staticflow.training.loss_terms import split_terms
from tests.support.sharding import force

Array = NDArray[Any]
Graph = tuple[sf.Node, dict[str, sf.Node]]  # a loss, metrics
DTYPE = "float64"
x, b = sf.input("x", ("n", 2), DTYPE), sf.input("b", ("m", 2), DTYPE)
fixed = sf.input("fixed", (9, 2), DTYPE)
scale = sf.input("scale", (), DTYPE)
w = sf.param("w", (2, 3), dtype=DTYPE)
only_edge = sf.param("only_edge", (2, 1), dtype=DTYPE)


def inside() -> sf.Node:
    return ops.mean(ops.tanh(x @ w) ** 2)


def edge(of: sf.Node = b) -> sf.Node:
    return ops.mean((ops.tanh(of @ w).sum(axis=1, keepdims=True) - of @ only_edge) ** 2)


def rows_of(loss: sf.Node) -> list[str]:
    return [term.rows for term in split_terms([loss], "n")]


SPLITS: dict[str, tuple[Callable[[], sf.Node], list[str]]] = {
    "two batches": (lambda: inside() + edge(), ["n", "m"]),
    "weighted": (lambda: (3.0 * inside() - edge() / 2.0) * 0.5, ["n", "m"]),
    "weighted by an input": (lambda: inside() + scale * edge(), ["n", "m"]),
    "shape (1, 1)": (lambda: ops.reshape(inside(), (1, 1)) + edge(), ["n", "m"]),
    "named": (lambda: (inside() + edge().named("edge")).named("loss"), ["n", "m"]),
    "fixed size": (lambda: inside() + edge(fixed), ["n", ""]),
    "three": (lambda: inside() + edge() + edge(fixed), ["n", "m", ""]),
    "simple penalty": (lambda: inside() + 0.1 * ops.square(w).sum(), ["n"]),
    "penalty with a product": (lambda: inside() + ops.square(w.T @ w).sum(), ["n", ""]),
    "one term": (inside, ["n"]),
    "not of the batch": (lambda: edge(), ["n"]),
    "a product of terms": (lambda: inside() * edge(), ["n"]),
    "a root of their sum": (lambda: ops.sqrt(inside() + edge()), ["n"]),
    "its inner axis": (lambda: inside() + ops.mean((b.T @ b) ** 2) + ops.mean(
        (sf.input("c", (2, "m"), DTYPE) @ b) ** 2), ["n", "m", ""]),
}  # fmt: skip


@pytest.mark.parametrize("make, rows", SPLITS.values(), ids=SPLITS)
def test_which_terms_are_told_apart(make: Callable[[], sf.Node], rows: list[str]) -> None:
    loss = make()
    assert rows_of(loss) == rows
    assert [term.rows for term in split_terms([loss], "")] == [""]


@pytest.mark.parametrize("make", [make for make, _ in SPLITS.values()], ids=SPLITS)
def test_the_terms_add_up(make: Callable[[], sf.Node]) -> None:
    loss = make()
    rng = np.random.default_rng(0)
    sizes: dict[Any, int] = {"n": 5, "m": 4}
    inputs = {
        node: rng.standard_normal([sizes.get(str(n), n) for n in node.shape])
        for node in leaves([loss], Input) + leaves([loss], Param)
    }
    terms = [term.scalars[0] for term in split_terms([loss], "n")]
    values = interpret([loss, *(node for node in terms if node is not None)], inputs)
    np.testing.assert_allclose(sum(values[1:]), values[0], 1e-12)


def test_a_sum_of_many_terms_needs_no_recursion() -> None:
    loss = inside()
    for _ in range(3000):
        loss = loss + edge(b)
    assert rows_of(loss) == ["n", "m"]


# Training is what plain gradient descent is


def problem() -> Graph:
    net = models.FNN([2, 5, 1], activation="tanh")
    interior, border = ops.mean(net(x) ** 2), ops.mean((net(b) - 1.0) ** 2)
    cut = ops.mean((ops.tanh(fixed @ w) @ w.T - fixed) ** 2)
    loss = interior + 3.0 * border - 0.5 * cut + 0.01 * ops.square(w).sum()
    return loss, {"interior": interior, "border": border, "all": 2.0 * loss}


def fed(n: int, m: int) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {"x": rng.normal(size=(n, 2)), "b": rng.normal(size=(m, 2)),
            "fixed": rng.normal(size=(9, 2))}  # fmt: skip


def descended(loss: sf.Node, start: dict[str, Array], data: dict[str, Array], rows: int) -> Any:
    """Ten steps or so of plain gradient descent by the interpreter; the losses of its batches."""
    params = leaves([loss], Param)
    inputs = leaves([loss], Input)
    now = {p: start[p.name].copy() for p in params}
    wanted, losses = [loss, *sf.grad(loss, params)], []
    for _ in range(2):
        for first in range(0, len(data["x"]), rows):
            batch = {**data, "x": data["x"][first : first + rows]}
            value, *slopes = interpret(wanted, {**now, **{i: batch[i.name] for i in inputs}})
            losses.append(float(value))
            now = {p: v - 0.1 * g for (p, v), g in zip(now.items(), slopes, strict=True)}
    return {p.name: v for p, v in now.items()}, losses


@pytest.mark.parametrize("blocked", [False, True], ids=["whole", "blocked"])
@pytest.mark.parametrize("m", [1, 6, 64])
def test_training_is_gradient_descent(
    m: int, blocked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 1 to 16 threads, with a ragged last batch, shards without rows, and blocks."""
    force(monkeypatch)
    if blocked:
        monkeypatch.setattr(blocking, "CORE_CACHE_BYTES", 0)
        monkeypatch.setattr(blocking, "BLOCK_BYTES", 64)
        monkeypatch.setattr(blocking, "MAX_GRADIENT_SHARE", 1e9)
    loss, metrics = problem()
    data = fed(100, m)
    for threads in (1, 2, 3, 5, 8, 16):
        session = sf.Session(
            loss=loss, metrics=metrics, optimizer=sf.optim.SGD(0.1), threads=threads, seed=3
        )
        start = {name: array.copy() for name, array in session.params.items()}
        expected, losses = descended(loss, start, data, 30)
        log = session.fit(data, 2, 30, shuffle=False, progress=False, batch_axis="n")
        for name, array in expected.items():
            np.testing.assert_allclose(session.params[name], array, 1e-10, 1e-12, err_msg=name)
        weights = [30, 30, 30, 10]
        assert log.epochs[1]["loss"] == pytest.approx(np.average(losses[4:], weights=weights))
        assert log.epochs[1]["all"] == pytest.approx(2 * log.epochs[1]["loss"])
        (trainer,) = session._state.trainers.values()
        assert len(trainer.shards) == threads and trainer.blocked == (
            blocked and -(-max(30, m) // threads) > 16
        )


def test_what_does_not_depend_on_a_block_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "CORE_CACHE_BYTES", 0)
    monkeypatch.setattr(blocking, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(blocking, "MAX_GRADIENT_SHARE", 1e9)
    loss, _ = problem()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), threads=1)
    session.step(fed(1000, 40), batch_axis="n")
    (trainer,) = session._state.trainers.values()
    (shard,) = trainer.shards
    frame = shard.frames["whole"]
    assert isinstance(frame, blocking.BlockedFrame)
    blocks = {
        rows.name: len(part.records) for rows, part in zip(frame.rows, frame.parts, strict=True)
    }
    assert blocks["n"] > 20 > blocks["m"] and blocks[""] == 1
    programs = step_programs(session._state, "n")
    for part in programs.parts[1:]:
        read = {node.name for node in part.program.leaves}
        assert "x" not in read and read & {"b", "fixed"}


def test_checked_runs_have_the_whole_loss() -> None:
    loss, _ = problem()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), check_numerics=True)
    data = fed(20, 4)
    data["b"][2, 1] = np.inf
    with pytest.raises(sf.NumericsError, match="'b'"):
        session.step(data, batch_axis="n")


def test_reports_tell_of_the_parts() -> None:
    loss, _ = problem()
    session = sf.Session(loss=loss, optimizer=sf.optim.SGD(0.1), threads=1)
    session.step(fed(20, 4), batch_axis="n")
    text = session.explain()
    assert "what of the loss reads rows of m, and none of n" in text
    assert "what of the loss reads no rows that can be cut, and none of n" in text
    assert session.explain(batch_axis="n") == text
    assert session.source.count("\ndef forward_backward") == 1  # which computes the whole loss
    assert session.profile(fed(20, 4), batch_axis="n").step_us > 0
