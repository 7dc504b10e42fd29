"""The command: which rows, which contenders, and where the results go."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bound, compile_time, machine, machine_peak, plot, results, table
from benchmarks.busy import neighbours
from benchmarks.contender import CONTENDERS, Contender, Variant
from benchmarks.harness import Arena, Options
from benchmarks.results import Row
from benchmarks.workloads import (
    CALCULUS_ROWS,
    ENSEMBLE_ROWS,
    FNN,
    FNN_ROWS,
    INFER_ROWS,
    LOOPS_ROWS,
    RNN,
    RNN_ROWS,
    SCALING,
    STREAM_ROWS,
    Workload,
)

RESULTS = Path(__file__).resolve().parent / "results"
SUITES: dict[str, tuple[Workload, ...]] = {
    "fnn": FNN_ROWS,
    "rnn": RNN_ROWS,
    "ensembles": ENSEMBLE_ROWS,
    "infer": INFER_ROWS,
    "stream": STREAM_ROWS,
    "calculus": CALCULUS_ROWS,
    "loops": LOOPS_ROWS,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("suite", choices=[*SUITES, "scaling", "compile"])
    parser.add_argument("--rows", nargs="+", help="only rows whose name contains one of these")
    parser.add_argument(
        "--dtype", help="float32, float64, or both by a comma; else the suite's own"
    )
    parser.add_argument("--contenders", help="only these, by commas: " + ", ".join(CONTENDERS))
    parser.add_argument("--quick", action="store_true", help="leave out what is slow to build")
    parser.add_argument("--threads", help="measure ours with these thread counts too, by commas")
    parser.add_argument("--axis", help="scaling: only fnn.width, rnn.time, ... by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="length of one sample")
    parser.add_argument(
        "--patience", type=float, default=0.5, help="seconds that a turn may wait for idle cores"
    )
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="beside so many busy processes"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds to build a workload")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/SUITE.json")
    parser.add_argument("--plot", action="store_true", help="a picture beside the JSON file")
    return parser


def _chosen(options: argparse.Namespace, kinds: set[str]) -> list[Contender]:
    wanted = options.contenders.split(",") if options.contenders else list(CONTENDERS)
    unknown = [name for name in wanted if name not in CONTENDERS]
    if unknown:
        raise SystemExit(f"no such contender: {', '.join(unknown)}; known: {', '.join(CONTENDERS)}")
    found = [CONTENDERS[name] for name in CONTENDERS if name in wanted]
    found = [c for c in found if kinds & set(c.kinds)]
    if options.quick:
        found = [c for c in found if not c.slow_to_build]
    if options.threads:
        extra = tuple(
            Variant(f"{n} thread{'s'[: n != '1']}", {"BENCH_THREADS": n})
            for n in options.threads.split(",")
        )
        found = [replace(c, variants=c.variants + extra) if c.role == "ours" else c for c in found]
    return found


def _select(rows: Iterable[Workload], options: argparse.Namespace) -> list[Workload]:
    dtypes = options.dtype.split(",") if options.dtype else [None]
    every = [replace(row, dtype=dtype or row.dtype) for dtype in dtypes for row in rows]
    if not options.rows:
        return every
    return [row for row in every if any(part in row.name for part in options.rows)]


def _race(
    workloads: list[Workload], contenders: list[Contender], options: argparse.Namespace, path: Path
) -> list[Row]:
    """Measure all, write and print the results; the machine's peak is taken before and after."""
    before = machine_peak.measure()
    rows = []
    with neighbours(options.busy), Arena(contenders, _harness(options, path)) as arena:
        for workload in workloads:
            row = Row(workload, arena.measure(workload))
            rows.append(row)
            print(_line(row), flush=True)
    peak = before.best_of(machine_peak.measure())
    for row in rows:
        row.bound = bound.least_seconds(row.workload, peak)
    _report({**machine.describe(contenders, peak), "busy": options.busy}, rows, path)
    return rows


def _line(row: Row) -> str:
    """A line of progress: every contender's best, in microseconds."""
    names = dict.fromkeys(e.column for e in row.entries)
    best = [(name, row.best(name)) for name in names]
    shown = [f"{n} {table.duration(median(e.samples))}" for n, e in best if e is not None]
    return f"{row.workload.name} {row.workload.dtype}: {', '.join(shown) or 'nothing ran'}"


def _report(machine_info: dict[str, Any], rows: list[Row], path: Path) -> None:
    results.write(path, machine_info, rows)
    print(f"\n{table.heading(machine_info)}\n\nMedian microseconds a step:\n")
    print(f"{table.markdown(rows)}\n")
    for remark in table.remarks(rows):
        print(f"- {remark}")


def _run_suite(options: argparse.Namespace, path: Path) -> None:
    workloads = _select(SUITES[options.suite], options)
    if not workloads:
        raise SystemExit(f"no row's name contains any of {', '.join(options.rows)}")
    contenders = _chosen(options, {w.kind for w in workloads})
    rows = _race(workloads, contenders, options, path)
    if options.plot:
        plot.bars(rows, path.with_suffix(".png"))


def _size(axis: str) -> Callable[[Row], int]:
    def of(row: Row) -> int:
        w = row.workload
        if axis in ("width", "depth"):
            assert isinstance(w, FNN)
            return w.sizes[0] if axis == "width" else len(w.sizes) - 2
        assert isinstance(w, FNN | RNN)
        size: int = getattr(w, axis)
        return size

    return of


def _run_scaling(options: argparse.Namespace, path: Path) -> None:
    wanted = options.axis.split(",") if options.axis else None
    for kind, axes in SCALING.items():
        for axis, workloads in axes.items():
            if wanted and f"{kind}.{axis}" not in wanted:
                continue
            contenders = [c for c in _chosen(options, {kind}) if c.name in _SCALERS]
            file = path.with_name(f"{path.stem}-{kind}-{axis}.json")
            rows = _race(_select(workloads, options), contenders, options, file)
            plot.curves(rows, _size(axis), f"{kind} {axis}", file.with_suffix(".png"))


_SCALERS = ("staticflow", "jax", "torch")


def _harness(options: argparse.Namespace, path: Path) -> Options:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.with_suffix(".log")
    log.write_text("", encoding="utf-8")
    patience = 0.0 if options.busy else options.patience  # cores are never idle
    return Options(options.rounds, options.seconds, options.timeout, log, patience)


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.suite == "compile":
        return compile_time.run(options.rows, min(options.rounds, 3), not options.quick)
    beside = f"-busy{options.busy}" if options.busy else ""
    path = options.json or RESULTS / f"{options.suite}{beside}.json"
    (_run_scaling if options.suite == "scaling" else _run_suite)(options, path)
    return 0
