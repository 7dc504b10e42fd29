"""Parts of values are computed where they are read, and nothing is computed twice for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import KernelStep, LoopStep, ProductStep
from staticflow.compiler.passes.slice_pushdown import narrow
from staticflow.graph.kinds import Map
from staticflow.graph.traversal import toposort
from staticflow.ops.slices import Slice
from staticflow.runtime.interpreter import interpret

X, Y, B = sf.input("x", ("batch", 6)), sf.input("y", ("batch", 6)), sf.input("b", (6,))


def _sum() -> Node:
    return ops.tanh(X + Y * 2.0 + B)


Parts = Callable[[Node], list[Node]]
MOVED: dict[str, Parts] = {
    "halves": lambda s: [s[:, :3] * s[:, 3:]],
    "a part": lambda s: [ops.exp(s[1:, 2:4])],
    "rows and columns": lambda s: [s[:2, 4:], s[2:, :4]],
    "head and tail": lambda s: [s[:1], s[1:]],
}
KEPT: dict[str, Parts] = {
    "the whole is read": lambda s: [s[:, :3], s.sum()],
    "the whole is a result": lambda s: [s[:, :3], s],
    "parts overlap": lambda s: [s[:, :4], s[:, 3:]],
    "every second": lambda s: [s[:, ::2], s[:, 1::2]],
    "a product": lambda s: [(s @ sf.const(np.eye(6, dtype="f4")))[:, :3]],
}


def _sliced(roots: list[Node]) -> list[Node]:
    """The values of which there are slices."""
    return [n.inputs[0] for n in toposort(roots) if isinstance(n.op, Slice)]


@pytest.mark.parametrize("name", MOVED)
def test_slices_move_to_operands(name: str) -> None:
    roots = MOVED[name](_sum())
    found = narrow(roots)
    assert any(isinstance(x.op, Map) for x in _sliced(roots))
    assert not any(isinstance(x.op, Map) for x in _sliced(found))
    rng = np.random.default_rng(0)
    fed = {n: rng.normal(size=s).astype("f4") for n, s in ((X, (5, 6)), (Y, (5, 6)), (B, (6,)))}
    for a, b in zip(interpret(found, fed), interpret(roots, fed), strict=True):
        np.testing.assert_array_equal(a, b)
    values = sf.function([X, Y, B], roots)(*fed.values())
    for a, b in zip(values, interpret(roots, fed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_read_otherwise_is_computed_once(name: str) -> None:
    roots = KEPT[name](_sum())
    assert narrow(roots) == roots


@pytest.mark.parametrize(("cell", "kernels"), [("lstm", 2), ("gru", 1)])
def test_a_step_is_a_product_and_few_kernels(cell: str, kernels: int) -> None:
    """In the forward loop; gates are added up where they are read.

    The function of functions of an LSTM, tanh(c), has a kernel of its own; see `fuse`.
    """
    x = sf.input("x", ("batch", "time", 3))
    last = models.RNN(4, cell)(x)
    compiled = compile_graph([last], training=True, shard="batch")
    (loop,) = [step for step in compiled.steps if isinstance(step, LoopStep)]
    kinds = [type(step) for step in loop.body]
    assert kinds == [ProductStep, *[KernelStep] * kernels]
