"""The process of one contender: commands come on stdin, answers go to stdout, a JSON line each.

`prepare` builds every form of a workload, times each briefly and keeps those near the fastest;
`time` times one of them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.bound import step_flops
from benchmarks.contender import CONTENDERS, Contender, Forms, Job
from benchmarks.workloads import FNN, RNN, Ensemble, Workload, from_json

GUESSED_FLOPS, STEP_OVERHEAD = 5e10, 2e-6
NEAR, KEPT = 1.4, 3
"""A brief timing may be off by this factor, so forms that close stay in the race, up to so many."""

LONG_ENOUGH = 0.8
"""Of the target. A process that slept gets busy cores for a moment: short samples would flatter."""


@dataclass
class Ready:
    """A job whose number of steps per sample is settled."""

    label: str
    job: Job
    steps: int
    seconds: float
    first_call: float


def seconds_of(job: Job, steps: int) -> float:
    start = time.perf_counter()
    job.run(steps)
    return time.perf_counter() - start


def _whole(steps: float, granule: int) -> int:
    return max(1, round(steps / granule)) * granule


def _calibrate(label: str, job: Job, born: float, guess: float, target: float) -> Ready:
    """Settle the steps of a sample of about `target` seconds."""
    steps = _whole(target / guess, job.granule) if job.compiles_per_count else job.granule
    job.run(steps)
    first_call = time.perf_counter() - born
    while not job.compiles_per_count and seconds_of(job, steps) < target / 20:
        steps *= 4
    for _ in range(3):
        seconds = seconds_of(job, steps)
        step = seconds / steps
        better = _whole(target / step, job.granule)
        if better == steps or target / 2.5 <= seconds <= target * 1.7:
            break
        steps = better
        if job.compiles_per_count:
            job.run(steps)
    return Ready(label, job, steps, step, first_call)


class Worker:
    """Answers the commands; one workload at a time."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.forms = import_module(contender.module).forms
        self.ready: dict[str, Ready] = {}
        self.target = 0.0

    def prepare(self, workload: dict[str, Any], target: float) -> dict[str, Any]:
        self.ready, self.target = {}, target
        gc.collect()
        row = from_json(workload)
        guess = STEP_OVERHEAD + step_flops(row) / GUESSED_FLOPS
        tried, failed = self._try_forms(self.forms(row), guess, target)
        if not tried:
            return {"error": "; ".join(failed)} if failed else {"absent": True}
        tried.sort(key=lambda r: r.seconds)
        kept = [r for r in tried if r.seconds <= NEAR * tried[0].seconds][:KEPT]
        self.ready = {r.label: r for r in kept}
        return {
            "kept": [{"form": r.label, "steps": r.steps, "first_call": r.first_call} for r in kept],
            "check": kept[0].job.check(_check_steps(row)),
            "forms": {r.label: r.seconds for r in tried},
            "failed": failed,
        }

    def _try_forms(
        self, forms: Forms, guess: float, target: float
    ) -> tuple[list[Ready], list[str]]:
        tried: list[Ready] = []
        failed: list[str] = []
        for label, build in forms:
            try:
                born = time.perf_counter()
                ready = _calibrate(label, build(), born, guess, target)
                again = [seconds_of(ready.job, ready.steps) / ready.steps for _ in range(2)]
                ready.seconds = min(ready.seconds, *again)
                tried.append(ready)
                guess = ready.seconds
            except Exception as error:
                traceback.print_exc()
                failed.append(f"{label or 'default'}: {type(error).__name__}: {str(error)[:200]}")
        return tried, failed

    def time(self, form: str) -> dict[str, Any]:
        """A sample: as long as all others, even if the steps were settled in a busy moment."""
        ready = self.ready[form]
        seconds, steps = 0.0, 0
        gc.disable()
        try:
            while seconds < LONG_ENOUGH * self.target:
                seconds += seconds_of(ready.job, ready.steps)
                steps += ready.steps
        finally:
            gc.enable()
        return {"seconds": seconds / steps}


def _check_steps(row: Workload) -> int:
    """One cycle through the minibatches and the first again, so that its two losses compare."""
    return row.batches + 1 if isinstance(row, FNN | RNN | Ensemble) else 1


def main(name: str) -> None:
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        worker = Worker(CONTENDERS[name])
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
        return
    print(json.dumps({"pid": os.getpid()}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
