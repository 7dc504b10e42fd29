"""Measuring on a machine that others use too: wait for idle cores, and see whether they stayed so.

What others do is read from Linux's /proc; on other systems every turn counts as undisturbed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PROC = Path("/proc")
LOOKS, INTERVAL = 3, 0.002
"""A core is idle if nothing else was running at so many looks, so many seconds apart."""
SHARE, TICKS = 0.05, 2
"""Others disturb a turn if they used more than this share of a core and so many ticks of time."""


def wait(seconds: float) -> None:
    """Return when nothing else wants to run, or after so many seconds."""
    end, idle = time.perf_counter() + seconds, 0
    while idle < LOOKS and time.perf_counter() < end and _known():
        running = int((PROC / "loadavg").read_text().split()[3].split("/")[0])
        idle = idle + 1 if running <= 1 else 0
        time.sleep(INTERVAL)


class Watch:
    """How much of the cores others have used since it began: not process `pid`, nor this one."""

    def __init__(self, pid: int) -> None:
        self._pids = (pid, os.getpid())
        self._began = time.perf_counter()
        self._before = self._others()

    def disturbed(self) -> float:
        """Ticks of processor time that others used; 0 if it is too little to matter."""
        ticks = self._others() - self._before
        allowed = SHARE * (time.perf_counter() - self._began) * _tick_rate()
        return ticks if ticks > max(TICKS, allowed) else 0

    def _others(self) -> int:
        """Ticks, of all processes but these, since the machine was started."""
        if not _known():
            return 0
        user, nice, system, _, _, *interrupts = _words((PROC / "stat").read_text().splitlines()[0])
        own = [(PROC / str(p) / "stat").read_text().rsplit(")", 1)[1].split() for p in self._pids]
        mine = sum(int(fields[11]) + int(fields[12]) for fields in own)
        return user + nice + system + sum(interrupts[:3]) - mine


def _words(line: str) -> list[int]:
    return [int(word) for word in line.split()[1:9]]


def _known() -> bool:
    return (PROC / "loadavg").exists() and (PROC / "stat").exists()


def _tick_rate() -> int:
    return os.sysconf("SC_CLK_TCK")
