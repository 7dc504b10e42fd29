"""Forks while other threads are in the middle of something; the children go on with it.

    python -m tests.session.fork_in_fit KIND

KIND says what the other thread does: "fit", "step", "run" or "compile". Each child uses the
session that the thread uses, and a new one, and ends with status 0; a child that hangs is killed
after a while. Prints how the children ended.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.training import trainer as training
from tests.support.counted_steps import assert_whole, counted, fed, steps_in, use_all_threads

CHILDREN = 5
SECONDS = 60.0  # until a child counts as hung


def busy(kind: str, session: sf.Session, stop: threading.Event) -> None:
    """What the other thread does until it is stopped."""
    number = 0
    while not stop.is_set():
        number += 1
        if kind == "fit":
            session.fit(fed(64), epochs=200, batch_size=8, progress=False)
        elif kind == "step":
            session.step(fed(4))
        elif kind == "run":
            session.run("y", fed(1 + number % 40))
        else:
            compile_new(number)


def compile_new(number: int) -> None:
    """A function that the process has not compiled yet."""
    x = sf.input("x", (3,), "float64")
    y = x
    for bit in range(12):
        y = ops.tanh(y) if number >> bit & 1 else ops.sin(y * 0.5)
    assert np.isfinite(sf.function([x], y)(np.ones(3))).all()


def child(session: sf.Session) -> None:
    """Everything works in the child, from the last whole step of the session on."""
    a, b = session.run(["a", "b"])
    before = steps_in(a, b)
    assert before == session.step_count == int(session.states["steps"])
    session.fit(fed(32), epochs=2, batch_size=8, progress=False)
    session.step(fed(3))
    assert_whole(session, before + 9)
    assert np.isfinite(session.run("y", fed(7))).all()
    new = counted()
    new.fit(fed(16), batch_size=8, progress=False)
    assert_whole(new, 2)
    compile_new(os.getpid() % 4096)


def fork(session: sf.Session) -> str:
    """How a child ended."""
    process = os.fork()
    if process == 0:
        status = 1
        faulthandler.dump_traceback_later(0.8 * SECONDS)  # where it hangs
        try:
            child(session)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return "well" if code == 0 else f"with status {code}"
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "never"


def main(kind: str) -> int:
    training.choose_shards = use_all_threads  # type: ignore[assignment]
    session, stop = counted(), threading.Event()
    session.fit(fed(32), batch_size=8, progress=False)
    session.run(["a", "b"])
    for rows in (7, 64):
        session.run("y", fed(rows))
    compile_new(0)
    target: Callable[..., None] = busy
    other = threading.Thread(target=target, args=(kind, session, stop))
    other.start()
    ends = []
    for _ in range(CHILDREN):
        time.sleep(0.02)
        ends.append(fork(session))
        if ends[-1] == "never":
            break
    stop.set()
    other.join()
    assert_whole(session)
    print(", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)))
    return 0 if set(ends) == {"well"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
