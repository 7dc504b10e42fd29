"""Graphs freed of their declared sizes: what is freed, and that it compiles to the same code."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.codegen.kernels import kernel_source
from staticflow.compiler.compile import Compiled, compile_graph, with_sizes
from staticflow.graph.leaves import Leaf, Param, State
from staticflow.graph.node import Node
from staticflow.graph.printer import format_graph
from staticflow.graph.traversal import leaves, toposort
from staticflow.runtime.free_sizes import free_sizes, shown
from tests.fuzz.graphs.maker import make_graph, outputs_of
from tests.support.thread_nets import NETS


def freed(*roots: Node) -> tuple[list[Node], dict[str, int]]:
    found = free_sizes(roots)
    return list(map(found.of, roots)), dict(found.sizes)


def code(compiled: Compiled) -> Any:
    """All of a program but for comments, which show sizes and lines."""
    drivers = [*compiled.driver.blocks, compiled.driver]
    texts = [each.source for each in drivers]
    texts += [kernel_source(k, name) for each in drivers for name, k in each.kernels.items()]
    lines = [line for text in texts for line in text.splitlines() if "#" not in line]
    types = [node.type for node in compiled.outputs]
    return lines, compiled.memory, compiled.memory_with_owners, compiled.sized.sizes, types


def assert_same_code(roots: Sequence[Node], **options: Any) -> bool:
    """The code is that of the graph with numbers; gives whether there was a size to free."""
    found = free_sizes(roots)
    own = compile_graph(list(map(found.of, roots)), **options)
    assert code(with_sizes(own, found.sizes)) == code(compile_graph(roots, **options))
    return bool(found.sizes)


@pytest.mark.parametrize("name", NETS)
def test_a_net_compiles_to_the_same_code(name: str) -> None:
    loss = NETS[name].graph("float32")
    gradients = sf.grad(loss, leaves([loss], Param))
    assert assert_same_code([loss, *gradients], training=True, shard="batch")


def test_random_graphs_compile_to_the_same_code() -> None:
    free = 0
    for seed in range(40):
        choose = random.Random(seed).randrange
        graph = make_graph(choose, "x", 3 + seed % 6, exact=bool(seed % 2))
        free += assert_same_code(outputs_of(graph), standalone=True)
    assert free > 10


def test_equal_sizes_have_one_name_in_the_order_of_leaves() -> None:
    x = sf.input("x", ("batch", 784))
    v, w = sf.param("v", (784, 128)), sf.param("w", (128, 128))
    (y,), sizes = freed(ops.tanh(x @ v) @ w)
    assert sizes == {"<0>": 784, "<1>": 128}
    assert [str(node.type) for node in leaves([y], Leaf)] == [
        "float32[batch, <0>]", "float32[<0>, <1>]", "float32[<1>, <1>]",
    ]  # fmt: skip


def test_sizes_that_are_counted_are_freed_with_their_factors() -> None:
    x = sf.input("x", ("batch", 5, 7))
    (mean,), _ = freed(x.mean())
    (other,), _ = freed(sf.input("x", ("batch", 4, 9)).mean())
    assert "sizeof(<0>*<1>*batch)" in format_graph([mean])
    graphs = [[(str(n.type), n.op.attributes()) for n in toposort([y])] for y in (mean, other)]
    assert graphs[0] == graphs[1]


def leaf(*shape: Any) -> Node:
    return sf.input("x", ("batch", *shape))


def added(start: Node, rows: Node) -> Node:
    return sf.scan(lambda carry, row: (carry + row, carry), start, rows)[0]


def joined() -> Node:
    return ops.concatenate([leaf(4), sf.input("y", ("batch", 5))], 1)


@pytest.mark.parametrize(
    ("make", "free"),
    [
        (lambda: leaf(784).reshape(-1, 28, 28) * 2.0, []),
        (lambda: leaf(5) + np.arange(5, dtype=np.float32), []),
        (lambda: leaf(6, 5) + np.arange(5, dtype=np.float32), [6]),
        (lambda: leaf(8)[:, :3] + sf.param("w", (3,)), [8]),
        (lambda: leaf(8)[:, :3] * 2.0, [8]),
        (lambda: joined() @ sf.param("w", (9, 3)) @ sf.param("v", (3, 7)), [7]),
        (lambda: leaf(4) * sf.param("w", (1,)) * sf.param("v", (0,)).sum(), [4]),
        (lambda: sf.param("v", (3,)) @ sf.param("w", (3, 4)), []),
        (lambda: added(sf.param("c", (3,)), sf.input("rows", (9, 3))) * leaf(7, 3), [7]),
    ],
)  # fmt: skip
def test_numbers_that_mean_more_than_a_size_stay(make: Callable[[], Node], free: list[int]) -> None:
    _, sizes = freed(make())
    assert list(sizes.values()) == free


def test_updates_of_states_are_freed_too() -> None:
    x, mean = sf.input("x", ("batch", 5)), sf.state("mean", (5,))
    sf.update(mean, 0.9 * mean + 0.1 * x.mean(0))
    (y,), sizes = freed(x - mean)
    (state,) = leaves([y], State)
    assert sizes == {"<0>": 5}
    assert isinstance(state.op, State)
    (update,) = state.op.updates
    assert str(update.type) == "float32[<0>]"
    assert state in leaves([update], State)


def test_text_shows_the_sizes_that_names_stand_for() -> None:
    assert shown("float32[batch, <10>] a <b> <2>", {"<10>": 784}) == "float32[batch, 784] a <b> <2>"
