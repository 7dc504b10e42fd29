"""Signals during long calls: Ctrl-C is heard while the main thread is in native code.

    main thread    call: odd ... kernels ... sees CHECK: takes the GIL, runs handlers, goes on
    watcher        asleep | each 50 ms: the same call as last time? then CHECK ... | asleep

Python runs signal handlers in the main thread, between two of its own instructions. A native call
of the main thread that is under way for longer than a tick finds CHECK where its programs look for
a stop flag, and runs the handlers there (`stopped`). If one raises, the flag becomes ABORT, the
programs give up, and the exception is that of the call. Nothing is asked of calls that are short,
and nothing of other threads, whose programs have another flag.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import threading
from collections.abc import Callable
from enum import IntEnum

from staticflow.native.memory import words
from staticflow.native.toolchain.forks import ForkAware
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.native.toolchain.word_function import called, of_words, word_function

ABORT, CHECK = 1, 2  # what a stop flag holds
TICK_US = 50_000
IDLE_TICKS = 20  # without a call, and the watcher sleeps until the next
LONGEST_SLEEP_US = 900_000


class Watch(IntEnum):
    """The words that the main thread and its watcher share."""

    STOP = 0  # the stop flag of the main thread's programs
    THREAD = 1  # the main thread's number
    STATE = 2  # its state of Python's, while it has given the GIL back
    START = 3  # address of the Python callable that starts the watcher
    RUNNING = 4  # there is a watcher
    CALLS = 16  # odd while a call is under way
    AWAKE = 17  # the watcher looks; 0: it sleeps until somebody sets this
    DISMISSED = 18
    NEVER = 32  # a stop flag that nobody sets, for other threads
    WORDS = 48


STOPPED = '''
def stopped(flag):
    """Whether a program gives up whose stop flag is set; runs signal handlers where it asks to."""
    if load_acquire(flag) == ABORT:
        return 1
    watch = i8ptr(flag)
    if PyThread_get_thread_ident() != watch[THREAD]:
        return 0
    store_release(flag, 0)
    PyEval_RestoreThread(watch[STATE])
    raised = PyErr_CheckSignals()
    watch[STATE] = PyEval_SaveThread()
    if raised != 0:
        store_release(flag, ABORT)
    return 1 if raised != 0 else 0
'''

ENTER = '''
def enter_call(watch):
    """Give the GIL back for a call of the main thread that may take long."""
    w = i8ptr(watch)
    w[STATE] = PyEval_SaveThread()
    atomic_add(watch + 8 * CALLS, 1)
    if load_acquire(watch + 8 * AWAKE) == 0:
        store_release(watch + 8 * AWAKE, 1)
        wake_all(watch + 8 * AWAKE)
    return 0
'''

LEAVE = '''
def leave_call(watch):
    """Take the GIL again; 1 if a signal handler has raised an exception, which is set."""
    w = i8ptr(watch)
    atomic_add(watch + 8 * CALLS, 1)
    PyEval_RestoreThread(w[STATE])
    aborted = load_acquire(watch) == ABORT
    store_release(watch, 0)
    return 1 if aborted else 0
'''

IS_MAIN = '''
def is_main(watch):
    """Whether this is the main thread, with the watcher there; -1: an exception is set.

    Takes the GIL for granted.
    """
    w = i8ptr(watch)
    if PyThread_get_thread_ident() != w[THREAD]:
        return 0
    if w[RUNNING] == 0:
        nothing = PyObject_CallNoArgs(w[START])
        if nothing == 0:
            return -1
        Py_DecRef(nothing)
    return 1
'''

SUPERVISED = '''
def supervised(step, T, S, entry, watch):
    """Call step(T, S) without the GIL, with the stop flag in its place in T."""
    main = is_main(watch)
    if main < 0:
        return -1
    state = 0
    if main != 0:
        i8ptr(T)[entry] = watch
        enter_call(watch)
    else:
        i8ptr(T)[entry] = watch + 8 * NEVER
        state = PyEval_SaveThread()
    code = call2(step, T, S)
    if main != 0:
        if leave_call(watch) != 0:
            code = -1
    else:
        PyEval_RestoreThread(state)
    return code
'''

LOOK_OUT = '''
def look_out(watch):
    """The watcher's life: see `watch`."""
    while load_acquire(watch + 8 * DISMISSED) == 0:
        idle = 0
        last = 0
        while idle < IDLE_TICKS and load_acquire(watch + 8 * DISMISSED) == 0:
            wait_while(watch + 8 * DISMISSED, 0, TICK_US)
            calls = load_acquire(watch + 8 * CALLS)
            if calls & 1 == 0 and calls == last:
                idle += 1
            else:
                idle = 0
                if calls & 1 != 0 and calls == last:
                    swap_if_zero(watch, CHECK)
            last = calls
        atomic_add(watch + 8 * AWAKE, -1)
        if load_acquire(watch + 8 * CALLS) != last:
            store_release(watch + 8 * AWAKE, 1)
        while load_acquire(watch + 8 * AWAKE) == 0 and load_acquire(watch + 8 * DISMISSED) == 0:
            wait_while(watch + 8 * AWAKE, 0, LONGEST_SLEEP_US)
    return 0
