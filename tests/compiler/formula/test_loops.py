"""`explain` of loops: the statements that run them, as Python; and names that collide with nothing.

What is printed is run, and compared with the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from tests.compiler.formula.cases import NUMPY


def real(name: str, *shape: Any) -> Node:
    return sf.input(name, shape, "float64")


A, B, v, p, x = real("A", 4, 4), real("B", 4, 3), real("v", 4), real("p"), real("x", 4)
h0, c0, xs, column = real("h0", 4), real("c0", 4), real("xs", "T", 3), real("h0", 4, 1)
T = 5


def rnn(h: Node, x: Node) -> tuple[Node, Node]:
    new = ops.tanh(A @ h + B @ x)
    return new, new


def lstm(state: tuple[Node, Node], x: Node) -> tuple[tuple[Node, Node], Node]:
    h, c = state
    f = ops.sigmoid(A @ h + B @ x)
    c = f * c + (1.0 - f) * ops.tanh(B @ x)
    return (ops.sigmoid(A @ h) * ops.tanh(c), c), h


def loops() -> dict[str, Node]:
    last, rows = sf.scan(rnn, h0, xs)
    back, sums = sf.scan(lambda h, x: (ops.tanh(A @ h + B @ x), h.sum()), h0, xs, reverse=True)
    (hidden, _), before = sf.scan(lstm, (h0, c0), xs)
    doubled = sf.while_loop(lambda b: ops.norm(b) < 1000.0, lambda b: b * 2.0, x * 2.0)
    bounded = sf.while_loop(lambda b: b.sum() < 10.0, lambda b: b + b * b, x, max_steps=4)
    inner, _ = sf.scan(lambda c, e: (sf.scan(lambda d, z: (d * c + z, None), e, x)[0], None), p, x)
    return {
        "last": v @ last,
        "all": (rows**2).sum() + v @ last,
        "derivative": sf.grad(v @ last, A),
        "derivative of all": sf.grad((rows**2).sum(), B),
        "reverse": v @ back + (sums**2).sum(),
        "two carries": v @ hidden + before.sum(),
        "derivative of two": sf.grad(v @ hidden, A),
        "columns": sf.scan(lambda h, x: (ops.tanh(A @ h), None), column, xs)[0],
        "while": doubled,
        "derivative of while": sf.grad(bounded.sum(), x),
        "nested": inner,
    }


@pytest.mark.parametrize("name", loops())
def test_statements_run(name: str) -> None:
    node = loops()[name]
    rng = np.random.default_rng(1)
    env = {
        leaf: rng.uniform(0.2, 0.9, [evaluate(n, {"T": T}) for n in leaf.shape])
        for leaf in leaves([node], Input)
    }
    (wanted,) = interpret([node], env)
    *lines, last = str(sf.explain(node)).split("\n")
    scope = {**NUMPY, "T": T, **{leaf.name: value for leaf, value in env.items()}}
    exec("\n".join(lines), scope)
    found = np.asarray(eval(last, scope))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_a_scan_reads_as_it_was_written() -> None:
    assert sf.explain(loops()["last"]).split("\n") == [
        "h = h0",
        "for t in range(T):",
        "    h = tanh(A @ h + B @ xs[t])",
        "v @ h",
    ]
    assert sf.explain(loops()["while"]).split("\n") == [
        "h = 2 * x", "while norm(h) < 1000:", "    h = 2 * h", "h",
    ]  # fmt: skip
    assert sf.explain(loops()["columns"]).split("\n") == [
        "h = h0", "for t in range(T):", "    h = tanh(A @ h)", "h",
    ]  # fmt: skip
    assert "for t in reversed(range(T)):" in sf.explain(loops()["reverse"])


def test_names_collide_with_nothing() -> None:
    assert sf.explain(real("n") * real("y", "n")) == "n_2 * y", "a dimension"
    assert sf.explain(ops.exp(real("exp"))) == "exp(exp_2)", "a function"
    assert sf.explain(real("rnn.0.bias") + real("lambda")) == "rnn_0_bias + lambda_"
    last, _ = sf.scan(lambda c, e: (ops.tanh(c * e), None), p, real("h", "T"))
    assert sf.explain(last).split("\n")[0] == "h_2 = p", "a leaf"


def test_large_constants_have_a_legend() -> None:
    text = sf.explain(x @ np.arange(400.0).reshape(4, 100))
    assert text == "# const: float64[4, 100], from 0 to 399\nx @ const"
