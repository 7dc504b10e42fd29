"""The cost model: a pure function, with the right signs; what it decides is told."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.cost_model import Work, choose_shards, estimate, unbounded
from staticflow.compiler.ir.steps import BlockStep, HalvesStep, ProductStep, walk
from staticflow.native.routines.table import ROUTINES
from staticflow.native.routines.table import nanoseconds as nanoseconds_of
from staticflow.native.toolchain.objects import TypedName
from tests.support.small_nets import data, regression


def wide(width: int) -> list[sf.Node]:
    x = sf.input("x", ("batch", width))
    return [ops.square(models.FNN([width, width, 1])(x)).mean()]


def nanoseconds(width: int, rows: int) -> float:
    compiled = compile_graph(wide(width))
    return estimate(compiled.steps, compiled.sized.sizes_by_name({"batch": rows}))


def test_more_work_costs_more() -> None:
    costs = [nanoseconds(64, 32), nanoseconds(64, 320), nanoseconds(640, 320)]
    assert costs == sorted(costs) and costs[0] > 0
    assert costs[2] / costs[1] > 20
    assert nanoseconds(64, 32) == costs[0]


def test_small_steps_stay_on_one_core_and_large_ones_are_shared() -> None:
    assert choose_shards(Work(1e3, 1e2), threads=2, rows=64, reason="").shards == 1
    assert choose_shards(Work(1e7, 1e5), threads=2, rows=64, reason="").shards == 2


def test_what_shards_tell_each_other_counts() -> None:
    quiet, chatty = Work(1e4, 0.0), Work(1e4, 0.0, barriers=100)
    large = Work(1e4, 0.0, parameter_bytes=1 << 20)
    choices = [choose_shards(w, threads=2, rows=64, reason="") for w in (quiet, chatty, large)]
    assert [c.shards for c in choices] == [2, 1, 1]


def test_what_cannot_be_shared_is_not() -> None:
    large = Work(1e9, 1e5)
    for options in (
        {"threads": 1, "rows": 64, "reason": ""},
        {"threads": 8, "rows": 64, "reason": "needs the whole batch"},
        {"threads": 8, "rows": 1, "reason": ""},
    ):
        choice = choose_shards(large, **options)
        assert choice.shards == 1 and choice.reason


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_tells_its_choice(threads: int) -> None:
    session = regression(threads=threads)
    session.fit(data(64), batch_size=32, progress=False)
    line = next(line for line in session.explain().splitlines() if line.startswith("CHOICE"))
    assert "1 shard(s)" in line
    assert ("one thread" if threads == 1 else "waiting for each other") in line


@pytest.mark.parametrize("name", sorted(ROUTINES))
def test_native_calls_cost_more_for_larger_sizes(name: str) -> None:
    count = {"triangular": 6, "lu_solve": 4, "qr": 3, "svd": 3, "cumsum": 3, "recurrence": 3,
             "argsort": 3}.get(name, 2)  # fmt: skip
    small, large = (nanoseconds_of(TypedName(name, "f4"), [n] * count) for n in (20, 200))
    assert large > 80 * small > 0
    assert nanoseconds_of(TypedName(name, "f8"), [200] * count) >= large


def test_a_step_of_native_calls_costs_what_they_do() -> None:
    """The loss and its gradient by a matrix of 200 rows: it took some 500 us, and counted 10 ns."""
    a = sf.param("a", (200, 200), init=np.eye(200, dtype="f4"))
    loss = ops.linalg.slogdet(a)[1]
    compiled = compile_graph([loss, *sf.grad(loss, [a])])
    assert estimate(compiled.steps, compiled.sized.sizes_by_name({})) > 1e5
    assert not unbounded(compiled.steps)


def test_a_user_s_function_costs_by_its_elements() -> None:
    x = sf.input("x", ("batch", 10))
    called = sf.custom_op(numba.njit(lambda x: x + 1))
    compiled = compile_graph([called(x)])
    costs = [
        estimate(compiled.steps, compiled.sized.sizes_by_name({"batch": n})) for n in (10, 1000)
    ]
    assert costs[1] > 50 * costs[0]
    assert unbounded(compiled.steps)


def test_blocks_and_halves_of_rows_cost_what_their_steps_do() -> None:
    """A chain of products with a vector, and one of products of matrices, in both forms."""
    x, v = sf.input("x", ("n", "k")), sf.input("v", ("k",))
    a, b, c = sf.input("a", ("n", 64)), sf.param("b", (64, 64)), sf.param("c", (64,))
    sizes = {"n": 10_000, "k": 300}
    for kind, outputs in (
        (BlockStep, [ops.tanh(x @ v) @ x]),
        (HalvesStep, [ops.tanh(a @ b + c) @ b]),
    ):
        whole, alone = (compile_graph(outputs, standalone=flag) for flag in (True, False))
        assert any(isinstance(step, kind) for step in whole.steps)
        cost, plain = (estimate(c.steps, c.sized.sizes_by_name(sizes)) for c in (whole, alone))
        assert cost == pytest.approx(plain, rel=0.01)
        inside = list(walk(whole.steps))
        assert sum(isinstance(step, ProductStep) for step in inside) == 2
