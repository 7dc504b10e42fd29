"""Forked processes that are killed at some moment, or asked for an answer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

SECONDS = 60.0  # after which a process counts as hanging


def fork(work: Callable[[], object]) -> int:
    """A process that does some work; its number. It ends with 0, or with 1 for an exception."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def kill(number: int, delay: float) -> bool:
    """End a process with kill -9 after some time; whether it was still at work."""
    time.sleep(delay)
    os.kill(number, signal.SIGKILL)  # a process that has ended waits to be asked for its status
    return os.WIFSIGNALED(os.waitpid(number, 0)[1])


def finish(number: int) -> int:
    """The exit code of a process; it is killed if it hangs, with an AssertionError."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    kill(number, 0)
    raise AssertionError(f"a process hung for {SECONDS:.0f} s")


def succeeds(work: Callable[[], object]) -> None:
    """Work in a process of its own; AssertionError if it fails there or hangs."""
    code = finish(fork(work))
    assert code == 0, f"a process ended with {code}"
