"""Carries that no step changes, and xs that are the same in every step, are constants of a loop."""

from __future__ import annotations

from typing import Any

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import LoopStep, ProductStep, walk
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, close

FEATURES, HIDDEN = 3, 4


def test_a_carry_that_stands_still_is_a_constant() -> None:
    """What multiplies it leaves the loop, as with any constant."""
    x, w = sf.input("x", ("time", "batch", FEATURES)), sf.input("w", (FEATURES, HIDDEN))

    def step(carry: Any, row: Node) -> Any:
        h, w = carry
        return (ops.tanh(h + row @ w), w), w

    (h, same), ws = sf.scan(step, (ops.zeros((x.shape[1], HIDDEN)), w), x)
    compiled = compile_graph([h, same, ws])
    outside = [step for step in compiled.steps if isinstance(step, ProductStep)]
    (loop,) = [step for step in compiled.steps if isinstance(step, LoopStep)]
    assert len(outside) == 1 and not any(isinstance(s, ProductStep) for s in walk(loop.body))
    assert len(loop.node.op.carries) == 1


def test_what_every_step_reads_is_a_constant() -> None:
    """One row or number for all steps among the xs; such is the cotangent of unread ys."""
    x, w = sf.input("x", ("time", "batch", HIDDEN), "float64"), sf.input("w", (HIDDEN,), "float64")
    every = ops.broadcast_to(w, (x.shape[0], HIDDEN))
    ones = ops.ones(x.shape, "float64")

    def step(h: Node, rows: Any) -> Any:
        row, same, one = rows
        h = ops.tanh(h * same + row + one)
        return h, h * same

    last, _ = sf.scan(step, ops.zeros(x.shape[1:], "float64"), (x, every, ones))
    outputs = [last, *sf.grad(last.sum(), [x, w])]
    compiled = compile_graph(outputs)
    loops = [step.node.op for step in compiled.steps if isinstance(step, LoopStep)]
    assert [len(op.xs) for op in loops] == [1, 2]
    arrays = arrays_for([x, w], {"time": 4, "batch": 3})
    env = dict(zip([x, w], arrays, strict=True))
    close(sf.function([x, w], outputs)(*arrays), interpret(outputs, env), "")
    alone, _ = sf.scan(step, ops.ones((3, HIDDEN), "float64"), (every[:, None], every, ones[:, :1]))
    again = sf.function([x, w], alone)(*arrays)
    close([again], interpret([alone], env), "all of them")
