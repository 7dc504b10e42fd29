"""Random graphs, computed in each way that there is: node by node by NumPy, as generated loops that
Python runs, in shards, and as machine code.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

import staticflow as sf
from staticflow import Node
from staticflow.compiler.compile import compile_graph
from staticflow.native.toolchain.toolchain import toolchain
from tests.fuzz.graphs.maker import (
    Graph,
    assert_agree,
    make_graph,
    outputs_of,
    sizes_for,
    values_for,
    with_gradients,
)
from tests.support.source_interpreter import run_loops, run_sharded

LONG = (0, 1, 3, 7, 17, 33)  # beyond the widest vector, and odd


def seeded(seed: int) -> Callable[[int], int]:
    """Choices from a seed."""
    return random.Random(seed).randrange


def check_loops(seed: int, length: int, gradients: bool = False) -> None:
    choose = seeded(seed)
    graph = make_graph(choose, "x", length, exact=bool(choose(2)) and not gradients)
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if gradients else outputs
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(seed))
    assert_agree(graph, outputs, values, run_loops(compile_graph(outputs), values, sizes))


def check_sharded(seed: int, length: int, gradients: bool) -> bool:
    """Whether the graph could be sharded; if so, in pieces it must be what it is as a whole."""
    choose = seeded(seed)
    graph = make_graph(choose, "x", length, exact=bool(choose(2)) and not gradients, lead="rows")
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if gradients else outputs
    outputs = [y for y in outputs if not any(str(n) == "rows" for n in y.shape[1:])]
    compiled = compile_graph(outputs, shard="rows")
    if compiled.sharding.shard is None:
        assert compiled.sharding.reason
        return False
    sizes = sizes_for(graph, choose)
    values = values_for(graph, sizes, np.random.default_rng(seed))
    found = run_sharded(compiled, values, sizes, shards=1 + choose(3))
    assert_agree(graph, outputs, values, found)
    return True


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
