"""Compiled equals interpreted, on random graphs: the master test of the compiler.

Three ways to compute a graph: NumPy node by node; the generated source run as Python, with garbage
in fresh memory and bounds on every access; and machine code. The second finds what is wrong with
indices, memory and order without compiling anything, so it sees most graphs; the third sees many
small graphs packed into one program. The campaign `random_graphs` goes on with all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staticflow.compiler.compile import compile_graph
from tests.fuzz.graphs.checks import check_loops, check_pack, check_sharded
from tests.fuzz.graphs.maker import (
    assert_agree,
    make_graph,
    outputs_of,
    sizes_for,
    values_for,
    with_gradients,
)
from tests.support.source_interpreter import run_loops


def chooser(data: Any) -> Callable[[int], int]:
    """Choices that hypothesis makes and shrinks."""
    return lambda count: data.draw(st.integers(0, count - 1)) if count > 1 else 0


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


@pytest.mark.parametrize("gradients", [False, True])
def test_many_generated_loops(gradients: bool) -> None:
    for seed in range(150):
        check_loops(seed, 10, gradients)


@pytest.mark.parametrize("gradients", [False, True])
def test_shards_together_compute_the_whole(gradients: bool) -> None:
    sharded = sum(check_sharded(seed, 5, gradients) for seed in range(120))
    assert sharded > 50


def test_shards_of_rows_that_have_no_element() -> None:
    assert check_sharded(14354, 5, gradients=False)  # twice the rows, of no column


@pytest.mark.parametrize("seed", range(4))
def test_machine_code_computes_what_numpy_does(seed: int) -> None:
    check_pack(seed, 16, gradients=False)


@pytest.mark.parametrize("seed", range(100, 102))
def test_gradients_of_machine_code_agree(seed: int) -> None:
    check_pack(seed, 10, gradients=True)
