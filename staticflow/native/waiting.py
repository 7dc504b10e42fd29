"""Wait for the helpers inside a call to leave, and leave so that a caller who sleeps hears of it.

The word at `state` counts the helpers inside; the word at `sleeps` says that the caller sleeps. A
caller looks for a while, which is quick, and then sleeps, so that a helper that lost its core gets
it back.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.native.objects import External, KernelSource, Signature
from staticflow.native.toolchain import Toolchain
from staticflow.native.watch import stopped

MOST_SLEEP = 1000  # us until the next look

WAIT_UNTIL_LEFT = '''
def wait_until_left(state, sleeps, patience, stop):
    """Return when nobody is inside; gives the looks it took, more than `patience` if it slept."""
    looks = 0
    while True:
        inside = load_acquire(state)
        if inside == 0:
            return looks
        looks += 1
        if looks <= patience:
            pause()
        else:
            atomic_add(sleeps, 1)
            wait_while(state, inside, MOST_SLEEP)
            atomic_add(sleeps, -1)
            if stop != 0:
                if load_acquire(stop) != 0:
                    stopped(stop)
'''

LEAVE = '''
def leave(state, sleeps):
    """The last to leave wakes a caller who sleeps."""
    if atomic_add(state, -1) == 1 and i8ptr(sleeps)[0] != 0:
        wake_all(state)
'''


def wait_until_left(toolchain: Toolchain) -> External:
    """The caller's part: i64 wait_until_left(state, sleeps, patience, stop).

    Who waits for long looks at the stop flag, if there is one, and handles signals when it asks to.
    """
    signature = Signature("i8", ("i8",) * 4)
    asks = {"stopped": stopped(toolchain)}
    return _function(toolchain, "wait_until_left", WAIT_UNTIL_LEFT, signature, asks)


def leave(toolchain: Toolchain) -> External:
    """The helper's part: leave(state, sleeps)."""
    return _function(toolchain, "leave", LEAVE, Signature("", ("i8",) * 2))


def _function(
    toolchain: Toolchain,
    name: str,
    source: str,
    signature: Signature,
    externals: Mapping[str, External] | None = None,
) -> External:
    return toolchain.kernel(
        KernelSource(
            name=name,
            source=source,
            signature=signature,
            externals=externals or {},
            namespace=_names,
            namespace_key=(str(_names()),),
            noalias=False,
        )
    ).external


def _names() -> Mapping[str, object]:
    return {"MOST_SLEEP": MOST_SLEEP}
