"""Wait for the helpers inside a call to leave, and leave so that a caller who sleeps hears of it.

The word at `state` counts the helpers inside; the word at `sleeps` says that the caller sleeps. A
caller looks for a while, which is quick, and then sleeps, so that a helper that lost its core gets
it back.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.native.toolchain.objects import External, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.watch import stopped
from staticflow.native.toolchain.word_function import of_words, word_function

WORKER_SLEEP_US = 1000  # until the next look at what else may have happened
LOOKS = 200  # before one who waits for a word sleeps

WAIT_UNTIL_LEFT = '''
def wait_until_left(state, sleeps, patience, stop):
    """Return when no helper is inside: the looks it took, more than `patience` if it slept."""
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
            wait_while(state, inside, WORKER_SLEEP_US)
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


LOOK_AGAIN = '''
def look_again(word, seen, looks):
    """Between two looks at a word that is still as it was: pause, or sleep after many of them."""
    if looks < LOOKS:
        pause()
    else:
        wait_while(word, seen, WORKER_SLEEP_US)
'''


def look_again(toolchain: Toolchain) -> External:
    """To wait for a word to change: look_again(word, seen, looks), in a loop that looks at it."""
    return _function(toolchain, "look_again", LOOK_AGAIN, Signature("", ("i8",) * 3))


def wait_until_left(toolchain: Toolchain) -> External:
    """The caller's part: i64 wait_until_left(state, sleeps, patience, stop).

    Who waits for long looks at the stop flag, if there is one, and handles signals when it asks to.
    """
    signature = of_words(4)
    asks = {"stopped": stopped(toolchain)}
    return _function(toolchain, "wait_until_left", WAIT_UNTIL_LEFT, signature, asks)


def leave(toolchain: Toolchain) -> External:
    """The helper's part: leave(state, sleeps)."""
    return _function(toolchain, "leave", LEAVE, Signature("", ("i8",) * 2))


def _function(
    tools: Toolchain,
    name: str,
    source: str,
    signature: Signature,
    externals: Mapping[str, External] | None = None,
) -> External:
    named = {"WORKER_SLEEP_US": WORKER_SLEEP_US, "LOOKS": LOOKS}
    return word_function(tools, name, source, signature, named, externals).external
