"""Ctrl-C at a chosen moment of a call, and how long the call goes on after it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Interruption:
    """One Ctrl-C: how long until the exception was there, and how long others had our core."""

    seconds: float
    waiting: float

    @property
    def own(self) -> float:
        """Without the time in which the main thread was ready to run and had no core."""
        return max(0.0, self.seconds - self.waiting)


def interrupted(call: Callable[[], Any], delay: float) -> Interruption | None:
    """Send SIGINT after some seconds of a call; None if that is over before.

    AssertionError if the call swallows the exception.
    """
    target = threading.main_thread().ident
    assert target is not None
    over, sent = threading.Event(), []

    def send() -> None:
        if not over.wait(delay):
            sent.append((time.perf_counter(), _waited()))
            signal.pthread_kill(target, signal.SIGINT)

    sender = threading.Thread(target=send)
    try:
        try:
            sender.start()
            call()
        finally:
            over.set()
            sender.join()
    except KeyboardInterrupt:
        then, now = time.perf_counter(), _waited()
        over.set()
        sender.join()
        began, before = sent[0]
        return Interruption(then - began, now - before)
    assert not sent, "the call went on to its end after Ctrl-C"
    return None


def _waited() -> float:
    """The seconds for which the main thread was ready and not running, where the system says."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
