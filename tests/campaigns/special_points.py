"""Smooth functions made of bent parts have their own derivatives at and near the parts' kinks.

A case is a function of the table and a point: one of its special points, or that point with each
number moved by next to nothing. Value, gradient and second derivatives are compared with 50 digits,
from the interpreter in float64, and from machine code in float64 or float32.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.autodiff.special_point_table import SPECIALS
from tests.autodiff.special_points import check, compiled, interpreted
from tests.campaigns import Tick

COUNT, SAMPLE = 3_000, 40
STEPS = (0.0, 0.0, 1e-300, -1e-300, 1e-20, -1e-20, 1e-9, -1e-9, 1e-6, -1e-6)
TOLERANCES = {"float64": 2e-11, "float32": 3e-4}
DOUBLE = ("float_power",)  # computes in float64, and gives it


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Functions in turn, at random points."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(SPECIALS))
    found: Counter[str] = Counter()
    for k in range(count):
        special = SPECIALS[order[k % len(SPECIALS)]]
        point = np.array(special.points[rng.integers(len(special.points))])
        if special.order > 1:  # else the step would leave the point where one derivative exists
            steps = [step for step in STEPS if step == 0 or abs(step) >= special.nearest]
            point = point + rng.choice(steps, point.size) * np.maximum(np.abs(point), 1.0)
        dtype = "float32" if k % 3 == 0 and special.op not in DOUBLE else "float64"
        point = point.astype(dtype).astype("float64")
        if k % 2:
            values, dtype = interpreted(special, point), "float64"
        else:
            values = compiled(special, point.size, dtype)(point.astype(dtype))
            found["compiled"] += 1
        check(special, point, values, TOLERANCES[dtype])
        found[dtype] += 1
        tick()
    return {
        "points": count,
        "functions": min(count, len(SPECIALS)),
        "as machine code": found["compiled"],
        "in float32": found["float32"],
    }
