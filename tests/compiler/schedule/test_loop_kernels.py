"""Loops over few elements as one kernel: which become one, and what they compute."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.codegen import emit_driver
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.ir.steps import KernelStep, LoopStep, walk
from staticflow.native.toolchain.target import LOCAL_ELEMENTS
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close
from tests.support.source_interpreter import run_loops

Problem = tuple[list[Node], list[Node]]


def with_gradients(inputs: list[Node], *results: Node) -> Problem:
    loss = sum((ops.sum(ops.sin(y) * y) for y in results[1:]), ops.sum(results[0] ** 2))
    floats = [x for x in inputs if x.dtype.startswith("float")]
    return inputs, [*results, *sf.grad(loss, floats)]


def matrices(dtype: str, reverse: bool = False) -> Problem:
    """Products of small matrices and vectors, and a history of carries for the gradient."""
    a, x = sf.input("a", ("t", 3, 3), dtype), sf.input("x", ("t", 3), dtype)

    def step(h: Node, row: Any) -> Any:
        m, v = row
        h = ops.tanh(m @ h @ m.T + ops.outer(v, v))
        return h, (h @ v, ops.trace(h))

    last, (ys, traces) = sf.scan(step, ops.eye(3, dtype=dtype) * 0.5, (a, x), reverse=reverse)
    return with_gradients([a, x], last, ys, traces)


def scalars(dtype: str, reverse: bool = False) -> Problem:
    """Scalar carries in a ring, each of which reads what its neighbour was."""
    x, w = sf.input("x", ("t",), dtype), sf.input("w", (4,), dtype)

    def step(h: Any, v: Node) -> Any:
        new = tuple(ops.tanh(w[i] * h[i - 1] + v) for i in range(4))
        return new, new[3] - new[0]

    last, ys = sf.scan(step, tuple(w[i] * 0.1 for i in range(4)), x, reverse=reverse)
    return with_gradients([x, w], ops.stack(list(last)), ys)


def counters(dtype: str, reverse: bool = False) -> Problem:
    """Carries of several dtypes, a choice, and one that no step reads again."""
    x = sf.input("x", ("t", 2), dtype)

    def step(h: Any, v: Node) -> Any:
        count, seen, best = h
        large = v[0] > best
        best = ops.where(large, v[0], best)
        return (count + 1, ops.logical_or(seen, large), best), count

    init = (sf.const(np.int64(3)), sf.const(np.False_), ops.zeros((), dtype))
    (count, seen, best), ys = sf.scan(step, init, x, reverse=reverse)
    return [x], [count, seen, best, ys, *sf.grad(best, [x])]


def running(dtype: str, reverse: bool = False) -> Problem:
    """A sum that is updated in place, and an element that is chosen at run time."""
    x, at = sf.input("x", ("t", 5), dtype), sf.input("at", ("t",), "int64")

    def step(total: Node, row: Any) -> Any:
        v, k = row
        total = total + v * v
        return total, ops.take(total, k, axis=0)

    last, ys = sf.scan(step, ops.zeros((5,), dtype), (x, at), reverse=reverse)
    return with_gradients([x, at], last, ys)


def nested(dtype: str, reverse: bool = False) -> Problem:
    """A loop in a loop: the inner one is a kernel."""
    x = sf.input("x", ("t", "s", 2), dtype)

    def inner(h: Node, v: Node) -> Any:
        h = 0.5 * h + ops.sin(v)
        return h, h[0]

    def step(h: Node, rows: Node) -> Any:
        h, ys = sf.scan(inner, h, rows, reverse=reverse)
        return h, ys.sum()

    last, ys = sf.scan(step, ops.ones((2,), dtype), x)
    return with_gradients([x], last, ys)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "matrices": matrices, "scalars": scalars, "counters": counters, "running": running,
    "nested": nested,
}  # fmt: skip


def loops(compiled: Compiled) -> list[LoopStep]:
    """The innermost loops."""
    found = [step for step in walk(compiled.steps) if isinstance(step, LoopStep)]
    return [step for step in found if not any(isinstance(s, LoopStep) for s in step.body)]


@pytest.mark.parametrize("part", [2, 4096])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", PROBLEMS)
def test_kernels_compute_what_the_loops_do(
    name: str, reverse: bool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of two steps, so that carries go through memory; and in one part."""
    dtype = "float32" if reverse else "float64"
    tolerance = 2e-5 if reverse else 1e-12
    monkeypatch.setattr(emit_driver, "PART_STEPS", part)
    inputs, results = PROBLEMS[name](dtype, reverse)
    compiled = compile_graph(results)
    assert loops(compiled) and all(step.in_parts for step in loops(compiled))
    gc.collect()  # with the last function of a structure its program goes
    f = sf.function(inputs, results)
    assert f", {part}):" in f.source
    for steps in (0, 1, 2, 5):
        sizes = {"t": steps, "s": 3}
        arrays = [a.astype(n.dtype) for n, a in zip(inputs, arrays_for(inputs, sizes), strict=True)]
        given = dict(zip(inputs, arrays, strict=True))
        expected = interpret(results, given)
        close(f(*arrays), expected, f"{steps} steps", tolerance)
        close(run_loops(compiled, given, sizes), expected, f"{steps} steps, source", tolerance)


