"""What derivatives of scans save: only what is read, segments, runs of truncated derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.ir.steps import LoopStep
from staticflow.graph.pytree import flatten
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close, derivatives, inputs_for
from tests.support.scan_programs import PROGRAMS, recurrent
from tests.support.sharding import assert_close, force, train

H, X = sf.input("h", (4,)), sf.input("x", ("time", 4))


def saved(loss: sf.Node, wrt: list[sf.Node]) -> list[str]:
    """What the forward loop of a compiled gradient stores beside all carries, by op."""
    compiled = compile_graph([loss, *sf.grad(loss, wrt)])
    (forward, *_) = [step for step in compiled.steps if isinstance(step, LoopStep)]
    op = forward.node.op
    return sorted(y.op.name for y in op.ys if y not in (*op.carries, *op.next))


def test_only_what_is_read_is_saved() -> None:
    """By the derivative; what a step computes on the way to it is not."""
    x = sf.input("x", ("time", "batch", 3))
    w, u, c = sf.param("w", (3, 4)), sf.param("u", (4, 4)), sf.param("c", (4,))
    h = ops.zeros((x.shape[1], 4))

    def loss(step: Any) -> sf.Node:
        return ops.sum(sf.scan(step, h, x)[0])

    def elman(h: Any, row: Any) -> Any:
        return ops.tanh(row @ w + h @ u + c), None

    assert saved(loss(elman), [w, u, c]) == []  # all states tell the slopes of tanh

    def linear(h: Any, row: Any) -> Any:
        return 0.5 * (h + ops.exp(row @ w + c)), None

    assert saved(loss(linear), [c]) == []  # nor the state

    def gate(h: Any, row: Any) -> Any:
        return ops.sigmoid(row @ w + c) * ops.tanh(h) + ops.sin(h), None

    assert saved(loss(gate), [c]) == ["tanh"]  # the sigmoid needs no state: it is no step's


def test_of_a_value_in_parts_only_those_that_are_read_are_saved() -> None:
    """The reset gate multiplies a third of the projected state; the rest is known by its gates."""
    x, u = sf.input("x", ("time", "batch", 12)), sf.param("u", (4, 12))
    b = sf.param("b", (12,))

    def step(h: Any, row: Any) -> Any:
        (r, z, n), (p, q, m) = ops.split(row, 3, -1), ops.split(h @ u + b, 3, -1)
        new = ops.tanh(n + ops.sigmoid(r + p) * m)
        return new + ops.sigmoid(z + q) * (h - new), None

    loss = ops.sum(sf.scan(step, ops.zeros((x.shape[1], 4)), x)[0])
    compiled = compile_graph([loss, *sf.grad(loss, [u, b])])
    loops = [step.node.op for step in compiled.steps if isinstance(step, LoopStep)]
    assert {y.shape[-1] for y in loops[0].ys} == {4}
    arrays = [0.5 * a for a in arrays_for([x, u, b], {"time": 6, "batch": 3})]
    env = dict(zip([x, u, b], arrays, strict=True))
    wanted = interpret(outputs := [loss, *sf.grad(loss, [u, b])], env)
    close(sf.function([x, u, b], outputs)(*arrays), wanted, "", 1e-5)


def test_long_sequences() -> None:
    """10 000 steps, and their gradient."""
    x, a = sf.input("x", ("time", 2), "float64"), sf.input("a", (2,), "float64")
    last, _ = sf.scan(lambda h, row: (ops.sin(a * h + row), None), ops.zeros((2,), "float64"), x)
    f = sf.function([x, a], [last, sf.grad(last.sum(), a)])
    rows = np.random.default_rng(0).standard_normal((10_000, 2))
    scale = np.array([0.4, -0.3])
    h, d = np.zeros(2), np.zeros(2)
    for row in rows:
        inner = scale * h + row
        h, d = np.sin(inner), np.cos(inner) * (h + scale * d)
    close(f(rows, scale), [h, d], "10 000 steps")


# Derivatives that save little, or do not go far back


def with_options(**options: Any) -> Any:
    def scan(*arguments: Any, **others: Any) -> Any:
        return sf.scan(*arguments, **others, **options)

    return scan


@pytest.mark.parametrize("name", ["lstm", "backwards", "carry as outputs", "nested", "counting"])
def test_segments_change_no_derivative(name: str) -> None:
    """Also where the segments do not cover all steps, and where there is not even one."""
    program, shapes = PROGRAMS[name]
    inputs = inputs_for(shapes, {})

    def outputs(scan: Any) -> list[Any]:
        found = derivatives(lambda lib, _, *arrays: program(lib, scan, *arrays), inputs)
        further = [found["jvp"], found["jvp of grad"]] if name == "backwards" else []
        return flatten([found["value"], found["grad"], *further])

    plain = sf.function(inputs, outputs(sf.scan))
    for remat in (1, 3, True):
        f = sf.function(inputs, outputs(with_options(remat=remat)))
        for n in (0, 1, 2, 3, 7, 12):
            arrays = arrays_for(inputs, {"time": n, "batch": 2})
            close(f(*arrays), plain(*arrays), f"{name}, {remat}, length {n}", 1e-9)


def test_segments_of_a_known_length() -> None:
    w = sf.input("w", (3,), "float64")
    for n in (4, 6, 7):
        rows = sf.input("x", (n, 3), "float64")
        found = []
        for remat in (None, 3):
            last, ys = sf.scan(lambda h, r: (ops.sin(h * r + w),) * 2, w, rows, remat=remat)
            found += [last, ys, *sf.grad(ops.sum(last * ys[1]), [rows, w])]
        half = len(found) // 2
        arrays = arrays_for([rows, w], {})
        values = sf.function([rows, w], found)(*arrays)
        close(values[half:], values[:half], f"length {n}")


def arena_bytes(compiled: Compiled, **sizes: int) -> int:
    return compiled.memory.offsets(compiled.sized.sizes_by_name(sizes))[1]


def test_segments_save_memory() -> None:
    """Instead of all steps, one segment's, and a carry for each segment."""
    x, w = sf.input("x", ("time", "batch", 8)), sf.param("w", (8, 16))
    u = sf.param("u", (16, 16))

    def memory(remat: Any, time: int) -> int:
        def step(h: Any, row: Any) -> Any:
            return ops.tanh(row @ w + h @ u) * ops.sigmoid(h), None

        last, _ = sf.scan(step, ops.zeros((x.shape[1], 16)), x, remat=remat)
        outputs = [last.sum(), *sf.grad(last.sum(), [w, u])]
        return arena_bytes(compile_graph(outputs), time=time, batch=4)

    assert memory(50, 10_000) < memory(None, 10_000) / 30
    assert memory(True, 10_000) < memory(None, 10_000) / 30
    assert memory(True, 40_000) < 3 * memory(True, 10_000)


