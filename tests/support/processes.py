"""Python processes that tests start, where what is tested may kill or hang one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.places import ROOT

SHOWN = 4000  # characters of what a process said


@dataclass(frozen=True)
class Ended:
    """A process that has ended; a negative status is that of a signal."""

    status: int
    out: str
    err: str

    def __str__(self) -> str:
        how = f"exit status {self.status}"
        if self.status < 0:
            how = signal.Signals(-self.status).name
        return f"{how}\n{self.err[-SHOWN:]}"


def run_python(*arguments: str, seconds: float, **environment: str) -> Ended:
    """Run Python with arguments from the checkout's root; one that hangs is killed."""
    process = start_python(*arguments, environment=environment)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nkilled after {seconds} seconds"
    return Ended(process.returncode, out, err)


def start_python(*arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start Python, with faulthandler, from the checkout's root."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
