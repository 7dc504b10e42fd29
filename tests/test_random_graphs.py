"""Compiled equals interpreted, on random graphs: the master test of the compiler.

Three ways to compute a graph: NumPy node by node; the generated source run as Python, with garbage
in fresh memory and bounds on every access; and machine code. The second finds what is wrong with
indices, memory and order without compiling anything, so it sees most graphs; the third sees many
small graphs packed into one program.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graph_maker import (
    Graph,
    assert_agree,
    make_graph,
    outputs_of,
    sizes_for,
    values_for,
    with_gradients,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_interpreter import run_loops, run_sharded

import staticflow as sf
from staticflow import Node
from staticflow.compile import compile_graph
from staticflow.native.toolchain import toolchain

LONG = (0, 1, 3, 7, 17, 33)  # beyond the widest vector, and odd


def chooser(data: Any) -> Callable[[int], int]:
    """Choices that hypothesis makes and shrinks."""
    return lambda count: data.draw(st.integers(0, count - 1)) if count > 1 else 0


def seeded(seed: int) -> Callable[[int], int]:
    """Choices from a seed."""
    return random.Random(seed).randrange


@settings(max_examples=60)
@given(st.data())
def test_generated_loops_compute_what_numpy_does(data: Any) -> None:
    choose = chooser(data)
    graph = make_graph(choose, "x", 6, exact=bool(choose(2)))
    outputs = outputs_of(graph)
    compiled = compile_graph(outputs)
    rng = np.random.default_rng(choose(100))
    for _ in range(2):
        sizes = sizes_for(graph, choose)
        values = values_for(graph, sizes, rng)
        assert_agree(graph, outputs, values, run_loops(compiled, values, sizes))


@settings(max_examples=30)
@given(st.data())
def test_gradients_of_generated_loops_agree(data: Any) -> None:
    choose = chooser(data)
    graph = make_graph(choose, "x", 5, exact=False)
    outputs = with_gradients(graph, outputs_of(graph))
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(choose(100)))
    assert_agree(graph, outputs, values, run_loops(compile_graph(outputs), values, sizes))


def check_loops(seed: int, length: int, gradients: bool = False) -> None:
    choose = seeded(seed)
    graph = make_graph(choose, "x", length, exact=bool(choose(2)) and not gradients)
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if gradients else outputs
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(seed))
    assert_agree(graph, outputs, values, run_loops(compile_graph(outputs), values, sizes))


@pytest.mark.parametrize("gradients", [False, True])
def test_many_generated_loops(gradients: bool) -> None:
    for seed in range(150):
        check_loops(seed, 10, gradients)


def check_sharded(seed: int, length: int, gradients: bool) -> bool:
    """Whether the graph could be sharded; if so, in pieces it must be what it is as a whole."""
    choose = seeded(seed)
    graph = make_graph(choose, "x", length, exact=bool(choose(2)) and not gradients, lead="rows")
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if gradients else outputs
    outputs = [y for y in outputs if not any(str(n) == "rows" for n in y.shape[1:])]
    compiled = compile_graph(outputs, shard="rows")
    if compiled.placement.shard is None:
        assert compiled.placement.reason
        return False
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(seed))
    found = run_sharded(compiled, values, sizes, shards=1 + choose(3))
    assert_agree(graph, outputs, values, found)
    return True


@pytest.mark.parametrize("gradients", [False, True])
def test_shards_together_compute_the_whole(gradients: bool) -> None:
    sharded = sum(check_sharded(seed, 5, gradients) for seed in range(120))
    assert sharded > 50


def check_pack(seed: int, graphs: int, gradients: bool) -> int:
    """Compile some graphs as one function and call it at several sizes; returns their number."""
    pack: list[tuple[Graph, list[Node]]] = []
    for k in range(graphs):
        choose = seeded(1000 * seed + k)
        graph = make_graph(choose, f"x{k}_", 6, exact=bool(k % 2) and not gradients)
        outputs = outputs_of(graph)
        pack.append((graph, with_gradients(graph, outputs) if gradients else outputs))
    inputs = [x for graph, _ in pack for x in graph.leaves]
    function = sf.function(inputs, [outputs for _, outputs in pack])
    compiled = toolchain().counts.compiled
    positive = set().union(*(graph.positive for graph, _ in pack))
    rng = np.random.default_rng(seed)
    for _ in range(4):
        sizes = {name: int(rng.choice(LONG[1 if name in positive else 0 :])) for name in "abc"}
        sizes = {name: max(n, 2 if name in positive else 0) for name, n in sizes.items()}
        values = [values_for(graph, sizes, rng) for graph, _ in pack]
        kept = [array.copy() for own in values for array in own.values()]
        found = function(*(array for own in values for array in own.values()))
        for (graph, outputs), own, arrays in zip(pack, values, found, strict=True):
            assert_agree(graph, outputs, own, arrays)
        for array, before in zip((a for own in values for a in own.values()), kept, strict=True):
            np.testing.assert_array_equal(array, before)
    assert toolchain().counts.compiled == compiled, "another size has compiled something"
    return graphs


@pytest.mark.parametrize("seed", range(4))
def test_machine_code_computes_what_numpy_does(seed: int) -> None:
    check_pack(seed, 16, gradients=False)


@pytest.mark.parametrize("seed", range(100, 102))
def test_gradients_of_machine_code_agree(seed: int) -> None:
    check_pack(seed, 10, gradients=True)


@pytest.mark.campaign
def test_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of graphs; the seeds go on where the tests above end."""
    loops = 6000
    for seed in range(10_000, 10_000 + loops):
        check_loops(seed, 4 + seed % 16, gradients=seed % 3 == 0)
    sharded = sum(
        check_sharded(seed, 3 + seed % 5, seed % 2 == 0) for seed in range(20_000, 23_000)
    )
    packed = sum(check_pack(seed, 16, gradients=seed % 3 == 0) for seed in range(200, 230))
    with capsys.disabled():
        print(f"\n{loops} graphs as loops, {sharded} in shards, {packed} as machine code")
