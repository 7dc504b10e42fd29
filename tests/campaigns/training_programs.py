"""Random networks under random losses, optimizers and schedules train as PyTorch has it.

A case is a program of `tests/fuzz/programs.py` in float64 or float32, which is compiled once, and
trained four times for ten steps: from other parameters, on other data, in batches of one size and a
smaller last one, on a number of threads, as the cost model has it. Parameters, the optimizer's
arrays and losses are compared with PyTorch's in float64, by as much as PyTorch itself is off in the
same dtype.
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

COUNT, SAMPLE = 500, 3
TRAININGS = 4  # of each program: it takes far longer to compile than to train


def check(seed: int) -> Counter[str]:
    """Train one program in several ways; AssertionError where a value differs."""
    choose = random.Random(f"training {seed}")
    drawn = program(seed)
    net, dtype = drawn.net, choose.choice(list(TOLERANCE))
    recipes = [
        name for name, r in RECIPES.items()
        if not (r.signs and (net.noisy or drawn.loss == "mae" or dtype == "float32"))
    ]  # fmt: skip
    recipe, (lr, rate) = RECIPES[choose.choice(recipes)], RATES[choose.choice(list(RATES))]
    loss, seen = net.graph(dtype), Counter({"in float32": dtype == "float32"})
    sessions = []  # what is compiled goes with the last session that has it
    for way in range(TRAININGS):
        batch = choose.choice(BATCHES)
        plan = Plan(batch, choose.randint(1, batch), 5, 2, choose.random() < 0.5)
        data = net.data(np.random.default_rng([seed, way]), plan.rows, dtype)
        session = sf.Session(
            loss=loss, optimizer=recipe.ours(lr), seed=seed + way, threads=choose.randint(1, 4)
        )
        sessions.append(session)
        expected = trained_by_torch(session, net, recipe, rate, data, plan)
        rounded = trained_by_torch(session, net, recipe, rate, data, plan, dtype)
        where = f"{drawn.kinds}, {drawn.loss}, {dtype}, {session.threads} threads, way {way}"
        found = trained_by_session(session, data, plan)
        assert_close(found, expected, rounded, TOLERANCE[dtype], where)
        seen.update({"trainings": 1, "steps": session.step_count})
    return seen


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
