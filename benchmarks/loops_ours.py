"""The loops in staticflow: one `sf.function` of NumPy arrays each."""

from __future__ import annotations

from functools import partial
from typing import Any

import staticflow as sf
from benchmarks import loops_programs
from benchmarks.calculus_data import ResultJob
from benchmarks.contender import Forms
from benchmarks.loops_programs import Library
from benchmarks.workloads import Loops
from staticflow import ops


def _full(shape: tuple[int, ...], value: float) -> Any:
    return ops.full(shape, value, "float64")


LIBRARY = Library(
    ops.exp, ops.tanh, ops.sqrt, ops.log, ops.stack, ops.concatenate, ops.outer, _full, sf.scan
)


def _job(w: Loops) -> ResultJob:
    feeds = loops_programs.arrays(w)
    nodes = {
        name: sf.input(name, ("t", *a.shape[1:]) if len(a) == w.rows else a.shape, "float64")
        for name, a in feeds.items()
    }
    results, value = loops_programs.program(w, LIBRARY, nodes)
    if w.gradient:
        results = [value, *sf.grad(value, [nodes[name] for name in loops_programs.by(w)])]
    f = sf.function(list(nodes.values()), results)
    return ResultJob(partial(f, *feeds.values()))


def forms(w: Loops) -> Forms:
    yield "", partial(_job, w)
