"""Series: a column whose rows follow in time, as a table of what came before and what came next.

t: 5 7 6 9    window 2:    t 2 before    t 1 before    t
                           5             7             6
                           7             6             9
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.cli.source import Source
from staticflow.data import Split, Table

Array = np.ndarray[Any, Any]


def lagged(table: Table, target: str, window: int) -> Table:
    """A row for each value of the target that has `window` values before it."""
    values = table.numbers(target)
    rows = len(values) - window
    if rows < 2:
        raise CommandError(
            f"{table.source}: {len(values)} rows are too few to forecast from {window} before"
        )
    columns = {f"{target} {k} before": values[window - k : len(values) - k]
               for k in range(window, 0, -1)}  # fmt: skip
    return Table(
        table.source, {**columns, target: values[window:]}, lambda r: table.line(r + window)
    )


def as_series(source: Source, target: str, window: int) -> Source:
    """The source as a series, of which a recurrent model reads one value at a time."""
    return replace(source, table=lagged(source.table, target, window), steps=window)


def split_in_time(rows: int, fraction: float) -> Split:
    """The beginning to train on, and the end to test on."""
    cut = rows - min(rows - 1, int(np.ceil(rows * fraction)))
    return Split(np.arange(cut), np.arange(cut, rows))


def opponents(x: Array, y: Array, split: Split) -> dict[str, float]:
    """The RMSE on the end of forecasts without a network: persistence, and linear regression."""
    weights: Array = np.linalg.lstsq(_with_ones(x[split.train]), y[split.train], rcond=None)[0]
    ahead, truth = x[split.test], y[split.test]
    found = {"persistence": ahead[:, -1], "linear": _with_ones(ahead) @ weights}
    return {name: float(np.sqrt(np.mean((f - truth) ** 2))) for name, f in found.items()}


def _with_ones(x: Array) -> Array:
    return np.column_stack([x, np.ones(len(x))])
