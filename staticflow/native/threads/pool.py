"""Helpers: threads that sleep until a caller has work for them, take pieces of it, and leave.

    caller    own | open | piece 0 | piece 2 | piece 3 | settle: shut, and wait for those inside
    helper    asleep | awake ... join | piece 1 | piece 4 | leave | awake ... | asleep

A helper that comes late, or never, costs nothing: the caller takes the pieces that are left. One
caller at a time owns a pool; others work alone meanwhile. Where pieces begin follows from sizes
alone, so that results do not depend on who helps.

Helpers stay awake for a while after the last piece, as the next call may come soon. Waking them
costs about as much as a short call; so they are woken once enough work has gone without help, and
after twice as much each time that it was in vain. A helper that loses its core in the middle of a
piece makes its caller wait. When a caller has waited for longer than it worked, it works alone for
as long as it waited, since most of that is over soon; and for twice as many times as long each time
that this happens again, up to REST_MOST, until it has not happened for CALM rests. So waiting costs
little in all.

Threads start when they are first called for. Where the system has no more, those there are do it. A
fork leaves them behind; the child makes new ones when it needs them.

`call_pool` and `product_pool` say what a piece is, how long helpers stay awake, and how much work
is worth waking them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, auto

from staticflow.native import memory
from staticflow.native.memory import Words, words
from staticflow.native.threads.granted import granted_threads
from staticflow.native.threads.waiting import leave, wait_until_left
from staticflow.native.toolchain.forks import ForkAware
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.word_function import of_words, word_function

OPENED = 1 << 32
REST_MOST, CALM = 128, 4
HELPER_SLEEP_US = 900_000  # until a helper looks at the alarm by itself


class Pool(IntEnum):
    """The words that callers and helpers share; those that several write have a line of their own.

    Which work is counted in UNHELPED, and in which unit, is up to the kind of pool; the words in
    between, and those from OWN on, are its own.
    """

    OWNER = 0  # a caller uses the pool
    ALONE_UNTIL = auto()  # in cycles: nothing is shared before
    REST = auto()  # the factor of the last rest
    CALM_AT = auto()  # in cycles: the next rest is the first one again
    UNHELPED = auto()  # work since helpers were called, or helped
    WAKE_AFTER = auto()  # so much of it they are called
    WAKE_FIRST = auto()  # the least, and the most that it may be
    WAKE_MOST = auto()
    IDLE_CYCLES = auto()  # for which a helper stays awake
    OWN = auto()
    STATE = 16  # OPENED while there are pieces to take, plus the helpers inside
    HELPED = auto()  # pieces that helpers have taken
    NEXT = auto()  # the first piece that nobody has taken, where the pool counts them
    TURN = 32  # counts what is opened
    TASK = auto()  # i64 task(argument, room): takes pieces until there is none, returns how many
    ARGUMENT = auto()
    HELPED_BEFORE = auto()  # this turn
    OWN_TASK = auto()
    CALLER_SLEEPS = 64  # until the last helper has left
    SLEEPERS = auto()  # helpers that sleep until the alarm changes, or have not started
    ALARM = auto()
    DISMISSED = auto()  # helpers go home
    STARTED = auto()
    WORDS = 80


OWN = '''
def own(pool):
    """Get the pool for oneself; 0 if it is taken, or has been of no use lately."""
    words = i8ptr(pool)
    if swap_if_zero(pool + 8 * OWNER, 1) != 0:
        return 0
    if cycles() >= words[ALONE_UNTIL]:
        return 1
    store_release(pool + 8 * OWNER, 0)
    return 0
'''

OPEN = '''
def open(pool, task, argument):
    """Let helpers take pieces of a task."""
    words = i8ptr(pool)
    words[TASK] = task
    words[ARGUMENT] = argument
    words[HELPED_BEFORE] = words[HELPED]
    words[TURN] += 1
    atomic_add(pool + 8 * STATE, OPENED)
    return 0
'''

SETTLE = '''
def settle(pool, began, patience, stop):
    """Let nobody in any more, and wait for the helpers inside; 1 if there was help.

    The caller has worked since `began`. The pool is still its own.
    """
    words = i8ptr(pool)
    atomic_add(pool + 8 * STATE, -OPENED)
    ended = cycles()
    wait_until_left(pool + 8 * STATE, pool + 8 * CALLER_SLEEPS, patience, stop)
    now = cycles()
    if now - ended > ended - began:
        words[REST] = min(2 * words[REST], REST_MOST) if now < words[CALM_AT] else 1
        rest = words[REST] * (now - ended)
        words[ALONE_UNTIL] = now + rest
        words[CALM_AT] = now + (1 + CALM) * rest
    if words[HELPED] == words[HELPED_BEFORE]:
        return 0
    words[WAKE_AFTER] = words[WAKE_FIRST]
    words[UNHELPED] = 0
    return 1
'''

MISSED = '''
def missed(pool, work):
    """Count work that goes without help; 1 if helpers sleep and it is time to call them."""
    words = i8ptr(pool)
    words[UNHELPED] += work
    if words[UNHELPED] <= words[WAKE_AFTER] or words[SLEEPERS] == 0:
        return 0
    words[UNHELPED] = 0
    words[WAKE_AFTER] = min(2 * words[WAKE_AFTER], words[WAKE_MOST])
    return 1
'''

ROUSE = '''
def rouse(pool):
    """Call the helpers that are asleep, and do not wait for them."""
    atomic_add(pool + 8 * ALARM, 1)
    wake_all(pool + 8 * ALARM)
    return 0
'''

HELP = '''
def help(pool, room):
    """The life of a helper, who has `room` for its own."""
    words = i8ptr(pool)
    turn = 0
    while True:
        atomic_add(pool + 8 * SLEEPERS, -1)
        alarm = load_acquire(pool + 8 * ALARM)
        if load_acquire(pool + 8 * DISMISSED) != 0:
            return 0
        began = cycles()
        while cycles() - began < words[IDLE_CYCLES]:
            if load_acquire(pool + 8 * STATE) >= OPENED and words[TURN] != turn:
                if atomic_add(pool + 8 * STATE, 1) >= OPENED:
                    turn = words[TURN]
                    taken = call2(words[TASK], words[ARGUMENT], room)
                    atomic_add(pool + 8 * HELPED, taken)
                    began = cycles()
                leave(pool + 8 * STATE, pool + 8 * CALLER_SLEEPS)
            pause()
        atomic_add(pool + 8 * SLEEPERS, 1)
        while load_acquire(pool + 8 * ALARM) == alarm:
            wait_while(pool + 8 * ALARM, alarm, HELPER_SLEEP_US)
'''


def pool_kernel(
    tools: Toolchain,
    name: str,
    source: str,
    signature: Signature,
    constants: Mapping[str, int] | None = None,
    **externals: External,
) -> NativeFunction:
    """A function whose source may use the words of a pool by name, and some constants more."""
    limits = {"OPENED": OPENED, "REST_MOST": REST_MOST, "CALM": CALM}
    sleep = {"HELPER_SLEEP_US": HELPER_SLEEP_US}
    named = {**{word.name: int(word) for word in Pool}, **limits, **sleep, **(constants or {})}

    return word_function(tools, name, source, signature, named, externals, _clock)


def _clock() -> Mapping[str, object]:
    from staticflow.native.kernel_names import cycles

    return {"cycles": cycles}


def own(tools: Toolchain) -> External:
    """i64 own(pool)."""
    return pool_kernel(tools, "own", OWN, of_words(1)).external


def opens(tools: Toolchain) -> External:
    """i64 open(pool, task, argument), by who owns the pool."""
    return pool_kernel(tools, "open", OPEN, of_words(3)).external


def settle(tools: Toolchain) -> External:
    """i64 settle(pool, began, patience, stop), after `open` and the caller's own work.

    `patience` is how often the caller looks for the last helper to leave before it sleeps.
    """
    wait = wait_until_left(tools)
    return pool_kernel(tools, "settle", SETTLE, of_words(4), wait_until_left=wait).external


def missed(tools: Toolchain) -> External:
    """i64 missed(pool, work), by who owns the pool."""
    return pool_kernel(tools, "missed", MISSED, of_words(2)).external


def rouse(tools: Toolchain) -> NativeFunction:
    """i64 rouse(pool)."""
    return pool_kernel(tools, "rouse", ROUSE, of_words(1))


@dataclass(frozen=True)
class Policy:
    """How the helpers of a pool behave."""

    idle_cycles: int  # for which they stay awake without work
    wake_first: int  # work without help after which they are called, at first and at most
    wake_most: int
    room_bytes: int = 0  # memory that each of them has


class ThreadPool(ForkAware):
    """A pool's table, and its threads, which start when they are first called for."""

    def __init__(self, name: str, count: int, tools: Toolchain, policy: Policy) -> None:
        super().__init__()
        self.count = count  # that work is cut for; there are no more than the system has room for
        self._room = min(count, granted_threads() - 1)
        self.table = words(Pool.WORDS)
        self.address = int(self.table.ctypes.data)
        self.table[Pool.IDLE_CYCLES] = policy.idle_cycles
        self.table[Pool.WAKE_FIRST] = policy.wake_first
        self.table[Pool.WAKE_MOST] = policy.wake_most
        self._name, self._tools, self._policy = name, tools, policy
        self._native: _Native | None = None
        self._forget()

    def after_fork_in_child(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """No thread has started, and nobody owns the pool."""
        self.table[[Pool.OWNER, Pool.STATE, Pool.CALLER_SLEEPS, Pool.STARTED]] = 0
        self.table[Pool.SLEEPERS] = self._room
        self.table[Pool.WAKE_AFTER] = self.table[Pool.WAKE_FIRST]
        self._starting = threading.Lock()
        self._made = 0

    def native(self) -> _Native:
        """What Python calls of the pool, compiled when it is first needed."""
        if self._native is None:
            tools = self._tools
            help = pool_kernel(tools, "help", HELP, of_words(2), leave=leave(tools))
            self._native = _Native(help.bind(), rouse(tools).bind())
            # While there still is what they look at: before the pool or the process ends.
            weakref.finalize(self, _dismiss, self.table, self._native.rouse)
        return self._native

    def call(self) -> None:
        """Call those helpers that are asleep, and do not wait for them."""
        if not self.table[Pool.STARTED]:
            self.start()
        elif self.table[Pool.SLEEPERS] > 0:
            self.native().rouse(self.address)

    def start(self) -> None:
        """Make the helpers, if there are none: they are awake for a while."""
        with self._starting:
            native = self.native()
            while self._made < self._room and not self.table[Pool.STARTED]:
                thread = threading.Thread(
                    target=_serve,
                    args=(native.help, self.table, self._policy.room_bytes),
                    name=f"{self._name}-{self._made}",
                    daemon=True,
                )
                self._made += 1
                try:
                    thread.start()
                except RuntimeError:  # no more threads: those there are do it
                    break
            self.table[Pool.STARTED] = 1


@dataclass(frozen=True)
class _Native:
    help: Callable[[int, int], int]
    rouse: Callable[[int], int]


def _serve(help: Callable[[int, int], int], table: Words, room_bytes: int) -> None:
    room = memory.aligned(room_bytes)
    help(int(table.ctypes.data), room.ctypes.data)


def _dismiss(table: Words, rouse: Callable[[int], int]) -> None:
    """Let the helpers go."""
    table[Pool.DISMISSED] = 1
    rouse(int(table.ctypes.data))
