"""Import Numba whole or not at all, whatever the user interrupts.

Numba's import takes half a second, and a Ctrl-C in the middle of it leaves modules behind that a
second import fails on. So another thread imports, which no signal reaches; who waits for it may be
interrupted.
"""

from __future__ import annotations

import functools
import importlib
import threading

MODULES = ("llvmlite.ir", "numba", "numba.core.registry")


@functools.cache
def import_numba() -> None:
    """See that Numba is imported."""
    finished = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
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
