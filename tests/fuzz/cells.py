"""Random cells: compiled scans against steps written out one after the other.

A cell is a list of choices, each of which makes a value from those there are: products with x and
with carries, concatenations, slices, gates, reductions. Its scan must give the values and gradients
of the unrolled graph, whatever leaves the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

import staticflow as sf
from staticflow import Node, ops
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close

WIDTH = 4  # of x and of all carries: (batch, 4)
Values = list[Node]
Rule = Callable[["Weights", Node, Node], Node]


@dataclass(frozen=True)
class Weights:
    """What a cell multiplies with; one array serves many uses."""

    square: tuple[Node, ...]
    tall: Node
    row: Node

    @property
    def nodes(self) -> list[Node]:
        return [*self.square, self.tall, self.row]


def weights() -> Weights:
    square = tuple(sf.input(f"w{k}", (WIDTH, WIDTH), "float64") for k in range(3))
    tall = sf.input("tall", (2 * WIDTH, WIDTH), "float64")
    return Weights(square, tall, sf.input("row", (WIDTH,), "float64"))


def _halves(w: Weights, a: Node, b: Node) -> Node:
    return ops.concatenate([a[:, 2:], b[:, :2]], axis=1)


RULES: dict[str, Rule] = {
    "add": lambda w, a, b: a + b,
    "subtract": lambda w, a, b: a - b,
    "multiply": lambda w, a, b: a * b,
    "tanh": lambda w, a, b: ops.tanh(a),
    "gate": lambda w, a, b: ops.sigmoid(a) * b,
    "select": lambda w, a, b: ops.where(a > 0.1, a, b * 0.5),
    "bias": lambda w, a, b: a + w.row,
    "product 0": lambda w, a, b: a @ w.square[0],
    "product 1": lambda w, a, b: a @ w.square[1],
    "product 2": lambda w, a, b: a @ w.square[2],
    "turned": lambda w, a, b: a @ w.square[0].T,
    "from the left": lambda w, a, b: (w.square[1] @ a.T).T,
    "concat": lambda w, a, b: ops.concatenate([a, b], axis=1) @ w.tall,
    "halves": _halves,
    "mean of rows": lambda w, a, b: a - b.mean(axis=1, keepdims=True),
    "sum over the batch": lambda w, a, b: a * ops.tanh(b.sum(axis=0)),
    "outer": lambda w, a, b: a @ (b.T @ a) * 0.1,
    "stopped": lambda w, a, b: a * ops.stop_gradient(b),
    "scaled": lambda w, a, b: a * 0.5,
    "flipped": lambda w, a, b: a[:, ::-1],
}


@dataclass(frozen=True)
class Recipe:
    """A random cell: rules with their operands, and which values are carried and returned."""

    rules: tuple[tuple[str, int, int], ...]
    carries: tuple[int, ...]
    ys: tuple[int, ...]
    reverse: bool
    length: int
    remat: int | None

    def step(self, w: Weights, carries: Sequence[Node], x: Node) -> tuple[Values, Values]:
        pool = [*carries, x]
        for name, a, b in self.rules:
            pool.append(RULES[name](w, pool[a % len(pool)], pool[b % len(pool)]))

        def at(position: int) -> Node:
            return pool[-1 - position % len(pool)]

        # Carries stay within bounds, over any number of steps.
        return [ops.sin(at(i)) if i % 3 else at(i) * 0.5 for i in self.carries], [
            at(i) for i in self.ys
        ]


def recipes() -> st.SearchStrategy[Recipe]:
    number = st.integers(0, 20)
    return st.builds(
        Recipe,
        rules=st.lists(
            st.tuples(st.sampled_from(sorted(RULES)), number, number), min_size=2, max_size=9
        ).map(tuple),
        carries=st.lists(number, min_size=1, max_size=3).map(tuple),
        ys=st.lists(number, min_size=0, max_size=3).map(tuple),
        reverse=st.booleans(),
        length=st.integers(0, 4),
        remat=st.sampled_from([None, None, 2]),
    )


def loss_of(lasts: Sequence[Node], ys: Sequence[Node]) -> Node:
    total = sf.const(0.0, "float64")
    for k, node in enumerate([*lasts, *ys]):
        total = total + ops.sum(ops.sin(node + 0.1 * k))
    return total


def unrolled(recipe: Recipe, w: Weights, x: Node, h: Node) -> Node:
    carries: Values = [h * (k + 1.0) for k in range(len(recipe.carries))]
    rows: dict[int, Values] = {}
    order = range(recipe.length)
    for t in reversed(order) if recipe.reverse else order:
        carries, rows[t] = recipe.step(w, carries, x[t])
    ys = [ops.stack([rows[t][k] for t in order]) for k in range(len(recipe.ys)) if rows]
    return loss_of(carries, ys)


def scanned(recipe: Recipe, w: Weights, x: Node, h: Node) -> Node:
    init = [h * (k + 1.0) for k in range(len(recipe.carries))]
    lasts, ys = sf.scan(
        lambda carries, row: recipe.step(w, carries, row),
        init, x, reverse=recipe.reverse, remat=recipe.remat,
    )  # fmt: skip
    return loss_of(lasts, ys)


def outputs_of(loss: Node, wrt: Sequence[Node], second: bool) -> Values:
    gradients = sf.grad(loss, list(wrt))
    if not second:
        return [loss, *gradients]
    along = [ops.ones_like(x) * 0.3 for x in wrt]
    return [loss, *gradients, *(sf.jvp(g, list(wrt), along) for g in gradients)]


def check(recipe: Recipe, second: bool = False) -> None:
    """The compiled scan, the interpreted scan and the unrolled graph agree."""
    w, h = weights(), sf.input("h", ("batch", WIDTH), "float64")
    x = sf.input("x", ("time", "batch", WIDTH), "float64")
    known = sf.input("x", (recipe.length, "batch", WIDTH), "float64")
    leaves = [x, h, *w.nodes]
    arrays = [0.7 * a for a in arrays_for(leaves, {"time": recipe.length, "batch": 3})]
    outputs = outputs_of(scanned(recipe, w, x, h), leaves, second)
    wanted = outputs_of(unrolled(recipe, w, known, h), [known, *leaves[1:]], second)
    expected = interpret(wanted, dict(zip([known, *leaves[1:]], arrays, strict=True)))
    close(interpret(outputs, dict(zip(leaves, arrays, strict=True))), expected, "interpreted", 1e-9)
    close(sf.function(leaves, outputs)(*arrays), expected, "compiled", 1e-9)
