"""Threads that help with one call: they take pieces of its work while its caller does the same.

    caller    open | piece 0 | piece 2 | piece 3 | close and wait for those inside
    helper         join | piece 1 | piece 4 | leave

A helper that is late, or never comes, costs nothing: the caller takes the pieces that are left. For
some ten microseconds after a call helpers look out for the next one, then they sleep. Waking them
costs about as much as a short call, so it is only done once enough work has gone without help; more
work each time that they came too late to help, as they do when the other cores are busy. A helper
that loses its core in the middle of a piece makes its caller wait; after that the crew rests.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from enum import IntEnum
from queue import SimpleQueue
from typing import Any, TypeAlias

from staticflow.native.forks import ForkAware
from staticflow.native.memory import Words, words
from staticflow.native.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain import Toolchain
from staticflow.native.waiting import leave, wait_until_left

SPINS = 4000  # some 60 us: about as long as it takes to wake a thread
SPIN_NS = 15
WAKE_AFTER_NS, WAKE_AFTER_MOST_NS = 100_000, 20_000_000  # of work that went without help
REST_NS, REST_MOST_NS = 2_000_000, 200_000_000  # of work without help, after a helper was lost
OPEN = 1 << 32


class Crew(IntEnum):
    """The words that caller and helpers share; those that many write have a line of their own."""

    BUSY = 0  # a call uses the crew
    STATE = 16  # OPEN while there is work, plus the number of helpers inside
    CALLER_SLEEPS = 17  # until the last helper has left
    SLEEPING = 32  # how many helpers sleep
    JOB = 48  # i64 job(i64 table, i64 worker): takes pieces until none is left
    TABLE = 49
    TURN = 50  # counts the calls
    UNHELPED_NS = 51
    WAKE = 52  # address of the Python callable that wakes the helpers
    WAKE_AFTER = 53
    RESTING_NS = 54  # of work left to do without help
    REST = 55  # the length of the last rest
    HELPED = 56  # pieces that helpers have done
    HELPED_BEFORE = 57  # this call
    WORDS = 64


HELP = '''
def help(crew, number):
    """A helper's life between two sleeps."""
    c = i8ptr(crew)
    atomic_add(crew + 8 * SLEEPING, -1)
    turn = 0
    spins = 0
    while spins < SPINS:
        spins += 1
        if load_acquire(crew + 8 * STATE) >= OPEN and c[TURN] != turn:
            if atomic_add(crew + 8 * STATE, 1) >= OPEN:
                turn = c[TURN]
                atomic_add(crew + 8 * HELPED, call2(c[JOB], c[TABLE], number))
                spins = 0
            leave(crew + 8 * STATE, crew + 8 * CALLER_SLEEPS)
        else:
            pause()
    atomic_add(crew + 8 * SLEEPING, 1)
    return 0
'''

OFFER = '''
def offer(crew, job, table, nanoseconds):
    """Let helpers take pieces of a job; 0 if the crew is busy or rests."""
    c = i8ptr(crew)
    if swap_if_zero(crew + 8 * BUSY, 1) != 0:
        return 0
    if c[RESTING_NS] > 0:
        c[RESTING_NS] -= nanoseconds
        store_release(crew + 8 * BUSY, 0)
        return 0
    c[JOB] = job
    c[TABLE] = table
    c[TURN] += 1
    c[HELPED_BEFORE] = c[HELPED]
    atomic_add(crew + 8 * STATE, OPEN)
    return 1
'''

FINISH = '''
def finish(crew, patience, stop):
    """Let nobody in any more, and wait for the helpers inside."""
    c = i8ptr(crew)
    atomic_add(crew + 8 * STATE, -OPEN)
    if wait_until_left(crew + 8 * STATE, crew + 8 * CALLER_SLEEPS, patience, stop) > patience:
        c[REST] = min(max(2 * c[REST], FIRST_REST_NS), REST_MOST_NS)
        c[RESTING_NS] = c[REST]
    elif c[HELPED] != c[HELPED_BEFORE]:
        c[REST] = c[REST] // 2
        c[WAKE_AFTER] = WAKE_AFTER_NS
    store_release(crew + 8 * BUSY, 0)
    return 0
