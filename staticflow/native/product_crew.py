"""Helpers for large matrix products in a single call: threads that take pieces of the result.

    caller     fill in the product, open it, take pieces until there is none, close, wait
    helper     asleep | awake: look for an open product, take pieces until there is none, ...

A piece is a range of rows (or columns) of the result. Where the pieces begin follows from the sizes
alone, and each element is computed by one thread, so that the bits are the same whoever helps, and
if nobody does. There is one crew in a process: a caller that finds it taken works alone.

A helper stays awake for half a millisecond after the last product, so that a function that is
called again and again finds it ready; asleep, it needs some 50 us to come, and the caller does not
wait for it. A fork leaves the helpers behind; the child makes new ones when it needs them.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Callable
from enum import IntEnum, auto

from staticflow.native import memory
from staticflow.native.forks import ForkAware
from staticflow.native.gemm_scratch import GEMM_WORK_BYTES
from staticflow.native.memory import words
from staticflow.native.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.products import PRODUCT_SIGNATURE, product
from staticflow.native.toolchain import Toolchain, toolchain
from staticflow.native.waiting import leave, wait_until_left

SUFFIXES = ("f4", "f8")
IDLE_CYCLES = 1_500_000
OPENED = 1 << 32
# From so many multiplications on a product is shared: about 15 us each, in memory or in registers.
SHARED_THIN, SHARED = 1 << 17, 1 << 20
# A chain of smaller ones from 4 us on, in multiplications of 4 bytes, and from so many rows on.
SHARED_CHAIN, CHAIN_ROWS = 1 << 19, 16
THIN = 4  # a product with one extent below this is as fast as memory is
PIECES, GRAIN = 8, 4
# When the caller had to wait for longer than it worked, the helper's core is busy with something
# else: then the caller works alone for as long as it waited, since most of that is over soon, and
# for twice as many times as long each time that this happens again, up to the factor REST_MOST,
# until it has not happened for CALM rests. So waiting costs little in all.
REST_MOST, CALM = 128, 4
# In cycles: waking a helper costs about as much as a short call, so calls of the short way, which
# may come seldom, do it for so much work that went without help, and for twice as much each time
# that it was in vain.
WAKE_AFTER, WAKE_AFTER_MOST = 250_000, 50_000_000
MOST_SLEEP = 900_000  # us until a helper looks at the alarm by itself
PATIENCE = 1000  # looks for the last helper to leave, before the caller sleeps


class Crew(IntEnum):
    """The table of the crew, in words; what several write has a line of its own."""

    OWNER = 0
    ALONE_UNTIL = auto()  # in cycles: nothing is shared before
    REST = auto()  # the factor of the last rest
    CALM_AT = auto()  # in cycles: the next rest is the first one again
    UNHELPED = auto()  # cycles of work since somebody was called, or helped
    WAKE_AFTER = auto()  # so many of them the helpers are called
    TAKERS = auto()  # the functions for all dtypes, and for parts
    STATE = 16  # OPENED while there are pieces to take, plus the helpers that look at them
    NEXT = auto()  # the first piece that nobody has taken
    TURN = 32  # counts what is opened
    PIECES = auto()
    TAKE = auto()  # the function that takes pieces, for the dtype of this product
    STEP = auto()
    ARGUMENTS = auto()  # those of the product, 13 words
    OWNER_SLEEPS = 64  # until the last helper has left
    SLEEPERS = auto()  # helpers that sleep until the alarm changes
    ALARM = auto()
    DISMISSED = auto()  # helpers go home
    WORDS = 80


def worth_sharing(m: int, n: int, k: int) -> bool:
    """Whether a product of these extents is large enough; `share` asks the same."""
    enough = SHARED_THIN if min(m, n, k) < THIN else SHARED
    return m * n * k >= enough and max(m, n) >= 2 * GRAIN


ARGUMENTS = "m n k a a_row a_column b b_row b_column c c_row add"

PIECE_SOURCE = '''
def piece(begin, step, {arguments}, work, stop):
    """The rows of the result, or its columns if it is wider than high, from `begin` on."""
    if m >= n:
        product(min(step, m - begin), n, k, a + ITEM * begin * a_row, a_row, a_column,
                b, b_row, b_column, c + ITEM * begin * c_row, c_row, add, work, stop)
    else:
        product(m, min(step, n - begin), k, a, a_row, a_column,
                b + ITEM * begin * b_column, b_row, b_column, c + ITEM * begin, c_row,
                add, work, stop)
'''

TAKE_SOURCE = '''
def take(crew, work):
    """Compute pieces of the open product until all are taken; gives how many it took."""
    words = i8ptr(crew)
    {arguments} = {values}
    stop = words[ARGUMENTS + 12]
    step = words[STEP]
    taken = 0
    while True:
        number = atomic_add(crew + 8 * NEXT, 1)
        if number >= words[PIECES]:
            return taken
        taken += 1
        piece(number * step, step, {arguments}, work, stop)
'''

SHARE_SOURCE = '''
def share({arguments}, work, stop, crew):
    """The product, in pieces for whoever is there if it is large."""
    thin = min(min(m, n), k) < THIN
    extent = max(m, n)
    if crew == 0 or m * n * k < (SHARED_THIN if thin else SHARED) or extent < 2 * GRAIN:
        product({arguments}, work, stop)
        return
    step = ((extent - 1) // (PIECE_COUNT * GRAIN) + 1) * GRAIN
    if own(crew) == 0:
        for begin in range(0, extent, step):
            piece(begin, step, {arguments}, work, stop)
        return
    words = i8ptr(crew)
    {stores}
    words[ARGUMENTS + 12] = stop
    words[STEP] = step
    words[PIECES] = (extent - 1) // step + 1
    words[TAKE] = words[TAKER]
    open(crew)
    close(crew, work)
'''

OWN_SOURCE = '''
def own(crew):
    """Get the crew for oneself; 0 if it is taken, or has been of no use lately."""
    words = i8ptr(crew)
    if swap_if_zero(crew + 8 * OWNER, 1) != 0:
        return 0
    if cycles() >= words[ALONE_UNTIL]:
        return 1
    store_release(crew + 8 * OWNER, 0)
    return 0
'''

OPEN_SOURCE = '''
def open(crew):
    """Let helpers see what has been filled in."""
    words = i8ptr(crew)
    words[TURN] += 1
    atomic_add(crew + 8 * STATE, OPENED)
    return 0
'''

CLOSE_SOURCE = '''
def close(crew, work):
    """See what is open done, and give the crew back."""
    words = i8ptr(crew)
    began = cycles()
    taken = call2(words[TAKE], crew, work)
    atomic_add(crew + 8 * STATE, -OPENED)
    ended = cycles()
    wait_until_left(crew + 8 * STATE, crew + 8 * OWNER_SLEEPS, PATIENCE, words[ARGUMENTS + 12])
    words[NEXT] = 0
    now = cycles()
    if now - ended > ended - began:
        words[REST] = min(2 * words[REST], REST_MOST) if now < words[CALM_AT] else 1
        rest = words[REST] * (now - ended)
        words[ALONE_UNTIL] = now + rest
        words[CALM_AT] = now + (1 + CALM) * rest
    if taken < words[PIECES]:
        words[WAKE_AFTER] = FIRST_WAKE_AFTER
        words[UNHELPED] = 0
    else:
        words[UNHELPED] += now - began
        if words[UNHELPED] > words[WAKE_AFTER] and words[SLEEPERS] > 0:
            words[UNHELPED] = 0
            words[WAKE_AFTER] = min(2 * words[WAKE_AFTER], WAKE_AFTER_MOST)
            rouse(crew)
    store_release(crew + 8 * OWNER, 0)
'''

ROUSE_SOURCE = '''
def rouse(crew):
    """Call the helpers that are asleep, and do not wait for them."""
    atomic_add(crew + 8 * ALARM, 1)
    wake_all(crew + 8 * ALARM)
    return 0
'''

TAKE_PARTS_SOURCE = '''
def take_parts(crew, work):
    """Call the function for parts of its rows until all are taken; gives how many it took."""
    words = i8ptr(crew)
    taken = 0
    while True:
        part = atomic_add(crew + 8 * NEXT, 1)
        if part >= words[PIECES]:
            return taken
        taken += 1
        call3(words[ARGUMENTS], words[ARGUMENTS + 1], part, work)
'''

BEGIN_PARTS_SOURCE = '''
def begin_parts(table, function, parts, crew):
    """Let helpers call function(table, part, work) for parts; 0 if there are none for it."""
    if crew == 0 or parts < 2:
        return 0
    if own(crew) == 0:
        return 0
    words = i8ptr(crew)
    words[ARGUMENTS] = function
    words[ARGUMENTS + 1] = table
    words[ARGUMENTS + 12] = 0
    words[PIECES] = parts
    words[TAKE] = words[PARTS_TAKER]
    open(crew)
    return 1
'''

END_PARTS_SOURCE = '''
def end_parts(begun, table, function, parts, work, crew):
    """Call it for those parts that nobody has taken, all of them if none has begun."""
    if begun != 0:
        close(crew, work)
        return
    for part in range(parts):
        call3(function, table, part, work)
'''

HELP_SOURCE = '''
def help(crew, work):
    """Take pieces of whatever opens; sleep when nothing has for a while."""
    words = i8ptr(crew)
    turn = 0
    while load_acquire(crew + 8 * DISMISSED) == 0:
        alarm = load_acquire(crew + 8 * ALARM)
        began = cycles()
        while cycles() - began < IDLE_CYCLES:
            if load_acquire(crew + 8 * STATE) >= OPENED and words[TURN] != turn:
                if atomic_add(crew + 8 * STATE, 1) >= OPENED:
                    turn = words[TURN]
                    call2(words[TAKE], crew, work)
                    began = cycles()
                leave(crew + 8 * STATE, crew + 8 * OWNER_SLEEPS)
            pause()
        atomic_add(crew + 8 * SLEEPERS, 1)
        while load_acquire(crew + 8 * ALARM) == alarm:
            wait_while(crew + 8 * ALARM, alarm, MOST_SLEEP)
        atomic_add(crew + 8 * SLEEPERS, -1)
    return 0
'''


def _constants(suffix: str) -> dict[str, int]:
    table = {f"{entry.name}": entry.value for entry in Crew}
    sizes = {"THIN": THIN, "SHARED": SHARED, "SHARED_THIN": SHARED_THIN, "GRAIN": GRAIN}
    own = {"ITEM": 8 if suffix == "f8" else 4, "TAKER": Crew.TAKERS + SUFFIXES.index(suffix)}
    own["PARTS_TAKER"] = Crew.TAKERS + len(SUFFIXES)
    limits = {"PIECE_COUNT": PIECES, "OPENED": OPENED, "IDLE_CYCLES": IDLE_CYCLES}
    rest = {"REST_MOST": REST_MOST, "CALM": CALM}
    wait = {"PATIENCE": PATIENCE, "MOST_SLEEP": MOST_SLEEP}
    wait |= {"FIRST_WAKE_AFTER": WAKE_AFTER, "WAKE_AFTER_MOST": WAKE_AFTER_MOST}
    return {**table, **sizes, **own, **limits, **rest, **wait}


def _filled(source: str) -> str:
    names = ARGUMENTS.split()
    places = [f"words[ARGUMENTS + {i}]" for i in range(len(names))]
    stores = [f"{place} = {name}" for place, name in zip(places, names, strict=True)]
    source = source.replace("{arguments}", ", ".join(names))
    return source.replace("{values}", ", ".join(places)).replace("{stores}", "; ".join(stores))


def _kernel(
    name: str, source: str, signature: Signature, suffix: str, **externals: External
) -> KernelSource:
    def namespace() -> dict[str, object]:
        from staticflow.native.kernel_names import cycles

        return {**_constants(suffix), "cycles": cycles}

    return KernelSource(
        name=name,
        source=_filled(source),
        signature=signature,
        externals=externals,
        namespace=namespace,
        namespace_key=(str(_constants(suffix)),),
        noalias=False,
    )


_ONE, _TWO = Signature("i8", ("i8",)), Signature("i8", ("i8", "i8"))


def shared_product(tools: Toolchain, suffix: str) -> External:
    """The matrix product of a dtype that helpers may take part in.

    Its arguments are those of `products.product` and the address of the crew, or 0.
    """
    words = PRODUCT_SIGNATURE.arguments
    whole = {"product": product(tools, suffix)}
    cut = Signature("", ("i8", "i8", *words))
    piece = {"piece": tools.kernel(_kernel("piece", PIECE_SOURCE, cut, suffix, **whole)).external}
    take = tools.kernel(_kernel("take", TAKE_SOURCE, _TWO, suffix, **piece))
    used = {**whole, **piece, **_ownership(tools)}
    share = tools.kernel(
        _kernel("share", SHARE_SOURCE, Signature("", (*words, "i8")), suffix, **used)
    )
    crew().table[Crew.TAKERS + SUFFIXES.index(suffix)] = take.address
    return share.external


def parts_functions(tools: Toolchain) -> dict[str, External]:
    """What lets helpers call function(table, part, work): `begin_parts` and `end_parts`."""
    take = tools.kernel(_kernel("take_parts", TAKE_PARTS_SOURCE, _TWO, "f8"))
    crew().table[Crew.TAKERS + len(SUFFIXES)] = take.address
    used = _ownership(tools)
    sources = {
        "begin_parts": (BEGIN_PARTS_SOURCE, Signature("i8", ("i8",) * 4), ("own", "open")),
        "end_parts": (END_PARTS_SOURCE, Signature("", ("i8",) * 6), ("close",)),
    }
    made = {}
    for name, (source, signature, calls) in sources.items():
        externals = {call: used[call] for call in calls}
        made[name] = tools.kernel(_kernel(name, source, signature, "f8", **externals)).external
    return made


def _ownership(tools: Toolchain) -> dict[str, External]:
    own = tools.kernel(_kernel("own", OWN_SOURCE, _ONE, "f8"))
    used = {"wait_until_left": wait_until_left(tools), "rouse": _rouse(tools).external}
    nothing = Signature("", ("i8", "i8"))
    start = tools.kernel(_kernel("open", OPEN_SOURCE, _ONE, "f8"))
    close = tools.kernel(_kernel("close", CLOSE_SOURCE, nothing, "f8", **used))
    return {"own": own.external, "open": start.external, "close": close.external}


def _rouse(tools: Toolchain) -> NativeFunction:
    return tools.kernel(_kernel("rouse", ROUSE_SOURCE, _ONE, "f8"))


class Helpers(ForkAware):
    """The crew of a process: its table, and the threads, which start when first called."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = words(Crew.WORDS)
        self.address = int(self.table.ctypes.data)
        self._count = count
        self._starting = threading.Lock()
        self._forget()
        atexit.register(self._dismiss)

    def after_fork_in_child(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Nobody is there, and nobody owns the crew."""
        self.table[[Crew.OWNER, Crew.STATE, Crew.OWNER_SLEEPS, Crew.SLEEPERS]] = 0
        self.table[Crew.WAKE_AFTER] = WAKE_AFTER
        self._starting = threading.Lock()
        self._rouse: Callable[[int], int] | None = None

    def _dismiss(self) -> None:
        """Let the helpers go, while there still is what they look at."""
        self.table[Crew.DISMISSED] = 1
        if self._rouse is not None:
            self._rouse(self.address)

    def wake(self) -> None:
        """Call those helpers that are asleep, and do not wait for them."""
        if self._rouse is None:
            self.start()
        elif self.table[Crew.SLEEPERS] > 0:
            self._rouse(self.address)

    def start(self) -> None:
        """Make the helpers, if there are none: they are awake for a while."""
        with self._starting:
            if self._rouse is not None:
                return
            source = _kernel("help", HELP_SOURCE, _TWO, "f8", leave=leave(toolchain()))
            function = toolchain().kernel(source).bind()
            for number in range(self._count):
                name = f"staticflow-helper-{number}"
                thread = threading.Thread(
                    target=self._serve, args=(function,), name=name, daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads: those there are do it
                    break
            self._rouse = _rouse(toolchain()).bind()

    def _serve(self, function: Callable[[int, int], int]) -> None:
        work = memory.aligned(GEMM_WORK_BYTES)
        function(self.address, work.ctypes.data)


@functools.cache
def crew() -> Helpers:
    """The crew of this process."""
    return Helpers(max(0, (os.cpu_count() or 1) - 1))
