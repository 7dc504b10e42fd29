"""The memory plan, against live ranges found by reading the generated kernels.

Nothing here asks the plan, or a step, what it reads and writes: the loads and stores tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import Compiled, compile_graph
from staticflow.compiler.ir.loops import Call, Let, Load, Local, Room, walk
from staticflow.compiler.ir.steps import (
    CallStep,
    CollectiveStep,
    KernelStep,
    LoopStep,
    PackStep,
    ProductStep,
    Step,
)
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import leaves
from staticflow.native.memory import LINE
from tests.fuzz.graphs.maker import make_graph, outputs_of, with_gradients


def in_order(steps: Sequence[Step], turns: int = 2) -> Iterator[Step]:
    """The steps as they run, each loop twice: what one turn leaves for the next is then seen."""
    for step in steps:
        if isinstance(step, LoopStep):
            for _ in range(turns):
                yield from in_order(step.body, turns)
        else:
            yield step


def touched(step: Step) -> Iterator[int]:
    """The buffers that a step loads from or stores to."""
    if isinstance(step, KernelStep):
        names = {name: place[0] for (name, _), place in zip(
            step.kernel.pointers, step.pointers, strict=True)}  # fmt: skip
        own = {
            s.name for s in walk(step.kernel.body)
            if isinstance(s, Let) and isinstance(s.value, Local)
        }  # fmt: skip
        for statement in walk(step.kernel.body):
            if isinstance(statement, Call):
                yield from (names[p] for p in statement.args if p in names)
            if isinstance(statement, Let) and isinstance(statement.value, Room):
                yield names[statement.value.pointer]
            for part in (getattr(statement, "target", None), getattr(statement, "value", None)):
                if isinstance(part, Load) and part.pointer not in own:
                    yield names[part.pointer.replace("q", "p")]  # a room stands for its buffer
    elif isinstance(step, ProductStep):
        yield from (step.a.place[0], step.b.place[0], step.c.place[0])
        yield from () if step.epilogue is None else touched(step.epilogue.kernel)
        yield from () if step.panels is None else (step.panels,)
    elif isinstance(step, PackStep):
        yield from (step.product.b.place[0], step.panels)
    elif isinstance(step, CollectiveStep):
        yield from (step.source, step.target)
    else:
        assert isinstance(step, CallStep)
        yield from step.buffers


def _root(compiled: Compiled, buffer: int) -> int:
    """The buffer behind one that moves along with a loop."""
    while (moving := compiled.assignment.buffers[buffer].moving) is not None:
        buffer = moving.base
    return buffer


def check_plan(compiled: Compiled, sizes: dict[str, int]) -> int:
    """Assert that no two live buffers overlap; returns how many buffers share a slot."""
    temporary = {b.index: b for b in compiled.assignment.buffers if b.role == "temp"}
    live: dict[int, tuple[int, int]] = {}
    for position, step in enumerate(in_order(compiled.steps)):
        for buffer in {_root(compiled, b) for b in touched(step)}:
            live[buffer] = (live.get(buffer, (position, 0))[0], position)
    used = [index for index in live if index in temporary]
    assert set(used) == set(compiled.memory.chunk_of)
    classes = compiled.sized.sizes_by_name(sizes)
    offsets, total = compiled.memory.offsets(classes)
    place: dict[int, tuple[int, int]] = {}
    for index in used:
        start = offsets[compiled.memory.chunk_of[index]]
        assert start % LINE == 0
        owner = temporary[index]
        place[index] = (start, start + evaluate(owner.count, classes) * owner.itemsize)
        assert place[index][1] <= total
    for i in used:
        for j in used:
            meet = live[i][0] <= live[j][1] and live[j][0] <= live[i][1]
            overlap = place[i][0] < place[j][1] and place[j][0] < place[i][1]
            assert i == j or not (meet and overlap), f"buffers {i} and {j} share memory"
    return len(used) - len(set(compiled.memory.chunk_of.values()))


@pytest.mark.parametrize("gradients", [False, True])
def test_no_two_live_buffers_overlap_in_random_programs(gradients: bool) -> None:
    shared = 0
    for seed in range(200):
        choose = random.Random(seed).randrange
        graph = make_graph(choose, "x", 14, exact=bool(choose(2)) and not gradients)
        outputs = outputs_of(graph)
        outputs = with_gradients(graph, outputs) if gradients else outputs
        sizes = {"a": 5, "b": 3, "c": 7}
        shared += check_plan(compile_graph(outputs), sizes)
    assert shared > 20


def deep(layers: int) -> list[sf.Node]:
    """Loss and gradients of a net of equal layers."""
    x, t = sf.input("x", ("batch", 8)), sf.input("t", ("batch", 8))
    loss = ops.mse(models.FNN([8] * (layers + 1), activation="tanh")(x), t)
    return [loss, *sf.grad(loss, leaves([loss], Param))]


def test_no_two_live_buffers_overlap_in_a_deep_net() -> None:
    assert check_plan(compile_graph(deep(12), training=True), {"batch": 32}) > 5


def test_no_two_live_buffers_overlap_in_a_recurrent_net() -> None:
    """And what the backward loop makes lies where the forward loop's input was."""
    x = sf.input("x", ("batch", "time", 3))
    loss = ops.sum(models.RNN(16, "lstm")(x))
    compiled = compile_graph([loss, *sf.grad(loss, leaves([loss], Param))], training=True)
    assert check_plan(compiled, {"batch": 5, "time": 7}) > 1
    stack = 4 * 64 * 50 * 16  # bytes of one value of all steps
    used = compiled.memory.offsets(compiled.sized.sizes_by_name({"batch": 64, "time": 50}))[1]
    assert used < 12 * stack  # gates' inputs 4, gates 4, tanh c, h, c, cotangent of h; and x


def test_offsets_hold_for_every_size() -> None:
    compiled = compile_graph(deep(4), training=True, shard="batch")
    for batch in (0, 1, 17, 1000):
        check_plan(compiled, {"batch": batch})


@pytest.mark.parametrize("rows", [30_000, 3_000_000], ids=["more than there is", "beyond int64"])
def test_sizes_that_fit_into_no_memory_are_refused(rows: int) -> None:
    """Before anything is asked for, and without the overflow of the product of three sizes."""
    x = sf.input("x", ("n",))
    cube = x[:, None, None] * x[:, None] * x
    y = sf.ops.sort(cube, axis=0).sum()
    session, data = sf.Session(outputs={"y": y}), np.ones(rows, np.float32)
    assert session.run("y", {"x": data[:3]}) == session.jit("y")(data[:3]) == 27
    with pytest.raises(sf.ShapeError, match=f"(?s)do not fit into memory.*n = {rows}"):
        session.run("y", {"x": data})
    with pytest.raises(sf.ShapeError, match="do not fit into memory"):
        sf.function([x], y)(data)
    with pytest.raises(MemoryError):
        session.jit("y")(data)
