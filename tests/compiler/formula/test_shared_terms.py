"""`explain` of graphs whose parts are shared: each part is seen once, whatever it is as a tree.

Thirty times x * x + x has sixty terms; written out, it has a thousand million.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.formula.algebra import LONGEST
from staticflow.compiler.formula.explain import explain
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from tests.compiler.formula.test_explain import evaluated

SECONDS = 2.0  # of the processor; each of these did not end, or needs a tenth of it
DEEP = 2000
Pair = tuple[Node, Node]


def real(name: str, *shape: Any) -> Node:
    return sf.input(name, shape, "float64")


def repeated(step: Callable[[Node], Node], x: Node, times: int) -> Pair:
    y = x
    for _ in range(times):
        y = step(y)
    return y.sum(), x


def squares(times: int) -> Pair:
    return repeated(lambda y: 0.1 * y * y + y, real("x", 4), times)


def residual(times: int) -> Pair:
    W = real("W", 4, 4)
    return repeated(lambda y: y + ops.tanh(W @ y), real("x", 4), times)


def softmaxes(times: int) -> Pair:
    return repeated(lambda y: y * ops.softmax(y, axis=-1), real("X", 3, 4), times)


def choices(times: int) -> Pair:
    x = real("x", 4)
    return repeated(lambda y: ops.where(x > 0, y + ops.tanh(y), y * 2), x, times)


def centred(times: int) -> Pair:
    def step(y: Node) -> Node:
        return ops.tanh(y - ops.mean(y, axis=1, keepdims=True)) * y

    return repeated(step, real("X", 3, 4), times)


def columns(times: int) -> Pair:
    x = real("x", 4)
    column = x.reshape(4, 1)
    f, _ = repeated(lambda y: ops.tanh(y * column) + y * x, real("X", 4, 4), times)
    return f, x


def turned(times: int) -> Pair:
    return repeated(lambda B: ops.tanh(B) @ B.T + B, real("A", 4, 4), times)


def powers(times: int) -> Pair:
    return repeated(lambda B: B @ B, real("A", 4, 4), times)


def lstm(times: int) -> Pair:
    W, U, b = real("W", 4, 16), real("U", 3, 16), real("b", 16)
    h, c, xs = real("h0", 2, 4), real("c0", 2, 4), real("xs", times, 2, 3)
    for t in range(times):
        z = xs[t] @ U + h @ W + b
        i, f, g, o = (z[:, 4 * k : 4 * k + 4] for k in range(4))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
    return ops.mse(h, real("y", 2, 4)), W


CASES = {
    squares: 30, residual: 30, softmaxes: 20, choices: 20, centred: 20, columns: 20, turned: 16,
    powers: 20, lstm: 20,
}  # fmt: skip


def timed(nodes: Any) -> str:
    start = process_time()
    text = explain(nodes)
    assert process_time() - start < SECONDS
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_shared_parts_are_seen_once(case: Callable[[int], Pair]) -> None:
    f, x = case(CASES[case])
    text = timed({"f": f, "df": sf.grad(f, x)})
    assert len(text) < 20_000
    assert max(map(len, text.split("\n"))) < 2_000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_text_has_the_value_of_the_graph(case: Callable[[int], Pair]) -> None:
    f, x = case(3)
    derivative = sf.grad(f, x)
    rng = np.random.default_rng(5)
    leaves = [n for n in toposort([f]) if isinstance(n.op, Input)]
    env = {leaf: rng.normal(size=leaf.shape) * 0.3 for leaf in leaves}
    (expected,) = interpret([derivative], env)
    actual = evaluated(explain(derivative), {n.name: value for n, value in env.items()})
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_deep_chains_need_no_recursion() -> None:
    x = y = real("x", 4)
    for k in range(DEEP):
        y = y + real(f"a{k}", 4)
    found = timed({"f": y.sum(), "df": sf.grad(y.sum(), x)})
    assert max(line.count("+") for line in found.split("\n")) <= LONGEST
    assert "a1999" in found
    assert timed(repeated(lambda y: y + x, x, DEEP)[0]) == f"{DEEP + 1} * sum(x)"
    assert timed(repeated(ops.sin, x, DEEP)[0]).count("sin(") == DEEP
    f, _ = repeated(ops.sin, x, DEEP // 4)
    assert timed(sf.grad(f, x)).count("cos(") == DEEP // 4
