"""Sessions in threads of the user, and in children of a process that has trained."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from tests.support.places import ROOT
from tests.support.sharding import force
from tests.support.small_nets import assert_same, data, regression, values
from tests.support.threads import together

FED = data(200)


def train(session: sf.Session, epochs: int = 30) -> None:
    session.fit(FED, epochs=epochs, batch_size=16, progress=False)


def test_two_sessions_train_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with two threads of its own, on as many cores; the bits are those of training alone."""
    force(monkeypatch)
    alone = [regression(seed=seed, threads=2) for seed in (1, 2)]
    for session in alone:
        train(session)
    at_once = [regression(seed=seed, threads=2) for seed in (1, 2)]
    together(*(lambda s=session: train(s) for session in at_once))
    for session, expected in zip(at_once, alone, strict=True):
        assert_same(values(session), values(expected))


def test_sessions_are_made_and_compiled_at_once() -> None:
    found: list[float] = []
    together(
        *(lambda h=h: found.append(regression(hidden=h, seed=1).step(FED)) for h in range(3, 9))
    )
    assert len(found) == 6 and np.isfinite(found).all()


def test_one_session_is_trained_by_two_threads_in_turn() -> None:
    session = regression(threads=1)
    together(lambda: train(session, 5), lambda: train(session, 5))
    assert session.step_count == 2 * 5 * 13


def test_a_session_runs_while_it_trains() -> None:
    session = regression(threads=1)
    train(session, 1)
    session.run("y", {"x": FED["x"][:1]})
    outputs: list[Any] = []

    def watch() -> None:
        outputs.extend(session.run("y", {"x": FED["x"][:1]}) for _ in range(300))

    together(lambda: train(session, 300), watch)
    assert np.isfinite(outputs).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_after_training_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has none of the parent's threads; it makes its own."""
    force(monkeypatch)
    session, twin = (regression(threads=2) for _ in range(2))
    train(session), train(twin)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(session)
            new = regression(threads=2, seed=5)
            train(new, 2)
            status = 0 if np.isfinite(new.params["fnn.0.weight"]).all() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    train(session), train(twin)
    assert_same(values(session), values(twin))


def test_a_process_ends_while_its_threads_sleep() -> None:
    """The pool's threads do not keep a process alive, nor complain at its end."""
    code = (
        "from tests.support.small_nets import data, regression\n"
        "s = regression(threads=2)\n"
        "s.fit(data(4000), epochs=2, batch_size=2000, progress=False)\n"
        "print(s.step_count)\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (found.stdout, found.stderr, found.returncode) == ("4\n", "", 0)