def test_parts_of_a_long_loop_are_one_loop() -> None:
    """More steps than one part has."""
    inputs, results = scalars("float64")
    f = sf.function(inputs, results)
    arrays = arrays_for(inputs, {"t": 2 * emit_driver.PART_STEPS + 1})
    expected = interpret(results, dict(zip(inputs, arrays, strict=True)))
    close(f(*arrays), expected, "long", 1e-9)


def wide(width: int) -> Node:
    x = sf.input("x", ("t", width), "float64")
    return sf.scan(lambda h, v: (ops.tanh(h + v), None), ops.zeros((width,), "float64"), x)[0]


def test_wide_values_and_data_stay_run_time_sizes() -> None:
    """Values of up to LOCAL_ELEMENTS elements are structure, larger ones are not."""
    for width, in_parts in ((LOCAL_ELEMENTS, True), (LOCAL_ELEMENTS + 1, False)):
        (loop,) = loops(compile_graph([wide(width)]))
        assert loop.in_parts == in_parts
    x = sf.input("x", ("t", "batch", 2))
    last, _ = sf.scan(lambda h, v: (ops.tanh(h + v), None), x[0] * 0, x)
    (loop,) = loops(compile_graph([last]))
    assert not loop.in_parts
    texts = [compile_graph([wide(width)]).driver.code for width in (100, 200)]
    assert texts[0] == texts[1]


def test_huge_angles_in_a_loop() -> None:
    """float64's sine beyond 2^50, of a carry that no search can know before the loop."""
    x = sf.input("x", ("t", 3), "float64")

    def step(h: Node, v: Node) -> Any:
        h = h * v
        return h, ops.sin(h) + ops.cos(h[0])

    _, ys = sf.scan(step, ops.ones((3,), "float64"), x)
    values = np.full((40, 3), 3.7) + np.arange(3)
    found = sf.function([x], ys)(values)
    (expected,) = interpret([ys], {x: values})
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("size", [1, 3, 8, 9])
def test_products_of_stacks_of_small_matrices(size: int) -> None:
    """In graphs whose sizes are numbers: those that have loops."""
    a, b = (sf.input(name, ("t", size, size), "float64") for name in "ab")
    total, _ = sf.scan(lambda h, m: (h + m, None), ops.zeros((size, size), "float64"), a @ b)
    results = [total, sf.grad(ops.sum(total * total), b)]
    steps = compile_graph(results).steps
    stacks = [s for s in steps if isinstance(s, KernelStep) and s.kernel.label == "products"]
    assert bool(stacks) == (size <= 8)
    for count in (0, 1, 7):
        arrays = arrays_for([a, b], {"t": count})
        expected = interpret(results, dict(zip((a, b), arrays, strict=True)))
        close(sf.function([a, b], results)(*arrays), expected, f"{count} of {size}", 1e-13)
