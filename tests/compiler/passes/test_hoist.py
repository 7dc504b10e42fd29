"""What leaves a loop: the structure of compiled recurrent programs, counted in products.

The cells are written as their users would write them; all must end up with one product in each
step of the forward and of the backward loop, and with the others over all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, models, ops
from staticflow.compiler.codegen.kernels import kernel_name
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.ir.steps import KernelStep, LoopStep, ProductStep, Step
from staticflow.graph.leaves import Param
from staticflow.graph.node import Kind
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close
from tests.support.sharding import assert_close, force, train

FEATURES, HIDDEN = 3, 4
Cell = Callable[[Node, Any], Any]


def weight(name: str, *shape: int) -> Node:
    return sf.param(name, shape, dtype="float64")


def gates(names: str) -> tuple[list[Node], list[Node], list[Node]]:
    """A matrix for x, one for h and a bias, for each gate."""
    w = [weight(f"w_{n}", FEATURES, HIDDEN) for n in names]
    u = [weight(f"u_{n}", HIDDEN, HIDDEN) for n in names]
    return w, u, [weight(f"b_{n}", HIDDEN) for n in names]


def elman() -> Cell:
    (w,), (u,), (b,) = gates("h")

    def step(h: Node, x: Node) -> Any:
        return ops.tanh(x @ w + h @ u + b), None

    return step


def residual() -> Cell:
    """The input's projection is added to what the cell makes of it."""
    (w, p), (u, _), (b, _) = gates("hp")

    def step(h: Node, x: Node) -> Any:
        new = h + ops.tanh(x @ w + h @ u + b) + x @ p
        return new, new

    return step


def gated(z: Sequence[Node], c: Node) -> tuple[Node, Node]:
    i, f, g, o = z
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def lstm() -> Cell:
    """One matrix for all gates, as the library has it."""
    w, u = weight("w", FEATURES, 4 * HIDDEN), weight("u", HIDDEN, 4 * HIDDEN)
    b = weight("b", 4 * HIDDEN)

    def step(state: Any, x: Node) -> Any:
        h, c = state
        return gated(ops.split(x @ w + h @ u + b, 4, -1), c), None

    return step


def lstm_by_gates() -> Cell:
    """A matrix for each gate."""
    w, u, b = gates("ifgo")

    def step(state: Any, x: Node) -> Any:
        h, c = state
        z = [x @ p + h @ q + r for p, q, r in zip(w, u, b, strict=True)]
        return gated(z, c), None

    return step


def peephole() -> Cell:
    """The gates look at the cell's state."""
    w, u, b = gates("ifgo")
    p = [weight(f"p{k}", HIDDEN) for k in range(3)]

    def step(state: Any, x: Node) -> Any:
        h, c = state
        i, f, g, o = (x @ a + h @ d + r for a, d, r in zip(w, u, b, strict=True))
        c = ops.sigmoid(f + p[1] * c) * c + ops.sigmoid(i + p[0] * c) * ops.tanh(g)
        return (ops.sigmoid(o + p[2] * c) * ops.tanh(c), c), None

    return step


def concat() -> Cell:
    w, b = weight("w", FEATURES + HIDDEN, HIDDEN), weight("b", HIDDEN)

    def step(h: Node, x: Node) -> Any:
        return ops.tanh(ops.concatenate([x, h], axis=-1) @ w + b), None

    return step


def concat_lstm() -> Cell:
    """A matrix for each gate, over [h, x]."""
    w = [weight(f"w_{n}", HIDDEN + FEATURES, HIDDEN) for n in "ifgo"]

    def step(state: Any, x: Node) -> Any:
        h, c = state
        both = ops.concatenate([h, x], axis=-1)
        return gated([both @ m for m in w], c), None

    return step


def gru() -> Cell:
    """A matrix for each gate; the reset comes after the product."""
    w, u, b = gates("rzn")

    def step(h: Node, x: Node) -> Any:
        r = ops.sigmoid(x @ w[0] + h @ u[0] + b[0])
        z = ops.sigmoid(x @ w[1] + h @ u[1] + b[1])
        n = ops.tanh(x @ w[2] + r * (h @ u[2]) + b[2])
        return (1 - z) * n + z * h, None

    return step


def turned() -> Cell:
    """Column vectors, and matrices on the left."""
    w, u = weight("w", HIDDEN, FEATURES), weight("u", HIDDEN, HIDDEN)
    v = weight("v", HIDDEN, HIDDEN)

    def step(h: Node, x: Node) -> Any:
        return ops.tanh((w @ x.T).T + (u @ h.T).T) * ops.sigmoid((v @ h.T).T), None

    return step


