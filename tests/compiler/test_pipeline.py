"""The list of passes is what runs; each can be left out, looked at, and is verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.loops import For, Index, Let, Load
from staticflow.compiler.ir.steps import KernelStep
from staticflow.compiler.pipeline import PIPELINE, Pass, State, without
from staticflow.compiler.verify import (
    VerificationError,
    verify,
    verify_graph,
    verify_kernel,
    verify_memory,
)
from staticflow.graph.node import Node
from staticflow.session import function as stateless
from tests.fuzz.graphs.maker import make_graph, outputs_of, sizes_for, values_for, with_gradients
from tests.support.source_interpreter import run_loops

RNG = np.random.default_rng(0)
OPTIONAL = sorted({each.function.__name__ for each in PIPELINE if each.optional})


def leaving_out(name: str) -> tuple[Pass, ...]:
    return tuple(each for each in PIPELINE if each.name != name)


def layers() -> tuple[list[Node], dict[Node, Any]]:
    """Two layers, a loss and its gradients."""
    x, t = sf.input("x", ("n", 4), "float64"), sf.input("t", ("n", 3), "float64")
    w, v = sf.input("w", (4, 5), "float64"), sf.input("v", (5, 3), "float64")
    b = sf.input("b", (5,), "float64")
    h = ops.tanh(x @ w + b)
    loss = ops.square(ops.softmax(h @ v) - t).mean() + (ops.sin(h)[:, 1:3] * 2.0).sum()
    inputs = [x, t, w, v, b]
    shapes = [(7, 4), (7, 3), (4, 5), (5, 3), (5,)]
    values = {n: RNG.normal(size=s) for n, s in zip(inputs, shapes, strict=True)}
    return [loss, h, *sf.grad(loss, [w, v, b])], values


def recurrent() -> tuple[list[Node], dict[Node, Any]]:
    """A scan with a carry that never changes, its outputs assembled, and its gradients."""
    x, u = sf.input("x", ("time", 2, 3), "float64"), sf.input("u", (3, 3), "float64")
    h, k = sf.input("h", (2, 3), "float64"), sf.input("k", (3,), "float64")

    def step(state: Any, row: Any) -> Any:
        h, k = state
        new = ops.tanh(row @ u + (h @ u) * k)
        return (new, k), (new, row * 2.0)

    (last, _), (every, _) = sf.scan(step, (h, k), x)
    loss = (last * last).sum() + ops.concatenate([every, every * every]).sum()
    shapes = [(6, 2, 3), (3, 3), (2, 3), (3,)]
    values = {n: RNG.normal(size=s) for n, s in zip([x, u, h, k], shapes, strict=True)}
    return [loss, last, *sf.grad(loss, [u, h, k, x])], values


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("graph", [layers, recurrent])
def test_results_are_the_same_without_a_pass(name: str, graph: Callable[[], Any]) -> None:
    outputs, values = graph()
    sizes = {"n": 7, "time": 6}
    want = run_loops(compile_graph(outputs), values, sizes)
    found = run_loops(compile_graph(outputs, pipeline=leaving_out(name)), values, sizes)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-9)


@pytest.mark.parametrize("name", OPTIONAL)
def test_random_graphs_are_the_same_without_a_pass(name: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)

        def choose(count: int, rng: Any = rng) -> int:
            return int(rng.integers(count)) if count > 1 else 0

        graph = make_graph(choose, "x", 6, exact=False)
        outputs = with_gradients(graph, outputs_of(graph))
        sizes = sizes_for(graph, choose)
        values = values_for(graph, sizes, rng)
        want = run_loops(compile_graph(outputs), values, sizes)
        found = run_loops(compile_graph(outputs, pipeline=leaving_out(name)), values, sizes)
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.parametrize("name", ["in_row_blocks", "in_halves", "prepack", "widen_steps"])
def test_functions_are_the_same_without_a_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In programs that stand alone, by machine code."""
    x, v, u = sf.input("x", ("n", "k")), sf.input("v", ("k",)), sf.input("u", ("k", "k"))
    outputs = [ops.tanh(x @ v) @ x, ops.tanh(x @ u + v) @ u]
    fed = [RNG.normal(size=s).astype("f4") for s in ((40, 30), (30,), (30, 30))]
    want = sf.function([x, v, u], outputs)(*fed)
    compiler = partial(compile_graph, pipeline=leaving_out(name))
    monkeypatch.setattr(stateless, "compile_graph", compiler)
    again = [ops.tanh(x @ v) @ x + 0.5, ops.tanh(x @ u + v) @ u + 0.5]  # another program
    for a, b in zip(sf.function([x, v, u], again)(*fed), want, strict=True):
        np.testing.assert_allclose(a, b + 0.5, 1e-3, 1e-4)


