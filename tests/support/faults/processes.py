"""Sessions and functions in other processes, whichever way those are made."""

from __future__ import annotations

import functools
import multiprocessing
import random
import threading
from typing import Any

import staticflow as sf
from tests.support.child_processes import succeeds
from tests.support.small_nets import assert_same, data, regression, values

WAYS = ("fork",) * 10 + ("forking while training",) * 6 + ("spawn", "forkserver", "joblib")


def trained(session: sf.Session, fed: dict[str, Any], seed: int) -> dict[str, Any]:
    """What a process does with a session that it gets."""
    session.fit(fed, epochs=2, batch_size=16, progress=False)
    return {**values(session), "y": session.run("y", {"x": fed["x"] + seed})}


class Processes:
    """Each gives what this process would have given, bit for bit."""

    def __init__(self) -> None:
        self.fed = data(64)
        self.session = regression(sf.optim.Adam(1e-3), threads=2)
        self.session.fit(self.fed, batch_size=16, progress=False)

    def __call__(self, draw: random.Random) -> None:
        import copy

        way, seed = draw.choice(WAYS), draw.randrange(100)
        session = copy.deepcopy(self.session)
        expected = trained(copy.deepcopy(session), self.fed, seed)
        if way == "forking while training":
            self.while_training(session, expected, seed)
        elif way == "fork":
            succeeds(lambda: assert_same(trained(session, self.fed, seed), expected))
        elif way == "joblib":
            for found in self.joblib(session, seed):
                assert_same(found, expected)
        else:
            context = multiprocessing.get_context(way)
            with context.Pool(1) as pool:
                assert_same(pool.apply(trained, (session, self.fed, seed)), expected)

    def while_training(self, session: sf.Session, expected: dict[str, Any], seed: int) -> None:
        """Another session trains in another thread at the moment of the fork."""
        over = threading.Event()

        def work() -> None:
            busy = regression(threads=2)
            while not over.is_set():
                busy.fit(self.fed, epochs=50, batch_size=16, progress=False)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            succeeds(lambda: assert_same(trained(session, self.fed, seed), expected))
        finally:
            over.set()
            thread.join()

    def joblib(self, session: sf.Session, seed: int) -> list[dict[str, Any]]:
        joblib = _joblib()
        if joblib is None:
            return []
        jobs = [joblib.delayed(trained)(session, self.fed, seed) for _ in range(2)]
        found: list[dict[str, Any]] = joblib.Parallel(n_jobs=2)(jobs)
        return found


@functools.cache
def _joblib() -> Any:
    try:
        import joblib
    except ImportError:
        return None
    return joblib