CELLS: dict[str, tuple[Callable[[], Cell], int]] = {
    "elman": (elman, 1),
    "residual": (residual, 1),
    "lstm": (lstm, 2),
    "lstm by gates": (lstm_by_gates, 2),
    "peephole": (peephole, 2),
    "concat": (concat, 1),
    "concat lstm": (concat_lstm, 2),
    "gru": (gru, 1),
    "turned": (turned, 1),
}


def loss_of(cell: Cell, states: int) -> tuple[Node, Node]:
    """The input and a loss of a cell run over it."""
    x = sf.input("x", ("time", "batch", FEATURES), "float64")
    h = ops.zeros((x.shape[1], HIDDEN), "float64")
    last, ys = sf.scan(cell, (h,) * states if states > 1 else h, x)
    first = last[0] if states > 1 else last
    return x, ops.sum(first * first) + (0.0 if ys is None else ops.sum(ys * ys))


@dataclass(frozen=True)
class Count:
    """How many products there are: outside of loops, and in each loop in order."""

    outside: int
    inside: tuple[int, ...]


def count(compiled: Compiled) -> Count:
    loops = [step for step in compiled.steps if isinstance(step, LoopStep)]
    return Count(_products(compiled.steps), tuple(_products(loop.body) for loop in loops))


def _products(steps: Sequence[Step]) -> int:
    return sum(isinstance(step, ProductStep) for step in steps)


def compiled_training(name: str) -> tuple[Compiled, list[Node]]:
    make, states = CELLS[name]
    x, loss = loss_of(make(), states)
    outputs = [loss, *sf.grad(loss, [x, *params(loss)])]
    return compile_graph(outputs), outputs


def params(loss: Node) -> list[Node]:
    return leaves([loss], Param)


@pytest.mark.parametrize("name", CELLS)
def test_four_products_outside_and_one_in_each_loop(name: str) -> None:
    """Before the loop those with x, for all steps; behind it the weights' gradients and dx."""
    compiled, _ = compiled_training(name)
    assert count(compiled) == Count(4, (1, 1))


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_unrolled_steps(name: str) -> None:
    make, states = CELLS[name]
    cell = make()
    x, loss = loss_of(cell, states)
    weights = params(loss)
    unrolled = sf.input("x", (5, 2, FEATURES), "float64")
    state: Any = ops.zeros((2, HIDDEN), "float64")
    state, ys = (state,) * states if states > 1 else state, []
    for t in range(5):
        state, y = cell(state, unrolled[t])
        ys.append(y)
    last = state[0] if states > 1 else state
    expected = ops.sum(last * last)
    if ys[0] is not None:
        expected = expected + ops.sum(ops.square(ops.stack(ys)))
    arrays = arrays_for([unrolled, *weights], {})
    env = dict(zip([unrolled, *weights], arrays, strict=True))
    wanted = interpret([expected, *sf.grad(expected, [unrolled, *weights])], env)
    f = sf.function([x, *weights], [loss, *sf.grad(loss, [x, *weights])])
    close(f(*arrays), wanted, name)


def model(name: str) -> Any:
    """A net for `train` of tests/support/sharding.py."""
    make, states = CELLS[name]
    x, loss = loss_of(make(), states)
    del x, loss
    rows, t = sf.input("x", ("batch", 6, FEATURES), "float64"), sf.input("t", ("batch", 1))
    h = ops.zeros((rows.shape[0], HIDDEN), "float64")
    last, _ = sf.scan(make(), (h,) * states if states > 1 else h, rows.transpose(1, 0, 2))
    y = (last[0] if states > 1 else last).sum(axis=1, keepdims=True).astype("float32")
    data = np.random.default_rng(0).standard_normal((45, 6, FEATURES))
    return ops.mse(y, t), {}, {"x": data, "t": data[:, 0, :1].astype(np.float32)}


@pytest.mark.parametrize("name", CELLS)
def test_shards_train_as_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(lambda: model(name), 1)
    assert_close(train(lambda: model(name), 2), one)


def kernels_in_loops(compiled: Compiled) -> list[list[str]]:
    """The names of the kernels in each loop, which tell their source apart."""
    loops = [step for step in compiled.steps if isinstance(step, LoopStep)]
    return [
        [kernel_name(step.kernel) for step in loop.body if isinstance(step, KernelStep)]
        for loop in loops
    ]


