"""Matrices that are turned once before a loop: where, and that the numbers stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compile import compile_graph
from staticflow.graph import Node, apply
from staticflow.interpret import interpret
from staticflow.ops.turning import Turn
from staticflow.schedule import CallStep, LoopStep, ProductStep, Step

RNG = np.random.default_rng(0)


def elman(x: Node, w: Node, start: Node) -> Node:
    def step(h: Any, x_t: Any) -> Any:
        h = ops.tanh(x_t + h @ w)
        return h, None

    return sf.scan(step, start, x)[0]


def with_rows_of_weights(x: Node, w: Node, start: Node) -> Node:
    """Weights as (out, in)."""

    def step(h: Any, x_t: Any) -> Any:
        return ops.tanh(x_t + h @ w.T), None

    return sf.scan(step, start, x)[0]


def with_weights_that_change(x: Node, w: Node, start: Node) -> Node:
    def step(carry: Any, x_t: Any) -> Any:
        h, u = carry
        return (ops.tanh(x_t + h @ u.T), 0.9 * u), None

    return sf.scan(step, (start, w), x)[0][0]


def loop_in_a_loop(x: Node, w: Node, start: Node) -> Node:
    def outer(h: Any, x_t: Any) -> Any:
        def inner(g: Any, _: Any) -> Any:
            return ops.tanh(x_t + g @ w.T), None

        return sf.scan(inner, h, None, length=2)[0], None

    return sf.scan(outer, start, x)[0]


CASES = (elman, with_rows_of_weights, with_weights_that_change, loop_in_a_loop)


def outputs(case: Any, dtype: str, steps: int, rows: int, n: int) -> tuple[list[Node], list[Node]]:
    x = sf.input("x", (steps, rows, n), dtype)
    w = sf.input("w", (n, n), dtype)
    start = sf.input("start", (rows, n), dtype)
    last = case(x, w, start)
    return [x, w, start], [last, *sf.grad((last * last).sum(), [x, w, start])]


def products(steps: list[Step], inside: bool = False) -> list[ProductStep]:
    """Those inside of loops."""
    found: list[ProductStep] = []
    for step in steps:
        if isinstance(step, LoopStep):
            found += products(list(step.body), True)
        elif inside and isinstance(step, ProductStep):
            found.append(step)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_the_interpreter(case: Any, dtype: str) -> None:
    for steps, rows, n in ((3, 2, 5), (1, 1, 1), (4, 3, 17), (0, 2, 3)):
        inputs, results = outputs(case, dtype, steps, rows, n)
        shapes = [(steps, rows, n), (n, n), (rows, n)]
        arrays = [(RNG.standard_normal(s) / n**0.5).astype(dtype) for s in shapes]
        found = sf.function(inputs, results)(*arrays)
        expected = interpret(results, dict(zip(inputs, arrays, strict=True)))
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, tolerance, tolerance)


@pytest.mark.parametrize("case", [elman, with_rows_of_weights, loop_in_a_loop])
def test_a_matrix_is_turned_before_the_loop(case: Any) -> None:
    _, results = outputs(case, "float32", 4, 3, 17)
    compiled = compile_graph(results)
    steps = list(compiled.steps)
    turns = [s for s in steps if isinstance(s, CallStep) and s.node.op == Turn()]
    assert len(turns) == 1
    inside = products(steps)
    assert inside and all(step.b.column == 1 for step in inside)


def test_a_matrix_that_changes_is_not() -> None:
    _, results = outputs(with_weights_that_change, "float32", 4, 3, 17)
    compiled = compile_graph(results)
    assert not any(isinstance(s, CallStep) for s in compiled.steps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_turn(dtype: str) -> None:
    for shape in ((0, 3), (1, 1), (5, 1), (16, 16), (17, 33), (3, 7, 2), (2, 0, 5)):
        x = sf.input("x", shape, dtype)
        array = RNG.standard_normal(shape).astype(dtype)
        turned = apply(Turn(), x)
        again = sf.grad((turned * turned).sum(), x)
        found, gradient = sf.function([x], [turned, again])(array)
        np.testing.assert_array_equal(found, np.swapaxes(array, -1, -2))
        np.testing.assert_array_equal(gradient, 2 * array)
