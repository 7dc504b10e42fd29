"""Results as pictures: bars of a table, curves of a scaling run (matplotlib, only when asked)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import Row


def _axes(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(e.column for row in rows for e in row.entries if e.samples))


def bars(rows: list[Row], path: Path) -> None:
    """One group of bars a workload, time a step on a logarithmic axis."""
    names = _columns(rows)
    figure, axes = _axes(9, 1 + 0.5 * len(rows))
    height = 0.8 / max(1, len(names))
    for k, name in enumerate(names):
        points = [(i, row.best(name)) for i, row in enumerate(rows)]
        known = [(i, median(e.samples) * 1e6) for i, e in points if e is not None]
        places = [i + (k - len(names) / 2 + 0.5) * height for i, _ in known]
        axes.barh(places, [us for _, us in known], height, label=name)
    axes.set_yticks(range(len(rows)), [f"{r.workload.name} {r.workload.dtype}" for r in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="microseconds a step")
    axes.legend()
    figure.savefig(path, dpi=120)


def curves(rows: list[Row], size: Callable[[Row], int], axis: str, path: Path) -> None:
    """Time a step against one size, both logarithmic, and the bound."""
    figure, axes = _axes(7, 4.5)
    for name in _columns(rows):
        known = [(size(row), row.best(name)) for row in rows]
        points = [(x, median(e.samples) * 1e6) for x, e in known if e is not None]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    bound = [row.bound * 1e6 for row in rows]
    axes.plot([size(row) for row in rows], bound, linestyle=":", color="gray", label="bound")
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="microseconds a step")
    axes.legend()
    figure.savefig(path, dpi=120)
