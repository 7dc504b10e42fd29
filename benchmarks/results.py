"""What the samples say: medians, spreads, and ratios round by round against the best peer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Entry
from benchmarks.workloads import Workload, to_json

AGREE = {"fnn": 0.05, "rnn": 0.25, "ensemble": 0.25}
"""Losses agree if their falls from the first step to the last differ by no more than this share.

Recurrent cells may keep one bias or two, which Adam moves differently."""

CHECKED = ("calculus", "loops")
EXACT = {"float64": 1e-7, "float32": 2e-2}
"""Two weighted sums of all results of a calculus row agree to this share of the larger one."""


@dataclass
class Ratio:
    """A peer's time over ours: the median of the rounds, and its range over the rounds."""

    peer: str
    median: float
    low: float
    high: float


@dataclass
class Row:
    """One workload measured."""

    workload: Workload
    entries: list[Entry]
    bound: float = 0.0

    def best(self, column: str) -> Entry | None:
        """The fastest entry of a column."""
        found = [e for e in self.entries if e.column == column and e.samples]
        return min(found, key=lambda e: median(e.samples), default=None)

    def ours(self) -> Entry | None:
        return next((e for e in self.entries if e.role == "ours" and not e.variant), None)

    def best_peer(self) -> Entry | None:
        wrong = self.wrong()
        peers = [
            e for e in self.entries if e.role == "peer" and e.samples and e.contender not in wrong
        ]
        return min(peers, key=lambda e: median(e.samples), default=None)

    def ratio(self, peer: Entry | None = None) -> Ratio | None:
        ours, peer = self.ours(), peer or self.best_peer()
        if ours is None or not ours.samples or peer is None or ours.contender in self.wrong():
            return None
        rounds = [p / o for p, o in zip(peer.samples, ours.samples, strict=False)]
        return Ratio(peer.contender, median(rounds), min(rounds), max(rounds))

    def wrong(self) -> set[str]:
        """Contenders whose results are not those of the median contender, where all are checked."""
        checks = [(e.contender, np.array(e.check)) for e in self.entries if e.check]
        if self.workload.kind not in CHECKED or len(checks) < 2:
            return set()
        middle = np.median([check for _, check in checks], axis=0)
        allowed = EXACT[self.workload.dtype] * np.abs(middle).max()
        return {name for name, check in checks if not (np.abs(check - middle) <= allowed).all()}

    def disagreeing(self) -> list[str]:
        """Contenders whose losses differ from the median contender's: they do other work."""
        if self.workload.kind in CHECKED:
            return [f"{name} (its results are wrong: it does not count)" for name in self.wrong()]
        checks = [(e.contender, *e.check) for e in self.entries if e.check]
        checked = [(name, start, start - end) for name, start, end in checks]
        if len(checked) < 2:
            return []
        share = AGREE.get(self.workload.kind, 0.0)
        first, fall = median(c[1] for c in checked), median(c[2] for c in checked)
        return [
            f"{name} (first {start:.6g} against {first:.6g}, fall {drop:.4g} against {fall:.4g})"
            for name, start, drop in checked
            if abs(start - first) > 1e-3 * abs(first) + 1e-4
            or abs(drop - fall) > share * abs(fall) + 1e-3 * abs(first)
        ]

    def to_json(self) -> dict[str, Any]:
        ratio = self.ratio()
        return {
            "workload": to_json(self.workload),
            "name": self.workload.name,
            "bound": self.bound,
            "ratio": asdict(ratio) if ratio else None,
            "disagreeing": self.disagreeing(),
            "entries": [_entry_json(e) for e in self.entries],
        }


def _entry_json(entry: Entry) -> dict[str, Any]:
    fields = asdict(entry)
    if entry.samples:
        spread = (max(entry.samples) - min(entry.samples)) / median(entry.samples)
        fields |= {"median": median(entry.samples), "min": min(entry.samples), "spread": spread}
    return fields


def write(path: Path, machine: dict[str, Any], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, "rows": [r.to_json() for r in rows]}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
