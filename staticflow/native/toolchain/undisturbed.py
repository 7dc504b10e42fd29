"""Ctrl-C in the middle of what must not be left half done, such as a compilation.

Python raises KeyboardInterrupt between any two instructions of the main thread: while a lock is
being taken, between an object that is loaded and the note that it is, or in a destructor, where the
exception is lost. So Ctrl-C waits until the work is done.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def undisturbed(work: Callable[[], T]) -> T:
    """Do some work; a handler of Ctrl-C that is due meanwhile runs after it."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return work()  # nothing runs in between
    came: list[FrameType | None] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
        return work()
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(signal.SIGINT, came[0])