'''

WAKE = '''
def wake(crew, nanoseconds):
    """Wake the helpers if they sleep and enough work has gone without them; 0 for an exception."""
    c = i8ptr(crew)
    if c[SLEEPING] == 0 or c[RESTING_NS] > 0:
        return 1
    c[UNHELPED_NS] += nanoseconds
    if c[UNHELPED_NS] < c[WAKE_AFTER]:
        return 1
    c[UNHELPED_NS] = 0
    c[WAKE_AFTER] = min(2 * c[WAKE_AFTER], WAKE_AFTER_MOST_NS)
    nothing = PyObject_CallNoArgs(c[WAKE])
    if nothing == 0:
        return 0
    Py_DecRef(nothing)
    return 1
'''


def _names() -> Mapping[str, object]:
    constants = {
        "SPINS": SPINS, "OPEN": OPEN, "WAKE_AFTER_NS": WAKE_AFTER_NS, "REST_MOST_NS": REST_MOST_NS,
        "WAKE_AFTER_MOST_NS": WAKE_AFTER_MOST_NS, "FIRST_REST_NS": REST_NS,
    }  # fmt: skip
    return {**{entry.name: int(entry) for entry in Crew}, **constants}


def _kernel(
    toolchain: Toolchain, name: str, source: str, arguments: int, **externals: External
) -> NativeFunction:
    return toolchain.kernel(
        KernelSource(
            name=name,
            source=source,
            signature=Signature("i8", ("i8",) * arguments),
            externals=externals,
            namespace=_names,
            namespace_key=(str(sorted(_names().items())),),
            noalias=False,
        )
    )


def offer(toolchain: Toolchain) -> NativeFunction:
    """The caller's part, before it works itself: i64 offer(crew, job, table, nanoseconds)."""
    return _kernel(toolchain, "offer", OFFER, 4)


def finish(toolchain: Toolchain) -> NativeFunction:
    """The caller's part, after `offer` and its own work: i64 finish(crew, patience, stop)."""
    return _kernel(toolchain, "finish", FINISH, 3, wait_until_left=wait_until_left(toolchain))


def wake(toolchain: Toolchain) -> NativeFunction:
    """To be called after `offer`, with the GIL: i64 wake(crew, nanoseconds).

    Not before: a helper that gets the caller's core must find work, or it has looked out in vain.
    """
    return _kernel(
        toolchain, "wake", WAKE, 2,
        Py_DecRef=External("Py_DecRef", Signature("", ("i8",))),
        PyObject_CallNoArgs=External("PyObject_CallNoArgs", Signature("i8", ("i8",))),
    )  # fmt: skip


_Bell: TypeAlias = "SimpleQueue[bool]"


class Helpers(ForkAware):
    """The threads of a session's crew; they start when they are woken for the first time."""

    def __init__(self, count: int, toolchain: Toolchain) -> None:
        super().__init__()
        self.count = count
        self._words = words(Crew.WORDS)
        self.address = int(self._words.ctypes.data)
        self._bells: list[_Bell] = []
        call = _kernel(toolchain, "help", HELP, 2, leave=leave(toolchain)).bind()
        self.wake = _waker(self._bells, count, self._words, call)
        self._words[Crew.WAKE] = id(self.wake)
        self._reset()
        weakref.finalize(self, _dismiss, self._bells)

    def after_fork_in_child(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Nobody is awake: at the start, and in a child process, which has no such threads."""
        self._bells.clear()
        self._words[[Crew.BUSY, Crew.STATE, Crew.CALLER_SLEEPS]] = 0
        self._words[Crew.SLEEPING] = self.count
        self._words[Crew.WAKE_AFTER] = WAKE_AFTER_NS


def _waker(
    bells: list[_Bell], count: int, shared: Words, call: Callable[[int, int], int]
) -> Callable[[], None]:
    def wake() -> None:
        try:
            while len(bells) < count:
                bell: _Bell = SimpleQueue()
                bells.append(bell)
                arguments = (bell, shared, call, len(bells))
                threading.Thread(
                    target=_serve, args=arguments, name="staticflow-helper", daemon=True
                ).start()
        except RuntimeError:  # no more threads: the caller does it all
            return
        for bell in bells:
            bell.put(True)

    return wake


def _serve(bell: _Bell, shared: Words, call: Callable[[int, int], Any], number: int) -> None:
    address = int(shared.ctypes.data)
    while bell.get():
        call(address, number)


def _dismiss(bells: list[_Bell]) -> None:
    for bell in bells:
        bell.put(False)