@pytest.mark.parametrize("standalone", [False, True])
def test_the_list_is_what_runs(standalone: bool) -> None:
    seen: list[Pass] = []
    outputs, _ = recurrent()
    compiled = compile_graph(
        outputs, standalone=standalone, observers=[lambda each, before, after: seen.append(each)]
    )
    expected = [p for p in PIPELINE if standalone or p.name not in ("in_row_blocks", "in_halves")]
    expected = [p for p in expected if not standalone or p.name != "fuse_epilogues"]
    assert seen == expected
    assert all(each.reason for each in seen)
    assert compiled.driver.source


def test_a_pass_can_be_added() -> None:
    """One that doubles the outputs, in front of all others."""
    x = sf.input("x", (3,), "float64")
    double = Pass(
        ops.multiply, "twice",
        lambda state: state._replace(roots=tuple(root * 2.0 for root in state.roots)),
    )  # fmt: skip
    compiled = compile_graph([x + 1.0], pipeline=(double, *PIPELINE))
    (found,) = run_loops(compiled, {x: np.arange(3.0)}, {})
    np.testing.assert_array_equal(found, [2.0, 4.0, 6.0])


def test_a_trace_shows_what_each_pass_leaves() -> None:
    outputs, _ = layers()
    found = sf.compiler.trace(outputs, training=True)
    names = [each.name for each in found.passes]
    assert names[0] == "resolve_mode" and names[-1] == "driver_source"
    text = str(found)
    assert "fold constants" in text and "chunk 0:" in text and "def step(T, S):" in text
    assert "(no change)" in text
    alone = [each.name for each in sf.compiler.trace(outputs[0], standalone=True).passes]
    assert "in_halves" in alone and "fuse_epilogues" not in alone


def broken(change: Callable[[State], State]) -> tuple[Pass, ...]:
    """The pipeline with a pass that does harm after the schedule."""
    harm = Pass(broken, "harm", change)
    at = next(i for i, each in enumerate(PIPELINE) if each.name == "plan_memory")
    return (*PIPELINE[:at], harm, *PIPELINE[at:])


def compile_broken(outputs: Sequence[Node], change: Callable[[State], State]) -> None:
    compile_graph(outputs, pipeline=broken(change), observers=[verify])


def test_steps_that_come_too_early_are_found() -> None:
    x, w = sf.input("x", (3, 3)), sf.input("w", (3, 3))
    with pytest.raises(VerificationError, match=r"after broken: .* too early"):
        compile_broken([ops.exp(x @ w) @ w], lambda s: s._replace(steps=s.scheduled[::-1]))


def test_sizes_that_nobody_knows_are_found() -> None:
    def change(state: State) -> State:
        from staticflow.graph.dims import Dim

        (step,) = [s for s in state.scheduled if isinstance(s, KernelStep)]
        sizes = tuple(Dim.named("n77") for _ in step.sizes)
        return state._replace(steps=(replace(step, sizes=sizes),))

    with pytest.raises(VerificationError, match="n77"):
        compile_broken([ops.exp(sf.input("x", ("n", 3)))], change)


def test_names_that_are_not_defined_are_found() -> None:
    (step,) = compile_graph([ops.exp(sf.input("x", ("n",)))]).steps
    assert isinstance(step, KernelStep)
    kernel = step.kernel
    verify_kernel(kernel)
    (loop,) = [s for s in kernel.body if isinstance(s, For)]
    for wrong in (
        replace(loop, body=loop.body[1:]),
        replace(loop, variable="j"),
        replace(loop, body=(Let("v9", Load("p7", Index()), "f4"), *loop.body)),
    ):
        with pytest.raises(VerificationError):
            verify_kernel(replace(kernel, body=(wrong,)))


def test_wrong_types_are_found() -> None:
    x = sf.input("x", ("n", 3))
    y = ops.exp(x)
    verify_graph([y])
    bad = Node(y.op, y.inputs, y.type.with_dtype("float64"), y.where)
    with pytest.raises(VerificationError, match="infers"):
        verify_graph([bad])


def test_memory_that_overlaps_is_found() -> None:
    x, w = sf.input("x", (3, 3)), sf.input("w", (3, 3))
    compiled = compile_graph([ops.exp(x @ w) @ w @ (ops.sin(x @ w.T) @ w)])
    plan, buffers = compiled.memory, compiled.assignment.buffers
    verify_memory(plan, compiled.steps, buffers)
    one_chunk = dict.fromkeys(plan.chunk_of, 0)
    with pytest.raises(VerificationError, match="chunk 0"):
        verify_memory(replace(plan, chunk_of=one_chunk), compiled.steps, buffers)


def test_a_function_s_name_leaves_all_its_passes_out() -> None:
    from staticflow.compiler.passes.simplify import simplify

    assert len(PIPELINE) - len(without(simplify)) == 4
