"""A fork while another thread is making something that wants to know of forks."""

from __future__ import annotations

import os
import threading

import pytest

from staticflow.native.toolchain.forks import ForkAware
from tests.support.child_processes import succeeds
from tests.support.processes import run_python


class Noting(ForkAware):
    """Made at once."""

    forked = False

    def after_fork_in_child(self) -> None:
        self.forked = True


class Slow(ForkAware):
    """Made in two parts."""

    def __init__(self, begun: threading.Event, go_on: threading.Event) -> None:
        super().__init__()
        begun.set()
        go_on.wait()
        self.parts = 2

    def after_fork_in_child(self) -> None:
        self.parts += 1


def test_what_is_half_made_is_left_out() -> None:
    """Of the others, none is."""
    before, begun, go_on = [Noting() for _ in range(20)], threading.Event(), threading.Event()
    made: list[Slow] = []
    thread = threading.Thread(target=lambda: made.append(Slow(begun, go_on)))
    thread.start()
    begun.wait()
    after = [Noting() for _ in range(20)]

    def child() -> None:
        assert all(each.forked for each in before + after)

    try:
        succeeds(child)
    finally:
        go_on.set()
        thread.join()

    def later() -> None:
        assert made[0].parts == 3

    succeeds(later)
    assert made[0].parts == 2 and not any(each.forked for each in before)


LOGGING = """
import os, sys, threading, time
from staticflow.native.toolchain import numba_import

importing = numba_import._importing()  # asked before forks from now on
import logging

ready = threading.Event()

def work():
    with importing.lock:  # as the thread that imports Numba
        ready.set()
        time.sleep(0.3)  # the fork has begun, and waits for us
        logging.getLogger("a.name").setLevel(logging.INFO)

threading.Thread(target=work).start()
ready.wait()
process = os.fork()
if process == 0:
    logging.getLogger("another.name")
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_that_waits_for_an_import_leaves_it_the_lock_of_logging() -> None:
    ended = run_python("-W", "ignore", "-c", LOGGING, seconds=20.0)
    assert ended.status == 0, f"{ended.out}\n{ended}"
