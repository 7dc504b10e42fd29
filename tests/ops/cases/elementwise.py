"""The rows of the elementwise table, and numbers to try them on."""

from __future__ import annotations

import numpy as np

from staticflow.graph.kinds import MapRow
from staticflow.graph.op_table import table
from tests.ops.cases.table import Array

ROWS = [entry for entry in table().values() if isinstance(entry.row, MapRow)]
MAPS: list[MapRow] = [entry.row for entry in ROWS if isinstance(entry.row, MapRow)]


def operands(row: MapRow, dtype: str, special: bool = True) -> list[Array]:
    """Random numbers from the row's sample, and the special points that the dtype can hold."""
    rng = np.random.default_rng(3)
    points = [p if isinstance(p, tuple) else (p,) for p in row.points]
    if dtype not in ("float32", "float64"):
        points = [p for p in points if np.all(np.isfinite(p)) and all(v == int(v) for v in p)]
    arrays = []
    for k, letter in enumerate(row.inputs):
        kind = "bool" if letter == "c" else dtype
        low, high = row.sample
        drawn: Array = rng.uniform(low, high, 40)
        if kind == "bool":
            drawn = drawn > np.mean(row.sample)
        elif kind not in ("float32", "float64"):
            drawn = np.rint(drawn)
        extra = [p[k] for p in points] if special else []
        arrays.append(np.concatenate([drawn, np.array(extra, float)]).astype(kind))
    return arrays
