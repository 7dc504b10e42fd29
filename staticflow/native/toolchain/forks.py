"""What has to be done around a fork, by those who have threads, locks or loops under way.

A child process has one thread, the one that forked. A lock that another thread held is held for
ever, and what another thread was doing stays half done; so whoever has such things puts them right.

What is registered first is asked last. Python's `logging` takes its lock before a fork: it must
have been registered when we are, so that we wait for a thread (one that imports Numba, say, and
asks for a logger) while that thread can still have the lock.
"""

from __future__ import annotations

import functools
import logging  # noqa: F401  (see above)
import os
import weakref
from typing import Any


class _Known(type):
    """Its classes' objects are known from when they are complete.

    A fork may come while another thread makes one, of which the child has only a part.
    """

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        made = super().__call__(*arguments, **options)
        _everyone().add(made)
        return made


class ForkAware(metaclass=_Known):
    """A base for what wants to know of forks; the system has one entry for all of them."""

    def before_fork(self) -> None:
        """In the thread that is about to fork."""

    def after_fork_in_parent(self) -> None:
        """In the same thread, afterwards."""

    def after_fork_in_child(self) -> None:
        """In the child, whose only thread this is."""


@functools.cache
def _everyone() -> weakref.WeakSet[ForkAware]:
    known: weakref.WeakSet[ForkAware] = weakref.WeakSet()
    asked: list[ForkAware] = []

    def before() -> None:
        for each in list(known):
            each.before_fork()
            asked.append(each)

    def in_parent() -> None:
        while asked:
            asked.pop().after_fork_in_parent()

    def in_child() -> None:
        asked.clear()
        for each in list(known):
            each.after_fork_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
    return known
