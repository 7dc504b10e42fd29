"""Contenders side by side: one process each, kept alive, taking turns (A B A B) on a workload."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import quiet
from benchmarks.contender import Contender, Variant
from benchmarks.workloads import Workload, to_json

# Settings of the caller's shell that would slow one contender or another: each starts from the
# defaults of its libraries.
TUNING = ("OPENBLAS", "GOTO", "MKL", "OMP", "KMP", "GOMP", "BLIS", "XLA", "NVPL", "TORCH", "ORT")
PAUSE = 0.02
"""Seconds between turns, in which thread pools of the contender before go to sleep."""


@dataclass
class Options:
    rounds: int = 7
    target: float = 0.15
    timeout: float = 600.0
    log: Path | None = None
    patience: float = 0.5
    """Seconds that a turn may wait for idle cores and be taken again if others disturbed it."""


@dataclass
class Entry:
    """What one form of one variant of a contender did on one workload."""

    contender: str
    role: str
    variant: str
    form: str = ""
    samples: list[float] = field(default_factory=list)
    steps: int = 0
    first_call: float | None = None
    check: tuple[float, float] | None = None
    forms: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    why_not: str | None = None
    disturbed: int = 0  # samples during which others used the cores

    @property
    def column(self) -> str:
        """Where it is shown: a peer by its best variant, ours by each, as a user sets threads."""
        own = self.role == "ours" and self.variant
        return f"{self.contender} {self.variant}" if own else self.contender


def clean_environment(extra: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(TUNING)}
    root = str(Path(__file__).resolve().parent.parent)
    path = [root, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), **extra}


class Process:
    """The parent's end of one worker."""

    def __init__(self, contender: Contender, variant: Variant, options: Options) -> None:
        self.contender, self.variant, self.timeout = contender, variant, options.timeout
        self.dead: str | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._log: IO[Any] | int = options.log.open("a") if options.log else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contender.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=clean_environment(variant.env),
        )
        threading.Thread(target=self._listen, daemon=True).start()
        hello = self._answer()
        if "error" in hello:
            self.dead = hello["error"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self.timeout)
        except queue.Empty:
            self._process.kill()
            self.dead = f"no answer in {self.timeout:g} s"
            return {"error": self.dead}
        if not line:
            self.dead = f"its process ended with status {self._process.wait()}"
            return {"error": self.dead}
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        if self.dead:
            return {"error": self.dead}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # It has just ended; the answer says so.
        return self._answer()

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not isinstance(self._log, int):
            self._log.close()


class Arena:
    """All processes of a run, as a context manager."""

    def __init__(self, contenders: Iterable[Contender], options: Options) -> None:
        self.options = options
        self._wanted = [(c, v) for c in contenders for v in c.variants]
        self.processes: list[Process] = []

    def __enter__(self) -> Arena:
        self.processes = [Process(c, v, self.options) for c, v in self._wanted]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()

    def measure(self, workload: Workload) -> list[Entry]:
        """Prepare every contender, then let all take turns; each round starts one further on."""
        fitting = [p for p in self.processes if workload.kind in p.contender.kinds]
        turns = [(p, entry) for p in fitting for entry in self._prepare(p, workload)]
        running = [(p, e) for p, e in turns if e.why_not is None]
        for start in range(self.options.rounds if running else 0):
            first = start % len(running)
            for process, entry in running[first:] + running[:first]:
                self._take_turn(process, entry)
        return [entry for _, entry in turns]

    def _take_turn(self, process: Process, entry: Entry) -> None:
        """One sample: of those that patience allows, the one that others disturbed least."""
        least, sample = float("inf"), None
        end = time.perf_counter() + self.options.patience
        while sample is None or (least > 0 and time.perf_counter() < end):
            time.sleep(PAUSE)
            quiet.wait(end - time.perf_counter())
            watch = quiet.Watch(process.pid)
            answer = process.ask("time", form=entry.form)
            if "seconds" not in answer:
                entry.why_not = entry.why_not or answer["error"]
                return
            disturbed = watch.disturbed()
            if disturbed < least:
                least, sample = disturbed, answer["seconds"]
        entry.samples.append(sample)
        entry.disturbed += least > 0

    def _prepare(self, process: Process, workload: Workload) -> list[Entry]:
        """An entry for each form worth timing; none if the contender has nothing to do here."""
        who = (process.contender.name, process.contender.role, process.variant.label)
        answer = process.ask("prepare", workload=to_json(workload), target=self.options.target)
        if answer.get("absent"):
            return []
        if "error" in answer:
            return [Entry(*who, why_not=answer["error"])]
        entries = [Entry(*who, **kept) for kept in answer["kept"]]
        entries[0].check = answer["check"]
        entries[0].forms, entries[0].failed = answer["forms"], answer["failed"]
        return entries
