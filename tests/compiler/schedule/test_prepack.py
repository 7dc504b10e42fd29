"""Panels for the weights of a loop's products: which products get them, and what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.ir.steps import LoopStep, PackStep, ProductStep, Step
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close

HIDDEN = 24


def rnn(dtype: str = "float64", **options: Any) -> tuple[list[Node], list[Node]]:
    """A recurrent net's inputs; its loss and gradients."""
    x = sf.input("x", ("time", "batch", 3), dtype)
    w, u = sf.input("w", (3, HIDDEN), dtype), sf.input("u", (HIDDEN, HIDDEN), dtype)

    def step(h: Node, row: Node) -> tuple[Node, Node]:
        h = ops.tanh(row @ w + h @ u)
        return h, h

    last, ys = sf.scan(step, ops.zeros((x.shape[1], HIDDEN), dtype), x, **options)
    loss = ops.sum(last * last) + ops.sum(ys * ys * ys)
    return [x, w, u], [loss, *sf.grad(loss, [w, u])]


def within(steps: Any) -> list[Step]:
    """The steps, and those of loops, one after the other."""
    found: list[Step] = []
    for step in steps:
        found.append(step)
        found += within(step.body) if isinstance(step, LoopStep) else []
    return found


def products_in_loops(compiled: Compiled) -> list[ProductStep]:
    loops = [step for step in compiled.steps if isinstance(step, LoopStep)]
    return [step for loop in loops for step in within(loop.body) if isinstance(step, ProductStep)]


def test_weights_are_packed_before_both_loops() -> None:
    compiled = compile_graph(rnn()[1])
    kinds = [type(step) for step in compiled.steps if isinstance(step, PackStep | LoopStep)]
    assert kinds == [PackStep, LoopStep, PackStep, LoopStep]
    assert all(step.panels is not None for step in products_in_loops(compiled))
    assert "packed_gemm_f8(" in compiled.driver.source


def test_what_a_loop_changes_is_not_packed() -> None:
    """The right matrix is the carry; and in the backward loop, a stack's."""
    m = sf.input("m", ("time", HIDDEN, HIDDEN))
    last, _ = sf.scan(lambda h, a: (ops.tanh(a @ h), None), ops.ones((HIDDEN, HIDDEN)), m)
    compiled = compile_graph([last, sf.grad(ops.sum(last), m)])
    assert products_in_loops(compiled)
    assert not [step for step in within(compiled.steps) if isinstance(step, PackStep)]


def test_an_inner_loop_takes_the_panels_of_the_outer_one() -> None:
    """Segments are loops in a loop; the weights are packed before both."""
    compiled = compile_graph(rnn(remat=5)[1])
    packs = [step for step in within(compiled.steps) if isinstance(step, PackStep)]
    assert packs and all(step in compiled.steps for step in packs)
    loops = [step for step in within(compiled.steps) if isinstance(step, LoopStep)]
    inner = [step for loop in loops for step in loop.body if isinstance(step, LoopStep)]
    products = [step for loop in inner for step in loop.body if isinstance(step, ProductStep)]
    assert len(products) == 3 and all(step.panels is not None for step in products)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"remat": 20}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(dtype: str, options: dict[str, Any]) -> None:
    """With panels and without: of few steps, of one row, of no row."""
    inputs, outputs = rnn(dtype, **options)
    f = sf.function(inputs, outputs)
    for time, batch in ((40, 5), (40, 1), (3, 5), (40, 0), (0, 5), (100, 33)):
        arrays = arrays_for(inputs, {"time": time, "batch": batch})
        arrays = [(0.2 * a).astype(dtype) for a in arrays]  # a net that forgets, and its errors
        expected = interpret(outputs, dict(zip(inputs, arrays, strict=True)))
        tolerance = {"float32": 2e-4, "float64": 1e-11}[dtype]
        scale = 1.0 + max(float(np.abs(e).max(initial=0.0)) for e in expected)
        close([a / scale for a in f(*arrays)], [e / scale for e in expected], "", tolerance)


def test_a_large_straight_matrix_is_packed_too() -> None:
    """More than the first-level cache holds, in a forward loop."""
    x, u = sf.input("x", ("time", "batch", 200)), sf.input("u", (200, 200))
    last, _ = sf.scan(lambda h, r: (ops.tanh(h @ u + r), None), ops.zeros((x.shape[1], 200)), x)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20, 6, 200)).astype(np.float32)
    weights = (0.05 * rng.standard_normal((200, 200))).astype(np.float32)
    expected = interpret([last], {x: rows, u: weights})
    close([sf.function([x, u], last)(rows, weights)], expected, "", 1e-4)
