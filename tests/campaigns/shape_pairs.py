"""Every op of two or more arrays takes the shapes that NumPy takes, with its value, and no others.

A case is an op, a pair of shapes, and how their sizes are declared: as integers, by a name for
each size, or by a name for each axis. What is taken has NumPy's value, and gradients of its inputs'
types that are the transpose of the forward mode; one in `COMPILED` is also run as machine code.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np

from tests.campaigns import Tick
from tests.ops.cases.shape_pairs import PAIRS
from tests.ops.shape_pairs import SHAPES, WAYS, check_compiled, check_pair

COMPILED = 100
EVERY = len(PAIRS) * len(SHAPES) ** 2 * len(WAYS)
COUNT, SAMPLE = EVERY, 600


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    """Cases in random order, each once before any comes again."""
    cases = list(product(PAIRS, SHAPES, SHAPES, WAYS))
    found: Counter[str] = Counter()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(cases))
    for k in range(count):
        pair, first, second, way = cases[order[k % len(cases)]]
        verdict = check_pair(pair, first, second, way)
        found[verdict] += 1
        if verdict == "value" and k % COMPILED == 0:
            check_compiled(pair, first, second, way)
            found["compiled"] += 1
        tick()
    return {
        "pairs of shapes": count,
        "with NumPy's value": found["value"],
        "refused as by NumPy": found["refused"],
        "refused for their names": found["narrower"] + found["undefined"],
        "as machine code": found["compiled"],
    }
