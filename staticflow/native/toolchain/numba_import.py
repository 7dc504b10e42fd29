"""Import Numba whole or not at all, whatever the user interrupts.

Numba's import takes half a second, and a Ctrl-C in the middle of it leaves modules behind that a
second import fails on. So another thread imports, which no signal reaches; who waits for it may be
interrupted.
"""

from __future__ import annotations

import functools
import importlib
import threading

from staticflow.native.toolchain.forks import ForkAware

MODULES = ("llvmlite.ir", "numba", "numba.core.registry")


class _Importing(ForkAware):
    """A fork waits until an import is over: its locks would be held for ever in the child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def before_fork(self) -> None:
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def after_fork_in_child(self) -> None:
        self.lock.release()


@functools.cache
def _importing() -> _Importing:
    return _Importing()


@functools.cache
def import_numba() -> None:
    """See that Numba is imported."""
    finished = threading.Event()
    failures: list[BaseException] = []
    lock = _importing().lock

    def work() -> None:
        try:
            with lock:
                for name in MODULES:
                    importlib.import_module(name)
        except BaseException as error:
            failures.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=work, name="staticflow-import", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system has no more threads
        work()
    finished.wait()
    for error in failures:
        raise error