'''

_PYTHON = {
    "PyErr_CheckSignals": Signature("i4", ()),
    "PyEval_SaveThread": Signature("i8", ()),
    "PyEval_RestoreThread": Signature("", ("i8",)),
    "PyObject_CallNoArgs": Signature("i8", ("i8",)),
    "PyThread_get_thread_ident": Signature("i8", ()),
    "Py_DecRef": Signature("", ("i8",)),
}


def _function(
    tools: Toolchain, name: str, source: str, arguments: int = 1, **externals: External
) -> NativeFunction:
    named = {
        **{entry.name: int(entry) for entry in Watch},
        "ABORT": ABORT,
        "CHECK": CHECK,
        "TICK_US": TICK_US,
        "IDLE_TICKS": IDLE_TICKS,
        "LONGEST_SLEEP_US": LONGEST_SLEEP_US,
    }
    used = {**called(source, _PYTHON), **externals}
    return word_function(tools, name, source, of_words(arguments), named, used)


def stopped(tools: Toolchain) -> External:
    """What a program asks when its stop flag is not 0: i64 stopped(flag), 1 to give up."""
    return _function(tools, "stopped", STOPPED).external


def enter_call(tools: Toolchain) -> External:
    """i64 enter_call(watch), with the GIL, in the main thread."""
    return _function(tools, "enter_call", ENTER).external


def leave_call(tools: Toolchain) -> External:
    """i64 leave_call(watch), without the GIL, which it takes."""
    return _function(tools, "leave_call", LEAVE).external


def is_main(tools: Toolchain) -> External:
    """i64 is_main(watch), with the GIL."""
    return _function(tools, "is_main", IS_MAIN).external


@functools.cache
def _supervised() -> Callable[[int, int, int, int, int], int]:
    tools = toolchain()
    function = _function(
        tools, "supervised", SUPERVISED, 5, is_main=is_main(tools), enter_call=enter_call(tools),
        leave_call=leave_call(tools),
    )  # fmt: skip
    kind = ctypes.PYFUNCTYPE(*[ctypes.c_int64] * 6)
    return kind(function.address)


def run_supervised(step: int, T: int, S: int, entry: int) -> int:
    """Call the program at address `step` with its tables; `entry` of T takes the stop flag.

    Gives what the program gives. Raises what a signal handler raises meanwhile.
    """
    return _supervised()(step, T, S, entry, watcher().address)


class Watcher(ForkAware):
    """The words of this process, and the thread that looks at them once there is a long call."""

    def __init__(self) -> None:
        super().__init__()
        self._words = words(Watch.WORDS)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._words))  # a thread may outlive Python
        self.address = int(self._words.ctypes.data)
        self.never = self.address + 8 * Watch.NEVER
        self._words[Watch.START] = id(self._started)
        self._adopt()
        atexit.register(self._dismiss)

    def after_fork_in_child(self) -> None:
        self._adopt()

    def _adopt(self) -> None:
        """At the start, and in a child process: its main thread is the one that forked."""
        self._words[[Watch.STOP, Watch.CALLS, Watch.AWAKE, Watch.RUNNING]] = 0
        self._words[Watch.THREAD] = threading.main_thread().ident or 0

    @functools.cached_property
    def _started(self) -> object:
        """The callable that starts the watcher, as an object that stays where it is."""
        return self._start

    def _start(self) -> None:
        look_out = _function(toolchain(), "look_out", LOOK_OUT).bind()
        self._words[[Watch.RUNNING, Watch.AWAKE]] = 1
        name = "staticflow-watcher"
        try:
            thread = threading.Thread(target=look_out, args=(self.address,), name=name, daemon=True)
            thread.start()
        except RuntimeError:  # no more threads: signals wait for the end of calls, as in any C code
            return

    def _dismiss(self) -> None:
        self._words[Watch.DISMISSED] = 1


@functools.cache
def watcher() -> Watcher:
    """The watcher of this process."""
    return Watcher()
