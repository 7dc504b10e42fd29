"""What leaves a loop: the structure of compiled recurrent programs, counted in products.

The cells are written as their users would write them; all must end up with one product in each
step of the forward and of the backward loop, and with the others over all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compile import Compiled, compile_graph
from staticflow.schedule import LoopStep, ProductStep, Step

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
    from staticflow.graph import Param, leaves

    return leaves([loss], Param)


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, LoopStep):
            yield from walk(step.body)


@pytest.mark.parametrize("name", CELLS)
def test_one_product_in_each_loop(name: str) -> None:
    compiled, _ = compiled_training(name)
    assert count(compiled).inside == (1, 1)