@pytest.mark.parametrize("remat", [2, True])
def test_segments_on_shards(remat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(lambda: recurrent("lstm"), 1)
    for threads in (1, 2):
        assert_close(train(lambda: recurrent("lstm", remat=remat), threads), one)


@pytest.mark.parametrize("reverse", [False, True])
def test_truncated_derivatives(reverse: bool) -> None:
    """No gradient flows back from one run of three steps to the one before."""
    x, u = sf.input("x", (8, 4), "float64"), sf.input("u", (4, 4), "float64")

    def step(h: Any, row: Any) -> Any:
        return ops.tanh(h @ u + row), h

    h, ys = ops.ones((4,), "float64"), {}
    for k, t in enumerate(reversed(range(8)) if reverse else range(8)):
        h, ys[t] = step(ops.stop_gradient(h) if k % 3 == 0 else h, x[t])
    expected = ops.sum(h) + ops.sum(ops.stack([ys[t] for t in range(8)]) ** 2)
    arrays = arrays_for([x, u], {})
    wanted = interpret(
        [expected, *sf.grad(expected, [x, u])], dict(zip([x, u], arrays, strict=True))
    )
    for remat in (None, 4):
        start = ops.ones((4,), "float64")
        last, every = sf.scan(step, start, x, reverse=reverse, truncate=3, remat=remat)
        loss = ops.sum(last) + ops.sum(every**2)
        f = sf.function([x, u], [loss, *sf.grad(loss, [x, u])])
        close(f(*arrays), wanted, f"remat={remat}")


@pytest.mark.parametrize("options", [{"remat": 0}, {"remat": 2.5}, {"truncate": 0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(sf.GraphError, match="a number of steps, at least 1"):
        sf.scan(lambda h, x: (h, None), H, X, **options)
