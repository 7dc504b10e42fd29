"""Random networks under random losses, optimizers and schedules train as PyTorch has it.

A case is a program of `tests/fuzz/programs.py`, ten steps in float64 or float32, in batches of one
size and a smaller last one, on a number of threads, as the cost model has it. Parameters, the
optimizer's arrays and losses are compared with PyTorch's in float64, by as much as PyTorch itself
is off in the same dtype.
"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np

import staticflow as sf
from tests.campaigns import Tick
from tests.campaigns.thread_counts import BATCHES, TOLERANCE, assert_close
from tests.fuzz.programs import program
from tests.support.torch_training import RATES, RECIPES, Plan, trained_by_session, trained_by_torch

COUNT, SAMPLE = 2_000, 4


def check(seed: int) -> Counter[str]:
    """Train one program; AssertionError where a value differs."""
    choose = random.Random(f"training {seed}")
    drawn = program(seed)
    net, dtype = drawn.net, choose.choice(list(TOLERANCE))
    recipes = [
        name for name, r in RECIPES.items()
        if not (r.signs and (net.noisy or drawn.loss == "mae" or dtype == "float32"))
    ]  # fmt: skip
    recipe, (lr, rate) = RECIPES[choose.choice(recipes)], RATES[choose.choice(list(RATES))]
    batch = choose.choice(BATCHES)
    plan = Plan(batch, choose.randint(1, batch), 5, 2, choose.random() < 0.5)
    data = net.data(np.random.default_rng(seed), plan.rows, dtype)
    session = sf.Session(
        loss=net.graph(dtype), optimizer=recipe.ours(lr), seed=seed, threads=choose.randint(1, 4)
    )
    expected = trained_by_torch(session, net, recipe, rate, data, plan)
    rounded = trained_by_torch(session, net, recipe, rate, data, plan, dtype)
    where = f"{drawn.kinds}, {drawn.loss}, {dtype}, {session.threads} threads"
    found = trained_by_session(session, data, plan)
    assert_close(found, expected, rounded, TOLERANCE[dtype], where)
    return Counter({"steps": session.step_count, "in float32": dtype == "float32"})


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """The programs of as many seeds."""
    seen = Counter[str]()
    for number in range(seed, seed + count):
        try:
            seen.update(check(number))
        except Exception as error:
            raise AssertionError(f"--seed {number}: {type(error).__name__}: {error}") from error
        tick()
    return {"programs": count, **seen}
