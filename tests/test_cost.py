"""The cost model: a pure function, with the right signs; what it decides is told."""

from __future__ import annotations

import pytest
from small_nets import data, regression

import staticflow as sf
from staticflow import models, ops
from staticflow.compile import compile_graph
from staticflow.cost import Work, choose_shards, estimate


def wide(width: int) -> list[sf.Node]:
    x = sf.input("x", ("batch", width))
    return [ops.square(models.FNN([width, width, 1])(x)).mean()]


def nanoseconds(width: int, rows: int) -> float:
    compiled = compile_graph(wide(width))
    return estimate(compiled.steps, compiled.g.sizes_by_name({"batch": rows}))


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