def work_in_loops(compiled: Compiled) -> list[list[tuple[list[str], int]]]:
    """The ops and the number of arrays of each kernel: what tells them apart but for the order."""
    loops = [step for step in compiled.steps if isinstance(step, LoopStep)]
    return [
        [
            (sorted(node.op.name for node in step.nodes), len(step.pointers))
            for step in loop.body
            if isinstance(step, KernelStep)
        ]
        for loop in loops
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_a_users_lstm_is_the_librarys(apart: bool) -> None:
    """The same kernels in the loops, and the same products; also with a matrix for each gate."""
    x = sf.input("x", ("batch", "time", FEATURES))
    library = ops.sum(models.RNN(HIDDEN, "lstm")(x))
    w, u = sf.param("w", (FEATURES, 4 * HIDDEN)), sf.param("u", (HIDDEN, 4 * HIDDEN))
    b = sf.param("b", (4 * HIDDEN,))

    def step(state: Any, row: Node) -> Any:
        if apart:
            gate = [ops.split(m, 4, -1) for m in (w, b, u)]
            z = [row @ p + r + state[0] @ q for p, r, q in zip(*gate, strict=True)]
        else:
            z = ops.split(row @ w + b + state[0] @ u, 4, -1)
        h, c = gated(z, state[1])
        return (h, c), h

    h = ops.zeros((x.shape[0], HIDDEN))
    (h, _), _ = sf.scan(step, (h, h), x.transpose(1, 0, 2))
    users = ops.sum(h)
    first, second = (
        compile_graph([loss, *sf.grad(loss, params(loss))]) for loss in (library, users)
    )
    if not apart:
        assert kernels_in_loops(first) == kernels_in_loops(second)
    assert count(first) == count(second) == Count(3, (1, 1))
    assert work_in_loops(first) == work_in_loops(second)


def test_a_projection_of_every_step_is_behind_the_loop() -> None:
    """Logits, their softmax and its gradient: products over all steps at once."""
    x, v = sf.input("x", ("time", "batch", FEATURES)), sf.param("v", (HIDDEN, 5))
    w, u = sf.param("w", (FEATURES, HIDDEN)), sf.param("u", (HIDDEN, HIDDEN))

    def step(h: Node, row: Node) -> Any:
        h = ops.tanh(row @ w + h @ u)
        return h, ops.log_softmax(h @ v + 1.0)

    _, ys = sf.scan(step, ops.zeros((x.shape[1], HIDDEN)), x)
    loss = ops.sum(ys[:, :, 0])
    assert count(compile_graph([loss])) == Count(2, (1,))
    assert count(compile_graph([loss, *sf.grad(loss, [w, u, v])])) == Count(6, (1, 1))


@pytest.mark.parametrize("look_up", [lambda t, i: ops.take(t, i, 0), ops.embedding])
def test_rows_of_a_table_are_added_up_behind_the_loop(look_up: Cell) -> None:
    """The gradient of an embedding within the step is one scatter of all steps."""
    ids, table = sf.input("ids", ("time", "batch"), "int32"), sf.param("table", (50, HIDDEN))
    u = sf.param("u", (HIDDEN, HIDDEN))

    def step(h: Node, now: Node) -> Any:
        return ops.tanh(look_up(table, now) + h @ u), None

    last, _ = sf.scan(step, ops.zeros((ids.shape[1], HIDDEN)), ids)
    outputs = [last.sum(), *sf.grad(last.sum(), [table, u])]
    compiled = compile_graph(outputs)
    inside = [n.op.kind for s in compiled.steps if isinstance(s, LoopStep) for b in s.body
              for n in b.nodes]  # fmt: skip
    assert Kind.SCATTER not in inside
    arrays = arrays_for([ids, table, u], {"time": 4, "batch": 3})
    env = dict(zip([ids, table, u], arrays, strict=True))
    close(sf.function([ids, table, u], outputs)(*arrays), interpret(outputs, env), "", 1e-5)


def test_a_stopped_gradient_stays_stopped() -> None:
    """Products are not joined, nor concatenations split, through what stops a gradient."""
    u, v = weight("u", HIDDEN, HIDDEN), weight("v", HIDDEN, HIDDEN)
    x = sf.input("x", (3, HIDDEN), "float64")

    def step(h: Node, row: Node) -> Any:
        both = ops.stop_gradient(ops.concatenate([row, h]))
        z = both @ ops.concatenate([u, v])
        return ops.tanh(h @ u + ops.stop_gradient(h) @ v + z), None

    state = ops.zeros((HIDDEN,), "float64")
    h = state
    for t in range(3):
        h, _ = step(h, x[t])
    last, _ = sf.scan(step, state, x)
    arrays = arrays_for([x, u, v], {})
    env = dict(zip([x, u, v], arrays, strict=True))
    expected = interpret(sf.grad(ops.sum(h), [x, u, v]), env)
    close(sf.function([x, u, v], sf.grad(ops.sum(last), [x, u, v]))(*arrays), expected, "")


def test_a_loop_without_carries_is_none() -> None:
    x, w = sf.input("x", ("time", "batch", FEATURES)), sf.param("w", (FEATURES, HIDDEN))
    _, ys = sf.scan(lambda _, row: (None, ops.softmax(ops.tanh(row @ w))), None, x)
    assert count(compile_graph([ys])) == Count(1, ())
    loss = ops.sum(ys * ys)
    assert count(compile_graph([loss, *sf.grad(loss, [x, w])])) == Count(3, ())
