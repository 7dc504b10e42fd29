"""Ctrl-C in the middle of a call, and how long the call goes on after it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

LATENCY = 0.2


def interrupt(call: Callable[[], Any], when: Callable[[], bool], delay: float) -> float:
    """Send SIGINT some time after `when` holds; returns how long the call went on after it."""
    sent: list[float] = []
    give_up = threading.Event()

    def send() -> None:
        while not when() and not give_up.is_set():
            time.sleep(0.001)
        time.sleep(delay)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.perf_counter() - sent[0]
    finally:
        give_up.set()
        sender.join()
