"""The results as a markdown table, with the reasons for what is missing below it."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.results import Row


def duration(seconds: float) -> str:
    """Microseconds with three digits that count."""
    us = seconds * 1e6
    if us >= 1000:
        return f"{us:,.0f}".replace(",", " ")
    return f"{us:.3g}" if us < 100 else f"{us:.0f}"


def _cell(row: Row, column: str) -> str:
    entry = row.best(column)
    if entry is None:
        return "-"
    how = ", ".join(filter(None, (entry.form, entry.variant if entry.role == "peer" else "")))
    return duration(median(entry.samples)) + (f" ({how})" if how else "")


def _ratio_cells(row: Row) -> list[str]:
    ratio, target = row.ratio(), row.workload.target
    if ratio is None:
        return ["-", f"{target:g}x" if target else ""]
    shown = f"{ratio.median:.2f}x {ratio.peer} ({ratio.low:.2f} to {ratio.high:.2f})"
    return [shown, f"{target:g}x" if target else ""]


def markdown(rows: list[Row]) -> str:
    """Microseconds a step: the bound, every contender's best, and the best peer against ours."""
    columns = list(dict.fromkeys(e.column for row in rows for e in row.entries))
    head = ["workload", "dtype", "bound", *columns, "best peer / ours (range)", "target"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.workload.name, row.workload.dtype, duration(row.bound)]
        cells += [_cell(row, c) for c in columns] + _ratio_cells(row)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def remarks(rows: list[Row]) -> list[str]:
    """What did not run and why, what failed to build, and who computed something else."""
    found: dict[str, None] = {}
    samples = sum(len(e.samples) for row in rows for e in row.entries)
    disturbed = sum(e.disturbed for row in rows for e in row.entries)
    if disturbed:
        found[f"other processes used the cores during {disturbed} of {samples} samples"] = None
    for row in rows:
        for entry in row.entries:
            who = " ".join(filter(None, (entry.contender, entry.variant)))
            if entry.why_not:
                found[f"{who}: {entry.why_not}"] = None
            for failure in entry.failed:
                found[f"{who}, {failure}"] = None
        for other in row.disagreeing():
            found[f"{row.workload.name}: {other}"] = None
    return list(found)


def _beside(machine: dict[str, Any]) -> str:
    """What else the machine did."""
    busy = machine.get("busy", 0)
    if not busy:
        return f"load {machine['load']}; "
    return f"beside {busy} busy process{'es'[: 2 * (busy > 1)]}; "


def heading(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    peak = machine["peak_gflops"]
    bandwidth = ", ".join(
        f"{int(size) >> 10} KB {gb:g}" for size, gb in machine["bandwidth_gb"].items()
    )
    return "\n".join(
        (
            f"{machine['cpu']['name']}{machine['cpu'].get('kind', '')}, {machine['cores']} cores, "
            f"{' '.join(machine['cpu']['vectors'])}; {machine['system']}, "
            f"Python {machine['python']}; {_beside(machine)}{machine['when']}",
            versions,
            f"FMA peak, GFLOP/s: float32 {peak['float32'][0]} on one core, {peak['float32'][1]} "
            f"on all; float64 {peak['float64'][0]}, {peak['float64'][1]}",
            f"bandwidth by working set, GB/s on all cores: {bandwidth}",
        )
    )
