"""Helpers for one call: threads that take pieces of its rows while its caller does the same.

The pool belongs to a session. What a call is estimated to take is known before it begins, so that
helpers are woken at its beginning, not before it is open: a helper that gets the caller's core must
find work, or it has looked out in vain. Calls wake helpers with the GIL, as the first such call
has to start the threads.
"""

from __future__ import annotations

import weakref
from enum import IntEnum

from staticflow.native.threads.pool import (
    Policy,
    Pool,
    ThreadPool,
    missed,
    opens,
    own,
    pool_kernel,
    rouse,
    settle,
)
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.word_function import of_words

SPINS = 4000  # looks for the last helper, before the caller sleeps: some 60 us
SPIN_NS = 15
IDLE_CYCLES = 200_000  # some 60 us: about as long as it takes to wake a thread
WAKE_AFTER_NS, WAKE_AFTER_MOST_NS = 100_000, 20_000_000  # of work that went without help


class Calls(IntEnum):
    """The words of a pool that are for calls alone."""

    START = Pool.OWN  # address of the Python callable that starts the threads


OFFER = '''
def offer(pool, task, table):
    """Let helpers take pieces of a call.

    Returns when it began, in cycles, or 0 if the pool is another's or rests.
    """
    if own(pool) == 0:
        return 0
    open(pool, task, table)
    return cycles()
'''

WAKE = '''
def wake(pool, nanoseconds):
    """Wake the helpers if they sleep and enough work has gone without them; 0 for an exception."""
    if missed(pool, nanoseconds) == 0:
        return 1
    words = i8ptr(pool)
    if words[STARTED] != 0:
        rouse(pool)
        return 1
    nothing = PyObject_CallNoArgs(words[START])
    if nothing == 0:
        return 0
    Py_DecRef(nothing)
    return 1
'''

FINISH = '''
def finish(pool, began, patience, stop):
    """Let nobody in any more, and wait for the helpers inside."""
    settle(pool, began, patience, stop)
    store_release(pool + 8 * OWNER, 0)
    return 0
'''


def _kernel(
    tools: Toolchain, name: str, source: str, arguments: int, **externals: External
) -> NativeFunction:
    constants = {word.name: int(word) for word in Calls}
    return pool_kernel(tools, name, source, of_words(arguments), constants, **externals)


def offer(tools: Toolchain) -> NativeFunction:
    """The caller's part, before it works itself: i64 offer(pool, task, table)."""
    return _kernel(tools, "offer", OFFER, 3, own=own(tools), open=opens(tools))


def finish(tools: Toolchain) -> NativeFunction:
    """The caller's part, after its own work: i64 finish(pool, began, patience, stop)."""
    return _kernel(tools, "finish", FINISH, 4, settle=settle(tools))


def wake(tools: Toolchain) -> NativeFunction:
    """To be called after `offer`, with the GIL: i64 wake(pool, nanoseconds)."""
    return _kernel(
        tools,
        "wake",
        WAKE,
        2,
        missed=missed(tools),
        rouse=rouse(tools).external,
        Py_DecRef=External("Py_DecRef", Signature("", ("i8",))),
        PyObject_CallNoArgs=External("PyObject_CallNoArgs", of_words(1)),
    )


class CallPool(ThreadPool):
    """The helpers of a session's calls; they start when a call wants them for the first time."""

    def __init__(self, count: int, tools: Toolchain) -> None:
        policy = Policy(IDLE_CYCLES, WAKE_AFTER_NS, WAKE_AFTER_MOST_NS)
        super().__init__("staticflow-helper", count, tools, policy)
        self.native()
        start = weakref.WeakMethod(self.start)

        def begin() -> None:
            method = start()
            if method is not None:
                method()

        self.begin = begin  # kept, as native code has its address
        self.table[Calls.START] = id(begin)
