"""On every number of threads, training is what PyTorch computes: parameters, states and slots.

A case is ten steps of one network under one optimizer and schedule, in one dtype, with batches of
one size and a smaller last one, on each of 1, 2, 3, 4, 5, 6, 7, 8, 12 and 16 threads. The cost
model is set aside, so that there are as many shards as threads, some of them without rows; and some
cases run their rows in small blocks. One number of threads, run again, gives the same bits.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

import staticflow as sf
from staticflow.compiler.cost_model import Choice, Work
from staticflow.runtime import blocked_frame as blocking
from staticflow.training import trainer as training
from tests.campaigns import Tick
from tests.support.thread_nets import NETS
from tests.support.torch_training import (
    RATES,
    RECIPES,
    Plan,
    Trained,
    trained_by_session,
    trained_by_torch,
)

COUNT = 400
SAMPLE = 4
THREADS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
BATCHES = (1, 2, 3, 5, 7, 8, 13, 16, 20, 33, 64, 100, 200)
# Of the largest element of an array, or of 1; or twice what PyTorch is off by in the same dtype
TOLERANCE = {"float64": 1e-10, "float32": 3e-5}


@dataclass(frozen=True)
class Case:
    net: str
    recipe: str
    rate: str
    dtype: str
    plan: Plan
    blocked: bool
    seed: int


def case_of(seed: int) -> Case:
    """The case of a seed; as many in turn have every network."""
    choose = random.Random(seed)
    net = list(NETS)[seed % len(NETS)]
    dtype = choose.choice(list(TOLERANCE))
    recipes = [
        name
        for name, recipe in RECIPES.items()
        if not (recipe.signs and (NETS[net].noisy or dtype == "float32"))
    ]
    batch = choose.choice(BATCHES)
    plan = Plan(batch, choose.randint(1, batch), 5, 2, choose.random() < 0.5)
    recipe, rate = choose.choice(recipes), choose.choice(list(RATES))
    blocked = batch >= 33 and choose.random() < 0.5
    return Case(net, recipe, rate, dtype, plan, blocked, seed)


@contextmanager
def shards_forced(blocked: bool) -> Iterator[None]:
    """Run every fit on as many shards as threads, its rows in blocks if that is wanted."""

    def choose(work: Work, threads: int, rows: int, reason: str) -> Choice:
        return Choice(1 if reason else threads, 1e9, 1e9, reason)

    small: dict[str, Any] = {"CORE_CACHE_BYTES": 0, "BLOCK_BYTES": 64, "MAX_GRADIENT_SHARE": 1e9}
    with (
        patch.object(training, "choose_shards", choose),
        patch.object(training, "granted_threads", lambda: max(THREADS)),
    ):
        if not blocked:
            yield
            return
        with patch.multiple(blocking, **small):
            yield


def check(case: Case) -> Counter[str]:
    """Train on every number of threads; returns what was seen."""
    net, recipe, (lr, rate) = NETS[case.net], RECIPES[case.recipe], RATES[case.rate]
    data = net.data(np.random.default_rng(case.seed), case.plan.rows, case.dtype)
    loss = net.graph(case.dtype)
    start = sf.Session(loss=loss, optimizer=recipe.ours(lr), seed=case.seed)
    expected = trained_by_torch(start, net, recipe, rate, data, case.plan)
    rounded = trained_by_torch(start, net, recipe, rate, data, case.plan, case.dtype)
    seen, runs = Counter[str](), dict[int, Trained]()
    again = THREADS[case.seed % len(THREADS)]
    with shards_forced(case.blocked):
        for threads in THREADS:
            session = copy.deepcopy(start)
            session.threads = threads
            runs[threads] = trained_by_session(session, data, case.plan)
            where = f"{threads} threads"
            assert_close(runs[threads], expected, rounded, TOLERANCE[case.dtype], where)
            (trainer,) = session._state.trainers.values()
            assert len(trainer.shards) == threads, trainer.choice.reason
            seen["trainings"] += 1
            seen["steps"] += session.step_count
            seen["trainings with shards without rows"] += case.plan.batch < threads
            seen["trainings in blocks"] += trainer.blocked
            seen["trainings with gradients in parts"] += bool(trainer.owned)
        session = copy.deepcopy(start)
        session.threads = again
        assert_same(trained_by_session(session, data, case.plan), runs[again], again)
    return seen


def assert_close(
    found: Trained, expected: Trained, rounded: Trained, tolerance: float, where: str
) -> None:
    assert found.values.keys() == expected.values.keys()
    for name, array in expected.values.items():
        scale = max(1.0, float(np.max(np.abs(array))))
        error, theirs = (
            float(np.max(np.abs(other.values[name] - array))) / scale for other in (found, rounded)
        )
        off = f"{where}: {name} is off by {error:.1e}, PyTorch by {theirs:.1e}"
        assert error <= max(tolerance, 2.0 * theirs), off
    np.testing.assert_allclose(found.losses, expected.losses, 10 * tolerance, err_msg=where)


def assert_same(found: Trained, expected: Trained, threads: int) -> None:
    for name, array in expected.values.items():
        np.testing.assert_array_equal(
            found.values[name], array, err_msg=f"{name}, trained again on {threads} threads"
        )


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    seen = Counter[str]()
    for number in range(seed, seed + count):
        case = case_of(number)
        try:
            seen.update(check(case))
        except Exception as error:
            raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
        tick()
    return {"cases": count, **seen}
