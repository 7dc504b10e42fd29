"""Readers and the training loop: a run in one thread sees whole steps of a fit in another.

    fit      begin | step | step | admit those who wait, until they have left | step ... | end
    reader         take a ticket, wait to be admitted ...... read ....... leave

The loop looks for new tickets before each step, where no shard changes parameters: it lets in all
who have come so far, and those who come later wait for the step after it. So a reader waits for one
step at most, and neither side can keep the other out. Without a fit a ticket admits at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

from staticflow.native.memory import Words, words
from staticflow.native.threads.waiting import look_again
from staticflow.native.toolchain.forks import ForkAware
from staticflow.native.toolchain.objects import External, NativeFunction
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.native.toolchain.word_function import of_words, word_function


class Gate(IntEnum):
    """The words that readers and the loop share."""

    FITTING = 0  # a fit is in native code; set and cleared with the GIL
    TICKETS = 16  # how many readers have come
    ADMITTED = 17  # so many of them may read
    LEFT = 32  # so many have
    NEVER = 40  # 0: a flag that stops nothing
    WORDS = 48


ENTER = '''
def enter_gate(gate):
    """Take a ticket: 0 if it admits at once, else its number, for `await_admission`."""
    ticket = atomic_add(gate + 8 * TICKETS, 1) + 1
    return ticket if load_acquire(gate + 8 * FITTING) != 0 else 0
'''

AWAIT = '''
def await_admission(gate, ticket):
    """Sleep until the ticket admits, or the fit is over."""
    looks = 0
    while load_acquire(gate + 8 * FITTING) != 0:
        admitted = load_acquire(gate + 8 * ADMITTED)
        if admitted >= ticket:
            return 0
        looks += 1
        look_again(gate + 8 * ADMITTED, admitted, looks)
    return 0
'''

LEAVE = '''
def leave_gate(gate):
    """Done with reading."""
    atomic_add(gate + 8 * LEFT, 1)
    if load_acquire(gate + 8 * FITTING) != 0:
        wake_all(gate + 8 * LEFT)
    return 0
'''

ADMIT = '''
def admit(gate, stop):
    """Let in those who have come so far, and wait until they have left, or a stop flag is set."""
    tickets = atomic_add(gate + 8 * TICKETS, 0)
    store_release(gate + 8 * ADMITTED, tickets)
    wake_all(gate + 8 * ADMITTED)
    looks = 0
    while load_acquire(stop) == 0:
        left = load_acquire(gate + 8 * LEFT)
        if left >= tickets:
            return 0
        looks += 1
        look_again(gate + 8 * LEFT, left, looks)
    return 1
'''

REOPEN = '''
def reopen(gate):
    """The fit is over: nobody needs to wait any more."""
    store_release(gate + 8 * FITTING, 0)
    wake_all(gate + 8 * ADMITTED)
    return 0
'''


def _function(tools: Toolchain, name: str, source: str, arguments: int) -> NativeFunction:
    named = {entry.name: int(entry) for entry in Gate}
    waits = {"look_again": look_again(tools)} if "look_again(" in source else {}
    return word_function(tools, name, source, of_words(arguments), named, waits)


def enter_gate(tools: Toolchain) -> NativeFunction:
    """i64 enter_gate(gate)."""
    return _function(tools, "enter_gate", ENTER, 1)


def await_admission(tools: Toolchain) -> NativeFunction:
    """i64 await_admission(gate, ticket)."""
    return _function(tools, "await_admission", AWAIT, 2)


def leave_gate(tools: Toolchain) -> NativeFunction:
    """i64 leave_gate(gate)."""
    return _function(tools, "leave_gate", LEAVE, 1)


def admit(tools: Toolchain) -> External:
    """The loop's part: i64 admit(gate, stop), 1 if it was stopped."""
    return _function(tools, "admit", ADMIT, 2).external


def reopen(tools: Toolchain) -> External:
    """The loop's end, where native code opened it: i64 reopen(gate)."""
    return _function(tools, "reopen", REOPEN, 1).external


class ReadGate(ForkAware):
    """The gate of one session. A fork is a reader too, so that the child has whole steps."""

    def __init__(self, own: Words | None = None) -> None:
        """The words of the gate are its `own`, or new ones."""
        super().__init__()
        self._words = words(Gate.WORDS) if own is None else own
        self.address = int(self._words.ctypes.data)

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Around the training loop."""
        reopen = _bound().reopen
        self._words[Gate.FITTING] = 1
        try:
            yield
        finally:
            reopen(self.address)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around what changes parameters beside the training loop: those inside have left."""
        with self.fitting():
            _bound().admit(self.address, self.address + 8 * Gate.NEVER)
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads parameters for long, and gives the GIL back meanwhile."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Come in, at the next whole step."""
        ticket = _bound().enter(self.address)
        if ticket:
            _bound().wait(self.address, ticket)

    def leave(self) -> None:
        """Give the ticket back."""
        _bound().leave(self.address)

    def before_fork(self) -> None:
        if _bound.cache_info().currsize:  # else there has been no fit yet
            self.enter()

    def after_fork_in_parent(self) -> None:
        if _bound.cache_info().currsize:
            self.leave()

    def after_fork_in_child(self) -> None:
        self._words[:] = 0  # none of those who were inside is here


class _Bound(NamedTuple):
    """The functions that Python calls, without the GIL."""

    enter: Callable[[int], int]
    wait: Callable[[int, int], int]
    leave: Callable[[int], int]
    reopen: Callable[[int], int]
    admit: Callable[[int, int], int]


@functools.cache
def _bound() -> _Bound:
    tools = toolchain()
    opens = _function(tools, "reopen", REOPEN, 1)
    loops = _function(tools, "admit", ADMIT, 2)
    functions = (enter_gate(tools), await_admission(tools), leave_gate(tools), opens, loops)
    return _Bound(*(function.bind() for function in functions))
