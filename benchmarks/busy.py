"""Busy neighbours: processes that want a core all the time, as on a machine that others use too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WORK = "x = 1.0\nwhile True:\n    x = x * 0.5 + 1.0\n"


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Have so many busy processes beside what is measured."""
    processes = [subprocess.Popen([sys.executable, "-c", WORK]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
