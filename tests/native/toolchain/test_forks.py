"""A fork while another thread is making something that wants to know of forks."""

from __future__ import annotations

import threading

from staticflow.native.toolchain.forks import ForkAware
from tests.support.child_processes import succeeds


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
